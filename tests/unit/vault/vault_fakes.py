"""A keyring store in memory, and wrappers whose key is at hand: what the vault's tests share."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from uuid import UUID

from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.keyring import (
    Beat,
    InstanceRow,
    KeyringMark,
    KeyringRows,
    KeyringSession,
    TermKeyRow,
    TermRow,
    TermState,
    WrapRow,
)
from model_service.kernel.secret import Secret
from model_service.vault.envelope import AssociatedData
from model_service.vault.keyring import Keyring, TermKeys
from model_service.vault.wrap import ScryptParams, ScryptWrapper, wrap_aad

SECRET = Secret("correct horse battery staple, and then some")
OTHER_SECRET = Secret("another secret of more than thirty-two characters")
EMPTY = KeyringRows((), (), ())

AAD = AssociatedData(
    record_id=UUID("018f4e3a-7b1c-7def-8abc-0123456789ab"),
    user_id="user-1",
    provider="OPENAI",
    key_version=1,
    endpoint_origin="https://api.openai.com",
)


class MemoryKeyringSession:
    """A transaction: changes `rows`, which the store takes over when it ends cleanly."""

    def __init__(self, store: "MemoryKeyringStore") -> None:
        self.rows = store.rows
        self._store = store

    async def load(self) -> KeyringRows:
        # Give way as a database would, so that starts without a lock would overlap.
        await asyncio.sleep(0)
        return self.rows

    async def records_exist(self) -> bool:
        return self._store.records

    async def instances(self) -> tuple[InstanceRow, ...]:
        return tuple(self._store.running.values())

    async def expose(self, wrap_id: str, *, through: int) -> None:
        wraps = tuple(
            replace(row, exposed_through=through) if row.wrap_id == wrap_id else row
            for row in self.rows.wraps
        )
        self.rows = replace(self.rows, wraps=wraps)

    async def delete_wrap(self, wrap_id: str) -> None:
        self.rows = KeyringRows(
            tuple(row for row in self.rows.wraps if row.wrap_id != wrap_id),
            self.rows.terms,
            tuple(row for row in self.rows.term_keys if row.wrap_id != wrap_id),
        )

    async def fence(self) -> bool:
        return not self._store.storing

    async def beat(self, beat: Beat) -> KeyringMark:
        now = datetime.now(UTC)
        self._store.running[beat.instance_id] = InstanceRow(
            instance_id=beat.instance_id,
            name=beat.name,
            wrap_id=beat.wrap_id,
            active_term=beat.active_term,
            newest_term=beat.newest_term,
            started_at=now,
            seen_at=now,
            is_live=True,
        )
        terms = tuple(
            replace(row, seals=row.seals + beat.seals.get(row.term, 0)) for row in self.rows.terms
        )
        self.rows = replace(self.rows, terms=terms)
        return KeyringMark(
            frozenset(row.wrap_id for row in self.rows.wraps),
            {row.term: row.state for row in terms},
            {row.term: row.seals for row in terms},
        )

    async def add_wrap(self, wrap: WrapRow) -> None:
        assert wrap.wrap_id not in [row.wrap_id for row in self.rows.wraps]
        self.rows = KeyringRows((*self.rows.wraps, wrap), self.rows.terms, self.rows.term_keys)

    async def add_term_keys(self, keys: tuple[TermKeyRow, ...]) -> None:
        taken = {(row.term, row.wrap_id) for row in self.rows.term_keys}
        assert taken.isdisjoint((row.term, row.wrap_id) for row in keys)
        self.rows = KeyringRows(self.rows.wraps, self.rows.terms, (*self.rows.term_keys, *keys))

    async def add_term(self, term: TermRow, keys: tuple[TermKeyRow, ...]) -> None:
        assert term.term not in [row.term for row in self.rows.terms]
        self.rows = KeyringRows(self.rows.wraps, (*self.rows.terms, term), self.rows.term_keys)
        await self.add_term_keys(keys)

    async def set_term_state(self, term: int, state: TermState) -> None:
        terms = tuple(
            replace(
                row,
                state=state,
                retired_for=None if state is TermState.ACTIVE else (row.retired_for or 0.0),
            )
            if row.term == term
            else row
            for row in self.rows.terms
        )
        keys = tuple(
            row
            for row in self.rows.term_keys
            if row.term != term or state is not TermState.DESTROYED
        )
        self.rows = KeyringRows(self.rows.wraps, terms, keys)


class MemoryKeyringStore:
    """`KeyringStore` in memory: one transaction at a time, all or nothing."""

    def __init__(self, rows: KeyringRows = EMPTY, *, records: bool = False) -> None:
        self.rows = rows
        self.records = records
        #: What running processes said of themselves.
        self.running: dict[UUID, InstanceRow] = {}
        #: Whether somebody stores a record at this moment.
        self.storing = False
        #: Whether the database is away.
        self.away = False
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[KeyringSession]:
        if self.away:
            raise DatabaseUnavailable
        async with self._turn:
            session = MemoryKeyringSession(self)
            yield session
            self.rows = session.rows

    shared = exclusive

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        yield True

    async def leave(self, instance_id: UUID) -> None:
        self.running.pop(instance_id, None)


def wrapper_with(kek: bytes, wrap_id: str = "wrap-1") -> ScryptWrapper:
    """A wrapper whose key was derived elsewhere: costs no scrypt."""
    return ScryptWrapper(wrap_id, ScryptParams(2**17, bytes(16)), Secret(kek), bytes(16))


@cache
def wrapper_of(secret_text: str, wrap_id: str = "wrap-1") -> ScryptWrapper:
    """A wrapper derived at full cost, once per secret in a test run."""
    params = ScryptParams(2**17, bytes(range(16)))
    return ScryptWrapper(wrap_id, params, *params.stretch(Secret(secret_text)))


def keyring_of(deks: dict[int, bytes], *, destroyed: tuple[int, ...] = ()) -> Keyring:
    """A keyring of these data keys, the last of them active."""
    active = max(deks)
    states = dict.fromkeys(deks, TermState.DECRYPT_ONLY) | {active: TermState.ACTIVE}
    states |= dict.fromkeys(destroyed, TermState.DESTROYED)
    keys = {term: Secret(dek) for term, dek in deks.items()}
    return Keyring(wrapper_with(bytes(32)), TermKeys(active, states, keys))


async def rows_for(wrapper: ScryptWrapper, deks: dict[int, bytes]) -> KeyringRows:
    """What is stored for a keyring of these data keys, the last of them active."""
    active = max(deks)
    keys = [
        TermKeyRow(
            term, wrapper.wrap_id, await wrapper.wrap(Secret(dek), wrap_aad(wrapper.wrap_id, term))
        )
        for term, dek in deks.items()
    ]
    terms = [
        TermRow(term, TermState.ACTIVE if term == active else TermState.DECRYPT_ONLY)
        for term in deks
    ]
    return KeyringRows((wrapper.row(),), tuple(terms), tuple(keys))


async def one_term_store(*, records: bool = True) -> MemoryKeyringStore:
    """A store as a first start under `SECRET` leaves it."""
    rows = await rows_for(wrapper_of(SECRET.reveal()), {1: os.urandom(32)})
    return MemoryKeyringStore(rows, records=records)


class CountingScrypt:
    """The real scrypt at the real cost, counted, and computed once per distinct input."""

    def __init__(self, real: Callable[..., bytes]) -> None:
        self._real = real
        self._known: dict[object, bytes] = {}
        self._one_at_a_time = Lock()
        self.calls: list[dict[str, int | bytes]] = []

    def __call__(self, password: bytes, **parameters: int | bytes) -> bytes:
        self.calls.append(parameters)
        key = (password, frozenset(parameters.items()))
        with self._one_at_a_time:
            if key not in self._known:
                self._known[key] = self._real(password, **parameters)
            return self._known[key]
