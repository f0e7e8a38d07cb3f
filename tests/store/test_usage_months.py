"""Months are made by whoever needs one first and dropped when they are old, beside inserts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import structlog
from sqlalchemy import text

from model_service.db.engine import create_engine
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.secret import Secret
from model_service.usage.domain import Dimension, UsageFilter
from model_service.usage.partitions import Month, Months
from model_service.usage.reading import SqlUsageReader
from model_service.usage.retention import UsageUpkeep
from tests.access_tokens import SetClock
from tests.usage_events import event, months_made, sink_on, total, without_months


@pytest_asyncio.fixture
async def empty(database: Database) -> Database:
    """A database without a month."""
    await without_months(database)
    return database


@pytest_asyncio.fixture
async def other(database_url: Secret[str]) -> AsyncIterator[Database]:
    """Another process's connections."""
    other = Database(create_engine(database_url))
    yield other
    await other.close()


def upkeep(database: Database, moment: datetime, months_kept: int = 13) -> UsageUpkeep:
    clock = SetClock()
    clock.moment = moment
    return UsageUpkeep(database, Months(database), clock, months_kept)


def moment_in(year: int, month: int, day: int = 15) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


async def counted(database: Database) -> tuple[int, int]:
    """How many events there are, and how many the sums know of."""
    (group,) = await SqlUsageReader(database).groups(UsageFilter(), ())
    async with database.single() as connection:
        stored = await connection.scalar(text("SELECT count(*) FROM usage_events"))
    return int(stored or 0), group.sums.requests


@pytest.mark.parametrize(
    ("month", "months", "later"),
    [
        (Month(2026, 12), 1, Month(2027, 1)),
        (Month(2026, 1), -1, Month(2025, 12)),
        (Month(2026, 3), -26, Month(2024, 1)),
        (Month(2026, 5), 0, Month(2026, 5)),
    ],
    ids=str,
)
def test_months_count_on_through_the_years(month: Month, months: int, later: Month) -> None:
    assert month.plus(months) == later


async def test_this_month_and_the_next_two_are_made_ahead(empty: Database) -> None:
    await upkeep(empty, moment_in(2026, 11)).step()
    assert await months_made(empty) == [
        "usage_events_2026_11", "usage_events_2026_12", "usage_events_2027_01",
    ]  # fmt: skip


async def test_nothing_takes_events_of_a_month_that_was_not_made(empty: Database) -> None:
    await upkeep(empty, moment_in(2026, 11)).step()
    async with empty.single() as connection:
        found = await connection.scalar(
            text("SELECT partdefid FROM pg_partitioned_table"
                 " WHERE partrelid = 'usage_events'::regclass")
        )  # fmt: skip
    assert found == 0, "there is no default partition"


async def test_many_that_miss_the_same_months_at_once_make_each_once(
    empty: Database, other: Database
) -> None:
    moments = [moment_in(2030, month) for month in (1, 2, 3)]
    sinks = [sink_on(database) for database in (empty, other) * 4]
    batches = [[event(time=moment) for moment in moments] for _ in sinks]
    await asyncio.gather(
        *(sink.keep(batch) for sink, batch in zip(sinks, batches, strict=True)),
        *(upkeep(database, moments[0]).step() for database in (empty, other)),
    )
    assert len(await months_made(empty)) == 3
    assert await counted(empty) == (24, 24)


async def test_a_month_is_made_while_a_writer_holds_its_transaction_open(
    empty: Database, other: Database
) -> None:
    await sink_on(empty).keep([event(time=moment_in(2026, 1))])
    async with other.transaction() as connection:
        await connection.execute(text("LOCK TABLE usage_events IN ROW EXCLUSIVE MODE"))
        await asyncio.wait_for(sink_on(empty).keep([event(time=moment_in(2026, 2))]), 5)
    assert await counted(empty) == (2, 2)


async def test_a_month_that_somebody_took_away_by_hand_is_made_again(empty: Database) -> None:
    sink, moment = sink_on(empty), moment_in(2026, 4)
    await sink.keep([event(time=moment)])
    async with empty.single() as connection:
        await connection.execute(text("DROP TABLE usage_events_2026_04"))
    await sink.keep([event(time=moment)])
    assert await counted(empty) == (1, 2)


async def test_old_months_are_dropped_and_their_sums_stay(empty: Database) -> None:
    events = [event(time=moment_in(2025, month)) for month in range(1, 13)]
    await sink_on(empty).keep(events)
    dropped = await upkeep(empty, moment_in(2025, 12), months_kept=3).step()
    assert dropped == [Month(2025, month) for month in range(1, 10)]
    assert await counted(empty) == (3, 12)
    days = await SqlUsageReader(empty).groups(UsageFilter(), [Dimension.DAY])
    assert len(days) == 12
    assert await upkeep(empty, moment_in(2025, 12), months_kept=3).step() == []


async def test_an_event_told_again_after_its_month_was_dropped_is_not_counted_twice(
    empty: Database,
) -> None:
    sink, old, new = sink_on(empty), event(time=moment_in(2025, 1)), event(time=moment_in(2025, 2))
    await sink.keep([old])
    await upkeep(empty, moment_in(2025, 2), months_kept=1).step()
    with structlog.testing.capture_logs() as logs:
        await sink.keep([old, new])
        await sink_on(empty).keep([old, new])
    assert await counted(empty) == (1, 2)
    assert [(log["log_level"], log["count"]) for log in logs] == [("warning", 1)] * 2


async def test_months_are_dropped_beside_writers_without_losing_or_doubling_anything(
    empty: Database, other: Database
) -> None:
    start = moment_in(2025, 1, 1)
    events = [event(time=start + timedelta(days=index)) for index in range(120)]
    told = [event(time=moment_in(2025, 6)) for _ in range(60)]

    async def write(database: Database) -> None:
        sink = sink_on(database)
        for index in range(60):
            await sink.keep([*events[index * 2 : index * 2 + 2], told[index]])

    async def drop() -> None:
        for month in (2, 3, 4):
            await upkeep(other, moment_in(2025, month), months_kept=1).step()

    await asyncio.gather(write(empty), write(other), drop())
    await drop()
    stored, summed = await counted(empty)
    april = [one for one in events if one.time >= moment_in(2025, 4, 1)]
    assert stored == len(april) + len(told)
    (group,) = await SqlUsageReader(empty).groups(UsageFilter(since=moment_in(2025, 4, 1)), ())
    assert group.sums == total([*april, *told])
    assert summed <= len(events) + len(told), "what came too late is left out, nothing is doubled"


async def test_dropping_gives_way_to_who_reads_and_is_done_later(
    empty: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_service.usage.retention._LOCK_TIMEOUT", "50ms")
    await sink_on(empty).keep([event(time=moment_in(2025, 1))])
    job = upkeep(empty, moment_in(2025, 6), months_kept=1)
    async with other.transaction() as connection:
        await connection.execute(text("SELECT count(*) FROM usage_events"))
        with pytest.raises(DatabaseUnavailable):
            await job.step()
        assert await counted(empty) == (1, 1)
    assert await job.step() == [Month(2025, 1)]
    assert await counted(empty) == (0, 1)
