"""What can be done with provider keys."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Phase, Purpose
from model_service.kernel.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    FieldFault,
    IntegrityFailure,
    InvalidInput,
    NotFound,
    ProviderUnreachable,
)
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, Page, Provider, uuid7
from model_service.kernel.unit import Transactions
from model_service.keys.destination import endpoint_of, with_endpoint
from model_service.keys.domain import (
    ENDPOINT,
    KeyFilter,
    KeyStore,
    NewKey,
    ProviderKey,
    SealedKey,
    VendorGate,
    audit_subject,
    check_value,
    endpoint_origin,
    is_checked,
    key_prefix,
)
from model_service.keys.reveal import RevealDesk, does_not_open
from model_service.keys.rotation_domain import announced
from model_service.keys.sealer import Sealer
from model_service.keys.validation_limit import ValidationLimit
from model_service.keys.verification import Verifier, unreachable

log = structlog.get_logger(__name__)

#: Longest list given without paging.
MOST_UNPAGED = 10_000


@dataclass(frozen=True, slots=True)
class KeyObservers:
    """Who hears of what happens to keys: the redactor and the meters."""

    on_value: Callable[[str], None]
    on_reveal: Callable[[str], None]
    on_verdict: Callable[[Provider, Verdict], None]


class KeyService:
    """The use cases of provider keys."""

    def __init__(
        self,
        transactions: Transactions,
        store: KeyStore,
        trail: AuditTrail,
        announcer: Announcer,
        sealer: Sealer,
        gate: VendorGate,
        limit: ValidationLimit,
        clock: Clock,
        observers: KeyObservers,
        has_fallback: Callable[[UUID], Awaitable[bool]],
    ) -> None:
        """`has_fallback` says whether there is a value to use in place of a refused one."""
        self._transactions = transactions
        self._store = store
        self._trail = trail
        self._announcer = announcer
        self._sealer = sealer
        self._gate = gate
        self._limit = limit
        self._verifier = Verifier(gate, observers.on_verdict)
        self._clock = clock
        self._observers = observers
        self._has_fallback = has_fallback
        self._desk = RevealDesk(
            store, transactions, trail, sealer.open, clock, observers.on_value, self._alarm
        )

    async def create(self, new: NewKey, *, validate: bool = True) -> ProviderKey:
        """Check a key with its provider, then store it encrypted.

        With `validate` false it is stored unasked and `is_valid` is false.

        Raises:
            InvalidInput: the value, the endpoint or, says the provider, the key is no good.
            AlreadyExists: the user has a key of that name for that provider.
            ProviderUnreachable: the provider could not be asked; nothing is stored.
            TooManyRequests: the caller has had too many keys checked.
            AuditUnavailable, DatabaseUnavailable: it could not be stored; without the trail
                the provider is not asked either.
        """
        self._observers.on_value(new.value.reveal())
        check_value(new.provider, new.value, new.metadata)
        metadata = with_endpoint(self._gate, new.provider, new.metadata)
        if await self._store.name_taken(new.user_id, new.provider, new.key_name):
            raise AlreadyExists(
                f"The user already has a key named '{new.key_name}' for provider '{new.provider}'"
            )
        endpoint = endpoint_of(metadata)
        if validate:
            await self._require_valid(new, endpoint)
        now = self._clock.now()
        key = ProviderKey(
            id=uuid7(),
            user_id=new.user_id,
            provider=new.provider,
            key_name=new.key_name,
            key_version=1,
            key_prefix=key_prefix(new.value),
            last_used_at=None,
            usage_count=0,
            is_active=True,
            is_valid=validate,
            metadata=metadata,
            created_at=now,
            updated_at=now,
            expires_at=new.expires_at,
            validated_at=now if validate and is_checked(new.provider, metadata) else None,
        )
        try:
            await self._add(key, new.value, reason="validated" if validate else "not_validated")
        except AlreadyExists:
            if key.validated_at is not None:  # that it would be asked about is on record
                await self._trail.record(_refused(new, "name_taken"))
            raise
        log.info("key created", key_id=str(key.id), provider=key.provider.value)
        return key

    async def adopt(self, key: ProviderKey, value: Secret[str]) -> None:
        """Store a key that comes from elsewhere as it is, with its id and its history.

        Raises:
            InvalidInput: the value or endpoint is no good.
            AlreadyExists: its id or name is taken.
            AuditUnavailable, DatabaseUnavailable: it could not be stored.
        """
        self._observers.on_value(value.reveal())
        check_value(key.provider, value, key.metadata)
        metadata = with_endpoint(self._gate, key.provider, key.metadata)
        await self._add(replace(key, metadata=metadata), value, purpose=Purpose.IMPORT)

    async def get(self, key_id: UUID) -> ProviderKey:
        """One key, without its value.

        Raises:
            NotFound: there is none.
        """
        return _found(await self._store.get(key_id))

    async def list(self, wanted: KeyFilter, page: Page | None) -> list[ProviderKey]:
        """Keys, newest first.

        Raises:
            InvalidInput: there are too many to give without paging.
        """
        keys = await self._store.list(wanted, page, MOST_UNPAGED + 1)
        if len(keys) > MOST_UNPAGED:
            raise InvalidInput(
                f"More than {MOST_UNPAGED} keys match; ask with userId, or with page and limit"
            )
        return keys

    async def count(self, wanted: KeyFilter) -> int:
        """How many keys match."""
        return await self._store.count(wanted)

    async def reveal(self, key_id: UUID, purpose: Purpose) -> Secret[str]:
        """The key's value; its use is durably recorded, and counted unless it is a lease.

        Raises:
            NotFound: there is none.
            KeyInactive: it is inactive or expired.
            IntegrityFailure: what is stored does not open.
            AuditUnavailable: the use cannot be recorded.
            DatabaseUnavailable: the use cannot be counted.
        """
        try:
            value = await self._desk.reveal(key_id, purpose)
        except Exception:
            self._observers.on_reveal("refused")
            raise
        self._observers.on_reveal("given")
        return value

    async def find_active(self, user_id: str, provider: Provider) -> ProviderKey | None:
        """The user's usable key for a provider: valid ones first, then the newest."""
        return await self._store.find_active(user_id, provider)

    async def validate(self, key_id: UUID) -> ProviderKey:
        """Ask the provider again and note its verdict.

        Raises:
            NotFound: there is no such key.
            ProviderUnreachable: the provider could not be asked; nothing is changed.
            TooManyRequests: the caller has had too many keys checked.
            ChangedMeanwhile: the value was replaced while the provider was asked.
            AuditUnavailable: it could not be recorded; before the question or after it.
        """
        sealed = await self._sealed(key_id)
        key = sealed.key
        if key.is_checked:
            await self._limit.admit(_event("key.validate", key, purpose=Purpose.VALIDATE))
        value = await self._open_to_send(sealed)
        verdict = await self._verifier.ask(
            key.provider, value, key.endpoint, is_checked=key.is_checked
        )
        heard = _event("key.validate", key, purpose=Purpose.VALIDATE, reason=verdict.value)
        if not verdict.is_definite:
            await self._trail.record(heard)
            raise unreachable(key.provider, verdict)
        async with self._transactions.transaction():
            noted = await self._store.record_validation(
                key_id,
                version=key.key_version,
                is_valid=verdict is Verdict.VALID,
                now=self._clock.now(),
            )
            await self._trail.record(heard)
            if noted is not None and key.is_valid and not noted.is_valid:
                fallback = await self._has_fallback(key_id)
                told = {**announced(noted), "reason": "refused", "fallback": fallback}
                await self._announcer.announce(EventType.KEY_INVALID, told)
        return await self._unless_lost(key_id, noted)

    async def change(self, key_id: UUID, changes: Mapping[str, Any]) -> ProviderKey:
        """Set some of `key_name`, `is_active`, `metadata`, `expires_at`; None clears the last two.

        The endpoint in the metadata may not lead to another origin than the key was stored for.

        Raises:
            NotFound, AlreadyExists, InvalidInput, ChangedMeanwhile, AuditUnavailable.
        """
        if not changes:
            return await self.get(key_id)
        async with self._transactions.transaction():
            if "metadata" not in changes:
                changed = _found(await self._store.change(key_id, changes))
            else:
                changed = await self._change_metadata(key_id, changes)
            await self._trail.record(_event("key.update", changed, reason=_names(changes)))
        log.info("key changed", key_id=str(key_id))
        return changed

    async def delete(self, key_id: UUID) -> None:
        """Remove a key and its ciphertext for good.

        Raises:
            NotFound: there is none.
            AuditUnavailable: it cannot be recorded; the key stays.
        """
        async with self._transactions.transaction():
            key = await self.get(key_id)
            if not await self._store.delete(key_id):
                raise NotFound("No such key")
            await self._trail.record(_event("key.delete", key))
        log.info("key deleted", key_id=str(key_id))

    async def close(self) -> None:
        """Finish what is under way."""
        await self._desk.close()

    async def _change_metadata(self, key_id: UUID, changes: Mapping[str, Any]) -> ProviderKey:
        before = await self.get(key_id)
        metadata = with_endpoint(self._gate, before.provider, changes["metadata"])
        # A stored value goes only where it was stored for: whoever may change an endpoint could
        # otherwise have any key sent to a host of theirs, and so read it.
        if endpoint_origin(endpoint_of(metadata)) != endpoint_origin(before.endpoint):
            message = "cannot lead elsewhere; store the key anew with this endpoint"
            raise InvalidInput(errors=[FieldFault(f"metadata.{ENDPOINT}", message)])
        changed = await self._store.change(
            key_id, {**changes, "metadata": metadata}, version=before.key_version
        )
        return await self._unless_lost(key_id, changed)

    async def _add(
        self,
        key: ProviderKey,
        value: Secret[str],
        *,
        purpose: Purpose | None = None,
        reason: str | None = None,
    ) -> None:
        sealed = self._sealer.seal(key, value)
        digest, term = self._sealer.mark(sealed)
        created = _event("key.create", key, purpose=purpose, reason=reason)
        async with self._transactions.transaction():
            await self._store.add(sealed)
            await self._trail.record(replace(created, ciphertext_sha256=digest, term=term))

    async def _unless_lost(self, key_id: UUID, changed: ProviderKey | None) -> ProviderKey:
        """The changed key; a change that found another version, or no key, was lost."""
        if changed is None:
            await self.get(key_id)
            raise ChangedMeanwhile
        return changed

    async def _sealed(self, key_id: UUID) -> SealedKey:
        found = await self._store.get_sealed([key_id])
        if not found:
            raise NotFound("No such key")
        return found[0]

    async def _require_valid(self, new: NewKey, endpoint: str | None) -> None:
        """Ask the provider; that it is asked is recorded first, and what came of it after."""
        asked, checked = _creation(new), is_checked(new.provider, new.metadata)
        if checked:
            await self._limit.admit(asked)
            await self._trail.record(
                replace(asked, phase=Phase.INTENT, purpose=Purpose.VALIDATE.value)
            )
        try:
            await self._verifier.require_valid(
                new.provider, new.value, endpoint, is_checked=checked
            )
        except (InvalidInput, ProviderUnreachable) as refusal:
            reason = "invalid" if isinstance(refusal, InvalidInput) else refusal.code
            await self._trail.record(_refused(new, reason))
            raise

    async def _open_to_send(self, sealed: SealedKey) -> Secret[str]:
        """The value, on its way to its provider: that it is sent is recorded first.

        Raises:
            IntegrityFailure: what is stored does not open.
            AuditUnavailable: it cannot be recorded; the value stays in.
        """
        try:
            value = self._sealer.open(sealed)
        except IntegrityFailure:
            self._alarm(sealed.key.id)
            await self._trail.record(does_not_open(sealed))
            raise
        self._observers.on_value(value.reveal())
        await self._trail.record(
            _event("key.validate", sealed.key, phase=Phase.INTENT, purpose=Purpose.VALIDATE)
        )
        return value

    def _alarm(self, key_id: UUID) -> None:
        log.error("stored key does not open", key_id=str(key_id))


def _found(key: ProviderKey | None) -> ProviderKey:
    if key is None:
        raise NotFound("No such key")
    return key


def _event(
    what: str,
    key: ProviderKey,
    *,
    phase: Phase = Phase.RESULT,
    purpose: Purpose | None = None,
    reason: str | None = None,
) -> AuditEvent:
    return AuditEvent(
        type=what,
        phase=phase,
        subject=audit_subject(key.id),
        provider=key.provider.value,
        purpose=None if purpose is None else purpose.value,
        reason=reason,
    )


def _creation(new: NewKey) -> AuditEvent:
    """That a key is being created, which has no id yet."""
    return AuditEvent(type="key.create", subject=f"user:{new.user_id}", provider=new.provider.value)


def _refused(new: NewKey, reason: str) -> AuditEvent:
    return replace(_creation(new), decision=Decision.DENY, reason=reason)


def _names(changes: Mapping[str, Any]) -> str:
    """Which fields a change sets; what it sets them to is nobody's business here."""
    return ",".join(sorted(changes))
