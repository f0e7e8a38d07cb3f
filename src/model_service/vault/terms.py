"""Rotation of terms: a new data key for new records, and the end of old ones.

    add       the new term opens records, but seals none yet
    (every process takes it in)
    activate  the new term seals; the former only opens
    (the rewrapper moves its records to the new term, see rewrap.py)
    destroy   the data key of a term without records is deleted

A term that is activated only when every running process knows it leaves no moment at which
one process stores what another cannot open.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from model_service.kernel.errors import Conflict
from model_service.kernel.events import EventType
from model_service.kernel.keyring import (
    LEAKED,
    InstanceRow,
    KeyringRows,
    KeyringStore,
    TermRow,
    TermState,
)
from model_service.kernel.sealed import SealedTable
from model_service.vault.keyring import Keyring
from model_service.vault.rotation import Witnesses, exposed_terms

#: Seconds a term stays after it ceased to be active: whoever sealed a record under it, or read
#: one to store it elsewhere, has long done so. What comes later still is refused, not lost.
SAFETY_PERIOD: Final = 3600.0


class TermRotation:
    """Adds, activates and destroys terms with the keyring this process opened."""

    def __init__(self, keyring: Keyring, store: KeyringStore, witnesses: Witnesses) -> None:
        self._keyring = keyring
        self._store = store
        self._witnesses = witnesses

    async def add(self) -> int:
        """Make a term that opens but does not seal yet, and give its number.

        One that was added before and not activated is given again, unless it is exposed.

        Raises:
            Conflict: the keyring has a second wrap, which this process cannot wrap the new
                data key under; or its secret leaked; or there are no numbers left.
        """
        async with self._store.exclusive() as session:
            rows = await session.load()
            if [wrap.wrap_id for wrap in rows.wraps] != [self._keyring.wrap_id]:
                raise Conflict(
                    "The master secret is being rotated: finish that first, with"
                    " `secret rotate --finalize`"
                )
            if rows.wraps[-1].exposed_through == LEAKED:
                raise Conflict(
                    "The master secret in use leaked, and so would a new term: replace it first,"
                    " with `secret rotate --compromised`"
                )
            await self._keyring.take_in(rows)
            term = self._keyring.newest_term
            if term > self._keyring.active_term and term not in exposed_terms(rows):
                return term
            term = max(self._keyring.states) + 1
            key = await self._keyring.fresh_key(term)
            await session.add_term(TermRow(term, TermState.DECRYPT_ONLY), (key,))
            await self._witnesses.record("keyring.term", f"term:{term}", term)
            await self._witnesses.tell(EventType.SECRET_STAGED, "term_added", rows, term)
            await self._keyring.take_in(await session.load())
        return term

    async def strangers(self, term: int) -> list[str]:
        """The names of running processes that do not know the term yet."""
        async with self._store.shared() as session:
            return _strangers(await session.instances(), term)

    async def laggards(self) -> list[str]:
        """The names of running processes that still seal under a former term."""
        async with self._store.shared() as session:
            instances = await session.instances()
        active = self._keyring.active_term
        return [one.name for one in instances if one.is_live and one.active_term != active]

    async def activate(self, term: int) -> None:
        """Seal new records under a term that was added; the former one only opens from now on.

        Raises:
            Conflict: a running process does not know the term, or it cannot be activated, such
                as one that is exposed.
        """
        async with self._store.exclusive() as session:
            rows = await session.load()
            active = _active(rows)
            if active.term == term:
                return
            added = TermRow(term, TermState.DECRYPT_ONLY) in rows.terms
            if term < active.term or not added or term in exposed_terms(rows):
                raise Conflict(f"Term {term} cannot be made the active one")
            if strangers := _strangers(await session.instances(), term):
                raise Conflict(
                    f"{len(strangers)} running instances do not know term {term} yet:"
                    f" {', '.join(strangers)}"
                )
            for former in rows.terms:
                # Those that were passed over, because they were exposed, are retired with it.
                if active.term <= former.term < term:
                    await session.set_term_state(former.term, TermState.DECRYPT_ONLY)
            await session.set_term_state(term, TermState.ACTIVE)
            await self._witnesses.record("keyring.term", f"term:{term}", term)
            await self._witnesses.tell(EventType.SECRET_FINALIZED, "term_activated", rows, term)
            await self._keyring.take_in(await session.load())

    async def destroy(
        self, term: int, tables: Sequence[SealedTable], *, after: float = SAFETY_PERIOD
    ) -> bool:
        """Delete the data key of a term that no record needs; False when it must stay for now.

        It stays while it is the active or a newer one, for `after` seconds from when it ceased
        to be active, while a running process seals under it, while a table holds a record of
        it, and while any record is being stored at this very moment.
        """
        async with self._store.exclusive() as session:
            rows = await session.load()
            row = next((row for row in rows.terms if row.term == term), None)
            if row is None or row.state is not TermState.DECRYPT_ONLY:
                return False
            if term >= _active(rows).term or row.retired_for is None or row.retired_for < after:
                return False
            sealing = [one for one in await session.instances() if one.active_term == term]
            if any(one.is_live for one in sealing) or not await session.fence():
                return False
            for table in tables:
                if await table.holds(term):
                    return False
            await session.set_term_state(term, TermState.DESTROYED)
            await self._witnesses.record("keyring.term", f"term:{term}", term)
            await self._witnesses.tell(EventType.SECRET_FINALIZED, "term_destroyed", rows, term)
            if exposed_terms(rows) == [term]:
                await self._witnesses.tell(EventType.SECRET_COMPROMISED, "dealt_with", rows)
            await self._keyring.take_in(await session.load())
        return True


def _strangers(instances: Iterable[InstanceRow], term: int) -> list[str]:
    return [one.name for one in instances if one.is_live and one.newest_term < term]


def _active(rows: KeyringRows) -> TermRow:
    return next(row for row in rows.terms if row.state is TermState.ACTIVE)
