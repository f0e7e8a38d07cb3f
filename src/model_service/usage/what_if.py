"""What a past period would have cost at another model's prices.

Reckoned from sums by day and model, not from single calls, so that it takes no longer for ten
million calls than for ten. What was stored is not touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol

from model_service.providers.chat import Usage
from model_service.providers.price_schedule import Schedule
from model_service.providers.pricing import Price
from model_service.usage.domain import Dimension, Group, Sums, UsageFilter, UsageReader

_NOTHING: Final = Decimal(0)


class Assumption(StrEnum):
    """What the reckoning takes for granted."""

    TOKENS = "tokens"
    CACHES = "caches"
    LONG_CONTEXT = "longContext"
    TIER = "tier"
    HOURS = "hours"

    @property
    def text(self) -> str:
        """In a sentence."""
        return _TEXTS[self]


_TEXTS: Final = {
    Assumption.TOKENS: "The other model is taken to use as many tokens as the one that answered.",
    Assumption.CACHES: "What was read from or written to a cache would be with the other model"
    " too; it has no price of its own for some of that, which then costs as much as input.",
    Assumption.LONG_CONTEXT: "It asks more for long prompts; all are reckoned as short ones.",
    Assumption.TIER: "All calls are reckoned in the standard tier.",
    Assumption.HOURS: "Each day is reckoned at the prices of its beginning.",
}


class Targets(Protocol):
    """Where the prices of other models are looked up."""

    async def schedule_of(self, name: str) -> Schedule:
        """The prices of a registered model, or of a provider's model as `OPENAI/gpt-4o`.

        Raises:
            NotFound: there is no such model.
            DatabaseUnavailable: that cannot be told.
        """
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """The calls that one model answered, as they were and as they would have been.

    `unpriced` are those that the other model has no price for; `would_cost` is that of the
    others.
    """

    model: str | None
    sums: Sums
    would_cost: Decimal
    unpriced: int


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The outcome. `versions` are those of all prices that were used, in order of time."""

    target: str
    since: datetime
    until: datetime
    shares: Sequence[Share]
    versions: Sequence[str]
    assumptions: Sequence[Assumption]

    @property
    def cost(self) -> Decimal:
        """What it did cost, where that is known."""
        return sum((share.sums.cost for share in self.shares), _NOTHING)

    @property
    def would_cost(self) -> Decimal:
        """What it would have cost, where that is known."""
        return sum((share.would_cost for share in self.shares), _NOTHING)

    @property
    def requests(self) -> int:
        """How many calls there were."""
        return sum(share.sums.requests for share in self.shares)

    @property
    def unpriced(self) -> int:
        """Calls that the other model has no price for."""
        return sum(share.unpriced for share in self.shares)

    @property
    def unpriced_before(self) -> int:
        """Calls that nobody knows the cost of as they were."""
        return sum(share.sums.unpriced for share in self.shares)


async def what_if(
    reader: UsageReader, targets: Targets, target: str, wanted: UsageFilter
) -> WhatIf:
    """Reckon the calls of a period, whose both ends are to be given, at `target`'s prices.

    Raises:
        NotFound: there is no such model.
        InvalidInput: the period cannot be told from what is kept.
        DatabaseUnavailable: the database cannot be asked.
    """
    if wanted.since is None or wanted.until is None:
        raise ValueError("a period has two ends")
    schedule = await targets.schedule_of(target)
    groups = await reader.groups(wanted, (Dimension.DAY, Dimension.MODEL))
    reckoned = [_Reckoned.of(group, schedule) for group in groups]
    prices = [one.price for one in reckoned if one.price is not None]
    models = sorted({one.model for one in reckoned}, key=lambda name: (name is None, name or ""))
    return WhatIf(
        target,
        wanted.since,
        wanted.until,
        [_share(model, [one for one in reckoned if one.model == model]) for model in models],
        list(dict.fromkeys(price.version for price in prices)),
        list(_assumptions(prices)),
    )


@dataclass(frozen=True, slots=True)
class _Reckoned:
    """One model's calls of one day."""

    model: str | None
    sums: Sums
    price: Price | None

    @classmethod
    def of(cls, group: Group, schedule: Schedule) -> "_Reckoned":
        day, model = group.values
        begin = datetime.combine(date.fromisoformat(day or ""), time(), UTC)
        return cls(model, group.sums, schedule.at(begin.timestamp()))

    @property
    def would_cost(self) -> Decimal:
        if self.price is None:
            return _NOTHING
        return self.price.of_sums(usage_of(self.sums), self.sums.requests - self.sums.errors)


def usage_of(sums: Sums) -> Usage:
    """Summed tokens, as prices take them."""
    return Usage(
        input=sums.input_tokens,
        cached_input=sums.cached_input_tokens,
        cache_write=sums.cache_write_tokens,
        cache_write_1h=sums.cache_write_1h_tokens,
        output=sums.output_tokens,
        reasoning=sums.reasoning_tokens,
    )


def added(parts: Sequence[Sums]) -> Sums:
    """Sums of sums."""
    return Sums(
        requests=sum(one.requests for one in parts),
        errors=sum(one.errors for one in parts),
        unpriced=sum(one.unpriced for one in parts),
        estimated=sum(one.estimated for one in parts),
        input_tokens=sum(one.input_tokens for one in parts),
        cached_input_tokens=sum(one.cached_input_tokens for one in parts),
        cache_write_tokens=sum(one.cache_write_tokens for one in parts),
        cache_write_1h_tokens=sum(one.cache_write_1h_tokens for one in parts),
        output_tokens=sum(one.output_tokens for one in parts),
        reasoning_tokens=sum(one.reasoning_tokens for one in parts),
        cost=sum((one.cost for one in parts), _NOTHING),
    )


def _share(model: str | None, parts: Sequence[_Reckoned]) -> Share:
    return Share(
        model,
        added([one.sums for one in parts]),
        sum((one.would_cost for one in parts), _NOTHING),
        sum(one.sums.requests for one in parts if one.price is None),
    )


def _assumptions(prices: Sequence[Price]) -> Sequence[Assumption]:
    if not prices:
        return []
    found = [Assumption.TOKENS]
    rates = [price.rates for price in prices]
    if any(None in (one.cached_input, one.cache_write, one.cache_write_1h) for one in rates):
        found.append(Assumption.CACHES)
    if any(one.steps for one in rates):
        found.append(Assumption.LONG_CONTEXT)
    if any(price.tiers for price in prices):
        found.append(Assumption.TIER)
    return [*found, Assumption.HOURS]
