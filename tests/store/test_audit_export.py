"""Taking the trail out, checking it elsewhere, and removing what was taken out."""

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

import model_service.audit.standalone
from model_service.audit.domain import Checkpoint
from model_service.audit.prune import Pruned
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import Wrong
from model_service.audit.standalone import verify as verify_alone
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditBroken, AuditUnavailable, Conflict
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, START, Bench, empty_trail, make_bench
from tests.store.test_audit_verify import KEY, digest, record_ciphertext, store_key

KEYS = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY)
LATER = START + timedelta(days=30)
HOUR = timedelta(hours=1)


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


def alone(export: bytes, kept: bytes = b"") -> tuple[int, int]:
    found = verify_alone(export.splitlines(keepends=True), KEYS.public, kept.splitlines())
    return found.first_seq, found.seq


def trusted(export: bytes) -> list[Checkpoint]:
    lines = export.splitlines()
    return [KEYS.require_signed_line(line) for line in lines if line.startswith(b'{"signed"')]


async def test_an_export_is_right_by_itself_and_holds_the_record_of_itself(bench: Bench) -> None:
    export, exported = await bench.export()
    assert alone(export) == (exported.first_seq, exported.last_seq) == (1, 31)
    assert (exported.records, exported.checkpoints) == (31, 4)
    assert b'"type":"audit.export"' in export.splitlines()[-2]
    again, _ = await bench.export()
    assert again.startswith(export)
    assert alone(again, kept=export) == (1, 32)


async def test_an_export_of_a_time_holds_the_segments_that_have_records_of_it(
    bench: Bench,
) -> None:
    export, exported = await bench.export(since=START + HOUR)
    assert (exported.first_seq, exported.last_seq) == alone(export) == (11, 31)
    lines: list[bytes] = []
    middle = await bench.ledger.export(
        lines.append, since=START + HOUR / 2, until=START + HOUR * 1.5
    )
    assert middle is not None
    assert alone(b"".join(lines)) == (middle.first_seq, middle.last_seq) == (11, 20)
    assert await bench.ledger.export(lines.append, since=LATER) is None


async def test_an_export_of_a_trail_that_was_altered_is_refused(bench: Bench) -> None:
    await bench.execute("UPDATE audit_records SET actor = 'nobody' WHERE seq = 17")
    with pytest.raises(AuditBroken) as broken:
        await bench.export()
    assert broken.value.seq == 17


async def test_nothing_is_exported_without_a_record_of_it(bench: Bench) -> None:
    lines: list[bytes] = []
    await bench.execute("ALTER TABLE audit_records RENAME TO hidden")
    try:
        with pytest.raises(AuditUnavailable):
            await bench.ledger.export(lines.append)
    finally:
        await bench.execute("ALTER TABLE hidden RENAME TO audit_records")
    assert lines == []


async def test_the_verifier_needs_one_file_an_export_and_the_public_key(
    bench: Bench, tmp_path: Path
) -> None:
    export, _ = await bench.export()
    shutil.copy(model_service.audit.standalone.__file__, tmp_path / "standalone.py")
    (tmp_path / "export.jsonl").write_bytes(export)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(export.splitlines(keepends=True)[:11]))
    (tmp_path / "public.pem").write_bytes(KEYS.public_pem)

    def run(*arguments: str) -> tuple[int, str]:
        # Isolated: neither this directory nor the service can be imported.
        block = "import sys; sys.modules['model_service'] = None; sys.argv = sys.argv[1:];"
        code = f"{block} import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, "standalone.py", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    right = "right: records 1 to 31, 4 checkpoints\n"
    assert run("export.jsonl", "public.pem") == (0, right)
    assert run("export.jsonl", "public.pem", "--checkpoint", "cut.jsonl") == (0, right)
    status, said = run("cut.jsonl", "public.pem", "--checkpoint", "export.jsonl")
    assert (status, said.startswith("WRONG: record 11: missing")) == (2, True)
    (tmp_path / "export.jsonl").write_bytes(export.replace(b'"allow"', b'"deny"', 1))
    status, said = run("export.jsonl", "public.pem")
    assert (status, said.startswith("WRONG: record 1: ")) == (2, True)
    assert run("export.jsonl", "standalone.py")[0] == 1
    assert run("nowhere.jsonl", "public.pem")[0] == 1


# --- pruning ---------------------------------------------------------------------------------


async def test_what_was_exported_is_removed_in_whole_segments(bench: Bench) -> None:
    export, _ = await bench.export()
    pruned = await bench.ledger.prune(START + HOUR * 1.5, author="operator")
    assert pruned == Pruned(1, 20, 0)
    records = await bench.records()
    assert records[0].seq == 21
    assert (records[-1].entry.type, records[-1].entry.reason) == (
        "audit.prune",
        "records 1 to 20 by operator",
    )
    found = await bench.ledger.verify(trusted(export))
    assert (found.first_seq, found.last_seq) == (21, 32)


async def test_an_export_after_pruning_begins_at_the_anchor(bench: Bench) -> None:
    before, _ = await bench.export()
    await bench.ledger.prune(START + HOUR * 1.5)
    after, exported = await bench.export()
    assert alone(after) == (exported.first_seq, exported.last_seq) == (21, 33)
    assert alone(after, kept=before) == (21, 33)
    assert await bench.ledger.prune(START + HOUR * 2.5) == Pruned(21, 30, 0)
    assert (await bench.ledger.verify(trusted(before) + trusted(after))).first_seq == 31


async def test_what_was_not_exported_stays(bench: Bench) -> None:
    with pytest.raises(Conflict, match="not exported"):
        await bench.ledger.prune(LATER)
    await bench.export(since=START + HOUR)
    with pytest.raises(Conflict, match="not exported"):
        await bench.ledger.prune(LATER)
    assert await bench.count() == 31


async def test_what_is_younger_stays(bench: Bench) -> None:
    await bench.export()
    assert await bench.ledger.prune(START) is None
    assert await bench.count() == 31


async def test_nothing_is_removed_without_a_record_of_it(bench: Bench) -> None:
    await bench.export()
    await bench.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RAISE insufficient_privilege; END'"
    )
    await bench.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON audit_records EXECUTE FUNCTION refuse()"
    )
    try:
        with pytest.raises(AuditUnavailable):
            await bench.ledger.prune(LATER)
    finally:
        await bench.execute("DROP FUNCTION refuse CASCADE")
    assert await bench.count() == 31
    assert (await bench.ledger.verify()).first_seq == 1


async def test_no_more_can_be_removed_than_an_anchor_says(bench: Bench) -> None:
    await bench.export()
    await bench.ledger.prune(START + HOUR * 0.5)
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
    export, _ = await bench.export()
    await bench.ledger.prune(START + HOUR * 1.5)
    await bench.execute("UPDATE audit_checkpoints SET signature = '' WHERE seq = 10")
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify(trusted(export))
    assert broken.value.seq == 10


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
    await bench.export()
    assert await bench.ledger.prune(LATER) == Pruned(1, 6, 1)
    carried = (await bench.records())[0]
    assert (carried.entry.type, carried.entry.subject) == ("audit.prune", f"key:{KEY}")
    assert (carried.entry.ciphertext_sha256, carried.entry.term) == (digest("two"), 1)
    assert carried.entry.reason == "carried forward from record 5"
    assert (await bench.ledger.verify()).keys == 1


async def test_pruning_does_not_make_a_forged_ciphertext_good(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await store_key(bench, "forged")
    await bench.export()
    pruned = await bench.ledger.prune(LATER)
    assert pruned is not None
    assert pruned.carried == 1
    with pytest.raises(AuditBroken, match=KEY):
        await bench.ledger.verify()


async def test_pruning_does_not_make_a_deleted_key_put_back_good(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await bench.trail.record(AuditEvent(type="key.delete", subject=f"key:{KEY}"))
    await store_key(bench, "one")
    await bench.export()
    pruned = await bench.ledger.prune(LATER)
    assert pruned is not None
    assert pruned.carried == 0
    with pytest.raises(AuditBroken, match="not recorded"):
        await bench.ledger.verify()


async def test_what_was_pruned_is_missing_from_no_export(bench: Bench) -> None:
    first, _ = await bench.export()
    await bench.ledger.prune(START + HOUR * 1.5)
    second, _ = await bench.export()
    with pytest.raises(Wrong):
        alone(second.split(b"\n", 1)[1])
    assert alone(first)[1] >= alone(second)[0] - 1, "together they have every record"
