"""Rotation of the master secret, without re-encryption and without downtime.

    stage     a second wrap, under the new secret, beside the one under the old
    (every process is restarted with the new secret)
    finalize  the old wrap is deleted, once no running process uses it

Each step is one transaction under the keyring's lock, recorded in the audit trail as part of
it: after a crash a step was taken whole or not at all, and may be taken again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import ChangedMeanwhile, Conflict
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.keyring import (
    LEAKED,
    InstanceRow,
    KeyringRows,
    KeyringSession,
    KeyringStore,
    TermState,
)
from model_service.kernel.secret import Secret
from model_service.vault.keyring import Keyring, wrapper_for
from model_service.vault.unlock import ScryptUnlocker, Unlocker

#: Instances that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who is told of a step: the audit trail, subscribers, and on whose word it is done.

    `author` is the operator's account, for the record: the actor itself is `system`.
    """

    trail: AuditTrail
    announcer: Announcer
    author: str

    async def record(self, type: str, subject: str, term: int | None = None) -> None:  # noqa: A002
        """Write a step into the audit trail, as part of the current transaction."""
        await self.trail.record(
            AuditEvent(type=type, subject=subject, term=term, reason=f"by {self.author}")
        )

    async def tell(
        self, event: EventType, step: str, rows: KeyringRows, term: int | None = None
    ) -> None:
        """Announce a step, with the wrap that is the newest by now, in the same way."""
        data: dict[str, str | int] = {"wrapId": rows.wraps[-1].wrap_id, "step": step}
        if term is not None:
            data["term"] = term
        await self.announcer.announce(event, data)


class SecretRotation:
    """Stages and finalizes a new master secret with the keyring this process opened."""

    def __init__(self, keyring: Keyring, store: KeyringStore, witnesses: Witnesses) -> None:
        self._keyring = keyring
        self._store = store
        self._witnesses = witnesses

    async def stage(self, secret: Secret[str], *, compromised: bool = False) -> bool:
        """As `stage_unlocker`, with a new master secret."""
        new = ScryptUnlocker(secret, "The new ENCRYPTION_SECRET")
        return await self.stage_unlocker(new, compromised=compromised)

    async def stage_unlocker(self, new: Unlocker, *, compromised: bool = False) -> bool:
        """Have `new` open the keyring too; False when it does already, as the newest one.

        With `compromised` it is noted that whoever has the old secret may have every data key
        made so far. That stays noted, whatever is staged or taken back later, until those data
        keys are destroyed.

        Raises:
            StartupFault: the secret is too short or not UTF-8.
            Conflict: it is the secret in use, or another one is staged.
            ChangedMeanwhile: somebody else changed the keyring at this moment.
            WrappingUnavailable: the service that keeps the wrapping key cannot be asked.
        """
        new.require_usable()
        async with self._store.shared() as session:
            found = await session.load()
        before = _wrap_ids(found)
        known = await wrapper_for(found, new)
        if known is not None:
            return await self._already_staged(known.wrap_id, before, compromised=compromised)
        if len(before) > 1:
            raise Conflict(
                "Another new secret is staged already: finish with `secret rotate --finalize`, or"
                " take it back with `secret rotate --abandon`"
            )
        added = await new.create()
        async with self._store.exclusive() as session:
            rows = await session.load()
            if _wrap_ids(rows) != before:
                raise ChangedMeanwhile("The keyring was changed meanwhile; look at `secret status`")
            await self._keyring.take_in(rows)
            await session.add_wrap(replace(added.row(), exposed_through=_exposed_through(rows)))
            await session.add_term_keys(await self._keyring.keys_under(added))
            await self._witnesses.record("secret.stage", f"wrap:{added.wrap_id}")
            await self._witnesses.tell(EventType.SECRET_STAGED, "staged", await session.load())
            if compromised:
                await self._expose(session, rows, added.wrap_id)
        return True

    async def finalize(self) -> tuple[str, ...]:
        """Delete every wrap but the newest and give their ids; none when there was only one.

        Raises:
            Conflict: a running process still uses another one, or this process itself does.
            KeyringCorrupt: a data key does not open with the newest; nothing is deleted.
        """
        async with self._store.exclusive() as session:
            rows = await session.load()
            newest = rows.wraps[-1].wrap_id
            if len(rows.wraps) == 1:
                return ()
            if self._keyring.wrap_id != newest:
                raise Conflict(
                    "This command runs with the old secret: set ENCRYPTION_SECRET to the new one,"
                    " to show that you have it, and run it again"
                )
            _refuse_while_used(await session.instances(), _wrap_ids(rows)[:-1], "the old secret")
            await self._keyring.verify(rows)
            deleted = await self._delete(session, _wrap_ids(rows)[:-1], "secret.finalize")
            await self._witnesses.tell(EventType.SECRET_FINALIZED, "finalized", rows)
        return deleted

    async def abandon(self) -> tuple[str, ...]:
        """Take back what was staged: delete every wrap newer than the oldest, and give their ids.

        Raises:
            Conflict: a running process uses one of them, or this process itself does.
        """
        async with self._store.exclusive() as session:
            rows = await session.load()
            staged = _wrap_ids(rows)[1:]
            if self._keyring.wrap_id in staged:
                raise Conflict(
                    "This command runs with the staged secret: set ENCRYPTION_SECRET to the old"
                    " one, to show that you have it, and run it again"
                )
            _refuse_while_used(await session.instances(), staged, "the staged secret")
            deleted = await self._delete(session, staged, "secret.abandon")
            if deleted:
                left = await session.load()
                await self._witnesses.tell(EventType.SECRET_FINALIZED, "abandoned", left)
        return deleted

    async def _already_staged(
        self, wrap_id: str, wrap_ids: Sequence[str], *, compromised: bool
    ) -> bool:
        if len(wrap_ids) == 1:
            raise Conflict("This secret is the one in use; rotation needs another one")
        if wrap_id != wrap_ids[-1]:
            raise Conflict("This secret is the old one; another one is staged already")
        async with self._store.exclusive() as session:
            rows = await session.load()
            if compromised and any(wrap.exposed_through != LEAKED for wrap in rows.wraps[:-1]):
                await self._expose(session, rows, wrap_id)
        return False

    async def _expose(self, session: KeyringSession, rows: KeyringRows, wrap_id: str) -> None:
        last = max(row.term for row in rows.terms)
        for former in rows.wraps:
            if former.wrap_id != wrap_id:
                await session.expose(former.wrap_id, through=LEAKED)
        await session.expose(wrap_id, through=last)
        await self._witnesses.record("secret.compromised", f"wrap:{wrap_id}", last)
        await self._witnesses.tell(EventType.SECRET_COMPROMISED, "exposed", await session.load())

    async def _delete(
        self, session: KeyringSession, wrap_ids: Iterable[str], step: str
    ) -> tuple[str, ...]:
        deleted = tuple(wrap_ids)
        for wrap_id in deleted:
            await session.delete_wrap(wrap_id)
            await self._witnesses.record(step, f"wrap:{wrap_id}")
        return deleted


def exposed_terms(rows: KeyringRows) -> list[int]:
    """The terms of which somebody who has a leaked secret may have the data key."""
    through = max((wrap.exposed_through or 0 for wrap in rows.wraps), default=0)
    live = (row.term for row in rows.terms if row.state is not TermState.DESTROYED)
    return [term for term in live if term <= through]


def _exposed_through(rows: KeyringRows) -> int | None:
    """What is to be noted at a new wrap of a leak before it; None when that was dealt with."""
    if not exposed_terms(rows):
        return None
    through = max(wrap.exposed_through or 0 for wrap in rows.wraps)
    return min(through, max(row.term for row in rows.terms))


def _wrap_ids(rows: KeyringRows) -> list[str]:
    return [wrap.wrap_id for wrap in rows.wraps]


def _refuse_while_used(
    instances: Iterable[InstanceRow], wrap_ids: Sequence[str], what: str
) -> None:
    users = [one.name for one in instances if one.is_live and one.wrap_id in wrap_ids]
    if users:
        more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
        raise Conflict(
            f"{len(users)} running instances still use {what}: {', '.join(users[:_NAMED])}{more}."
            " Restart them with the other one, then run this again"
        )
