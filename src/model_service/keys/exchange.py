"""Putting a new value of a key in use: the one moment at which old and new change places."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from model_service.kernel.errors import ChangedMeanwhile, Conflict, IntegrityFailure, NotFound
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock
from model_service.kernel.unit import Transactions
from model_service.keys.domain import ENDPOINT, ProviderKey, SealedKey, key_prefix
from model_service.keys.rotation_domain import (
    Expiry,
    Kept,
    Mode,
    Rotation,
    RotationStore,
    StepState,
    StoredVersion,
    ValueSealer,
    announced,
    manual_reason,
)
from model_service.keys.rotation_journal import Journal

log = structlog.get_logger(__name__)


class Exchange:
    """Swaps values, and seals and opens those that are not in use."""

    def __init__(
        self,
        transactions: Transactions,
        store: RotationStore,
        journal: Journal,
        sealer: ValueSealer,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._journal = journal
        self._sealer = sealer
        self._announcer = announcer
        self._clock = clock

    def sealed_next(self, key: ProviderKey, value: Secret[str]) -> SealedKey:
        """The key as it will be with `value` in use, which its provider has just taken."""
        now = self._clock.now()
        coming = replace(
            key,
            key_version=key.key_version + 1,
            key_prefix=key_prefix(value),
            is_valid=True,
            validated_at=now if key.is_checked else None,
            updated_at=now,
        )
        return self._sealer.seal(coming, value)

    def opened(self, key: ProviderKey, version: StoredVersion) -> Secret[str]:
        """The value of a version that is not in use.

        Raises:
            IntegrityFailure: it was altered or moved.
        """
        metadata = {ENDPOINT: version.endpoint} if version.endpoint is not None else None
        then = replace(key, key_version=version.version, metadata=metadata)
        try:
            return self._sealer.open(SealedKey(then, version.encrypted_key))
        except IntegrityFailure:
            log.error("stored key does not open", key_id=str(key.id))
            raise

    async def swap(
        self,
        rotation: Rotation,
        value: Secret[str],
        grace: timedelta,
        expiry: Expiry | None = None,
    ) -> ProviderKey:
        """Put `value` in use; the old one stays the fallback for `grace`, those before it go.

        With `expiry` None the key expires when it did. All of it is in one transaction, the
        journal and the audit trail included.

        Raises:
            NotFound: the key was deleted.
            ChangedMeanwhile: its value was replaced, or bound to another endpoint.
            Conflict: its provider is being asked for another value.
            AuditUnavailable, DatabaseUnavailable: nothing was changed.
        """
        before = rotation.key
        async with self._transactions.transaction():
            if await self._store.lock(before.id) is None:
                raise NotFound("No such key")
            await self.require_quiet(before.id)
            await self._store.align_issued(before.id, before.key_version)
            issued = await self._store.issued(before.id)
            old = self._kept(grace, is_issued=before.key_version in issued)
            await self._supersede(rotation, issued)
            sealed = self.sealed_next(before, value)
            digest, term = self._sealer.mark(sealed)
            state = StepState.DESTROYED if old is None else old.state
            await self._journal.swapped(rotation, ciphertext_sha256=digest, term=term, old=state)
            after = await self._store.swap(
                sealed, was_version=before.key_version, old=old, expiry=expiry
            )
            if after is None:
                raise ChangedMeanwhile
            await self._note_due(after)
            await self._announcer.announce(
                EventType.KEY_ROTATED,
                {
                    **announced(after),
                    "automatic": rotation.automatic,
                    "graceSeconds": int(grace.total_seconds()),
                },
            )
        return after

    async def require_quiet(self, key_id: UUID) -> None:
        """Refuse to bring a value while the provider makes one: that may end the one brought.

        Part of a transaction that has locked the key, as whoever asks a provider has.

        Raises:
            Conflict: a value is on its way.
        """
        if await self._store.is_coming(key_id):
            raise Conflict("The key is being rotated automatically; look at it again in a minute")

    def _kept(self, grace: timedelta, *, is_issued: bool) -> Kept | None:
        now = self._clock.now()
        if grace > timedelta(0):
            return Kept(StepState.RETIRING, now + grace)
        # What the provider gave out at our asking is taken back before it is forgotten.
        return Kept(StepState.REVOKED, now) if is_issued else None

    async def _supersede(self, rotation: Rotation, issued: frozenset[int]) -> None:
        """End the grace of what is older than the value that is replaced now.

        It may be the very value that comes in, when somebody goes back to it: then the desk
        that takes values back finds it in use (`withdrawal`).
        """
        for version in await self._store.versions(rotation.key.id):
            if version.state is not StepState.RETIRING:
                continue
            state = StepState.REVOKED if version.version in issued else StepState.DESTROYED
            await self._journal.ended(rotation, version.version, state, "superseded")
            if state is StepState.REVOKED:
                await self._store.revoke(rotation.key.id, version.version, self._clock.now())
            else:
                await self._store.destroy(rotation.key.id, version.version)

    def is_value_of(self, key: ProviderKey, version: StoredVersion, value: Secret[str]) -> bool:
        """Whether the version holds that value; not if it does not open."""
        try:
            return self.opened(key, version).reveal() == value.reveal()
        except IntegrityFailure:
            return False

    async def reuse(self, rotation: Rotation, version: int, used_as: int) -> None:
        """Somebody went back to an earlier value: it must not be taken back from its provider.

        Part of a transaction that has locked the key.
        """
        await self._journal.ended(rotation, version, StepState.DESTROYED, "in use again")
        await self._store.reuse(rotation.key.id, version, used_as)

    async def _note_due(self, key: ProviderKey) -> None:
        policy = await self._store.policy(key.id)
        if policy is None:
            return
        now = self._clock.now()
        due = due_at(policy.every_days, now)
        # What stands in the way of automatic rotation with this provider still does.
        reason = manual_reason(key.provider) if policy.mode is Mode.AUTOMATIC else None
        settled = replace(
            policy, due_at=due, retry_at=None, reason=reason, manual=reason is not None
        )
        await self._store.put_policy(settled, now)


def due_at(every_days: int | None, since: datetime) -> datetime | None:
    """When a value in use since then is to be replaced."""
    return None if every_days is None else since + timedelta(days=every_days)
