"""The price book's use cases: bring in an edition, take it up everywhere, say what holds."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from model_service.catalog.domain import Model, ModelFilter, ModelStore
from model_service.catalog.model_prices import Prices
from model_service.catalog.price_editions import Edition, Editions, EditionStore, KnownEdition
from model_service.catalog.price_file import PriceFile, read_price_file
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import FieldFault, InvalidInput, NotFound
from model_service.kernel.types import Clock, Provider, uuid7
from model_service.kernel.unit import Transactions
from model_service.providers.price_schedule import Schedule
from model_service.providers.pricing import Price

log = structlog.get_logger(__name__)

#: Most models that are looked through for those asked for.
_MOST_MODELS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class AppliedPrice:
    """What a model costs at a moment; `price` None: nobody knows."""

    provider: Provider
    model_id: str
    name: str | None
    """The registered name, where that is what was asked for."""
    price: Price | None


class PriceService:
    """Keeps the editions in memory current, and answers for them."""

    def __init__(
        self,
        units: Transactions,
        store: EditionStore,
        models: ModelStore,
        editions: Editions,
        prices: Prices,
        trail: AuditTrail,
        clock: Clock,
        names: Mapping[str, str],
    ) -> None:
        """`names` are those of the price book for vendors by their base URLs."""
        self._units = units
        self._store = store
        self._models = models
        self._editions = editions
        self._prices = prices
        self._trail = trail
        self._clock = clock
        self._names = dict(names)
        self._loading = asyncio.Lock()

    @property
    def bundled(self) -> str:
        """The name of the bundled edition."""
        return self._editions.bundled

    async def load(self) -> None:
        """Take up all editions. Raises DatabaseUnavailable; those known stay."""
        # One after the other: who read earlier must not have the last word.
        async with self._loading:
            await self._load()

    async def _load(self) -> None:
        await self._editions.load_bundled()
        known = {one.edition.id: one for one in self._editions.known}
        found = []
        for edition in await self._store.all():
            one = known.get(edition.id) or await self._read(edition)
            if one is not None:
                found.append(one)
        if found != list(self._editions.known):
            self._editions.replace(found)
            self._prices.forget()

    async def on_change(self, _: str | None) -> None:
        """An edition was brought in. Raises DatabaseUnavailable."""
        await self.load()

    async def check(self, content: bytes, name: str | None = None) -> PriceFile:
        """Read a file without bringing it in. Raises InvalidInput."""
        return await asyncio.to_thread(read_price_file, content, name, self._names)

    async def bring_in(
        self,
        content: bytes,
        author: str,
        *,
        name: str | None = None,
        effective_from: datetime | None = None,
        may_backdate: bool = False,
    ) -> tuple[Edition, bool]:
        """Bring in an edition from a file; also whether it is new, rather than there already.

        It counts from `effective_from` on, else from when the file says, else from now.

        Raises:
            InvalidInput: the file is not sound, or would change what the past cost without
                `may_backdate`.
            AlreadyExists: another edition has the name.
            AuditUnavailable, DatabaseUnavailable: nothing was stored.
        """
        file = await self.check(content, name)
        now = self._clock.now()
        # Whole seconds, as prices count and versions tell.
        since = (effective_from or file.effective_from or now).replace(microsecond=0)
        known = next((one for one in await self._store.all() if one.digest == file.digest), None)
        if known is not None:
            return known, False
        if since < now.replace(microsecond=0) and not may_backdate:
            raise InvalidInput(
                errors=[FieldFault("effectiveFrom", "is past; that needs leave to backdate")]
            )
        edition = Edition(
            id=uuid7(),
            name=file.name,
            digest=file.digest,
            format=file.format.value,
            effective_from=since,
            imported_at=now,
            imported_by=author,
            models=file.count,
        )
        async with self._units.transaction():
            is_new = await self._store.add(edition, file.text)
            if is_new:
                await self._trail.record(
                    AuditEvent(type="prices.update", subject=f"prices:{edition.name}")
                )
        await self.load()
        return edition, is_new

    async def editions(self) -> Sequence[Edition]:
        """Those that were brought in, those that count first first."""
        return await self._store.all()

    async def applied(
        self,
        at: datetime,
        provider: Provider | None = None,
        model: str | None = None,
        names: frozenset[str] | None = None,
    ) -> Sequence[AppliedPrice]:
        """What registered models cost at a moment, or those of a name or id, or of a provider.

        When none is registered so, what the editions say of that provider's model. `names` are
        those that the caller may see; None: all.

        Raises:
            NotFound: there is no such model, and no provider was named.
            DatabaseUnavailable: the models cannot be read.
        """
        wanted = ModelFilter(provider=provider, names=names)
        found = [
            AppliedPrice(one.provider, one.model_id, one.name, self._price(one, at))
            for one in await self._models.list_all(wanted, most=_MOST_MODELS)
            if model is None or model in (one.name, one.model_id)
        ]
        if found or model is None:
            return found
        if provider is None:
            raise NotFound(f"No model '{model}' is registered")
        listed = self._listed(provider, model)
        return [AppliedPrice(provider, model, None, self._price(listed, at))]

    async def schedule_of(self, name: str) -> Schedule:
        """The prices of a registered model, or of a provider's model as `OPENAI/gpt-4o`.

        Raises:
            NotFound: there is no such model, and no such provider.
            DatabaseUnavailable: the models cannot be read.
        """
        wanted = ModelFilter(names=frozenset({name}))
        found = await self._models.list_all(wanted, most=1)
        if found:
            return self._prices.schedule_of(found[0])
        provider, _, model_id = name.partition("/")
        if provider not in set(Provider) or not model_id:
            raise NotFound(f"No model '{name}' is registered")
        return self._prices.schedule_of(self._listed(Provider(provider), model_id))

    def _listed(self, provider: Provider, model_id: str) -> Model:
        """A model that is not registered, as the book knows it."""
        now = self._clock.now()
        return Model(
            id=uuid7(),
            name=model_id,
            provider=provider,
            model_id=model_id,
            created_at=now,
            updated_at=now,
        )

    def _price(self, model: Model, at: datetime) -> Price | None:
        return self._prices.schedule_of(model).at(at.timestamp())

    async def _read(self, edition: Edition) -> KnownEdition | None:
        text = await self._store.text(edition.id)
        try:
            file = await self.check(text.encode(), edition.name)
        except InvalidInput:
            # Brought in by a newer release, whose files this one does not understand.
            log.error("an edition of the price book cannot be read", subject=edition.name)
            return None
        return KnownEdition(edition, file.models)
