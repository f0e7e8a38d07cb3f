"""Whether work waits for who has a lock: seen in PostgreSQL itself, not guessed from time."""

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from typing import Any, TypeVar

from sqlalchemy import text

from model_service.db.locks import Lock, take
from model_service.db.uow import Database

Result = TypeVar("Result")

_WAITING = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND objid = :number"
)


async def after(database: Database, lock: Lock, work: Awaitable[Result]) -> Result:
    """What the work gives; fails if it comes to an end while somebody else has the lock."""
    async with database.transaction() as connection:
        await take(connection, lock)
        task = apart(work)
        async with asyncio.timeout(20):
            while not await connection.scalar(_WAITING, {"number": lock.value}):
                assert not task.done(), "it did not wait for the lock"
    return await task


def apart(work: Awaitable[Result]) -> "asyncio.Task[Result]":
    """The work as a task that is in none of the transactions around it."""

    async def done() -> Result:
        return await work

    task: asyncio.Task[Any] = asyncio.create_task(done(), context=Context())
    return task
