"""What every model costs, from its registration, the editions of the price book, or nowhere."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from weakref import WeakValueDictionary

from model_service.catalog.domain import NO_PRESETS, Model, Presets
from model_service.kernel.types import Provider
from model_service.providers.own_prices import ANTHROPIC_MULTIPLES, OwnPrices
from model_service.providers.price_schedule import Chapter, Listing, Schedule
from model_service.providers.pricing import Rates

#: The version of the price of what runs on one's own machine.
LOCAL: Final = "local"

# Nobody sends a bill for it, so it is free rather than unpriced: a cost quota lets it pass.
_LOCAL_CHAPTER: Final = Chapter(LOCAL, None, (Listing(Rates()),))

Source = Callable[[Provider, str, str | None], Sequence[Chapter]]
"""What the editions say of a model of a provider, perhaps at a base URL; oldest first."""


class Prices:
    """Makes the schedules of models, and keeps those in use current."""

    def __init__(self, source: Source, presets: Presets = NO_PRESETS) -> None:
        """`presets` say where the vendors are that a CUSTOM model may name."""
        self._source = source
        self._presets = presets
        self._chapters: dict[tuple[Provider, str, str | None], Sequence[Chapter]] = {}
        self._schedules: WeakValueDictionary[tuple[object, ...], Schedule] = WeakValueDictionary()

    def schedule_of(self, model: Model) -> Schedule:
        """The model's prices over time. Looks nothing up before a price is asked for.

        Models of the same id at the same place, without prices of their own, share one.
        """
        where = (model.provider, model.model_id, model.served_at(self._presets))
        own = own_prices(model)
        schedule = self._schedules.get((*where, own))
        if schedule is None:
            schedule = Schedule(lambda: self._of(*where), own)
            self._schedules[(*where, own)] = schedule
        return schedule

    def forget(self) -> None:
        """The editions changed: every schedule in use looks them up again."""
        self._chapters.clear()
        for schedule in list(self._schedules.values()):
            schedule.forget()

    def _of(self, provider: Provider, model_id: str, base_url: str | None) -> Sequence[Chapter]:
        where = (provider, model_id, base_url)
        chapters = self._chapters.get(where)
        if chapters is None:
            chapters = self._chapters[where] = self._source(*where)
        if provider is Provider.OLLAMA:
            return (_LOCAL_CHAPTER, *chapters)
        return chapters


def own_prices(model: Model) -> OwnPrices | None:
    """What the registration sets itself; None when that is nothing."""
    own = OwnPrices(
        f"own@{_written(model.updated_at)}",
        input=_per_token(model.input_cost_per_1k_tokens),
        cached_input=_per_token(model.cached_input_cost_per_1k_tokens),
        cache_write=_per_token(model.cache_write_cost_per_1k_tokens),
        output=_per_token(model.output_cost_per_1k_tokens),
        multiples=ANTHROPIC_MULTIPLES if model.provider is Provider.ANTHROPIC else None,
    )
    return own if own.is_set else None


def _per_token(cost: Decimal | None) -> Decimal | None:
    return None if cost is None else cost.scaleb(-3)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
