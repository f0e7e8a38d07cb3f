"""What can be done with models."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID

import structlog

from model_service.catalog.domain import (
    NO_PRESETS,
    ActiveKey,
    AvailableModel,
    Model,
    ModelBook,
    ModelChanges,
    ModelFacts,
    ModelFilter,
    ModelLister,
    ModelStats,
    ModelStore,
    NewModel,
    Presets,
    ProviderKeys,
)
from model_service.catalog.listings import Listing, Listings, Question
from model_service.kernel.audit import AuditEvent, AuditTrail, Purpose
from model_service.kernel.errors import (
    Conflict,
    ConnectFailed,
    EgressRefused,
    FieldFault,
    Forbidden,
    InvalidInput,
    KeyInactive,
    KeyRefused,
    NotFound,
    ProviderUnreachable,
    UpstreamError,
    UpstreamTimeout,
)
from model_service.kernel.provider import OfferedModel, Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, Page, Provider, uuid7
from model_service.kernel.unit import Transactions

log = structlog.get_logger(__name__)

#: Longest list given without paging.
MOST_UNPAGED: Final = 10_000
#: Seconds a caller should wait before asking again about a provider that could not be asked.
PROVIDER_RETRY_AFTER: Final = 10
#: Providers that have no common address: the key has to say where they are.
_NEED_ENDPOINT = frozenset({Provider.AZURE, Provider.CUSTOM})
#: Fields that tell which model it is; what is publicly known depends on them.
_IDENTITY = frozenset({"provider", "model_id", "provider_settings"})

AnyModel = TypeVar("AnyModel", bound=NewModel)


class ModelService:
    """The use cases of models."""

    def __init__(
        self,
        transactions: Transactions,
        store: ModelStore,
        trail: AuditTrail,
        keys: ProviderKeys,
        lister: ModelLister,
        clock: Clock,
        book: ModelBook,
        new_id: Callable[[], UUID] = uuid7,
        *,
        presets: Presets = NO_PRESETS,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._trail = trail
        self._keys = keys
        self._lister = lister
        self._clock = clock
        self._book = book
        self._new_id = new_id
        self._presets = presets
        self._listings = Listings(clock)

    async def create(self, new: NewModel) -> Model:
        """Register a model; what is publicly known of it fills in what was not given.

        Raises:
            InvalidInput: its fields do not fit together.
            AlreadyExists: its name is taken.
            AuditUnavailable: it cannot be recorded, so it is not stored.
        """
        new = await self._described_by_book(new)
        model = Model.register(new, id=self._new_id(), now=self._clock.now())
        async with self._transactions.transaction():
            if model.is_default:
                await self._step_down(model.id)
            stored = await self._store.add(model)
            await self._trail.record(_event("model.create", stored))
        log.info("model created", model_id=str(stored.id), provider=stored.provider.value)
        return stored

    async def adopt(self, model: Model) -> Model:
        """Store a model that comes from elsewhere with its id and its times.

        What is publicly known of it is filled in as at creation. A default that is here
        already stays the default: the model given back then is not.

        Raises:
            InvalidInput: its fields do not fit together.
            AlreadyExists: its id or name is taken.
            AuditUnavailable: it cannot be recorded, so it is not stored.
        """
        described = await self._described_by_book(model)
        async with self._transactions.transaction():
            stored = await self._store.adopt(described)
            await self._trail.record(_event("model.create", stored, purpose=Purpose.IMPORT))
        return stored

    async def get(self, model_id: UUID) -> Model:
        """One model.

        Raises:
            NotFound: there is none.
        """
        return _found(await self._store.get(model_id))

    async def get_with_key(self, model_id: UUID, user_id: str) -> tuple[Model, Secret[str] | None]:
        """One model, and the value of the user's active key for its provider; None for none.

        The key is the user's own or one whose value is granted to it, and counted as a use.

        Raises:
            NotFound: there is no such model.
        """
        model = await self.get(model_id)
        key = await self._keys.find_to_reveal(user_id, model.provider, model.name)
        if key is None:
            return model, None
        try:
            return model, await self._keys.reveal(key, Purpose.MODEL)
        except (NotFound, KeyInactive, Forbidden):
            return model, None  # it went away between the two questions

    async def get_default(self) -> Model:
        """The active default model.

        Raises:
            NotFound: no active model is the default.
        """
        model = await self._store.get_default()
        if model is None:
            raise NotFound("There is no active default model")
        return model

    async def list_all(self, wanted: ModelFilter) -> list[Model]:
        """Models: the default first, then the newest first.

        Raises:
            InvalidInput: there are too many to give without paging.
        """
        found = await self._store.list_all(wanted, most=MOST_UNPAGED + 1)
        if len(found) > MOST_UNPAGED:
            raise InvalidInput(
                f"More than {MOST_UNPAGED} models match; ask for pages with page and limit"
            )
        return found

    async def list_page(self, wanted: ModelFilter, page: Page) -> tuple[list[Model], int]:
        """One page in the same order, and how many models there are on all pages."""
        return await self._store.list_page(wanted, page)

    async def stats(self, wanted: ModelFilter) -> ModelStats:
        """How many models there are."""
        return await self._store.stats(wanted)

    async def update(self, model_id: UUID, changes: ModelChanges) -> Model:
        """Change some fields; those not given keep what somebody else may just have set.

        Raises:
            NotFound: there is no such model.
            InvalidInput: the fields would no longer fit together.
            AlreadyExists: the new name is taken.
            AuditUnavailable: it cannot be recorded, so nothing is changed.
        """
        given = changes.given()
        if not given:
            return await self.get(model_id)
        await self._book.load()
        async with self._transactions.transaction():
            if changes.is_default:
                await self._step_down(model_id)
            changed = await self._store.update(
                model_id,
                lambda stored: self._completed(changes, stored),
                now=self._clock.now(),
                claims_default=changes.is_default is True,
            )
            found = _found(changed)
            fields = ",".join(sorted(given))
            await self._trail.record(_event("model.update", found, reason=fields))
        log.info("model changed", model_id=str(model_id))
        return found

    async def delete(self, model_id: UUID) -> None:
        """Remove a model.

        Raises:
            NotFound: there is none.
            AuditUnavailable: it cannot be recorded, so the model stays.
        """
        async with self._transactions.transaction():
            model = await self.get(model_id)
            if not await self._store.delete(model_id):
                raise NotFound("No such model")
            await self._trail.record(_event("model.delete", model))
        log.info("model deleted", model_id=str(model_id))

    async def available(
        self, provider: Provider, user_id: str | None, names: frozenset[str] | None = None
    ) -> Listing:
        """What the provider offers to the user's key, by name; at most five minutes old.

        By a grant that is limited to models, or by a token that is (`names`; None: it is not),
        only what is behind these is seen. When the
        provider refuses the key's value, the one before it is tried once, within its grace.

        Raises:
            InvalidInput: no user is named, though the provider wants a key.
            NotFound: the user has no active valid key.
            KeyRefused: the provider does not take the key.
            Conflict: the provider has no common address and the key names none.
            ProviderUnreachable: the provider could not be asked.
        """
        if provider is Provider.OLLAMA:
            listing = await self._listings.answer(
                Question(provider), lambda: self._ask(provider, None, None)
            )
            return await self._behind(provider, names, listing)
        if user_id is None:
            raise InvalidInput(errors=[FieldFault("userId", "is required for this provider")])
        key = await self._keys.find_to_use(user_id, provider)
        if key is None:
            raise _no_key(provider)
        listing = await self._listings.answer(
            Question(provider, key.id, key.key_version, key.is_valid),
            lambda: self._ask_with(provider, key),
        )
        if key.models is not None:
            names = frozenset(key.models) if names is None else names & frozenset(key.models)
        return await self._behind(provider, names, listing)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._listings.close()

    async def _behind(
        self, provider: Provider, names: frozenset[str] | None, listing: Listing
    ) -> Listing:
        """Those of the provider's models that are behind the models of those names; None: all."""
        if names is None:
            return listing
        named = await self.list_all(ModelFilter(provider=provider, names=names))
        ids = {model.model_id for model in named}
        return tuple(model for model in listing if model.offered.id in ids)

    async def _step_down(self, keep: UUID) -> None:
        """Have the default of before step down, on record, for another is to be it."""
        for model in await self._store.step_down(keep, self._clock.now()):
            await self._trail.record(_event("model.update", model, reason="is_default"))

    async def _described_by_book(self, new: AnyModel) -> AnyModel:
        """The checked model, with what is publicly known of it where nothing was given."""
        new.check(self._presets)
        await self._book.load()
        facts = self._facts(new)
        if new.context_window is None:
            new = replace(new, context_window=facts.context_window)
        if new.capabilities is None:
            new = replace(new, capabilities=facts.capabilities)
        return new

    def _completed(self, changes: ModelChanges, stored: Model) -> ModelChanges:
        """The changes, and with another model behind the name what is publicly known of that.

        Only what the book had filled in is replaced, never what a person wrote.
        """
        after = changes.applied_to(stored)
        after.check(self._presets)
        given = changes.given()
        if not _IDENTITY & given.keys():
            return changes
        known, facts = self._facts(stored), self._facts(after)
        if "context_window" not in given and stored.context_window == known.context_window:
            changes = replace(changes, context_window=facts.context_window)
        if "capabilities" not in given and stored.capabilities == known.capabilities:
            changes = replace(changes, capabilities=facts.capabilities)
        return changes

    def _facts(self, model: NewModel) -> ModelFacts:
        return self._book.facts(model.provider, model.model_id, model.served_at(self._presets))

    async def _ask_with(self, provider: Provider, key: ActiveKey) -> Listing:
        if provider in _NEED_ENDPOINT and key.endpoint is None:
            raise Conflict(f"The key for provider '{provider}' has no metadata.endpoint to ask")
        if not key.is_valid:
            fallback = await self._keys.fallback(key)
            if fallback is None:
                raise _no_key(provider)
            return await self._ask(provider, fallback, key.endpoint)
        try:
            value = await self._keys.reveal(key, Purpose.LISTING)
        except (NotFound, KeyInactive) as error:
            raise _no_key(provider) from error
        try:
            return await self._ask(provider, value, key.endpoint)
        except KeyRefused as refusal:
            instead = None if refusal.is_restricted else await self._keys.refused(key)
            if instead is None:
                raise
        return await self._ask(provider, instead, key.endpoint)

    async def _ask(
        self, provider: Provider, key: Secret[str] | None, endpoint: str | None
    ) -> Listing:
        try:
            offered = await self._lister.list_models(provider, key, endpoint)
        except (KeyRefused, ProviderUnreachable) as error:
            log.warning("models not listed", provider=provider.value, reason=error.code)
            raise
        except UpstreamError as error:
            verdict = _verdict(error)
            log.warning("models not listed", provider=provider.value, verdict=verdict.value)
            raise ProviderUnreachable(
                f"Provider '{provider}' could not be asked ({verdict.value})",
                retry_after=PROVIDER_RETRY_AFTER,
            ) from error
        await self._book.load()
        return await asyncio.to_thread(self._described, provider, offered, endpoint)

    def _described(
        self, provider: Provider, offered: Sequence[OfferedModel], endpoint: str | None
    ) -> Listing:
        return tuple(
            AvailableModel(model, self._book.facts(provider, model.id, endpoint))
            for model in sorted(offered, key=lambda model: (model.name, model.id))
        )


def _found(model: Model | None) -> Model:
    if model is None:
        raise NotFound("No such model")
    return model


def _event(
    what: str, model: Model, *, purpose: Purpose | None = None, reason: str | None = None
) -> AuditEvent:
    return AuditEvent(
        type=what,
        subject=f"model:{model.id}",
        provider=model.provider.value,
        purpose=None if purpose is None else purpose.value,
        reason=reason,
    )


def _no_key(provider: Provider) -> NotFound:
    return NotFound(f"The user has no active valid key for provider '{provider}'")


def _verdict(error: UpstreamError) -> Verdict:
    if isinstance(error, UpstreamTimeout):
        return Verdict.TIMEOUT
    if isinstance(error, ConnectFailed | EgressRefused):
        return Verdict.UNREACHABLE
    return Verdict.UNEXPECTED_ANSWER
