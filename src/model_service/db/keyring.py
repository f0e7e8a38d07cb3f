"""The keyring's rows in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.tables import api_keys, keyring_term_keys, keyring_terms, keyring_wraps
from model_service.db.uow import Database
from model_service.kernel.keyring import (
    KeyringRows,
    KeyringSession,
    TermKeyRow,
    TermRow,
    TermState,
    WrapRow,
)

#: Advisory lock that keyring transactions take: "msvc" and 1. Migrations take 2.
KEYRING_LOCK = (0x6D737663, 1)


class SqlKeyringSession:
    """`KeyringSession` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def load(self) -> KeyringRows:
        """All rows: wraps oldest first, terms and term keys in ascending order of term."""
        run = self._connection.execute
        wraps = await run(select(keyring_wraps).order_by(keyring_wraps.c.created_at))
        terms = await run(select(keyring_terms).order_by(keyring_terms.c.term))
        keys = await run(select(keyring_term_keys).order_by(keyring_term_keys.c.term))
        return KeyringRows(
            wraps=tuple(WrapRow(w.wrap_id, w.kind, w.params, w.check_value) for w in wraps),
            terms=tuple(TermRow(t.term, TermState(t.state)) for t in terms),
            term_keys=tuple(TermKeyRow(k.term, k.wrap_id, k.wrapped) for k in keys),
        )

    async def records_exist(self) -> bool:
        """Whether any provider key is stored."""
        return bool(await self._connection.scalar(select(exists(select(api_keys.c.id)))))

    async def add_wrap(self, wrap: WrapRow) -> None:
        """Store a new wrap."""
        await self._connection.execute(
            keyring_wraps.insert().values(
                wrap_id=wrap.wrap_id,
                kind=wrap.kind,
                params=dict(wrap.params),
                check_value=wrap.check_value,
                created_at=func.now(),
            )
        )

    async def add_term(self, term: TermRow, keys: tuple[TermKeyRow, ...]) -> None:
        """Store a new term with its data key under each wrap."""
        await self._connection.execute(
            keyring_terms.insert().values(
                term=term.term, state=term.state.value, created_at=func.now()
            )
        )
        await self.add_term_keys(keys)

    async def add_term_keys(self, keys: tuple[TermKeyRow, ...]) -> None:
        """Store data keys of stored terms under a stored wrap."""
        await self._connection.execute(
            keyring_term_keys.insert(),
            [{"term": k.term, "wrap_id": k.wrap_id, "wrapped": k.wrapped} for k in keys],
        )

    async def set_term_state(self, term: int, state: TermState) -> None:
        """Change what a term may be used for; DESTROYED deletes its data key under every wrap."""
        if state is TermState.DESTROYED:
            await self._connection.execute(
                delete(keyring_term_keys).where(keyring_term_keys.c.term == term)
            )
        await self._connection.execute(
            update(keyring_terms).where(keyring_terms.c.term == term).values(state=state.value)
        )


class SqlKeyringStore:
    """`KeyringStore` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[KeyringSession]:
        """A transaction under the keyring's advisory lock: processes take turns."""
        async with self._database.transaction() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(*KEYRING_LOCK)))
            yield SqlKeyringSession(connection)
