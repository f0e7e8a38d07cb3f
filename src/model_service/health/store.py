"""States, their history and each process's numbers in PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, and_, any_, delete, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.notices import notify
from model_service.db.tables import provider_numbers, provider_state_changes, provider_states
from model_service.db.uow import Database
from model_service.health.domain import ChangeFilter, KnownState, PastChange
from model_service.http.wire import format_moment
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.types import Provider, uuid7
from model_service.providers.condition import Change, Latencies, Numbers, Place, State

#: The topic of change notices; the subject is the place, as JSON.
TOPIC: Final = "health"
#: How long changes are kept, and states that nothing was told of any more.
HISTORY: Final = timedelta(days=30)
CLOSED_STATES: Final = timedelta(days=7)
OPEN_STATES: Final = timedelta(hours=1)
NUMBERS: Final = timedelta(minutes=10)

_s, _c, _n = provider_states.c, provider_state_changes.c, provider_numbers.c


class SqlHealthStore:
    """`HealthStore` on the tables of health."""

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._db = database
        self._announcer = announcer

    async def record(self, change: Change, instance: str) -> bool:
        """Keep what a process found; whoever comes first makes the change, and announces it."""
        at = _moment(change.at)
        async with self._db.transaction() as connection:
            known = await _locked(connection, change.place, at)
            if known.changed_at > at:
                return False
            is_change: bool = known.state != change.state.value
            new = {
                "names": sorted({*known.names, *change.names}),
                "state": change.state.value,
                "changed_at": at,
                "retry_at": None if change.retry_at is None else _moment(change.retry_at),
                "error": change.error,
                "why": _storable(change.why),
            }
            if is_change:
                new["since"] = _moment(change.since)
            await connection.execute(
                update(provider_states).where(_is(_s, change.place)).values(**new)
            )
            if is_change:
                await self._note(connection, change, new, instance)
            await notify(connection, TOPIC, orjson.dumps(list(change.place)).decode())
        return is_change

    async def states(self) -> Sequence[KnownState]:
        """All states."""
        async with self._db.single() as connection:
            return [_state(row) for row in await connection.execute(select(provider_states))]

    async def state(self, place: Place) -> KnownState | None:
        """One state."""
        query = select(provider_states).where(_is(_s, place))
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _state(row)

    async def changes(self, wanted: ChangeFilter, limit: int) -> Sequence[PastChange]:
        """Changes newest first; their ids are in order of time."""
        conditions: list[ColumnElement[bool]] = []
        if wanted.provider is not None:
            conditions.append(_c.provider == wanted.provider)
        if wanted.model is not None:
            conditions.append(or_(_c.model == wanted.model, any_(_c.names) == wanted.model))
        if wanted.since is not None:
            conditions.append(_c.at >= wanted.since)
        if wanted.until is not None:
            conditions.append(_c.at < wanted.until)
        if wanted.before is not None:
            conditions.append(_c.id < wanted.before)
        query = (
            select(provider_state_changes)
            .where(and_(true(), *conditions))
            .order_by(_c.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_past(row) for row in await connection.execute(query)]

    async def keep_numbers(self, numbers: Sequence[Numbers], instance: str, now: datetime) -> None:
        """Replace the process's rows, in one statement and one order of rows."""
        if not numbers:
            return
        rows = [_numbers_values(one, instance, now) for one in sorted(numbers, key=_by_place)]
        added = insert(provider_numbers)
        kept = added.on_conflict_do_update(
            index_elements=[_n.instance, _n.provider, _n.endpoint, _n.model],
            set_={
                column.name: added.excluded[column.name]
                for column in provider_numbers.columns
                if not column.primary_key
            },
        )
        async with self._db.transaction() as connection:
            await connection.execute(kept, rows)

    async def numbers(self, since: datetime, *, but: str) -> Sequence[Numbers]:
        """What other processes told since then."""
        query = select(provider_numbers).where(_n.updated_at >= since, _n.instance != but)
        async with self._db.single() as connection:
            return [_numbers(row) for row in await connection.execute(query)]

    async def forget(self, now: datetime) -> None:
        """Let go of what is too old."""
        old = or_(
            and_(_s.state == State.CLOSED.value, _s.changed_at < now - CLOSED_STATES),
            # Nobody has asked for it since, or its process is gone and others found nothing.
            and_(_s.state == State.OPEN.value, _s.changed_at < now - OPEN_STATES),
        )
        for statement in (
            delete(provider_state_changes).where(_c.at < now - HISTORY),
            delete(provider_states).where(old),
            delete(provider_numbers).where(_n.updated_at < now - NUMBERS),
        ):
            async with self._db.single() as connection:
                await connection.execute(statement)

    async def _note(
        self, connection: AsyncConnection, change: Change, new: dict[str, Any], instance: str
    ) -> None:
        """Put a change into the history, and announce it."""
        place, at = change.place, _moment(change.at)
        shared = {key: new[key] for key in ("names", "state", "error", "why")}
        await connection.execute(
            insert(provider_state_changes).values(
                id=uuid7(), **place._asdict(), **shared, at=at, instance=instance
            )
        )
        is_down = change.state is not State.CLOSED
        await self._announcer.announce(
            EventType.PROVIDER_DOWN if is_down else EventType.PROVIDER_RECOVERED,
            {
                "provider": place.provider.value,
                "endpoint": place.endpoint,
                "model": place.model,
                "names": new["names"],
                "error": change.error,
                "why": new["why"],
                "at": format_moment(at),
            },
        )


async def _locked(connection: AsyncConnection, place: Place, at: datetime) -> Row[Any]:
    """The state's row, held until the transaction ends; made when there is none yet."""
    await connection.execute(
        insert(provider_states)
        .values(
            **place._asdict(),
            names=[],
            state=State.CLOSED.value,
            since=at,
            changed_at=datetime(1970, 1, 1, tzinfo=UTC),
            why="",
        )
        .on_conflict_do_nothing()
    )
    query = select(provider_states).where(_is(_s, place)).with_for_update()
    return (await connection.execute(query)).one()


def _is(columns: Any, place: Place) -> ColumnElement[bool]:  # noqa: ANN401 - any table's columns
    return and_(
        columns.provider == place.provider.value,
        columns.endpoint == place.endpoint,
        columns.model == place.model,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def _storable(words: str) -> str:
    """Words as PostgreSQL can keep them: a provider may say anything."""
    return words.replace("\x00", "").encode("utf-8", "replace").decode()


def _by_place(numbers: Numbers) -> Place:
    return numbers.place


def _place(row: Row[Any]) -> Place:
    return Place(Provider(row.provider), row.endpoint, row.model)


def _state(row: Row[Any]) -> KnownState:
    return KnownState(
        place=_place(row),
        names=tuple(row.names),
        state=State(row.state),
        since=row.since,
        changed_at=row.changed_at,
        retry_at=row.retry_at,
        error=row.error,
        why=row.why,
    )


def _past(row: Row[Any]) -> PastChange:
    return PastChange(
        id=row.id,
        place=_place(row),
        names=tuple(row.names),
        state=State(row.state),
        at=row.at,
        error=row.error,
        why=row.why,
        instance=row.instance,
    )


def _numbers_values(numbers: Numbers, instance: str, now: datetime) -> dict[str, Any]:
    at = numbers.last_error_at
    return {
        "instance": instance,
        **numbers.place._asdict(),
        "names": list(numbers.names),
        "state": numbers.state.value,
        "since": _moment(numbers.since),
        "calls": numbers.calls,
        "failures": numbers.failures,
        "latencies": _written(numbers.latencies),
        "first_tokens": _written(numbers.first_tokens),
        "last_error": numbers.last_error,
        "last_error_why": _storable(numbers.last_error_why),
        "last_error_at": None if at is None else _moment(at),
        "updated_at": now,
    }


def _numbers(row: Row[Any]) -> Numbers:
    return Numbers(
        _place(row),
        State(row.state),
        row.since.timestamp(),
        tuple(row.names),
        row.calls,
        row.failures,
        _read(row.latencies),
        _read(row.first_tokens),
        row.last_error,
        row.last_error_why,
        None if row.last_error_at is None else row.last_error_at.timestamp(),
    )


def _written(latencies: Latencies) -> dict[str, int]:
    return {str(bucket): count for bucket, count in latencies.items()}


def _read(latencies: dict[str, int]) -> Latencies:
    return {int(bucket): count for bucket, count in latencies.items()}
