"""Moving records from former terms to the active one, a batch at a time, beside all traffic.

A record is replaced only where its text is still the one that was read, so a change made
meanwhile is never undone; and it keeps its place and its version, so nobody notices. One
process does this at a time; any of them may stop in the middle, for what is done is not
remembered anywhere but in the records themselves.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final
from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import ServiceError
from model_service.kernel.keyring import KeyringStore, TermState
from model_service.kernel.sealed import SealedRow, SealedTable
from model_service.vault.envelope import ciphertext_sha256
from model_service.vault.keyring import Keyring
from model_service.vault.terms import TermRotation

log = structlog.get_logger(__name__)

#: Records in one transaction: a few milliseconds of this process's time.
BATCH: Final = 100
#: Seconds between two batches in the background: a thousand records a second at most, so that
#: a term of a million is done in under half an hour and nobody waits.
PAUSE: Final = 0.1
#: Seconds between two looks for something to do.
IDLE: Final = 5.0
#: Seconds before records that could not be moved are tried again.
AGAIN: Final = 300.0
#: Unopenable records that are named in the log.
_NAMED: Final = 1_000


class Outcome(Enum):
    """What came of one step."""

    MOVED = auto()  # a batch was looked at; there may be more
    DONE = auto()  # every table was gone through
    ELSEWHERE = auto()  # another process does it at this moment
    IDLE = auto()  # there is no former term


class Rewrapper:
    """Moves the records of former terms, then has those terms destroyed."""

    def __init__(
        self,
        tables: Sequence[SealedTable],
        keyring: Keyring,
        store: KeyringStore,
        terms: TermRotation,
        trail: AuditTrail,
        on_moved: Callable[[str, int], None],
    ) -> None:
        """`on_moved` hears the table and the number of records moved with each batch."""
        self.tables = tuple(tables)
        self._keyring = keyring
        self._store = store
        self._terms = terms
        self._trail = trail
        self._on_moved = on_moved
        self._position: dict[tuple[str, int], UUID] = {}
        self._done: set[tuple[str, int]] = set()
        #: How many did not open the last time a table was gone through for a term.
        self._unopened: Counter[tuple[str, int]] = Counter()
        self._named: set[tuple[str, UUID]] = set()
        self._moved = 0

    @property
    def unopened(self) -> int:
        """Records that did not open and therefore keep their terms."""
        return self._unopened.total()

    def unopened_of(self, term: int) -> int:
        """As `unopened`, of one term."""
        return sum(count for (_, of), count in self._unopened.items() if of == term)

    async def run(self) -> None:
        """Move records in the background until cancelled."""
        while True:
            try:
                outcome = await self.step()
            except ServiceError as error:
                log.warning("re-encryption is interrupted", reason=error.message)
                outcome = Outcome.IDLE
            if outcome is Outcome.DONE:
                remaining = await self._destroy_former()
                await asyncio.sleep(AGAIN if remaining else IDLE)
            else:
                await asyncio.sleep(PAUSE if outcome is Outcome.MOVED else IDLE)

    async def step(self) -> Outcome:
        """Move one batch.

        Raises:
            DatabaseUnavailable, AuditUnavailable: nothing of the batch was moved.
        """
        former = self.former_terms()
        if not former:
            return Outcome.IDLE
        for term in former:
            for table in self.tables:
                if (table.name, term) not in self._done:
                    return await self._move(table, term)
        self._position.clear()
        self._done.clear()
        return Outcome.DONE

    async def finish(self, on_moved: Callable[[int], None]) -> None:
        """Move records until none is left that could be moved, without pausing.

        `on_moved` hears how many were moved with each batch.

        Raises:
            DatabaseUnavailable, AuditUnavailable: the batch under way was not moved; those
                before it were.
        """
        while await self._left():
            outcome = Outcome.MOVED
            while outcome is not Outcome.DONE:
                before = self._moved
                outcome = await self.step()
                on_moved(self._moved - before)
                if outcome is Outcome.ELSEWHERE:
                    await asyncio.sleep(PAUSE)

    async def _left(self) -> bool:
        """Whether a former term has records other than those that do not open."""
        for term in self.former_terms():
            for table in self.tables:
                if await table.count(term) > self._unopened[table.name, term]:
                    return True
        return False

    def former_terms(self) -> list[int]:
        """The terms before the active one that may still have records."""
        active = self._keyring.active_term
        states = self._keyring.states.items()
        return [t for t, state in states if state is TermState.DECRYPT_ONLY and t < active]

    async def _move(self, table: SealedTable, term: int) -> Outcome:
        place = (table.name, term)
        async with self._store.turn() as is_ours:
            if not is_ours:
                return Outcome.ELSEWHERE
            rows = await table.batch(term, self._position.get(place), BATCH)
            moved = await table.replace([row for row in rows if row.resealed is not None])
            # Last, for whoever appends to the trail next waits for the end of this transaction.
            if moved:
                await self._trail.record(
                    *[self._event(table, row) for row in rows if row.row_id in moved]
                )
        if place not in self._position:
            self._unopened[place] = 0
        for row in rows:
            if row.resealed is None:
                self._unopened[place] += 1
                self._complain(table, row)
        if len(rows) < BATCH:
            self._done.add(place)
        else:
            self._position[place] = rows[-1].row_id
        self._moved += len(moved)
        self._on_moved(table.name, len(moved))
        return Outcome.MOVED

    def _event(self, table: SealedTable, row: SealedRow) -> AuditEvent:
        return AuditEvent(
            type="keyring.rewrap",
            subject=f"{table.kind}:{row.row_id}",
            # What was there before, so that an old ciphertext put back is not made good by this.
            reason=f"replaces {ciphertext_sha256(row.stored)}",
            ciphertext_sha256=ciphertext_sha256(row.resealed or row.stored),
            term=self._keyring.active_term,
        )

    def _complain(self, table: SealedTable, row: SealedRow) -> None:
        place = (table.name, row.row_id)
        if place in self._named or len(self._named) > _NAMED:
            return
        self._named.add(place)
        if len(self._named) <= _NAMED:
            log.error("record does not open", subject=f"{table.kind}:{row.row_id}")
        else:
            log.error("more records do not open than are named", count=_NAMED)

    async def _destroy_former(self) -> list[int]:
        """Have terms without records destroyed; gives those that remain."""
        try:
            return [
                term
                for term in self.former_terms()
                if not await self._terms.destroy(term, self.tables)
            ]
        except ServiceError as error:
            log.warning("former terms could not be destroyed", reason=error.message)
            return self.former_terms()
