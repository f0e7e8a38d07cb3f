"""Kept events, told again: pages, streams, those of one request, sums."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Text,
    and_,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.tables import usage_daily, usage_events, usage_hourly
from model_service.db.uow import Database
from model_service.usage import summing
from model_service.usage.domain import Dimension, EventPosition, Group, UsageEvent, UsageFilter
from model_service.usage.periods import Grain
from model_service.usage.rollup import Code

_e = usage_events.c
_HOUR: Final = timedelta(hours=1)
#: Events read at a time by a stream: few, since between them this process serves calls.
BATCH: Final = 250
#: Most events shown of one request.
MOST_OF_REQUEST: Final = 100
# By how much more is looked at each time that hours have fewer matches than they have events.
_GROWTH: Final = 4


class SqlUsageReader:
    """`UsageReader` on the tables of usage."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def groups(
        self, wanted: UsageFilter, by: Sequence[Dimension], *, limit: int | None = None
    ) -> Sequence[Group]:
        """Exact sums, from the smallest table that knows."""
        return await summing.groups(self._db, wanted, by, limit)

    async def page(
        self, wanted: UsageFilter, before: EventPosition | None, limit: int
    ) -> Sequence[UsageEvent]:
        """Events, newest first.

        All of them, and those of a user, are in order in an index. For others the sums say in
        which hours there are any, so that not the whole table is looked through for a few.
        """
        guides = _guides(wanted)
        async with self._db.transaction() as connection:
            if wanted.user_id is not None or not guides:
                return await _read(connection, wanted, before, limit)
            guide = await _rarest(connection, guides, wanted)
            return await _guided(connection, guide, wanted, before, limit)

    async def stream(self, wanted: UsageFilter) -> AsyncIterator[UsageEvent]:
        """All events, a batch at a time."""
        before: EventPosition | None = None
        while True:
            batch = await self.page(wanted, before, BATCH)
            for event in batch:
                yield event
            if len(batch) < BATCH:
                return
            before = EventPosition(batch[-1].time, batch[-1].id)

    async def of_request(self, request_id: str, user_id: str | None) -> Sequence[UsageEvent]:
        """The events of one request, newest first."""
        query = (
            select(usage_events)
            .where(_e.request_id == request_id, _equal(_e.user_id, user_id))
            .order_by(_e.time.desc(), _e.id.desc())
            .limit(MOST_OF_REQUEST)
        )
        async with self._db.single() as connection:
            return [_event(row) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class _Guide:
    """A value whose sums by the hour say where to look."""

    code: Code
    value: str


def _guides(wanted: UsageFilter) -> list[_Guide]:
    given = {
        Code.KEY: wanted.key_id,
        Code.TOKEN: wanted.token_id,
        Code.TAG: wanted.tag,
        Code.MODEL: wanted.model,
        Code.PROVIDER: wanted.provider,
        Code.STATUS: wanted.status,
    }
    return [_Guide(code, str(value)) for code, value in given.items() if value is not None]


async def _rarest(
    connection: AsyncConnection, guides: Sequence[_Guide], wanted: UsageFilter
) -> _Guide:
    """The one with the fewest calls on the days asked for."""
    if len(guides) == 1:
        return guides[0]
    day = usage_daily.c
    counts = []
    for guide in guides:
        query = select(func.coalesce(func.sum(day.requests), 0)).where(
            day.dimension == guide.code.value,
            day.value == guide.value,
            day.period > wanted.since - timedelta(days=1) if wanted.since else text("true"),
            day.period < wanted.until if wanted.until else text("true"),
        )
        counts.append((await connection.execute(query)).scalar_one())
    return guides[counts.index(min(counts))]


async def _guided(
    connection: AsyncConnection,
    guide: _Guide,
    wanted: UsageFilter,
    before: EventPosition | None,
    limit: int,
) -> list[UsageEvent]:
    found: list[UsageEvent] = []
    goal, last = limit, None
    while len(found) < limit:
        hours = await _hours(connection, guide, wanted, before, last, goal)
        if not hours:
            break
        found += await _read(connection, wanted, before, limit - len(found), hours)
        last, goal = hours[-1], goal * _GROWTH
    return found


async def _hours(
    connection: AsyncConnection,
    guide: _Guide,
    wanted: UsageFilter,
    position: EventPosition | None,
    last: datetime | None,
    goal: int,
) -> list[datetime]:
    """The next hours, newest first, that have about as many calls of that value as are wanted."""
    h = usage_hourly.c
    conditions = [h.dimension == guide.code.value, h.value == guide.value]
    if last is not None:
        conditions.append(h.period < last)
    if position is not None:
        conditions.append(h.period <= position.time)
    if wanted.until is not None:
        conditions.append(h.period < wanted.until)
    if wanted.since is not None:
        conditions.append(h.period >= Grain.HOURLY.floor(wanted.since))
    query = (
        select(h.period, h.requests).where(*conditions).order_by(h.period.desc()).limit(goal + 1)
    )
    hours: list[datetime] = []
    calls = 0
    for row in await connection.execute(query):
        hours.append(row.period)
        calls += row.requests
        if calls >= goal:
            break
    return hours


async def _read(
    connection: AsyncConnection,
    wanted: UsageFilter,
    before: EventPosition | None,
    limit: int,
    hours: Sequence[datetime] | None = None,
) -> list[UsageEvent]:
    source: Any = usage_events
    conditions = [_matching(wanted)]
    if before is not None:
        conditions += [_e.time <= before.time, tuple_(_e.time, _e.id) < (before.time, before.id)]
    if hours is not None:
        hour = func.unnest(_moments(hours)).table_valued("hour").render_derived(name="hours")
        within = and_(_e.time >= hour.c.hour, _e.time < hour.c.hour + _HOUR)
        source = usage_events.join(hour, within)
        conditions += [_e.time >= hours[-1], _e.time < hours[0] + _HOUR]
    query = (
        select(usage_events)
        .select_from(source)
        .where(*conditions)
        .order_by(_e.time.desc(), _e.id.desc())
        .limit(limit)
    )
    return [_event(row) for row in await connection.execute(query)]


def _moments(hours: Sequence[datetime]) -> Any:  # noqa: ANN401 - an array of a column's type
    return bindparam("hours", list(hours), type_=ARRAY(_e.time.type))


def _matching(wanted: UsageFilter) -> ColumnElement[bool]:
    conditions = [
        _equal(_e.user_id, wanted.user_id),
        _equal(_e.model, wanted.model),
        _equal(_e.provider, wanted.provider),
        _equal(_e.key_id, wanted.key_id),
        _equal(_e.token_id, wanted.token_id),
        _equal(_e.status, wanted.status),
    ]
    if wanted.tag is not None:
        conditions.append(literal(wanted.tag, Text) == any_(_e.tags))
    if wanted.since is not None:
        conditions.append(_e.time >= wanted.since)
    if wanted.until is not None:
        conditions.append(_e.time < wanted.until)
    return and_(*conditions)


def _equal(column: Any, value: object) -> Any:  # noqa: ANN401 - any column
    return text("true") if value is None else column == value


def _event(row: Row[Any]) -> UsageEvent:
    return UsageEvent(**row._asdict() | {"tags": tuple(row.tags or ())})
