"""Sums by any dimensions and filters equal what plain Python adds up, and what the events say."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_service.db.uow import Database
from model_service.kernel.errors import InvalidInput
from model_service.usage.domain import Dimension, Sums, UsageEvent, UsageFilter
from model_service.usage.partitions import Month, Months
from model_service.usage.reading import SqlUsageReader
from model_service.usage.retention import UsageUpkeep
from model_service.usage.store import SqlUsageSink
from tests.access_tokens import SetClock
from tests.usage_events import at, event, grouped, renewed, sink_on, total, without_usage

_IDS = [UUID(int=number) for number in (1, 2)]
_MOMENTS = st.one_of(
    st.integers(0, 54 * 3_600_000).map(
        lambda ms: datetime(2026, 1, 30, 21, tzinfo=UTC) + timedelta(milliseconds=ms)
    ),
    # Where days, hours and months meet.
    st.sampled_from([
        datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 2, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, 0, 59, 59, 999_000, tzinfo=UTC),
    ]),
)  # fmt: skip
_TOKENS = st.integers(0, 2**31 - 1)
_EVENTS = st.lists(
    st.builds(
        event,
        id=st.uuids(version=4),
        time=_MOMENTS,
        user_id=st.sampled_from(["ada", "bob", "(a,b)", None]),
        model=st.sampled_from(["fast", "best"]),
        provider=st.sampled_from(["OPENAI", "GOOGLE"]),
        key_id=st.sampled_from([*_IDS, None]),
        token_id=st.sampled_from([*_IDS, None]),
        status=st.sampled_from([200, 200, 429, 499]),
        input_tokens=_TOKENS,
        cached_input_tokens=_TOKENS,
        cache_write_tokens=_TOKENS,
        cache_write_1h_tokens=_TOKENS,
        output_tokens=_TOKENS,
        reasoning_tokens=_TOKENS,
        estimated=st.booleans(),
        cost=st.none() | st.decimals("0", "1000000", places=12),
        tags=st.lists(st.sampled_from(["x", "y", "x,y"]), max_size=3).map(tuple),
    ),
    max_size=12,
)
_FILTERS = st.builds(
    UsageFilter,
    user_id=st.sampled_from([None, None, "ada", "(a,b)"]),
    model=st.sampled_from([None, None, "fast"]),
    provider=st.sampled_from([None, None, "GOOGLE"]),
    key_id=st.sampled_from([None, None, _IDS[0]]),
    token_id=st.sampled_from([None, None, _IDS[1]]),
    status=st.sampled_from([None, None, 200, 429]),
    tag=st.sampled_from([None, None, "x"]),
    since=st.none() | _MOMENTS,
    until=st.none() | _MOMENTS,
)
_BY = st.lists(st.sampled_from(Dimension), max_size=3, unique=True)


def wants(wanted: UsageFilter, one: UsageEvent) -> bool:
    """Whether the filter wants the event."""
    same = all(
        getattr(wanted, name) in (None, getattr(one, name))
        for name in ("user_id", "model", "provider", "key_id", "token_id", "status")
    )
    return (
        same
        and (wanted.tag is None or wanted.tag in one.tags)
        and (wanted.since is None or one.time >= wanted.since)
        and (wanted.until is None or one.time < wanted.until)
    )


def expected(
    events: Sequence[UsageEvent], wanted: UsageFilter, by: Sequence[Dimension]
) -> dict[tuple[str | None, ...], Sums]:
    """What a loop over all events says."""
    found = grouped([one for one in events if wants(wanted, one)], by)
    if wanted.tag is not None and Dimension.TAG in by:
        place = by.index(Dimension.TAG)
        found = {values: sums for values, sums in found.items() if values[place] == wanted.tag}
    return found if by or found else {(): Sums()}


@pytest_asyncio.fixture
async def sink(database: Database) -> SqlUsageSink:
    await without_usage(database)
    return sink_on(database)


@pytest.fixture
def reader(database: Database) -> SqlUsageReader:
    return SqlUsageReader(database)


async def sums_of(
    reader: SqlUsageReader, wanted: UsageFilter, by: Sequence[Dimension]
) -> dict[tuple[str | None, ...], Sums]:
    return {group.values: group.sums for group in await reader.groups(wanted, by)}


@pytest.mark.parametrize("by", Dimension, ids=str)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS)
async def test_a_summary_by_any_one_dimension_is_the_plain_sum(
    database: Database, by: Dimension, events: list[UsageEvent]
) -> None:
    await without_usage(database)
    await sink_on(database).keep(events)
    found = await sums_of(SqlUsageReader(database), UsageFilter(), [by])
    assert found == expected(events, UsageFilter(), [by])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS, wanted=st.lists(st.tuples(_FILTERS, _BY), min_size=1, max_size=6))
async def test_any_filters_over_any_period_by_any_dimensions_give_the_plain_sum(
    database: Database,
    events: list[UsageEvent],
    wanted: list[tuple[UsageFilter, list[Dimension]]],
) -> None:
    await without_usage(database)
    await sink_on(database).keep(events)
    await sink_on(database).keep(events[::2])
    reader = SqlUsageReader(database)
    for one, by in wanted:
        assert await sums_of(reader, one, by) == expected(events, one, by), (one, by)
        listed = [stored.id for stored in await reader.page(one, None, 100)]
        matching = [stored for stored in events if wants(one, stored)]
        matching.sort(key=lambda stored: (stored.time, stored.id), reverse=True)
        assert listed == [stored.id for stored in matching]


async def test_groups_come_with_the_costliest_first_and_no_more_than_asked_for(
    sink: SqlUsageSink, reader: SqlUsageReader
) -> None:
    costs = {"ada": 1, "bob": 3, "eve": 2}
    await sink.keep([event(user_id=user, cost=Decimal(cost)) for user, cost in costs.items()])
    found = await reader.groups(UsageFilter(), [Dimension.USER], limit=2)
    assert [group.values for group in found] == [("bob",), ("eve",)]


async def test_days_and_hours_come_in_their_order(
    sink: SqlUsageSink, reader: SqlUsageReader
) -> None:
    await sink.keep([event(time=at(hours=hours), cost=Decimal(hours)) for hours in (30, 1, 12)])
    days = await reader.groups(UsageFilter(), [Dimension.DAY])
    hours = await reader.groups(UsageFilter(), [Dimension.HOUR])
    assert [group.values[0] for group in days] == ["2026-01-31", "2026-02-01"]
    assert [group.values[0] for group in hours] == [
        "2026-01-31T13:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-02-01T18:00:00.000Z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "by"),
    [
        (UsageFilter(since=at(hours=1), until=at(hours=20)), [Dimension.MODEL, Dimension.DAY]),
        (UsageFilter(model="fast", since=at(hours=1)), [Dimension.HOUR]),
        (UsageFilter(model="fast", since=at(hours=-12)), [Dimension.USER, Dimension.DAY]),
    ],
    ids=["whole hours by one dimension", "hours of a model", "whole days by several"],
)
async def test_the_sums_of_a_dropped_month_are_told_as_before(
    sink: SqlUsageSink,
    reader: SqlUsageReader,
    database: Database,
    wanted: UsageFilter,
    by: list[Dimension],
) -> None:
    events = [event(time=at(minutes=40 * step)) for step in range(50)]
    await sink.keep(events)
    before = await sums_of(reader, wanted, by)
    await UsageUpkeep(database, Months(database), SetClock(), 1).drop_before(Month(2026, 3))
    assert await sums_of(reader, wanted, by) == before != {}
    assert (await reader.groups(UsageFilter(), ()))[0].sums == total(events)
    assert await reader.page(UsageFilter(), None, 10) == []


@pytest.mark.parametrize(
    ("wanted", "by", "field"),
    [
        (UsageFilter(since=at(minutes=30)), Dimension.MODEL, "from"),
        (UsageFilter(since=at(), until=at(hours=5, minutes=1)), Dimension.MODEL, "to"),
        (UsageFilter(user_id="ada", since=at()), Dimension.MODEL, "from"),
        (UsageFilter(user_id="ada", until=at(hours=1)), Dimension.MODEL, "to"),
        (UsageFilter(user_id="ada", model="fast"), Dimension.HOUR, "from"),
    ],
    ids=str,
)
async def test_what_only_dropped_calls_could_tell_is_refused_and_not_guessed(
    sink: SqlUsageSink,
    reader: SqlUsageReader,
    database: Database,
    wanted: UsageFilter,
    by: Dimension,
    field: str,
) -> None:
    await sink.keep([event()])
    await UsageUpkeep(database, Months(database), SetClock(), 1).drop_before(Month(2026, 2))
    with pytest.raises(InvalidInput) as refused:
        await reader.groups(wanted, [by])
    assert [fault.field for fault in refused.value.errors] == [field]


async def test_a_stream_gives_every_event_once_whatever_comes_meanwhile(
    sink: SqlUsageSink, reader: SqlUsageReader
) -> None:
    events = [event(time=at(seconds=step % 900), model=f"m{step % 2}") for step in range(2300)]
    await sink.keep(events)
    wanted = UsageFilter(model="m1")
    seen = []
    async for one in reader.stream(wanted):
        seen.append(one)
        if len(seen) == 1000:
            await sink.keep(renewed([replace(events[0], time=at(hours=1), model="m1")]))
    assert len(seen) == len({one.id for one in seen}) == 1150
    assert seen == sorted(seen, key=lambda one: (one.time, one.id), reverse=True)
