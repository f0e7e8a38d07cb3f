"""Events are kept once, whatever is told again, in whatever order, by however many."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.db.engine import create_engine
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.usage.domain import UsageEvent
from model_service.usage.store import SqlUsageSink
from tests.usage_events import CountedKeys, at, event, sink_on, total, without_usage

#: Longer than an index can hold, whatever it does to make it shorter.
LONG = "".join(map(chr, random.Random(6).choices(range(0x10000, 0x20000), k=3000)))


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


async def rows(database: Database, query: str) -> list[Any]:
    async with database.single() as connection:
        return list((await connection.execute(text(query))).all())


async def ids(database: Database) -> list[UUID]:
    return [row.id for row in await rows(database, "SELECT id FROM usage_events ORDER BY id")]


async def summed(database: Database, table: str = "usage_daily") -> tuple[int, Decimal]:
    query = f"SELECT coalesce(sum(requests), 0), coalesce(sum(cost), 0) FROM {table}"  # noqa: S608
    where = "" if "series" in table else " WHERE dimension = 0"
    (row,) = await rows(database, query + where)
    return row[0], row[1]


async def test_an_event_is_stored_with_all_its_fields(
    sink: SqlUsageSink, database: Database
) -> None:
    told = event(
        token_id=uuid7(), key_id=uuid7(), stream=True, first_token_ms=12.5, attempts=3,
        fallback_from="best", estimated=True, error_class="rate_limited", status=429,
        tags=("b", "a"), why={"candidates": ["best", "fast"], "reserved": {"tokens": 7}},
        cost=Decimal("123456789.000000000001"),
    )  # fmt: skip
    await sink.keep([told])
    (row,) = await rows(database, "SELECT * FROM usage_events")
    stored = dict(row._mapping)
    stored["tags"] = tuple(stored["tags"])
    assert UsageEvent(**stored) == told


async def test_ids_may_be_of_the_database_drivers_own_class(
    sink: SqlUsageSink, database: Database
) -> None:
    (row,) = await rows(database, "SELECT gen_random_uuid() AS one, gen_random_uuid() AS other")
    assert type(row.one) is not UUID
    await sink.keep([event(id=row.one, token_id=row.other, why={"token": row.other})])
    assert await ids(database) == [row.one]


async def test_an_event_told_twice_is_stored_and_summed_once(
    sink: SqlUsageSink, database: Database
) -> None:
    one, two = event(), event()
    await sink.keep([one, two, one])
    await sink.keep([two, one])
    assert await ids(database) == sorted([one.id, two.id])
    for table in ("usage_hourly", "usage_daily", "usage_series_daily"):
        assert await summed(database, table) == (2, Decimal("0.000246"))


async def test_batches_told_again_in_another_order_and_cut_differently_change_nothing(
    sink: SqlUsageSink, database: Database
) -> None:
    chance = random.Random(20260131)
    events = [
        event(time=at(minutes=index * 37), user_id=f"user-{index % 5}") for index in range(60)
    ]
    await sink.keep(events[:40])
    for _ in range(5):
        chance.shuffle(events)
        size = chance.randint(1, 60)
        for start in range(0, 60, size):
            await sink.keep(events[start : start + size])
    assert await ids(database) == sorted(one.id for one in events)
    expected = total(events)
    assert await summed(database) == (60, expected.cost)
    assert await summed(database, "usage_series_daily") == (60, expected.cost)


async def test_two_processes_with_overlapping_batches_store_and_sum_each_event_once(
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
            await sink.keep(mine[start : start + 25])

    drainers = [sink, sink_on(other, keys), sink_on(database, keys), sink_on(other, keys)]
    await asyncio.gather(
        *(drain(sink, random.Random(seed)) for seed, sink in enumerate(drainers)),
        sink.keep(events[::-1]),
    )
    assert await ids(database) == sorted(one.id for one in events)
    expected = total(events)
    for table in ("usage_hourly", "usage_daily"):
        assert await summed(database, table) == (400, expected.cost)
    by_tag = await rows(
        database, "SELECT value, requests FROM usage_daily WHERE dimension = 6 AND value = 'all'"
    )
    assert sum(row.requests for row in by_tag) == 400
    assert sum(keys.uses.values()) == 400


async def test_a_batch_that_fails_leaves_nothing_and_can_be_told_again(
    sink: SqlUsageSink, database: Database, keys: CountedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = event(key_id=uuid7())

    async def fails(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(keys, "used", fails)
        with pytest.raises(RuntimeError):
            await sink.keep([one])
    assert await ids(database) == []
    assert await summed(database) == (0, Decimal())
    await sink.keep([one])
    assert await summed(database) == (1, one.cost)


async def test_the_uses_of_keys_are_counted_once_with_the_time_of_the_last(
    sink: SqlUsageSink, keys: CountedKeys
) -> None:
    key_id = uuid7()
    events = [event(key_id=key_id, time=at(minutes=minute)) for minute in (3, 9, 1)]
    await sink.keep([*events, event()])
    await sink.keep(events)
    assert keys.uses == {key_id: 3}
    assert keys.last == {key_id: at(minutes=9)}


async def test_the_last_moment_of_a_month_and_the_first_of_the_next_go_to_their_months(
    sink: SqlUsageSink, database: Database
) -> None:
    last = datetime(2026, 1, 31, 23, 59, 59, 999_900, tzinfo=UTC)
    first = datetime(2026, 2, 1, tzinfo=UTC)
    await sink.keep([event(time=last), event(time=first)])
    found = await rows(
        database, "SELECT tableoid::regclass::text AS month, time FROM usage_events ORDER BY time"
    )
    assert [(row.month, row.time) for row in found] == [
        ("usage_events_2026_01", last.replace(microsecond=999_000)),
        ("usage_events_2026_02", first),
    ]
    days = await rows(
        database, "SELECT period FROM usage_daily WHERE dimension = 0 ORDER BY period"
    )
    assert [row.period.date().isoformat() for row in days] == ["2026-01-31", "2026-02-01"]


async def test_a_leap_day_is_a_day_of_february(sink: SqlUsageSink, database: Database) -> None:
    moment = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)
    await sink.keep([event(time=moment)])
    (row,) = await rows(database, "SELECT tableoid::regclass::text AS month FROM usage_events")
    assert row.month == "usage_events_2028_02"
    (day,) = await rows(database, "SELECT period FROM usage_daily WHERE dimension = 0")
    assert day.period == datetime(2028, 2, 29, tzinfo=UTC)


async def test_a_time_with_another_zone_counts_for_its_day_in_utc(
    sink: SqlUsageSink, database: Database
) -> None:
    tokyo = timezone(timedelta(hours=9))
    await sink.keep([event(time=datetime(2026, 3, 1, 8, 30, tzinfo=tokyo))])
    (day,) = await rows(database, "SELECT period FROM usage_daily WHERE dimension = 0")
    assert day.period == datetime(2026, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "column", "stored"),
    [
        ({"request_id": "a\0b"}, "request_id", "a\ufffdb"),
        ({"tags": ("x\0",)}, "tags", ["x\ufffd"]),
        ({"upstream_model": "\ud800"}, "upstream_model", "?"),
        ({"why": {"s": ["\0", 2**70]}}, "why", {"s": ["\ufffd", 2**63 - 1]}),
        ({"input_tokens": 2**31}, "input_tokens", 2**31 - 1),
        ({"output_tokens": 2**80}, "output_tokens", 2**31 - 1),
        ({"attempts": 10**6}, "attempts", 2**15 - 1),
        ({"latency_ms": float("nan")}, "latency_ms", 0.0),
        ({"cost": Decimal("NaN")}, "cost", None),
        ({"tags": (LONG,)}, "tags", [LONG[:500]]),
        ({"user_id": LONG}, "user_id", LONG[:500]),
        ({"request_id": "\\u0000"}, "request_id", "\\u0000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_what_no_column_can_hold_is_cut_and_stands_in_nobodys_way(
    sink: SqlUsageSink, database: Database, changes: dict[str, Any], column: str, stored: object
) -> None:
    odd, plain = event(**changes), event()
    await sink.keep([odd, plain])
    await sink.keep([odd, plain])
    assert await ids(database) == sorted([odd.id, plain.id])
    (row,) = await rows(database, f"SELECT {column} FROM usage_events WHERE id = '{odd.id}'")  # noqa: S608
    assert row[0] == stored
