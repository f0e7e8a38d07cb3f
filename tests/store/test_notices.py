"""Change notices: every process hears of each commit, and of what it may have missed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest
from sqlalchemy import text

from model_service.background import Background
from model_service.db import notices as module
from model_service.db.embedded import EmbeddedPostgres
from model_service.db.engine import create_engine
from model_service.db.migrate import migrate
from model_service.db.notices import Notices, notify
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.secret import Secret

PATIENCE = 20.0


class Listener:
    """A process that listens to one topic and remembers what it heard."""

    def __init__(self, url: Secret[str], topic: str) -> None:
        self.heard: list[str | None] = []
        self.failing = 0
        self.arrived = asyncio.Condition()
        self.notices = Notices(url)
        self.notices.subscribe(topic, self._on_change)

    async def _on_change(self, subject: str | None) -> None:
        async with self.arrived:
            self.heard.append(subject)
            self.arrived.notify_all()
        if self.failing:
            self.failing -= 1
            raise DatabaseUnavailable

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self.arrived:
            await self.arrived.wait_for(check)


@asynccontextmanager
async def listening(*listeners: Listener) -> AsyncIterator[None]:
    background = Background([listener.notices for listener in listeners])
    background.start()
    try:
        for listener in listeners:
            await listener.until(lambda heard=listener.heard: None in heard)  # type: ignore[misc]
            listener.heard.clear()
        yield
    finally:
        await background.close()


async def change(database: Database, topic: str, *subjects: str) -> None:
    for subject in subjects:
        async with database.transaction() as connection:
            await notify(connection, topic, subject)


async def test_every_process_hears_of_each_change_in_its_order(
    database: Database, database_url: Secret[str]
) -> None:
    listeners = [Listener(database_url, "order") for _ in range(2)]
    async with listening(*listeners):
        await change(database, "order", *(f"{n}:x" for n in range(20)))
        for listener in listeners:
            await listener.until(lambda heard=listener.heard: len(heard) >= 20)  # type: ignore[misc]
            assert listener.heard == [f"{n}:x" for n in range(20)]


async def test_a_change_is_heard_of_well_within_a_second(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "fast")
    async with listening(listener):
        started = time.perf_counter()
        await change(database, "fast", "a")
        await listener.until(lambda: listener.heard == ["a"])
        assert time.perf_counter() - started < 1.0


async def test_what_is_rolled_back_is_not_heard_of(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "rolled-back")
    async with listening(listener):
        with pytest.raises(ZeroDivisionError):
            await _change_and_fail(database)
        await change(database, "rolled-back", "after")
        await listener.until(lambda: bool(listener.heard))
        assert listener.heard == ["after"]


async def _change_and_fail(database: Database) -> None:
    async with database.transaction() as connection:
        await notify(connection, "rolled-back", "never")
        raise ZeroDivisionError


async def test_other_topics_are_not_heard_of(database: Database, database_url: Secret[str]) -> None:
    listener = Listener(database_url, "mine")
    async with listening(listener):
        await change(database, "another", "a")
        await change(database, "mine", "b")
        await listener.until(lambda: bool(listener.heard))
        assert listener.heard == ["b"]


async def test_simultaneous_writers_all_come_through(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "many")
    subjects = [str(number) for number in range(40)]
    async with listening(listener):
        await asyncio.gather(*(change(database, "many", subject) for subject in subjects))
        await listener.until(lambda: len(listener.heard) >= len(subjects) or None in listener.heard)
        assert sorted(s for s in listener.heard if s is not None) == sorted(subjects)


_MODEL = """
    INSERT INTO models (id, name, provider, model_id, max_tokens, supports_streaming, is_active,
        is_default, created_at, updated_at)
    SELECT gen_random_uuid(), :name || n, 'OPENAI', 'm', 1, true, true, false, now(), now()
    FROM generate_series(1, :count) AS n
"""


async def test_a_table_tells_of_one_row_by_its_id_and_of_several_at_once(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "models")
    async with listening(listener):
        async with database.transaction() as connection:
            await connection.execute(text(_MODEL), {"name": "one", "count": 1})
            made = await connection.scalar(text("SELECT id FROM models WHERE name = 'one1'"))
        await listener.until(lambda: listener.heard == [str(made)])
        async with database.transaction() as connection:
            await connection.execute(text(_MODEL), {"name": "many", "count": 1000})
        # One by its id, and then that anything may have changed: two notices, not a thousand.
        await listener.until(lambda: listener.heard[-1] is None)
        assert len(listener.heard) <= 3


async def test_a_lost_notice_is_made_good_by_the_version(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "lost")
    async with listening(listener):
        async with database.transaction() as connection:
            # What a writer does, but for the notice itself.
            await connection.execute(
                text(
                    "INSERT INTO change_versions VALUES ('lost', 1)"
                    " ON CONFLICT (topic) DO UPDATE SET version = change_versions.version + 1"
                )
            )
        await listener.until(lambda: listener.heard == [None])


async def test_a_gap_between_notices_has_everything_looked_at(
    database: Database, database_url: Secret[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(database_url, "gap")
    async with listening(listener):
        monkeypatch.setattr(module, "POLL_INTERVAL", PATIENCE)
        async with database.transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO change_versions VALUES ('gap', 7)"
                    " ON CONFLICT (topic) DO UPDATE SET version = change_versions.version + 7"
                )
            )
            await notify(connection, "gap", "eighth")
        await listener.until(lambda: None in listener.heard)


async def test_a_change_that_could_not_be_taken_up_is_told_again(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "failing")
    async with listening(listener):
        listener.failing = 2
        await change(database, "failing", "a")
        await listener.until(lambda: len(listener.heard) >= 3)
        assert listener.heard == ["a", None, None]


async def test_more_changes_than_can_be_kept_are_taken_up_as_one(
    database: Database, database_url: Secret[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    listener = Listener(database_url, "flood")
    all_arrived = asyncio.Event()

    async def on_end(subject: str | None) -> None:
        if subject is not None:
            all_arrived.set()

    listener.notices.subscribe("end of the flood", on_end)
    async with listening(listener):
        async with listener.arrived:  # nothing can be taken up
            await change(database, "flood", *map(str, range(50)))
            await change(database, "end of the flood", "x")
            await asyncio.wait_for(all_arrived.wait(), PATIENCE)
            assert len(listener.notices._topics["flood"].waiting) <= 3
        await listener.until(lambda: None in listener.heard)
        assert len(listener.heard) < 10


async def cut(database: Database) -> None:
    async with database.single() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'model-service notices'"
                " AND datname = current_database()"
            )
        )


async def test_a_broken_connection_is_missed_before_the_next_poll(
    database: Database, database_url: Secret[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither a poll nor a pause between attempts can help within the listener's patience.
    monkeypatch.setattr(module, "POLL_INTERVAL", 10 * PATIENCE)
    monkeypatch.setattr(module, "RECONNECT_INTERVAL", 0.0)
    listener = Listener(database_url, "missed")
    async with listening(listener):
        await cut(database)
        await change(database, "missed", "a")
        await listener.until(lambda: bool(listener.heard))


async def test_a_broken_connection_is_made_again_and_what_was_missed_is_made_good(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "broken")
    async with listening(listener):
        await cut(database)
        await change(database, "broken", "a")
        await listener.until(lambda: bool(listener.heard))
        await change(database, "broken", "b")
        await listener.until(lambda: "b" in listener.heard or len(listener.heard) > 1)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below pytest's own, which another run may close to the account the server runs as."""
    with TemporaryDirectory(prefix="model-service-tests-") as name:
        yield Path(name)


async def test_notices_survive_a_restart_of_the_database(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    await asyncio.to_thread(server.acquire)
    database = Database(create_engine(server.url))
    listener = Listener(server.url, "restart")
    try:
        await migrate(server.url)
        async with listening(listener):
            await change(database, "restart", "before")
            await listener.until(lambda: listener.heard == ["before"])
            await asyncio.to_thread(
                server._run, "pg_ctl", "stop", "-D", str(server._data), "-m", "immediate", "-w"
            )
            await asyncio.to_thread(server._start_again)
            await _retried(lambda: change(database, "restart", "after"))
            await listener.until(lambda: listener.heard[-1] in (None, "after"))
            await change(database, "restart", "and again")
            await listener.until(lambda: listener.heard[-1] == "and again")
    finally:
        await database.close()
        await asyncio.to_thread(server.release)


async def _retried(work: Callable[[], Awaitable[None]]) -> None:
    """Once the pool has noticed that its connections are gone, the work is done."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await work()
            except DatabaseUnavailable:
                await asyncio.sleep(0.01)


async def test_the_age_grows_while_the_database_is_away() -> None:
    async def unheard(_: str | None) -> None:
        raise AssertionError("nothing can be heard")

    notices = Notices(Secret("postgresql://nobody@127.0.0.1:9/none"))
    notices.subscribe("things", unheard)
    assert notices.age("things") == 0.0, "who never listens is not kept from working"
    job = asyncio.create_task(notices.run())
    await asyncio.sleep(0)
    begun = notices.age("things")
    await asyncio.sleep(0)
    assert notices.age("things") > begun, "it counts also before the first connection"
    notices._topics["things"].confirmed_at = time.monotonic() - 100
    assert notices.age("things") >= 100
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


async def test_a_notice_from_somebody_else_does_no_harm(
    database: Database, database_url: Secret[str]
) -> None:
    listener = Listener(database_url, "foreign")
    async with listening(listener):
        connection = await asyncpg.connect(database_url.reveal())
        for payload in ("", "foreign", "foreign::", "foreign:x:y", "foreign:-1:y", "no:1:z"):
            await connection.execute("SELECT pg_notify('model_service', $1)", payload)
        await connection.close()
        await change(database, "foreign", "a")
        await listener.until(lambda: "a" in listener.heard)
        assert listener.heard == ["a"]
