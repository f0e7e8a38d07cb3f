"""Units of work: what is done in one transaction is done whole or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from model_service.db.engine import is_passing
from model_service.kernel.errors import DatabaseUnavailable


class Database:
    """Gives transactions on one engine.

    A `transaction()` opened inside another one of the same task joins it, so that a use
    case may put several stores' work into one unit.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._current: ContextVar[AsyncConnection | None] = ContextVar("transaction", default=None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection with a transaction begun: committed at a clean end, else rolled back.

        Raises:
            DatabaseUnavailable: the database is away, busy or full; nothing is known to
                have been stored.
        """
        current = self._current.get()
        if current is not None:
            yield current
            return
        try:
            async with self._engine.begin() as connection:
                token = self._current.set(connection)
                try:
                    yield connection
                finally:
                    self._current.reset(token)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if is_passing(error):
                raise DatabaseUnavailable from error
            raise

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that is its own transaction: one round trip.

        Inside a `transaction()` of the same task it is part of that one.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        current = self._current.get()
        if current is not None:
            yield current
            return
        try:
            async with self._autocommit.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if is_passing(error):
                raise DatabaseUnavailable from error
            raise

    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            DatabaseUnavailable: it gives none.
        """
        async with self.single() as connection:
            await connection.execute(text("SELECT 1"))

    async def revision(self) -> str | None:
        """The migration the database is at; None before the first.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        async with self.single() as connection:
            known = await connection.scalar(text("SELECT to_regclass('alembic_version')::text"))
            if known is None:
                return None
            found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return None if found is None else str(found)

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._engine.dispose()
