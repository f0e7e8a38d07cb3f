"""A running process's part in rotation: it says what it uses, and takes in what changed.

Every few seconds it notes in the database which wrap and terms it uses, and how much it sealed;
the answer shows whether the keyring changed meanwhile. `secret rotate` waits for these notes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from model_service.kernel.errors import (
    DatabaseUnavailable,
    KeyringCorrupt,
    SecretMismatch,
    ServiceError,
)
from model_service.kernel.keyring import Beat, KeyringMark, KeyringStore, TermState
from model_service.kernel.types import Clock
from model_service.vault.keyring import SEALS_PER_TERM_LIMIT, Keyring

log = structlog.get_logger(__name__)

#: Seconds between two beats; `db.keyring.SILENCE` is ten of them.
INTERVAL: Final = 3.0
#: Seals under one term from which operators are told to change terms: a sixteenth of the limit,
#: two and a half years at ten seals a second.
SEALS_ALARM: Final = SEALS_PER_TERM_LIMIT // 16
#: Seconds between two reloads for records of unknown terms: forged ones must not cost more.
RELOAD_EVERY: Final = 1.0

_WRAP_GONE = (
    "The secret that this process was started with does not open the keyring any more; restart"
    " it with the new ENCRYPTION_SECRET"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process this is: an id of its own, and host and process id for people."""

    instance_id: UUID
    name: str


class KeyringWatch:
    """Keeps one process's keyring up to date, and others informed of it."""

    def __init__(
        self,
        keyring: Keyring,
        store: KeyringStore,
        identity: Identity,
        clock: Clock,
        on_seals: Callable[[Mapping[int, int]], None],
    ) -> None:
        """`on_seals` hears how many records were ever sealed under each term."""
        self._keyring = keyring
        self._store = store
        self._identity = identity
        self._clock = clock
        self._on_seals = on_seals
        self._entered = False
        self._wrap_is_gone = False
        self._worn: frozenset[int] = frozenset()
        self._reloading = asyncio.Lock()
        self._reloaded_at: float | None = None

    async def enter(self) -> None:
        """Say for the first time that this process runs; do it before taking requests.

        Under the keyring's lock: either the deletion of a wrap comes first and is noticed
        here, or it sees that this process uses the wrap.

        Raises:
            SecretMismatch: the wrap was deleted since this process opened the keyring.
            DatabaseUnavailable: nothing could be noted.
        """
        async with self._store.exclusive() as session:
            await self._keyring.take_in(await session.load())
            mark = await session.beat(self._beat({}))
        self._entered = True
        self._note(mark)

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Be among the running processes meanwhile: enter, beat, and leave.

        Raises:
            As `enter`.
        """
        await self.enter()
        # Without the caller's context, so that no beat joins somebody's transaction.
        beating = asyncio.create_task(self.run(), context=Context())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            await self.leave()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.step()
            except ServiceError as error:
                # The database's absence is told by readiness; what is wrong here is not lost.
                log.warning("the keyring could not be compared", reason=error.message)

    async def step(self) -> None:
        """Say that this process runs, and take in what changed.

        Raises:
            DatabaseUnavailable: nothing could be noted; the counts are kept for the next time.
            KeyringCorrupt: what is stored does not open; this process keeps what it has.
        """
        seals = self._keyring.take_seals()
        try:
            async with self._store.shared() as session:
                mark = await session.beat(self._beat(seals))
        except (DatabaseUnavailable, asyncio.CancelledError):
            # Perhaps counted twice now: for a limit that is better than not at all.
            self._keyring.give_back(seals)
            raise
        self._note(mark)
        if not self._wrap_is_gone and mark.states != self._keyring.states:
            await self._reload()

    async def hear(self, _: str | None) -> None:
        """Take in what a change notice tells of; as `step`."""
        if self._entered:
            await self.step()

    async def leave(self) -> None:
        """Say that this process ends, if it ever said that it runs."""
        if not self._entered:
            return
        try:
            await self.step()
            await self._store.leave(self._identity.instance_id)
            self._entered = False
        except ServiceError as error:
            log.warning("the end of this process could not be noted", reason=error.message)

    async def prepare(self, stored: Iterable[str]) -> bool:
        """Take in the terms of these records, should this process not know them yet.

        True when they should be read once more before they are opened: a term of theirs is
        destroyed, and so they were moved since they were read. Costs nothing for known terms,
        and else at most one reload a second. Not for use inside a transaction, which a reload
        would have hold the keyring's lock.

        Raises:
            DatabaseUnavailable: the keyring cannot be read.
        """
        texts = list(stored)
        if not self._keyring.knows_terms_of(texts):
            await self._learn(texts)
        return self._keyring.names_destroyed(texts)

    async def _learn(self, texts: Sequence[str]) -> None:
        async with self._reloading:
            if self._keyring.knows_terms_of(texts) or self._wrap_is_gone:
                return
            now = self._clock.now().timestamp()
            if self._reloaded_at is not None and 0 <= now - self._reloaded_at < RELOAD_EVERY:
                return
            self._reloaded_at = now
            await self._reload()

    def check(self) -> str | None:
        """None, or a word for what operators should look at.

        Raises:
            SecretMismatch: this process must be restarted with the new secret.
        """
        if self._wrap_is_gone:
            raise SecretMismatch(_WRAP_GONE)
        return "rotate_term" if self._keyring.active_term in self._worn else None

    async def _reload(self) -> None:
        before = self._keyring.active_term
        try:
            await self._keyring.reload(self._store)
        except SecretMismatch:
            self._lose_wrap()
            return
        except KeyringCorrupt as error:
            log.error("the stored keyring does not open", reason=error.message)
            raise
        if self._keyring.active_term != before:
            log.info("the active term changed", term=self._keyring.active_term)

    def _beat(self, seals: Mapping[int, int]) -> Beat:
        return Beat(
            instance_id=self._identity.instance_id,
            name=self._identity.name,
            wrap_id=self._keyring.wrap_id,
            active_term=self._keyring.active_term,
            newest_term=self._keyring.newest_term,
            seals=seals,
        )

    def _note(self, mark: KeyringMark) -> None:
        if self._keyring.wrap_id not in mark.wrap_ids:
            self._lose_wrap()
        living = {t: n for t, n in mark.seals.items() if mark.states[t] is not TermState.DESTROYED}
        self._on_seals(living)
        worn = frozenset(term for term, seals in living.items() if seals >= SEALS_ALARM)
        for term in worn - self._worn:
            log.error(
                "a term has sealed very many records; change it with `secret rotate --term`",
                term=term,
                count=living[term],
            )
        self._worn = worn

    def _lose_wrap(self) -> None:
        if not self._wrap_is_gone:
            log.error(_WRAP_GONE)
        self._wrap_is_gone = True
