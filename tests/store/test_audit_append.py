"""Appending: whole or not at all, durable on return, one after the other, and never in vain."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from model_service.audit import chain
from model_service.audit import trail as module
from model_service.audit.domain import ANSWER_SECONDS, GENESIS
from model_service.audit.trail import MAX_BATCH, MAX_TEXT
from model_service.db.engine import create_engine
from model_service.db.tables import audit_head
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.caller import Caller, set_caller
from model_service.kernel.errors import AuditUnavailable, DatabaseUnavailable
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from tests.audit_trails import CHAIN_KEY, Bench, empty_trail, make_bench

EVENT = AuditEvent(type="key.reveal", subject="key:1")
#: Seconds on top of what an answer may take, on a busy machine.
SLACK = 2.0


@pytest_asyncio.fixture
async def bench(database: Database) -> Bench:
    await empty_trail(database)
    return make_bench(database)


@pytest_asyncio.fixture
async def intruder(database_url: Secret[str]) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's connection to the same database."""
    connection = await asyncpg.connect(database_url.reveal())
    yield connection
    await connection.close()


async def chained(bench: Bench) -> int:
    """How many records there are, each of which follows the one before it."""
    head = GENESIS
    for record in await bench.records():
        head = chain.follow(CHAIN_KEY, head, record)
    return head.seq


async def test_a_record_says_what_happened_and_who_did_it(bench: Bench) -> None:
    caller = Caller("service:7", "user-1", "request-1", "10.0.0.9")
    await bench.trail.record(
        AuditEvent(
            type="key.create", subject="key:1", ciphertext_sha256="ab", term=3, caller=caller
        )
    )
    (record,) = await bench.records()
    entry = record.entry
    assert (entry.type, entry.phase, entry.decision) == ("key.create", "result", "allow")
    assert (entry.actor, entry.on_behalf_of) == ("service:7", "user-1")
    assert (entry.request_id, entry.client_address) == ("request-1", "10.0.0.9")
    assert (entry.subject, entry.ciphertext_sha256, entry.term) == ("key:1", "ab", 3)
    assert (entry.time, entry.instance) == (bench.clock.moment, "test-host:1")


async def test_the_caller_is_the_one_of_the_task_that_records(bench: Bench) -> None:
    async def act(name: str) -> None:
        set_caller(Caller(name))
        await bench.trail.record(EVENT)

    await asyncio.gather(*(act(f"user:{n}") for n in range(5)))
    actors = [record.entry.actor for record in await bench.records()]
    assert sorted(actors) == [f"user:{n}" for n in range(5)]


async def test_a_record_outside_of_a_transaction_is_durable_on_return(
    bench: Bench, intruder: asyncpg.Connection
) -> None:
    await bench.trail.record(EVENT, EVENT)
    assert await intruder.fetchval("SELECT count(*) FROM audit_records") == 2
    assert await chained(bench) == 2


async def test_no_event_makes_no_record(bench: Bench) -> None:
    await bench.trail.record()
    assert await bench.count() == 0


async def test_inside_a_transaction_records_come_with_its_commit(
    bench: Bench, intruder: asyncpg.Connection
) -> None:
    async with bench.database.transaction():
        await bench.trail.record(EVENT)
        async with bench.database.transaction():
            await bench.trail.record(EVENT)
        # Nobody is kept from appending by what is not at its end yet.
        await intruder.execute("SELECT FROM audit_head FOR UPDATE NOWAIT")
        assert await intruder.fetchval("SELECT count(*) FROM audit_records") == 0
    assert await chained(bench) == 2


async def test_what_is_rolled_back_leaves_no_record(bench: Bench) -> None:
    async def change_one_s_mind() -> None:
        async with bench.database.transaction():
            await bench.trail.record(EVENT)
            raise KeyError

    with pytest.raises(KeyError):
        await change_one_s_mind()
    assert await bench.count() == 0
    await bench.trail.record(EVENT)
    assert await chained(bench) == 1


async def test_records_made_at_once_share_commits_and_each_is_made_once(bench: Bench) -> None:
    await asyncio.gather(*(bench.trail.record(EVENT) for _ in range(700)))
    assert await chained(bench) == 700


async def test_one_who_does_not_wait_any_more_does_not_stop_the_others(bench: Bench) -> None:
    impatient = asyncio.create_task(bench.trail.record(EVENT))
    patient = asyncio.create_task(bench.trail.record(EVENT))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    await bench.trail.close()
    assert await chained(bench) in (1, 2)


async def test_processes_that_append_at_once_make_one_chain(
    bench: Bench, database_url: Secret[str]
) -> None:
    async with AsyncExitStack() as stack:
        benches = []
        for _ in range(4):
            database = Database(create_engine(database_url, pool_size=3))
            stack.push_async_callback(database.close)
            benches.append(make_bench(database))

        async def append(other: Bench, inside: bool) -> None:
            for _ in range(15):
                if inside:
                    await other.write(3)
                else:
                    await other.trail.record(EVENT, EVENT)

        await asyncio.gather(
            *(append(other, inside) for other in benches for inside in (True, False))
        )
    assert await chained(bench) == 4 * 15 * 5


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("with\0nul", "with\ufffdnul"),
        ("lone\ud800surrogate", "lone?surrogate"),
        ("é" * 600, "é" * MAX_TEXT),
        ('quote" back\\slash \x01\x1f\x7f \u2028 😀', 'quote" back\\slash \x01\x1f\x7f \u2028 😀'),
    ],
)
async def test_no_text_keeps_others_from_being_recorded(
    bench: Bench, text: str, stored: str
) -> None:
    caller = Caller(text, text, text)
    event = AuditEvent(type="auth.failure", subject=text, reason=text, caller=caller)
    await asyncio.gather(bench.trail.record(event), bench.trail.record(EVENT))
    entries = [record.entry for record in await bench.records()]
    (found,) = [entry for entry in entries if entry.type == "auth.failure"]
    texts = {found.actor, found.on_behalf_of, found.request_id, found.subject, found.reason}
    assert texts == {stored}
    assert await chained(bench) == 2


async def test_what_looks_like_a_credential_is_not_written_down(database: Database) -> None:
    await empty_trail(database)
    bench = make_bench(database, redact=lambda text: text.replace("sk-leak", "[redacted]"))
    caller = Caller("user:sk-leak", "sk-leak", "sk-leak")
    await bench.trail.record(
        AuditEvent(type="x.y", subject="user:sk-leak", reason="sk-leak", caller=caller)
    )
    (record,) = await bench.records()
    assert "sk-leak" not in chain.line(record).decode()


async def test_what_this_service_named_itself_is_written_down_as_it_is(database: Database) -> None:
    await empty_trail(database)
    bench = make_bench(database, redact=lambda _: "[redacted]")
    ours = f"key:{uuid7()}"
    version_4, request_id = str(uuid4()), str(uuid7())
    for subject, asked in (
        (ours, request_id),
        (f"{ours}0", version_4),
        (f"user:{uuid7()}", f"{request_id}0"),
        (f"Key:{uuid7()}", request_id.upper()),
    ):
        event = AuditEvent(type="x.y", subject=subject, caller=Caller("system", None, asked))
        await bench.trail.record(event)
    entries = [record.entry for record in await bench.records()]
    assert [entry.subject for entry in entries] == [ours, *["[redacted]"] * 3]
    assert [entry.request_id for entry in entries] == [request_id, *["[redacted]"] * 3]


async def test_a_batch_is_bounded_but_takes_in_whole_what_one_caller_records(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 3)
    joined: list[int] = []
    join = bench.trail._join

    def counted(records: list[module.Pending]) -> bool:
        is_inside = join(records)
        if is_inside:
            joined.append(len(records))
        return is_inside

    monkeypatch.setattr(bench.trail, "_join", counted)
    sizes = [1, 1, 1, 1, 1, 5, 1]
    await asyncio.gather(*(bench.trail.record(*[EVENT] * size) for size in sizes))
    assert joined == [3, 7, 1]
    assert await chained(bench) == 11


async def test_closing_waits_for_what_is_under_way(bench: Bench) -> None:
    await bench.trail.close()
    recording = asyncio.create_task(bench.trail.record(EVENT))
    await asyncio.sleep(0)
    await bench.trail.close()
    assert await bench.count() == 1
    await recording
    await bench.trail.close()


_PLPGSQL = "RETURNS trigger LANGUAGE plpgsql AS"

#: How somebody makes the trail unwritable, and how it is mended again.
BREAKS = {
    "table renamed": (
        ["ALTER TABLE audit_records RENAME TO hidden"],
        ["ALTER TABLE hidden RENAME TO audit_records"],
    ),
    "inserts refused": (
        [
            f"CREATE FUNCTION refuse() {_PLPGSQL} 'BEGIN RAISE insufficient_privilege; END'",
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_records EXECUTE FUNCTION refuse()",
        ],
        ["DROP FUNCTION refuse CASCADE"],
    ),
    "head gone": (
        ["CREATE TABLE kept AS TABLE audit_head", "DELETE FROM audit_head"],
        ["INSERT INTO audit_head TABLE kept", "DROP TABLE kept"],
    ),
    "records locked": (["BEGIN", "LOCK TABLE audit_records"], ["ROLLBACK"]),
    "head locked": (["BEGIN", "LOCK TABLE audit_head"], ["ROLLBACK"]),
    "head row held": (["BEGIN", "SELECT FROM audit_head FOR UPDATE"], ["ROLLBACK"]),
    "commits hang": (
        [
            f"CREATE FUNCTION linger() {_PLPGSQL} 'BEGIN PERFORM pg_sleep(60); END'",
            (
                "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON audit_records"
                " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()"
            ),
        ],
        ["DROP FUNCTION linger CASCADE"],
    ),
}
UNWRITABLE = ["table renamed", "inserts refused", "head gone"]
HANGING = ["records locked", "head locked", "head row held", "commits hang"]


@asynccontextmanager
async def broken(intruder: asyncpg.Connection, how: str) -> AsyncIterator[None]:
    """The trail cannot be written while the block runs."""
    breaks, mends = BREAKS[how]
    for statement in breaks:
        await intruder.execute(statement)
    try:
        yield
    finally:
        for statement in mends:
            await intruder.execute(statement)


@pytest.mark.parametrize("how", UNWRITABLE + HANGING)
async def test_what_cannot_be_recorded_does_not_happen_and_later_does(
    bench: Bench, intruder: asyncpg.Connection, how: str
) -> None:
    await bench.trail.record(EVENT)
    await intruder.execute("CREATE TABLE IF NOT EXISTS things (n integer)")
    await intruder.execute("TRUNCATE things")

    async def inside() -> None:
        async with bench.database.transaction() as connection:
            await connection.exec_driver_sql("INSERT INTO things VALUES (1)")
            await bench.trail.record(EVENT)

    async with broken(intruder, how):
        started = time.monotonic()
        answers = await asyncio.gather(inside(), bench.trail.record(EVENT), return_exceptions=True)
        assert time.monotonic() - started < ANSWER_SECONDS + SLACK
        assert [type(answer) for answer in answers] == [AuditUnavailable, AuditUnavailable]
    assert await intruder.fetchval("SELECT count(*) FROM things") == 0
    assert await bench.count() == 1
    await inside()
    await bench.trail.record(EVENT)
    assert await chained(bench) == 3
    await intruder.execute("DROP TABLE things")


async def test_why_nothing_can_be_recorded_is_told_to_all_at_once(
    bench: Bench, intruder: asyncpg.Connection
) -> None:
    async with broken(intruder, "inserts refused"):
        answers = await asyncio.gather(
            *(bench.trail.record(EVENT) for _ in range(MAX_BATCH + 1)), return_exceptions=True
        )
        assert len(answers) == MAX_BATCH + 1
        for answer in answers:
            # Not that it took too long, which is what they would find out by themselves.
            assert isinstance(answer, AuditUnavailable)
            assert isinstance(answer.__cause__, AuditUnavailable)


@pytest.mark.parametrize("how", ["table renamed", "head gone", "records locked"])
async def test_readiness_shows_that_the_trail_cannot_be_written(
    bench: Bench, intruder: asyncpg.Connection, how: str
) -> None:
    await bench.trail.check()
    async with broken(intruder, how):
        with pytest.raises(AuditUnavailable):
            await bench.trail.check()
    await bench.trail.check()
    assert await bench.count() == 0, "asking leaves no record"


async def test_who_waits_while_the_trail_hangs_is_not_kept_waiting_twice(
    bench: Bench, intruder: asyncpg.Connection
) -> None:
    async with broken(intruder, "records locked"):
        started = time.monotonic()
        answers = await asyncio.gather(
            *(bench.trail.record(EVENT) for _ in range(1000)), return_exceptions=True
        )
        assert time.monotonic() - started < ANSWER_SECONDS + SLACK
    assert {type(answer) for answer in answers} == {AuditUnavailable}
    assert await bench.count() == 0


async def test_without_a_database_nothing_can_be_recorded() -> None:
    bench = make_bench(Database(create_engine(Secret("postgresql://127.0.0.1:1/none"))))
    with pytest.raises(AuditUnavailable):
        await bench.trail.record(EVENT)
    with pytest.raises(AuditUnavailable):
        await bench.trail.check()
    with pytest.raises(DatabaseUnavailable):
        await bench.write(1)


async def test_there_is_one_head(bench: Bench) -> None:
    for single in (True, False):
        row = insert(audit_head).values(single=single, seq=0, hash=GENESIS.hash)
        async with bench.database.single() as connection:
            with pytest.raises(IntegrityError):
                await connection.execute(row)
