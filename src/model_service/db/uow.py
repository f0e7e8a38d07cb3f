"""Units of work: what is done in one transaction is done whole or not at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from model_service.db.engine import is_passing
from model_service.kernel.errors import DatabaseUnavailable, ServiceError


class Finale(Protocol):
    """What a transaction ends with, after all its other work and right before the commit.

    For work whose locks everybody needs: taken last, they are held for the shortest time,
    and nobody who holds them waits for another lock.
    """

    @property
    def seconds(self) -> float:
        """How long it and the commit may take together."""
        ...

    async def run(self, connection: AsyncConnection) -> None:
        """Do the work."""
        ...

    def failure(self, cause: BaseException) -> ServiceError:
        """What to raise when the database fails, or does not answer, from here on."""
        ...


AnyFinale = TypeVar("AnyFinale", bound=Finale)


@dataclass(slots=True)
class _Unit:
    connection: AsyncConnection
    finale: Finale | None = None


class Database:
    """Gives transactions on one engine.

    A `transaction()` opened inside another one of the same task joins it, so that a use
    case may put several stores' work into one unit.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._current: ContextVar[_Unit | None] = ContextVar("transaction", default=None)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection with a transaction begun: committed at a clean end, else rolled back.

        Raises:
            DatabaseUnavailable: the database is away, busy or full; nothing is known to
                have been stored. In a finale, what that calls its failure.
        """
        current = self._current.get()
        if current is not None:
            yield current.connection
            return
        finale: Finale | None = None
        try:
            # Without bound until the finale sets one: it must hold for the commit too.
            async with asyncio.timeout(None) as bound, self._engine.begin() as connection:
                unit = _Unit(connection)
                token = self._current.set(unit)
                try:
                    yield connection
                finally:
                    self._current.reset(token)
                finale = unit.finale
                if finale is not None:
                    bound.reschedule(asyncio.get_running_loop().time() + finale.seconds)
                    await finale.run(connection)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if finale is not None:
                raise finale.failure(error) from error
            if is_passing(error):
                raise DatabaseUnavailable from error
            raise

    def finale(self, make: Callable[[], AnyFinale]) -> AnyFinale | None:
        """What the current transaction ends with, made when first asked for; None outside of one.

        A transaction has one finale, so one part of the service alone may ask for it.
        """
        unit = self._current.get()
        if unit is None:
            return None
        if unit.finale is None:
            unit.finale = make()
        return unit.finale  # type: ignore[return-value]

    @asynccontextmanager
    async def single(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that is its own transaction: one round trip.

        Inside a `transaction()` of the same task it is part of that one.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        current = self._current.get()
        if current is not None:
            yield current.connection
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
