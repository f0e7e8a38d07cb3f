"""Calls count as uses of the keys that paid for them, with the events and in their transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest_asyncio
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock, uuid7
from model_service.keys.store import SqlKeyStore
from model_service.usage.partitions import Months
from model_service.usage.store import SqlUsageSink
from tests.usage_events import at, event, without_usage

_INSERT = """
    INSERT INTO api_keys (id, user_id, provider, key_name, encrypted_key, key_version, key_prefix,
        usage_count, last_used_at, is_active, is_valid, created_at, updated_at)
    VALUES (:id, 'ada', 'OPENAI', 'one', 'sealed', 1, '***', 5,
        '2026-01-31 12:30:00Z', :active, true, now(), now())
"""


@pytest_asyncio.fixture
async def sink(database: Database) -> SqlUsageSink:
    await without_usage(database)
    return SqlUsageSink(database, Months(database), SqlKeyStore(database, SystemClock()))


async def stored_key(database: Database, *, active: bool = True) -> UUID:
    key_id = uuid7()
    async with database.single() as connection:
        await connection.execute(text(_INSERT), {"id": key_id, "active": active})
    return key_id


async def use_of(database: Database, key_id: UUID) -> tuple[int, object]:
    async with database.single() as connection:
        found = await connection.execute(
            text("SELECT usage_count, last_used_at FROM api_keys WHERE id = :id"), {"id": key_id}
        )
        row = found.one()
    return row.usage_count, row.last_used_at


@asynccontextmanager
async def notices(url: Secret[str]) -> AsyncIterator[list[str]]:
    """What is told to every process meanwhile."""
    connection = await asyncpg.connect(url.reveal())
    heard: list[str] = []
    await connection.add_listener("model_service", lambda *args: heard.append(args[3]))
    yield heard
    await connection.execute("SELECT 1")  # what was told before this has arrived
    await connection.close()


async def test_each_call_counts_once_and_the_latest_one_is_the_last_use(
    sink: SqlUsageSink, database: Database
) -> None:
    key_id = await stored_key(database)
    events = [event(key_id=key_id, time=at(minutes=minute)) for minute in (10, 50, 20)]
    await sink.keep(events)
    await sink.keep(events)
    assert await use_of(database, key_id) == (8, at(minutes=50))


async def test_an_older_call_counts_and_leaves_the_last_use_as_it_is(
    sink: SqlUsageSink, database: Database
) -> None:
    key_id = await stored_key(database)
    await sink.keep([event(key_id=key_id, time=at(minutes=1))])
    assert await use_of(database, key_id) == (6, at(minutes=30))


async def test_calls_of_a_key_that_is_no_longer_active_count_too(
    sink: SqlUsageSink, database: Database
) -> None:
    key_id = await stored_key(database, active=False)
    await sink.keep([event(key_id=key_id)])
    assert (await use_of(database, key_id))[0] == 6


async def test_calls_of_a_key_that_is_gone_are_kept(sink: SqlUsageSink, database: Database) -> None:
    there = await stored_key(database)
    await sink.keep([event(key_id=uuid7()), event(key_id=there)])
    assert (await use_of(database, there))[0] == 6


async def test_counting_uses_tells_no_process_of_a_change(
    sink: SqlUsageSink, database: Database, database_url: Secret[str]
) -> None:
    key_id = await stored_key(database)
    async with notices(database_url) as heard:
        await sink.keep([event(key_id=key_id)])
    assert (await use_of(database, key_id))[0] == 6
    assert heard == []
