"""Removing what an export holds: nothing else goes, and nothing altered is made good by it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from model_service.audit import prune as pruning
from model_service.audit import verify
from model_service.audit.prune import Pruned
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import Wrong
from model_service.db.locks import Lock
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditBroken, AuditUnavailable, Conflict
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, START, Bench, empty_trail, make_bench
from tests.locks import after, apart
from tests.store.test_audit_export import HOUR, alone, trusted
from tests.store.test_audit_verify import KEY, digest, record_ciphertext, reseal, store_key

LATER = START + timedelta(days=30)
SOMEBODY_WAITS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


@pytest_asyncio.fixture
async def bench(database: Database) -> Bench:
    """A trail of three segments of ten records, an hour between them."""
    await empty_trail(database)
    bench = make_bench(database)
    for _ in range(3):
        await bench.write(10)
        await bench.ledger.checkpointer.cover()
        bench.clock.advance(3600)
    return bench


async def export(bench: Bench) -> list[bytes]:
    """The lines of an export of everything."""
    whole, _ = await bench.export()
    return whole.splitlines(keepends=True)


async def test_what_an_export_holds_is_removed_in_whole_segments(bench: Bench) -> None:
    kept = await export(bench)
    pruned = await bench.ledger.prune(START + HOUR * 1.5, kept)
    assert pruned == Pruned(1, 20, 0)
    records = await bench.records()
    assert records[0].seq == 21
    assert (records[-1].entry.type, records[-1].entry.reason) == ("audit.prune", "records 1 to 20")
    found = await bench.ledger.verify(trusted(b"".join(kept)))
    assert (found.first_seq, found.last_seq) == (21, 32)


async def test_an_export_after_pruning_begins_at_the_anchor(bench: Bench) -> None:
    before = await export(bench)
    await bench.ledger.prune(START + HOUR * 1.5, before)
    after, exported = await bench.export()
    assert alone(after) == (exported.first_seq, exported.last_seq) == (21, 33)
    assert alone(after, kept=b"".join(before)) == (21, 33)
    pruned = await bench.ledger.prune(START + HOUR * 2.5, after.splitlines(keepends=True))
    assert pruned == Pruned(21, 30, 0)
    found = await bench.ledger.verify(trusted(b"".join(before)) + trusted(after))
    assert found.first_seq == 31


async def test_an_export_of_everything_prunes_again_what_was_left_before(bench: Bench) -> None:
    kept = await export(bench)
    await bench.ledger.prune(START + HOUR * 0.5, kept)
    assert await bench.ledger.prune(START + HOUR * 1.5, kept) == Pruned(11, 20, 0)


async def test_what_the_export_does_not_hold_stays(bench: Bench) -> None:
    kept = await export(bench)
    await bench.write(10)
    await bench.ledger.checkpointer.cover()
    assert await bench.ledger.prune(LATER, kept) == Pruned(1, 31, 0)
    assert (await bench.records())[0].seq == 32
    with pytest.raises(Conflict, match="does not hold the oldest records, from 32 on"):
        await bench.ledger.prune(LATER, kept)
    assert await bench.count() == 11


async def test_an_export_that_begins_later_prunes_nothing(bench: Bench) -> None:
    part, _ = await bench.export(since=START + HOUR)
    with pytest.raises(Conflict, match="does not hold the oldest records, from 1 on"):
        await bench.ledger.prune(LATER, part.splitlines(keepends=True))
    assert await bench.count() == 31


async def test_what_the_database_says_was_exported_is_not_asked(bench: Bench) -> None:
    await export(bench)
    with pytest.raises(Conflict, match="holds no records"):
        await bench.ledger.prune(LATER, [])
    assert await bench.count() == 31


@pytest.mark.parametrize("line", [0, 10, 33], ids=["a record", "a checkpoint", "behind the part"])
async def test_a_damaged_export_prunes_nothing(bench: Bench, line: int) -> None:
    kept = await export(bench)
    kept[line] = kept[line].replace(b"12:00", b"12:01").replace(b"15:00", b"15:01")
    with pytest.raises(Conflict, match="not as it was written"):
        await bench.ledger.prune(START + HOUR * 0.5, kept)
    assert await bench.count() == 31


async def test_an_export_cut_off_in_a_segment_prunes_nothing(bench: Bench) -> None:
    kept = await export(bench)
    with pytest.raises(Conflict, match="no checkpoint covers the records"):
        await bench.ledger.prune(LATER, kept[:15])
    assert await bench.ledger.prune(LATER, kept[:11]) == Pruned(1, 10, 0)


async def test_an_export_of_another_key_prunes_nothing(bench: Bench) -> None:
    kept = await export(bench)
    stranger = AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate())
    with pytest.raises(Conflict, match="not signed with this key"):
        await pruning.prune(
            bench.database, stranger, bench.trail, bench.clock, LATER, kept
        )  # fmt: skip
    assert await bench.count() == 31


async def test_an_export_of_another_trail_of_the_same_keys_prunes_nothing(bench: Bench) -> None:
    other = await export(bench)
    await empty_trail(bench.database)
    for _ in range(3):
        await bench.write(10, "key.delete")
        await bench.ledger.checkpointer.cover()
    with pytest.raises(AuditBroken, match="another one than the export") as broken:
        await bench.ledger.prune(LATER, other)
    assert broken.value.seq == 1
    assert await bench.count() == 31, "the thirty, and one of what was found"


async def test_what_is_younger_stays(bench: Bench) -> None:
    kept = await export(bench)
    assert await bench.ledger.prune(START, kept) is None
    assert await bench.count() == 31


async def test_nothing_is_removed_without_a_record_of_it(bench: Bench) -> None:
    kept = await export(bench)
    await bench.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RAISE insufficient_privilege; END'"
    )
    await bench.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON audit_records EXECUTE FUNCTION refuse()"
    )
    try:
        with pytest.raises(AuditUnavailable):
            await bench.ledger.prune(LATER, kept)
    finally:
        await bench.execute("DROP FUNCTION refuse CASCADE")
    assert await bench.count() == 31
    assert (await bench.ledger.verify()).first_seq == 1


async def test_no_more_can_be_removed_than_an_anchor_says(bench: Bench) -> None:
    await bench.ledger.prune(START + HOUR * 0.5, await export(bench))
    assert (await bench.ledger.verify()).first_seq == 11
    await bench.execute("DELETE FROM audit_records WHERE seq <= 20")
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 11
    await bench.execute("DELETE FROM audit_checkpoints WHERE kind = 'anchor'")
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 1


async def test_a_checkpoint_of_what_was_pruned_is_still_compared(bench: Bench) -> None:
    kept = await export(bench)
    await bench.ledger.prune(START + HOUR * 1.5, kept)
    await bench.execute("UPDATE audit_checkpoints SET signature = '' WHERE seq = 10")
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify(trusted(b"".join(kept)))
    assert broken.value.seq == 10


async def test_a_checkpoint_of_what_was_pruned_must_be_there(bench: Bench) -> None:
    kept = await export(bench)
    await bench.ledger.prune(START + HOUR * 1.5, kept)
    await bench.execute("DELETE FROM audit_checkpoints WHERE seq = 10")
    with pytest.raises(AuditBroken, match="the checkpoint is missing") as broken:
        await bench.ledger.verify(trusted(b"".join(kept[:11])))
    assert broken.value.seq == 10


async def test_what_was_pruned_is_missing_from_no_export(bench: Bench) -> None:
    first = await export(bench)
    await bench.ledger.prune(START + HOUR * 1.5, first)
    second, _ = await bench.export()
    with pytest.raises(Wrong):
        alone(second.split(b"\n", 1)[1])
    assert alone(b"".join(first))[1] >= alone(second)[0] - 1, "together they have every record"


async def test_one_process_prunes_or_signs_at_a_time(bench: Bench) -> None:
    kept = await export(bench)
    pruning_now = bench.ledger.prune(LATER, kept)
    assert await after(bench.database, Lock.AUDIT_SIGNING, pruning_now) == Pruned(1, 31, 0)


async def test_who_comes_second_removes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await export(bench)
    check_records = verify.check_records

    async def and_then_somebody_prunes(*arguments: Any) -> Any:
        monkeypatch.undo()
        found = await check_records(*arguments)
        await apart(bench.ledger.prune(START + HOUR * 0.5, kept))
        return found

    monkeypatch.setattr(verify, "check_records", and_then_somebody_prunes)
    with pytest.raises(Conflict, match="pruned by somebody else meanwhile"):
        await bench.ledger.prune(LATER, kept)
    assert (await bench.records())[0].seq == 11


async def test_nobody_records_a_newer_ciphertext_before_the_carried_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record_ciphertext(bench, digest("one"))
    await store_key(bench, "one")
    kept = await export(bench)
    newest, looked = pruning._newest, []
    rotating: list[asyncio.Task[None]] = []

    async def and_somebody_rotates(connection: Any, records: Any) -> Any:
        looked.append(len(records))
        if len(looked) == 5:  # once for each of the four segments, and then under the lock
            rotating.append(apart(record_ciphertext(bench, digest("two"), "key.rotate")))
            async with asyncio.timeout(20):
                while not await connection.scalar(SOMEBODY_WAITS):
                    assert not rotating[0].done()
                    await connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
        return await newest(connection, records)

    monkeypatch.setattr(pruning, "_newest", and_somebody_rotates)
    assert await bench.ledger.prune(LATER, kept) == Pruned(1, 32, 1)
    await rotating[0]
    assert looked == [0, 0, 0, 1, 1]
    types = [record.entry.type for record in await bench.records()]
    assert types == ["audit.prune", "audit.prune", "key.rotate"]


# --- what is recorded anew -------------------------------------------------------------------


async def test_the_last_ciphertext_of_a_stored_key_is_recorded_anew(
    database: Database,
) -> None:
    await empty_trail(database)
    bench = make_bench(database)
    gone = "key:00000000-0000-7000-8000-000000000002"
    await bench.trail.record(
        AuditEvent(type="key.create", subject=gone, ciphertext_sha256="ab", term=1),
        AuditEvent(type="key.delete", subject=gone),
        AuditEvent(type="keyring.rewrap", subject="webhook:1", ciphertext_sha256="ab", term=1),
    )
    await record_ciphertext(bench, digest("one"))
    await record_ciphertext(bench, digest("two"), "key.rotate")
    await store_key(bench, "two")
    assert await bench.ledger.prune(LATER, await export(bench)) == Pruned(1, 6, 1)
    carried = (await bench.records())[0]
    assert (carried.entry.type, carried.entry.subject) == ("audit.prune", f"key:{KEY}")
    assert (carried.entry.ciphertext_sha256, carried.entry.term) == (digest("two"), 1)
    assert carried.entry.reason == "carried forward from record 5"
    assert (await bench.ledger.verify()).keys == 1


async def test_many_are_recorded_anew_in_several_transactions_with_an_anchor_each(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "WINDOW", 1)
    for value in ("one", "two"):
        await record_ciphertext(bench, digest(value), "key.rotate")
        await bench.ledger.checkpointer.cover()
    await store_key(bench, "two")
    await bench.write(1)
    kept = await export(bench)
    assert await bench.ledger.prune(LATER, kept) == Pruned(1, 34, 1)
    said = [record.entry.reason for record in await bench.records()]
    assert said == [
        "carried forward from record 32",
        "records 1 to 32",
        "records 33 to 34",
    ]
    assert (await bench.ledger.verify(trusted(b"".join(kept)))).first_seq == 35


async def test_a_newer_ciphertext_elsewhere_makes_carrying_needless(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    kept = await export(bench)
    await record_ciphertext(bench, digest("two"), "key.rotate")
    await store_key(bench, "two")
    assert await bench.ledger.prune(LATER, kept) == Pruned(1, 32, 0)
    assert (await bench.ledger.verify()).keys == 1


async def test_pruning_does_not_make_a_forged_ciphertext_good(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await store_key(bench, "forged")
    pruned = await bench.ledger.prune(LATER, await export(bench))
    assert pruned is not None
    assert pruned.carried == 1
    with pytest.raises(AuditBroken, match=KEY):
        await bench.ledger.verify()


async def test_pruning_does_not_make_a_deleted_key_put_back_good(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await bench.trail.record(AuditEvent(type="key.delete", subject=f"key:{KEY}"))
    await store_key(bench, "one")
    pruned = await bench.ledger.prune(LATER, await export(bench))
    assert pruned is not None
    assert pruned.carried == 0
    with pytest.raises(AuditBroken, match="not recorded"):
        await bench.ledger.verify()


# --- what was altered ------------------------------------------------------------------------

ALTERED = {
    "a field": "UPDATE audit_records SET actor = 'nobody' WHERE seq = 7",
    "a ciphertext": "UPDATE audit_records SET ciphertext_sha256 = 'ab' WHERE seq = 31",
    "a record put in": (
        "INSERT INTO audit_records SELECT (jsonb_populate_record(r, '{\"seq\": 0}')).*"
        " FROM audit_records r WHERE seq = 31"
    ),
    "a record removed": "DELETE FROM audit_records WHERE seq = 7",
    "a checkpoint removed": "DELETE FROM audit_checkpoints WHERE seq = 20",
    "behind what is removed": "UPDATE audit_records SET reason = 'none' WHERE seq = 34",
}


@pytest.mark.parametrize("name", tuple(ALTERED))
async def test_of_an_altered_trail_nothing_is_removed_nor_recorded_anew(
    bench: Bench, name: str
) -> None:
    await record_ciphertext(bench, digest("one"))
    await store_key(bench, "one")
    kept = await export(bench)
    await bench.write(3)
    await bench.execute(ALTERED[name])
    before = await bench.records()
    with pytest.raises(AuditBroken):
        await bench.ledger.prune(LATER, kept)
    after = await bench.records()
    assert after[: len(before)] == before
    assert [record.entry.type for record in after[len(before) :]] == ["integrity.failure"]


async def test_an_old_ciphertext_that_was_sealed_anew_is_not_laundered(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await record_ciphertext(bench, digest("two"), "key.rotate")
    await reseal(bench, "one", "three")  # when the stored one should have been two
    await store_key(bench, "three")
    kept = await export(bench)
    with pytest.raises(AuditBroken, match="another ciphertext than the one recorded before"):
        await bench.ledger.prune(LATER, kept)
    assert (await bench.records())[0].seq == 1


async def test_nor_if_what_it_should_have_been_is_all_that_is_removed(bench: Bench) -> None:
    await record_ciphertext(bench, digest("two"))
    kept = await export(bench)
    await reseal(bench, "one", "three")
    await store_key(bench, "three")
    with pytest.raises(AuditBroken, match="another ciphertext than the one recorded before"):
        await bench.ledger.prune(LATER, kept)
    assert (await bench.records())[0].seq == 1


async def test_an_end_cut_off_since_the_export_is_found_before_anything_is_removed(
    bench: Bench,
) -> None:
    kept = await export(bench)
    await bench.execute("DELETE FROM audit_records WHERE seq > 20")
    await bench.execute("DELETE FROM audit_checkpoints WHERE seq > 20")
    await bench.execute(
        "UPDATE audit_head SET (seq, hash) = (SELECT seq, hash FROM audit_records WHERE seq = 20)"
    )
    with pytest.raises(AuditBroken, match="says the checkpoint given") as broken:
        await bench.ledger.prune(START + HOUR * 0.5, kept)
    assert broken.value.seq == 21
