"""Events as they were journalled, read by the database: kept and summed as any others are."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from model_service.db.engine import create_engine
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.usage.domain import UsageEvent
from model_service.usage.partitions import Month, Months
from model_service.usage.records import VERSION
from model_service.usage.retention import UsageUpkeep
from model_service.usage.store import SqlUsageSink
from tests.access_tokens import SetClock
from tests.store.test_usage_sums import _EVENTS
from tests.usage_events import (
    TABLES,
    CountedKeys,
    at,
    event,
    months_made,
    payload_of,
    sink_on,
    total,
    without_months,
    without_usage,
)

_WHYS = st.none() | st.dictionaries(
    st.text(max_size=5), st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=9), max_size=3
)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.fixture
def keys() -> CountedKeys:
    return CountedKeys()


@pytest_asyncio.fixture
async def sink(database: Database, keys: CountedKeys) -> SqlUsageSink:
    await without_usage(database)
    return sink_on(database, keys)


@pytest_asyncio.fixture
async def other(database_url: Secret[str]) -> AsyncIterator[Database]:
    """Another process's connections."""
    other = Database(create_engine(database_url))
    yield other
    await other.close()


async def everything(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables of usage."""
    found = {}
    async with database.transaction() as connection:
        for table in TABLES:
            rows = await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3"))  # noqa: S608
            found[table] = [tuple(row) for row in rows]
    return found


async def stored(database: Database) -> tuple[int, int, Decimal]:
    """How many events there are, and what the sums say."""
    async with database.single() as connection:
        row = (
            await connection.execute(
                text(
                    "SELECT (SELECT count(*) FROM usage_events), coalesce(sum(requests), 0),"
                    " coalesce(sum(cost), 0) FROM usage_daily WHERE dimension = 0"
                )
            )
        ).one()
    return row[0], int(row[1]), row[2]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS, whys=st.lists(_WHYS, max_size=12), texts=st.lists(_TEXTS, max_size=12))
async def test_journalled_events_are_stored_and_summed_as_those_read_before(
    database: Database, events: list[UsageEvent], whys: list[Any], texts: list[str]
) -> None:
    told = [
        event(**{name: getattr(one, name) for name in UsageEvent.__slots__} | {
            "why": whys[index] if index < len(whys) else None,
            "request_id": texts[index] if index < len(texts) else "plain",
            "fallback_from": texts[-1] if texts else None,
        })
        for index, one in enumerate(events)
    ]  # fmt: skip
    found = []
    for way in ("events", "payloads"):
        await without_usage(database)
        keys = CountedKeys()
        if way == "events":
            await sink_on(database, keys).keep(told)
        else:
            await sink_on(database, keys).keep_payloads([payload_of(one) for one in told])
        found.append((await everything(database), keys))
    assert found[0] == found[1]


async def test_an_event_told_both_ways_is_stored_and_summed_once(
    sink: SqlUsageSink, database: Database, keys: CountedKeys
) -> None:
    one, two = event(key_id=uuid7()), event()
    await sink.keep_payloads([payload_of(one), payload_of(one)])
    await sink.keep([two, one])
    await sink.keep_payloads([payload_of(two), payload_of(one)])
    assert await stored(database) == (2, 2, Decimal("0.000246"))
    assert keys.uses == {one.key_id: 1}
    assert keys.last == {one.key_id: one.time}


async def test_processes_with_overlapping_batches_store_and_sum_each_event_once(
    sink: SqlUsageSink, database: Database, other: Database, keys: CountedKeys
) -> None:
    key_ids = [uuid7() for _ in range(3)]
    events = [
        event(
            time=at(hours=index % 30), user_id=f"user-{index % 7}", model=f"m{index % 3}",
            key_id=key_ids[index % 3], tags=(f"t{index % 4}", "all"),
        )
        for index in range(400)
    ]  # fmt: skip

    async def drain(sink: SqlUsageSink, chance: random.Random) -> None:
        mine = chance.sample(events, 300)
        for start in range(0, 300, 25):
            await sink.keep_payloads([payload_of(one) for one in mine[start : start + 25]])

    drainers = [sink, sink_on(other, keys), sink_on(database, keys), sink_on(other, keys)]
    await asyncio.gather(
        *(drain(sink, random.Random(seed)) for seed, sink in enumerate(drainers)),
        sink.keep(events[::-1]),
    )
    assert await stored(database) == (400, 400, total(events).cost)
    assert sum(keys.uses.values()) == 400


def _altered(place: int, value: object) -> Callable[[bytes], bytes]:
    def alter(payload: bytes) -> bytes:
        values = orjson.loads(payload)
        values[place] = value
        return orjson.dumps(values)

    return alter


@pytest.mark.parametrize(
    ("place", "value", "column", "kept"),
    [
        (3, "a\0\0b", "request_id", "a\ufffd\ufffdb"),
        (3, "\\u0000", "request_id", "\\u0000"),
        (3, "\\\0", "request_id", "\\\ufffd"),
        (21, ["x\0"], "tags", ["x\ufffd"]),
        (21, ["\U00010000" * 1500], "tags", ["\U00010000" * 500]),
        (22, {"s": "\0"}, "why", {"s": "\ufffd"}),
        (6, 2**31, "input_tokens", 2**31 - 1),
        (10, 2**60, "output_tokens", 2**31 - 1),
        (7, -1, "cached_input_tokens", 0),
        (16, 10**6, "attempts", 2**15 - 1),
        (5, 10**6, "status", 2**15 - 1),
        (14, None, "latency_ms", 0.0),
        (12, "NaN", "cost", None),
        (12, "-Infinity", "price_version", None),
        (21, [], "tags", None),
    ],
)
async def test_what_no_column_can_hold_is_cut(
    sink: SqlUsageSink, database: Database, place: int, value: object, column: str, kept: object
) -> None:
    odd, plain = event(), event()
    await sink.keep_payloads([_altered(place, value)(payload_of(odd)), payload_of(plain)])
    async with database.single() as connection:
        found = await connection.scalar(
            text(f"SELECT {column} FROM usage_events WHERE id = :id"),  # noqa: S608
            {"id": odd.id},
        )
    assert found == kept
    assert (await stored(database))[:2] == (2, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"[1]",
        lambda _: b"{}",
        lambda _: b"[1,",
        lambda payload: payload[:-3],
        _altered(0, VERSION + 1),
        _altered(1, "no id"),
        _altered(2, 10**18),
        _altered(2, None),
        _altered(3, None),
        _altered(4, ["too", "short"]),
        _altered(6, None),
        _altered(8, "many"),
        _altered(12, "dear"),
        _altered(18, None),
        _altered(21, "no list"),
    ],
    ids=map(str, range(15)),
)
async def test_a_batch_with_what_is_no_event_is_refused_whole(
    sink: SqlUsageSink, database: Database, spoil: Callable[[bytes], bytes]
) -> None:
    with pytest.raises((DBAPIError, ValueError)):
        await sink.keep_payloads([payload_of(event()), spoil(payload_of(event()))])
    assert await stored(database) == (0, 0, Decimal())


async def test_an_unreachable_database_says_so(sink: SqlUsageSink) -> None:
    away = Database(create_engine(Secret("postgresql://nobody@127.0.0.1:9/none")))
    with pytest.raises(DatabaseUnavailable):
        await sink_on(away).keep_payloads([payload_of(event())])
    await away.close()


async def test_a_month_that_is_missing_is_made_by_the_first_event_of_it(
    database: Database,
) -> None:
    await without_months(database)
    sink = sink_on(database)
    times = [datetime(2031, month, 1, tzinfo=UTC) for month in (1, 3)]
    await sink.keep_payloads([payload_of(event(time=time)) for time in times])
    assert await months_made(database) == ["usage_events_2031_01", "usage_events_2031_03"]
    async with database.single() as connection:
        await connection.execute(text("DROP TABLE usage_events_2031_03"))
    await sink.keep_payloads([payload_of(event(time=time)) for time in times])
    assert (await stored(database))[:2] == (3, 4)


async def test_events_of_a_dropped_month_are_left_out_and_the_log_says_so(
    database: Database,
) -> None:
    await without_months(database)
    old, new = event(time=datetime(2025, 1, 9, tzinfo=UTC)), event()
    await sink_on(database).keep_payloads([payload_of(old)])
    await UsageUpkeep(database, Months(database), SetClock(), 1).drop_before(Month(2025, 2))
    with structlog.testing.capture_logs() as logs:
        await sink_on(database).keep_payloads([payload_of(old), payload_of(new)])
    assert (await stored(database))[:2] == (1, 2)
    assert [(log["log_level"], log["count"]) for log in logs] == [("warning", 1)]
