"""Taking the trail out, checking it elsewhere, and removing what was taken out."""

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

import model_service.audit.standalone
from model_service.audit import seals, store
from model_service.audit.domain import Checkpoint
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import verify as verify_alone
from model_service.db.uow import Database
from model_service.kernel.errors import AuditBroken, AuditUnavailable
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, START, Bench, empty_trail, make_bench
from tests.locks import apart

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
    earlier = kept.splitlines() if kept else None
    found = verify_alone(export.splitlines(keepends=True), KEYS.public, earlier)
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


async def test_a_segment_is_exported_whole_for_its_last_record_alone(database: Database) -> None:
    await empty_trail(database)
    bench = make_bench(database)
    await bench.write(9)
    bench.clock.advance(1)
    await bench.write(1)
    await bench.ledger.checkpointer.cover()
    export, exported = await bench.export(since=START + timedelta(seconds=1))
    assert (exported.first_seq, exported.last_seq) == alone(export) == (1, 11)


@pytest.mark.parametrize("size", [1, 10])
async def test_an_export_that_would_begin_behind_nothing_signed_is_refused(
    database: Database, size: int
) -> None:
    await empty_trail(database)
    bench = make_bench(database)
    for count in (size, 1):
        await bench.write(count)
        await bench.ledger.checkpointer.cover()
        bench.clock.advance(3600)
    await bench.execute("DELETE FROM audit_checkpoints WHERE seq = :seq", seq=size)
    with pytest.raises(AuditBroken, match="the checkpoint is missing") as broken:
        await bench.export(since=START + HOUR)
    assert broken.value.seq == size


async def test_an_export_of_records_that_no_checkpoint_covers_is_refused(bench: Bench) -> None:
    await bench.execute("DELETE FROM audit_checkpoints WHERE seq = 20")
    lines: list[bytes] = []
    with pytest.raises(AuditBroken, match="the checkpoint is missing") as broken:
        await bench.ledger.export(lines.append, since=START + HOUR / 2, until=START + HOUR * 1.5)
    assert broken.value.seq == 11
    assert lines == []


async def test_what_was_signed_of_other_records_is_not_exported_with_these(bench: Bench) -> None:
    async with bench.database.transaction() as connection:
        second = (await seals.checkpoints(connection, KEYS, after=10, limit=1))[0].checkpoint
        await connection.execute(text("DELETE FROM audit_checkpoints WHERE seq = 20"))
        await seals.add(connection, KEYS, replace(second, digest="00" * 32))
    with pytest.raises(AuditBroken, match="not those of their checkpoint") as broken:
        await bench.export()
    assert broken.value.seq == 11


async def test_an_export_shows_one_moment_whatever_is_removed_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = await bench.export()
    numbers_between = store.numbers_between

    async def and_then_somebody_prunes(*arguments: Any) -> tuple[int, int] | None:
        numbers = await numbers_between(*arguments)
        await apart(bench.ledger.prune(LATER, kept.splitlines(keepends=True)))
        return numbers

    monkeypatch.setattr(store, "numbers_between", and_then_somebody_prunes)
    export, exported = await bench.export()
    assert alone(export) == (exported.first_seq, exported.last_seq) == (1, 32)
    assert (await bench.records())[0].seq == 32


async def test_of_an_export_the_trail_itself_is_the_subject(bench: Bench) -> None:
    await bench.export()
    *_, last = await bench.records()
    assert (last.entry.type, last.entry.subject) == ("audit.export", "audit")


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
    status, said = run("cut.jsonl", "public.pem", "--checkpoint", "public.pem")
    assert (status, said) == (1, "what was kept earlier holds no checkpoint\n")
