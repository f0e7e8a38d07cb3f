"""What one process learns of a provider, the others know: over a real database."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from typing_extensions import override

from model_service.background import Background, Job
from model_service.db.notices import Notices
from model_service.db.tables import provider_numbers, provider_state_changes, provider_states
from model_service.db.uow import Database
from model_service.gateway.circuit import STREAK
from model_service.gateway.health import Circuit, Circuits
from model_service.health.assembly import ProviderHealth
from model_service.health.domain import ChangeFilter, Standing
from model_service.health.sharing import Sharing
from model_service.health.store import CLOSED_STATES, HISTORY, NUMBERS, TOPIC, SqlHealthStore
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.events import EventType
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, SystemClock
from model_service.providers.condition import Change, Numbers, Place, State
from model_service.providers.faults import FaultKind
from tests.fakes import RecordingAnnouncer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def a_place() -> Place:
    """A place that no other test has."""
    return Place(Provider.OPENAI, "https://api.openai.com", f"model-{secrets.token_hex(6)}")


def changed(place: Place, state: State, seconds: float = 0, **more: Any) -> Change:
    at = NOW.timestamp() + seconds
    return Change(place, state, at, more.pop("since", at), **more)


@dataclass
class Process:
    """A process with circuits of its own; `told` is notified of each notice that it took up."""

    circuits: Circuits
    health: ProviderHealth
    announcer: RecordingAnnouncer
    took: asyncio.Condition = field(default_factory=asyncio.Condition)
    heard: int = 0

    async def on_change(self, _: str | None) -> None:
        async with self.took:
            self.heard += 1
            self.took.notify_all()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.took:
            await self.took.wait_for(check)

    def circuit(self, place: Place) -> Circuit:
        return self.circuits.of(*place)

    def opens(self, place: Place) -> None:
        circuit = self.circuit(place)
        ticket = circuit.allow(0.0)
        for _ in range(STREAK):
            circuit.failed(ticket, FaultKind.UPSTREAM, asyncio.get_running_loop().time(), "broken")
        assert circuit.state is State.OPEN


@asynccontextmanager
async def processes(
    database: Database, url: Secret[str], count: int
) -> AsyncIterator[list["Process"]]:
    """Some processes on one database, with their jobs."""
    made: list[Process] = []
    jobs: list[Job] = []
    for number in range(count):
        circuits, announcer, notices = Circuits(), RecordingAnnouncer(), Notices(url)
        health = ProviderHealth.build(
            database, notices, announcer, circuits, SystemClock(), f"process {number}"
        )
        circuits.subscribe(health.sharing.note)
        process = Process(circuits, health, announcer)
        notices.subscribe(TOPIC, process.on_change)
        made.append(process)
        jobs += [notices, health.sharing]
    background = Background(jobs)
    background.start()
    try:
        for process in made:
            await process.until(lambda process=process: process.heard > 0)  # type: ignore[misc]
        yield made
    finally:
        await background.close()


async def standing(process: Process, place: Place) -> Standing:
    (found,) = [one for one in await process.health.service.standings() if one.place == place]
    return found


async def test_a_circuit_that_opens_in_one_process_is_open_in_the_other(
    database: Database, database_url: Secret[str]
) -> None:
    place = a_place()
    async with processes(database, database_url, 2) as (one, other):
        one.opens(place)
        await other.until(lambda: other.circuit(place).state is State.OPEN)
        assert other.circuit(place).last_error_why == "broken"
        assert (await standing(other, place)).state is State.OPEN


async def test_a_circuit_that_closes_in_one_process_is_closed_in_the_other(
    database: Database, database_url: Secret[str]
) -> None:
    place = a_place()
    async with processes(database, database_url, 2) as (one, other):
        one.opens(place)
        await other.until(lambda: other.circuit(place).state is State.OPEN)
        circuit = one.circuit(place)
        soon = asyncio.get_running_loop().time() + 60
        circuit.probed(circuit.ask(soon), is_alive=True, now=soon)
        await other.until(lambda: other.circuit(place).state is State.CLOSED)
        assert (await standing(one, place)).state is State.CLOSED
        assert (one.announcer.types, other.announcer.types) == (
            [EventType.PROVIDER_DOWN, EventType.PROVIDER_RECOVERED],
            [],
        )


async def test_a_change_that_two_processes_find_at_once_is_announced_once(
    database: Database, database_url: Secret[str]
) -> None:
    place = a_place()
    async with processes(database, database_url, 2) as (one, other):
        one.opens(place)
        other.opens(place)
        # Both are written by then, in whichever order.
        await one.health.sharing.tell_changes()
        await other.health.sharing.tell_changes()
        await one.until(lambda: len(one.announcer.told) + len(other.announcer.told) > 0)
        (told,) = [*one.announcer.told, *other.announcer.told]
    assert told[0] == EventType.PROVIDER_DOWN
    assert {key: told[1][key] for key in ("provider", "endpoint", "model", "error", "why")} == {
        "provider": "OPENAI",
        "endpoint": place.endpoint,
        "model": place.model,
        "error": "upstream_error",
        "why": "broken",
    }


async def test_a_process_that_starts_takes_up_what_is_known(
    database: Database, database_url: Secret[str]
) -> None:
    place = a_place()
    async with processes(database, database_url, 1) as (first,):
        first.opens(place)
        await first.health.sharing.tell_changes()
        async with processes(database, database_url, 1) as (second,):
            await second.until(lambda: second.circuit(place).state is State.OPEN)


async def test_what_nobody_confirms_any_more_is_not_taken_up(database: Database) -> None:
    place = a_place()
    store = SqlHealthStore(database, RecordingAnnouncer())
    await store.record(changed(place, State.OPEN, retry_at=NOW.timestamp()), "gone")
    circuits = Circuits()
    await Sharing(store, circuits, SystemClock(), "new").on_change(None)
    assert circuits.find(*place) is None


async def test_numbers_of_all_processes_are_added_up(
    database: Database, database_url: Secret[str]
) -> None:
    place = a_place()
    async with processes(database, database_url, 2) as (one, other):
        for process, latency in ((one, 0.1), (other, 1.0)):
            circuit = process.circuits.of(*place, "agent-model")
            for _ in range(10):
                circuit.succeeded(circuit.allow(0.0), latency)
        circuit.failed(circuit.allow(0.0), FaultKind.TIMEOUT, 0.0, "silent")
        await other.health.sharing.tell_numbers()
        found = await standing(one, place)
    assert (found.calls, found.names, found.state) == (21, ("agent-model",), State.CLOSED)
    assert found.error_rate == pytest.approx(1 / 21)
    assert found.p50 == pytest.approx(100, rel=0.05)
    assert found.p95 == pytest.approx(1000, rel=0.05)
    assert (found.last_error, found.why) == ("timeout", "silent")


async def test_what_is_older_than_what_is_stored_changes_nothing(database: Database) -> None:
    place, announcer = a_place(), RecordingAnnouncer()
    store = SqlHealthStore(database, announcer)
    assert await store.record(changed(place, State.OPEN, 0), "a")
    assert await store.record(changed(place, State.CLOSED, 10), "b")
    assert not await store.record(changed(place, State.OPEN, 5), "c")
    known = await store.state(place)
    assert known is not None
    assert (known.state, known.since) == (State.CLOSED, NOW + timedelta(seconds=10))
    assert len(announcer.told) == 2


async def test_that_it_stays_open_moves_the_next_turn_alone(database: Database) -> None:
    place, announcer = a_place(), RecordingAnnouncer()
    store = SqlHealthStore(database, announcer)
    start = NOW.timestamp()
    await store.record(changed(place, State.OPEN, 0, retry_at=start + 1), "a")
    later = changed(place, State.OPEN, 2, since=start, retry_at=start + 4, why="still broken")
    assert not await store.record(later, "a")
    known = await store.state(place)
    assert known is not None
    assert (known.since, known.retry_at, known.why) == (
        NOW,
        NOW + timedelta(seconds=4),
        "still broken",
    )
    assert len(await store.changes(ChangeFilter(model=place.model), 10)) == 1
    assert announcer.types == [EventType.PROVIDER_DOWN]


async def test_words_that_cannot_be_stored_are_no_obstacle(database: Database) -> None:
    place = a_place()
    store = SqlHealthStore(database, RecordingAnnouncer())
    await store.record(changed(place, State.OPEN, why="nul \x00 and \ud800"), "a")
    known = await store.state(place)
    assert known is not None
    assert known.why == "nul  and ?"


async def test_old_rows_are_let_go_of(database: Database) -> None:
    place, store = a_place(), SqlHealthStore(database, RecordingAnnouncer())
    await store.record(changed(place, State.OPEN), "a")
    await store.record(changed(place, State.CLOSED, 1), "a")
    await store.keep_numbers([Numbers(place, State.CLOSED, NOW.timestamp(), calls=1)], "a", NOW)

    async def left() -> list[int]:
        tables = (provider_state_changes, provider_states, provider_numbers)
        async with database.single() as connection:
            return [
                len((await connection.execute(select(t).where(t.c.model == place.model))).all())
                for t in tables
            ]

    second = timedelta(seconds=2)
    await store.forget(NOW + NUMBERS - second)
    assert await left() == [2, 1, 1]
    await store.forget(NOW + NUMBERS + second)
    assert await left() == [2, 1, 0]
    await store.forget(NOW + CLOSED_STATES + second)
    assert await left() == [2, 0, 0]
    await store.forget(NOW + HISTORY + second)
    assert await left() == [0, 0, 0]


class AwayStore(SqlHealthStore):
    """A store whose database is away until it is back."""

    away = True

    @override
    async def record(self, change: Change, instance: str) -> bool:
        if self.away:
            raise DatabaseUnavailable
        return await super().record(change, instance)


async def test_what_changed_while_the_database_was_away_is_told_afterwards(
    database: Database,
) -> None:
    place, announcer = a_place(), RecordingAnnouncer()
    store = AwayStore(database, announcer)
    sharing = Sharing(store, Circuits(), SystemClock(), "a")
    first = changed(place, State.OPEN, 0, retry_at=NOW.timestamp() + 1)
    sharing.note(first)
    await sharing.tell_changes()
    sharing.note(replace(first, at=first.at + 1, retry_at=first.at + 3))
    sharing.note(changed(place, State.CLOSED, 5))
    await sharing.tell_changes()
    assert announcer.types == []
    store.away = False
    await sharing.tell_changes()
    assert announcer.types == [EventType.PROVIDER_DOWN, EventType.PROVIDER_RECOVERED]
    down, up = reversed(await store.changes(ChangeFilter(model=place.model), 10))
    assert (down.at, up.at) == (NOW + timedelta(seconds=1), NOW + timedelta(seconds=5))
