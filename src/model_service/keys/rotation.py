"""What can be done about the rotation of a key: rotate it, set its policy, fall back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision
from model_service.kernel.errors import (
    FieldFault,
    IntegrityFailure,
    InvalidInput,
    NotFound,
    ServiceError,
)
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions
from model_service.keys.domain import KeyStore, ProviderKey, SealedKey, check_value
from model_service.keys.exchange import Exchange, due_at
from model_service.keys.rotation_domain import (
    DEFAULT_GRACE,
    HELD,
    LONGEST_GRACE,
    Expiry,
    Fallback,
    Mode,
    Overview,
    Policy,
    Rotation,
    RotationStore,
    Step,
    StepState,
    StoredVersion,
    announced,
    manual_reason,
)
from model_service.keys.rotation_journal import Journal
from model_service.keys.verification import Verifier

log = structlog.get_logger(__name__)

#: Steps of a key's history that are shown.
MOST_HISTORY: Final = 100
#: The longest period of a policy, in days: ten years.
LONGEST_PERIOD: Final = 3650


@dataclass(frozen=True, slots=True)
class RotationParts:
    """What the use cases of rotation are made of."""

    transactions: Transactions
    store: RotationStore
    journal: Journal
    exchange: Exchange
    verifier: Verifier
    trail: AuditTrail
    announcer: Announcer
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A policy as it is asked for."""

    mode: Mode
    every_days: int | None = None
    grace: timedelta | None = None
    credential_id: UUID | None = None
    target: str | None = None


class RotationService:
    """The use cases of rotation."""

    def __init__(
        self,
        keys: KeyStore,
        open_value: Callable[[SealedKey], Secret[str]],
        parts: RotationParts,
        on_value: Callable[[str], None],
    ) -> None:
        """`on_value` is the redactor: it hears of every value that is in this process."""
        self._keys = keys
        self._open = open_value
        self._store = parts.store
        self._transactions = parts.transactions
        self._journal = parts.journal
        self._exchange = parts.exchange
        self._verifier = parts.verifier
        self._trail = parts.trail
        self._announcer = parts.announcer
        self._clock = parts.clock
        self._on_value = on_value

    async def rotate(
        self,
        key_id: UUID,
        value: Secret[str],
        grace: timedelta | None = None,
        expiry: Expiry | None = None,
    ) -> ProviderKey:
        """Ask the provider about a new value, then put it in use in place of the old one.

        The old value stays the fallback for `grace` (None: the policy's, else a day), the
        values before it are destroyed. With no grace the old one is destroyed at once. The key
        expires as `expiry` says, with None when it did.

        Raises:
            NotFound: there is no such key.
            InvalidInput: the value is no good, is the present one, or the provider refuses it.
            ProviderUnreachable: the provider could not be asked; nothing is changed.
            ChangedMeanwhile: somebody else changed the value meanwhile.
            Conflict: the key is being rotated automatically at this moment.
            AuditUnavailable, DatabaseUnavailable: nothing is changed.
        """
        self._on_value(value.reveal())
        sealed = await self._sealed(key_id)
        key = sealed.key
        check_value(key.provider, value, key.metadata)
        if self._open(sealed).reveal() == value.reveal():
            raise InvalidInput(errors=[FieldFault("apiKey", "is the value stored already")])
        grace = await self._grace(key_id, grace)
        rotation = Rotation(uuid7(), key)
        async with self._transactions.transaction():
            if await self._store.lock(key_id) is None:
                raise NotFound("No such key")
            await self._exchange.require_quiet(key_id)
            await self._journal.begin(rotation)
        try:
            await self._verifier.require_valid(
                key.provider, value, key.endpoint, is_checked=key.is_checked
            )
            return await self._exchange.swap(rotation, value, grace, expiry)
        except NotFound:
            raise  # its journal went with it
        except ServiceError as error:
            await self._give_up(rotation, error)
            raise

    async def overview(self, key_id: UUID) -> Overview:
        """How the rotation of a key stands, and what became of its values.

        Raises:
            NotFound: there is no such key.
        """
        key = await self._found(key_id)
        policy = await self._store.policy(key_id)
        versions = await self._store.versions(key_id)
        history = await self._store.history(key_id, MOST_HISTORY)
        state, reason = _standing(policy, versions, history)
        if any(version.is_held(key, self._clock.now()) for version in versions):
            reason = HELD
        retiring = [v for v in versions if v.state is StepState.RETIRING]
        return Overview(
            key=key,
            state=state,
            reason=reason,
            policy=policy,
            rotated_at=await self._store.rotated_at(key_id),
            retiring=retiring[0] if retiring else None,
            history=history,
        )

    async def put_policy(self, key_id: UUID, wish: Wish) -> Overview:
        """Set when and how a key is to be rotated, in place of what was set before.

        A period counts from when the present value was put in use. Automatic rotation may be
        wished for with every provider; where it is not possible, the overview says why.

        Raises:
            NotFound: there is no such key.
        """
        async with self._transactions.transaction():
            key = await self._store.lock(key_id)
            if key is None:
                raise NotFound("No such key")
            since = await self._store.rotated_at(key_id) or key.created_at
            reason = manual_reason(key.provider) if wish.mode is Mode.AUTOMATIC else None
            policy = Policy(
                key_id=key_id,
                mode=wish.mode,
                every_days=wish.every_days,
                grace=wish.grace,
                credential_id=wish.credential_id,
                target=wish.target,
                due_at=due_at(wish.every_days, since),
                reason=reason,
                manual=reason is not None,
            )
            await self._store.put_policy(policy, self._clock.now())
            await self._trail.record(
                AuditEvent(
                    type="key.update",
                    subject=f"key:{key_id}",
                    provider=key.provider.value,
                    purpose="rotation policy",
                    reason=f"{wish.mode.value}, every {wish.every_days} days",
                )
            )
        return await self.overview(key_id)

    async def previous_value(self, key_id: UUID) -> Fallback | None:
        """The value before the present one, while its grace lasts and the key may be used.

        The caller sends it where it would send the present one, and nowhere else.

        Raises:
            IntegrityFailure: what is stored does not open.
        """
        key = await self._keys.get(key_id)
        return None if key is None else await self._fallback(key)

    async def _fallback(self, key: ProviderKey) -> Fallback | None:
        now = self._clock.now()
        if not key.is_usable(now):
            return None
        for version in await self._store.openable(key.id):
            if version.is_fallback(key, now):
                value = self._exchange.opened(key, version)
                self._on_value(value.reveal())
                return Fallback(version.version, value)
        return None

    async def has_fallback(self, key_id: UUID) -> bool:
        """Whether there would be a previous value if the present one were refused."""
        key = await self._keys.get(key_id)
        now = self._clock.now()
        if key is None or not key.is_usable(now):
            return False
        refused = replace(key, is_valid=False)
        versions = await self._store.versions(key_id)
        return any(version.is_fallback(refused, now) for version in versions)

    async def report_refused(self, key_id: UUID, version: int) -> Fallback | None:
        """The provider answered 401 to the value of that version: what to try once instead.

        The first report of a version marks the key invalid, is audited, and raises the alert
        `key.invalid`; later ones only get the answer. None when there is no fallback, or when
        the report is about a value that is not in use any more.

        Raises:
            AuditUnavailable, DatabaseUnavailable: nothing is marked.
        """
        key = await self._keys.get(key_id)
        if key is None or key.key_version != version:
            return None
        try:
            fallback = await self._fallback(replace(key, is_valid=False))
        except IntegrityFailure:
            fallback = None  # what does not open helps nobody, and is logged where it is opened
        async with self._transactions.transaction():
            refused = await self._store.mark_refused(key_id, version, self._clock.now())
            if refused is not None:
                await self._alert(refused, fallback)
        return fallback

    async def _alert(self, key: ProviderKey, fallback: Fallback | None) -> None:
        reason = "refused by the provider" + ("; the value before it is used" if fallback else "")
        await self._trail.record(
            AuditEvent(
                type="key.validate",
                decision=Decision.DENY,
                subject=f"key:{key.id}",
                provider=key.provider.value,
                purpose=f"version {key.key_version}",
                reason=reason,
            )
        )
        await self._announcer.announce(
            EventType.KEY_INVALID,
            {**announced(key), "reason": "refused", "fallback": fallback is not None},
        )
        log.error("the provider refuses a key in use", key_id=str(key.id), reason=reason)

    async def _give_up(self, rotation: Rotation, error: ServiceError) -> None:
        """Write down that the new value was not put in use, unless the key is gone."""
        async with self._transactions.transaction():
            if await self._store.lock(rotation.key.id) is not None:
                await self._journal.failed(rotation, error.message)

    async def _grace(self, key_id: UUID, wished: timedelta | None) -> timedelta:
        if wished is None:
            policy = await self._store.policy(key_id)
            wished = policy.grace if policy is not None else None
        grace = DEFAULT_GRACE if wished is None else wished
        if not timedelta(0) <= grace <= LONGEST_GRACE:
            raise InvalidInput(errors=[FieldFault("graceSeconds", "must be 0 to 30 days")])
        return grace

    async def _sealed(self, key_id: UUID) -> SealedKey:
        found = await self._keys.get_sealed([key_id])
        if not found:
            raise NotFound("No such key")
        return found[0]

    async def _found(self, key_id: UUID) -> ProviderKey:
        key = await self._keys.get(key_id)
        if key is None:
            raise NotFound("No such key")
        return key


def _standing(
    policy: Policy | None, versions: Sequence[StoredVersion], history: Sequence[Step]
) -> tuple[str, str | None]:
    """The state of a key's rotation, and the reason for it."""
    reason = policy.reason if policy is not None else None
    states = {version.state for version in versions}
    for state in (StepState.PENDING, StepState.RETIRING):
        if state in states:
            return state.value, reason
    if StepState.REVOKED in states:
        reasons = [step.reason for step in history if step.state is StepState.REVOKED]
        return StepState.REVOKED.value, reasons[0] if reasons else reason
    if policy is not None and policy.manual:
        return "manual", reason
    return "active", reason
