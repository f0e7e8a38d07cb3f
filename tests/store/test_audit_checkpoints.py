"""Checkpoints: when they are signed, by whom, and what is never signed but told."""

import asyncio
from dataclasses import replace

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_service.audit import checkpoints, seals
from model_service.audit.checkpoints import PERIOD, REPORT_SECONDS, Checkpointer
from model_service.audit.domain import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS, Checkpoint
from model_service.audit.signing import AuditKeys
from model_service.db.locks import Lock
from model_service.db.uow import Database
from model_service.kernel.errors import AuditBroken, AuditUnavailable, DatabaseUnavailable
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, Bench, empty_trail, make_bench
from tests.locks import after, apart
from tests.pauses import Pauses, stopped

KEYS = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY)


async def kept(bench: Bench) -> list[Checkpoint]:
    async with bench.database.transaction() as connection:
        return [
            signed.checkpoint
            for signed in await seals.checkpoints(connection, KEYS, after=0, limit=100)
        ]


@pytest_asyncio.fixture
async def fresh(database: Database) -> Bench:
    await empty_trail(database)
    return make_bench(database)


async def test_a_checkpoint_is_due_at_a_thousand_records(fresh: Bench) -> None:
    step = fresh.ledger.checkpointer.step
    assert not await step(), "there is nothing yet"
    await fresh.write(CHECKPOINT_RECORDS - 1)
    assert not await step()
    assert await kept(fresh) == []
    await fresh.write(CHECKPOINT_RECORDS + 2)
    assert await step()
    assert await step()
    assert not await step()
    assert [c.seq for c in await kept(fresh)] == [CHECKPOINT_RECORDS, 2 * CHECKPOINT_RECORDS]
    assert (await fresh.ledger.verify()).signed_seq == 2 * CHECKPOINT_RECORDS


async def test_a_checkpoint_is_due_after_an_hour(fresh: Bench) -> None:
    await fresh.write(3)
    fresh.clock.advance(CHECKPOINT_SECONDS - 1)
    await fresh.write(1)
    await fresh.ledger.checkpointer.step()
    assert await kept(fresh) == []
    fresh.clock.advance(1)
    await fresh.ledger.checkpointer.step()
    (checkpoint,) = await kept(fresh)
    assert (checkpoint.first_seq, checkpoint.seq) == (1, 4)
    assert checkpoint.time == fresh.clock.moment
    assert (fresh.clock.moment - checkpoint.last_time).total_seconds() == 1
    fresh.clock.advance(CHECKPOINT_SECONDS)
    await fresh.ledger.checkpointer.step()
    assert len(await kept(fresh)) == 1, "nothing was recorded since"


async def test_processes_that_sign_at_once_sign_each_record_once(fresh: Bench) -> None:
    await fresh.write(2 * CHECKPOINT_RECORDS)
    others = [
        Checkpointer(fresh.database, KEYS, fresh.trail, fresh.announcer, fresh.clock)
        for _ in range(4)
    ]
    await asyncio.gather(*(other.step() for other in others))
    await asyncio.gather(*(other.cover() for other in others))
    found = await kept(fresh)
    assert [(c.first_seq, c.seq) for c in found] == [(1, 1000), (1001, 2000)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET actor = 'nobody' WHERE seq = 7",
        "DELETE FROM audit_records WHERE seq = 7",
    ],
)
async def test_what_was_altered_is_reported_once_and_never_signed(
    fresh: Bench, statement: str
) -> None:
    await fresh.write(CHECKPOINT_RECORDS)
    await fresh.execute(statement)
    for _ in range(3):
        assert not await fresh.ledger.checkpointer.step()
    assert await kept(fresh) == []
    ((type_, data),) = fresh.announcer.told
    assert (type_, data["seq"]) == ("audit.integrity_failure", 7)
    *_, last = await fresh.records()
    assert (last.entry.type, last.entry.subject) == ("integrity.failure", "audit:7")
    assert last.seq == CHECKPOINT_RECORDS + 1
    with pytest.raises(AuditBroken):
        await fresh.ledger.checkpointer.cover()


async def test_a_forged_checkpoint_is_not_built_upon(fresh: Bench) -> None:
    await fresh.write(3)
    await fresh.ledger.checkpointer.cover()
    (checkpoint,) = await kept(fresh)
    stranger = AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate())
    async with fresh.database.transaction() as connection:
        await seals.add(connection, stranger, replace(checkpoint, first_seq=4, seq=9))
    with pytest.raises(AuditBroken, match="not signed"):
        await fresh.ledger.checkpointer.cover()


async def test_the_job_signs_all_that_is_due_and_then_pauses(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, checkpoints)
    await fresh.write(2 * CHECKPOINT_RECORDS)
    job = asyncio.create_task(fresh.ledger.checkpointer.run())
    await pauses.begun()
    assert len(await kept(fresh)) == 2
    await fresh.write(CHECKPOINT_RECORDS)
    await pauses.over()
    assert len(await kept(fresh)) == 3
    assert pauses.taken == [PERIOD] * 2
    await stopped(job)


async def test_the_job_goes_on_after_the_database_was_away(
    fresh: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, checkpoints)
    await fresh.write(CHECKPOINT_RECORDS)
    transaction = fresh.database.transaction

    def gone() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(fresh.database, "transaction", gone)
    job = asyncio.create_task(fresh.ledger.checkpointer.run())
    await pauses.begun()
    monkeypatch.setattr(fresh.database, "transaction", transaction)
    await pauses.over()
    assert len(await kept(fresh)) == 1
    await stopped(job)


async def test_one_record_alone_is_covered_after_an_hour(fresh: Bench) -> None:
    for seq in (1, 2):
        await fresh.write(1)
        fresh.clock.advance(CHECKPOINT_SECONDS - 0.001)
        assert not await fresh.ledger.checkpointer.step()
        assert len(await kept(fresh)) == seq - 1
        fresh.clock.advance(0.001)
        await fresh.ledger.checkpointer.step()
        assert [c.seq for c in await kept(fresh)][-1] == seq


async def test_what_is_to_be_covered_now_is_covered_up_to_the_end(fresh: Bench) -> None:
    await fresh.write(CHECKPOINT_RECORDS + 1)
    assert await fresh.ledger.checkpointer.cover() == CHECKPOINT_RECORDS + 1
    assert [(c.first_seq, c.seq) for c in await kept(fresh)] == [
        (1, CHECKPOINT_RECORDS),
        (CHECKPOINT_RECORDS + 1, CHECKPOINT_RECORDS + 1),
    ]
    assert await fresh.ledger.checkpointer.cover() == CHECKPOINT_RECORDS + 1
    assert len(await kept(fresh)) == 2


async def test_while_one_process_signs_the_others_do_not_and_who_must_waits(fresh: Bench) -> None:
    await fresh.write(CHECKPOINT_RECORDS)
    async with fresh.database.transaction() as connection:
        await seals.take_turn(connection)
        async with asyncio.timeout(20):
            assert not await apart(fresh.ledger.checkpointer.step())
    assert await kept(fresh) == []
    covered = fresh.ledger.checkpointer.cover()
    assert await after(fresh.database, Lock.AUDIT_SIGNING, covered) == CHECKPOINT_RECORDS


async def test_a_missing_end_is_reported_where_it_begins(fresh: Bench) -> None:
    await fresh.write(CHECKPOINT_RECORDS)
    await fresh.execute("DELETE FROM audit_records WHERE seq >= 998")
    assert not await fresh.ledger.checkpointer.step()
    ((_, data),) = fresh.announcer.told
    assert data == {"seq": 998, "message": "audit record 998: the record is missing"}
    assert await kept(fresh) == []


async def test_that_nothing_says_where_the_trail_ends_is_reported(fresh: Bench) -> None:
    await fresh.write(1)
    await fresh.execute("DELETE FROM audit_head")
    with pytest.raises(AuditBroken, match="nothing says where the trail ends") as broken:
        await fresh.ledger.checkpointer.cover()
    assert broken.value.seq == 0


async def test_a_finding_is_told_by_one_process_at_a_time(fresh: Bench) -> None:
    broken = AuditBroken(7, "the record is missing")
    await after(fresh.database, Lock.AUDIT_SIGNING, fresh.ledger.checkpointer.report(broken))
    assert len(fresh.announcer.told) == 1


async def test_a_process_that_goes_on_tells_each_finding_once_a_day(fresh: Bench) -> None:
    checkpointer = fresh.ledger.checkpointer
    broken, other = (AuditBroken(seq, "the record is missing") for seq in (7, 9))

    async def told(finding: AuditBroken = broken) -> int:
        await checkpointer.report(finding)
        return len(fresh.announcer.told)

    assert (await told(), await told()) == (1, 1)
    # What it remembers by itself asks nobody.
    await fresh.execute("DELETE FROM audit_records")
    fresh.clock.advance(REPORT_SECONDS)
    assert await told() == 1
    fresh.clock.advance(0.001)
    assert (await told(), await told()) == (2, 2)
    assert (await told(other), await told(other)) == (3, 3)


async def test_what_another_process_told_of_is_told_again_a_day_after_that(fresh: Bench) -> None:
    other = make_bench(fresh.database, announcer=fresh.announcer)
    broken = AuditBroken(7, "the record is missing")
    await other.ledger.checkpointer.report(broken)
    fresh.clock.advance(REPORT_SECONDS / 2)
    await fresh.ledger.checkpointer.report(broken)
    assert len(fresh.announcer.told) == 1
    fresh.clock.advance(REPORT_SECONDS / 2 + 0.001)
    await fresh.ledger.checkpointer.report(broken)
    assert len(fresh.announcer.told) == 2


async def test_what_verifying_finds_is_told_and_recorded_once(fresh: Bench) -> None:
    await fresh.write(20)
    await fresh.ledger.checkpointer.cover()
    await fresh.execute("UPDATE audit_records SET actor = 'nobody' WHERE seq = 7")
    for _ in range(2):
        # Each time as another process, which remembers nothing.
        ledger = make_bench(fresh.database, announcer=fresh.announcer).ledger
        with pytest.raises(AuditBroken):
            await ledger.verify()
    assert fresh.announcer.types == ["audit.integrity_failure"]
    *_, last = await fresh.records()
    assert (last.entry.type, last.entry.subject, last.seq) == ("integrity.failure", "audit:7", 21)


async def test_it_is_told_also_where_it_cannot_be_recorded(fresh: Bench) -> None:
    await fresh.write(5)
    await fresh.execute("DELETE FROM audit_head")
    with pytest.raises(AuditUnavailable):
        await fresh.ledger.checkpointer.step()
    assert fresh.announcer.types == ["audit.integrity_failure"]


async def test_a_finding_that_was_put_into_the_trail_does_not_silence_the_alarm(
    fresh: Bench,
) -> None:
    await fresh.write(20)
    await fresh.ledger.checkpointer.cover()
    reason = "audit record 7: the record is not the one that was written"
    await fresh.execute("UPDATE audit_records SET actor = 'nobody' WHERE seq = 7")
    await fresh.execute(
        "UPDATE audit_records SET type = 'integrity.failure', subject = 'audit:7',"
        " reason = :reason WHERE seq = 12",
        reason=reason,
    )
    with pytest.raises(AuditBroken):
        await fresh.ledger.verify()
    assert fresh.announcer.types == ["audit.integrity_failure"]
    assert fresh.announcer.told[0][1] == {"seq": 7, "message": reason}


async def test_what_is_still_wrong_is_told_again_the_next_day(fresh: Bench) -> None:
    await fresh.write(20)
    await fresh.execute("UPDATE audit_records SET actor = 'nobody' WHERE seq = 7")
    for _ in range(2):
        later = make_bench(fresh.database, announcer=fresh.announcer)
        later.clock.advance(0 if not fresh.announcer.told else REPORT_SECONDS + 1)
        with pytest.raises(AuditBroken):
            await later.ledger.verify()
    assert len(fresh.announcer.told) == 2
