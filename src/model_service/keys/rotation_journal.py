"""The journal of rotations: each step written down and audited before it is taken."""

from typing import Final

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Phase
from model_service.kernel.types import Clock, uuid7
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation_domain import Rotation, RotationStore, Step, StepState

log = structlog.get_logger(__name__)

# A value that is still stored was replaced within the last few rotations.
_RECENT: Final = 100


class Journal:
    """Writes steps and their audit records, in the current transaction or in one of their own."""

    def __init__(self, store: RotationStore, trail: AuditTrail, clock: Clock) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock

    async def begin(self, rotation: Rotation) -> None:
        """A new value is about to be asked for or about."""
        await self._write(
            rotation, rotation.version, StepState.PENDING, phase=Phase.INTENT, reason=None
        )

    async def swapped(
        self, rotation: Rotation, *, ciphertext_sha256: str, term: int, old: StepState
    ) -> None:
        """The new value is put in use and the old one becomes what `old` says."""
        await self._write(
            rotation,
            rotation.version,
            StepState.ACTIVE,
            reason=None,
            ciphertext_sha256=ciphertext_sha256,
            term=term,
        )
        await self._write(rotation, rotation.key.key_version, old, reason="replaced")

    async def failed(self, rotation: Rotation, reason: str, version: int | None = None) -> None:
        """The new value, of that version or the rotation's, does not come to be used."""
        await self._write(
            rotation,
            rotation.version if version is None else version,
            StepState.DESTROYED,
            reason=reason,
            decision=Decision.DENY,
        )

    async def ended(
        self, rotation: Rotation, version: int, state: StepState, reason: str | None
    ) -> None:
        """A value that is not in use any more is revoked or destroyed."""
        await self._write(rotation, version, state, reason=reason)

    async def stuck(self, rotation: Rotation, version: int, reason: str) -> None:
        """A value cannot be taken back; written down again only when the reason is another."""
        newest = await self._newest(rotation, version)
        if newest is None or (newest.state, newest.reason) != (StepState.REVOKED, reason):
            await self._write(
                rotation, version, StepState.REVOKED, reason=reason, decision=Decision.DENY
            )

    async def is_revoked(self, rotation: Rotation, version: int) -> bool:
        """Whether the newest that is known of a value is that it is being taken back."""
        newest = await self._newest(rotation, version)
        return newest is not None and newest.state is StepState.REVOKED

    async def _newest(self, rotation: Rotation, version: int) -> Step | None:
        for step in await self._store.history(rotation.key.id, _RECENT):
            if (step.rotation_id, step.version) == (rotation.id, version):
                return step
        return None

    async def origin(self, key: ProviderKey, version: int) -> Rotation:
        """The rotation that a value not in use belongs to: the one that replaced it."""
        for step in await self._store.history(key.id, _RECENT):
            if step.version == version and step.state is not StepState.PENDING:
                return Rotation(step.rotation_id, key, automatic=step.automatic)
        return Rotation(uuid7(), key)

    async def _write(
        self,
        rotation: Rotation,
        version: int,
        state: StepState,
        *,
        reason: str | None,
        phase: Phase = Phase.RESULT,
        decision: Decision = Decision.ALLOW,
        ciphertext_sha256: str | None = None,
        term: int | None = None,
    ) -> None:
        key = rotation.key
        step = Step(
            id=uuid7(),
            key_id=key.id,
            rotation_id=rotation.id,
            version=version,
            state=state,
            automatic=rotation.automatic,
            reason=reason,
            at=self._clock.now(),
        )
        await self._store.note(step)
        await self._trail.record(
            AuditEvent(
                type="key.rotate",
                phase=phase,
                decision=decision,
                subject=f"key:{key.id}",
                provider=key.provider.value,
                purpose=f"version {version} {state.value}",
                reason=reason,
                ciphertext_sha256=ciphertext_sha256,
                term=term,
            )
        )
        log.info("key rotation", key_id=str(key.id), state=state.value, provider=key.provider.value)
