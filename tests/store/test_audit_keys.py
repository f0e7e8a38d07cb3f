"""The trail's keys: made once, opened at every start, never made anew beside records."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import delete, func, insert, select, text, update

from model_service.audit.keys import open_audit_keys
from model_service.audit.signing import AuditKeys
from model_service.db.locks import Lock
from model_service.db.tables import api_keys, audit_head, audit_keys
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, StartupFault
from model_service.kernel.types import uuid7
from tests.audit_trails import START, Bench, empty_trail, make_bench
from tests.fakes import PlainBox
from tests.locks import after

BOX = PlainBox()


@pytest_asyncio.fixture
async def keyless(database: Database) -> AsyncIterator[Database]:
    """The database without a trail and its keys; the keys that were there come back."""
    async with database.transaction() as connection:
        before = (await connection.execute(select(audit_keys))).mappings().all()
        await connection.execute(delete(audit_keys))
    await empty_trail(database)
    yield database
    await empty_trail(database)
    async with database.transaction() as connection:
        await connection.execute(delete(audit_keys))
        for row in before:
            await connection.execute(insert(audit_keys).values(dict(row)))


def bytes_of(keys: AuditKeys) -> tuple[bytes, bytes]:
    return keys.chain.reveal(), keys.signing.private_bytes_raw()


async def rows(database: Database) -> dict[str, Any]:
    async with database.single() as connection:
        return {row.purpose: row for row in await connection.execute(select(audit_keys))}


async def test_all_who_start_at_once_and_later_have_the_same_keys(keyless: Database) -> None:
    made = await asyncio.gather(*(open_audit_keys(keyless, BOX) for _ in range(8)))
    later = await open_audit_keys(keyless, BOX)
    assert {bytes_of(keys) for keys in (*made, later)} == {bytes_of(later)}
    assert len(await rows(keyless)) == 2


async def test_one_process_at_a_time_looks_for_the_keys_and_makes_them(keyless: Database) -> None:
    assert await after(keyless, Lock.AUDIT_KEYS, open_audit_keys(keyless, BOX)) is not None


async def test_the_keys_are_stored_as_the_format_says(keyless: Database) -> None:
    keys = await open_audit_keys(keyless, BOX)
    stored = await rows(keyless)
    assert stored.keys() == {"chain", "checkpoint"}
    values = []
    for purpose, row in sorted(stored.items()):
        place, sealed_id, value = row.sealed.split("|")
        assert (place, sealed_id) == ("audit_keys", str(row.id))
        written_for, _, encoded = value.partition(":")
        assert written_for == purpose
        values.append(b64decode(encoded))
    assert tuple(values) == bytes_of(keys)
    assert [len(value) for value in values] == [32, 32]


async def test_the_two_keys_are_none_of_one_another_s(keyless: Database) -> None:
    one = await open_audit_keys(keyless, BOX)
    async with keyless.transaction() as connection:
        await connection.execute(delete(audit_keys))
    other = await open_audit_keys(keyless, BOX)
    assert len({*bytes_of(one), *bytes_of(other)}) == 4


async def with_records(bench: Bench) -> None:
    await bench.write(1)


async def with_a_head_alone(bench: Bench) -> None:
    await bench.write(1)
    await bench.execute("DELETE FROM audit_records")


async def with_records_alone(bench: Bench) -> None:
    await bench.write(1)
    await bench.execute("DELETE FROM audit_head")


async def with_a_checkpoint_alone(bench: Bench) -> None:
    await bench.write(1)
    await bench.ledger.checkpointer.cover()
    await bench.execute("DELETE FROM audit_records")
    await bench.execute("DELETE FROM audit_head")


@pytest.mark.parametrize(
    "leave", [with_records, with_a_head_alone, with_records_alone, with_a_checkpoint_alone]
)
async def test_keys_are_not_made_anew_beside_what_is_left_of_a_trail(
    keyless: Database, leave: Any
) -> None:
    await leave(make_bench(keyless))
    with pytest.raises(StartupFault, match="restore the table audit_keys"):
        await open_audit_keys(keyless, BOX)
    assert await rows(keyless) == {}


@pytest.mark.parametrize("purpose", ["chain", "checkpoint"])
async def test_one_of_the_keys_is_not_made_anew_beside_the_other(
    keyless: Database, purpose: str
) -> None:
    await open_audit_keys(keyless, BOX)
    async with keyless.transaction() as connection:
        await connection.execute(delete(audit_keys).where(audit_keys.c.purpose == purpose))
    with pytest.raises(StartupFault, match="restore the table audit_keys"):
        await open_audit_keys(keyless, BOX)
    assert len(await rows(keyless)) == 1


async def test_the_two_keys_cannot_change_places(keyless: Database) -> None:
    await open_audit_keys(keyless, BOX)
    async with keyless.transaction() as connection:
        for old, new in (("chain", "x"), ("checkpoint", "chain"), ("x", "checkpoint")):
            renamed = update(audit_keys).where(audit_keys.c.purpose == old)
            await connection.execute(renamed.values(purpose=new))
    with pytest.raises(StartupFault, match="do not open"):
        await open_audit_keys(keyless, BOX)


async def test_a_key_that_was_tampered_with_stops_the_start(keyless: Database) -> None:
    await open_audit_keys(keyless, BOX)
    async with keyless.transaction() as connection:
        one = update(audit_keys).where(audit_keys.c.purpose == "chain")
        await connection.execute(one.values(id=uuid7()))
    with pytest.raises(StartupFault, match="do not open"):
        await open_audit_keys(keyless, BOX)


async def test_keys_that_were_kept_elsewhere_open_again(keyless: Database) -> None:
    """What docs/audit-trail.md says of the format is enough to put them back."""
    async with keyless.transaction() as connection:
        for purpose, value in (("chain", bytes(range(32))), ("checkpoint", bytes(range(32, 64)))):
            key_id = uuid7()
            sealed = f"audit_keys|{key_id}|{purpose}:{b64encode(value).decode()}"
            row = {"purpose": purpose, "id": key_id, "sealed": sealed, "created_at": func.now()}
            await connection.execute(insert(audit_keys).values(row))
    await make_bench(keyless).write(3)
    keys = await open_audit_keys(keyless, BOX)
    assert bytes_of(keys) == (bytes(range(32)), bytes(range(32, 64)))


async def test_a_database_that_goes_away_stops_the_start(
    keyless: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(keyless, "transaction", gone)
    with pytest.raises(StartupFault, match="went away"):
        await open_audit_keys(keyless, BOX)


async def test_stored_keys_are_recorded_with_the_making_of_the_trail_s_and_not_again(
    keyless: Database,
) -> None:
    values = {
        "id": uuid7(), "user_id": "u", "provider": "OPENAI", "key_name": "main",
        "key_version": 1, "key_prefix": "***", "usage_count": 0, "is_active": True,
        "is_valid": True, "created_at": START, "updated_at": START, "encrypted_key": "stored",
    }  # fmt: skip
    async with keyless.transaction() as connection:
        await connection.execute(insert(api_keys).values(values))
    for _ in range(2):
        await open_audit_keys(keyless, BOX)
        (record,) = await make_bench(keyless).records()
        assert (record.entry.type, record.entry.subject) == (
            "audit.baseline",
            f"key:{values['id']}",
        )
    async with keyless.single() as connection:
        assert await connection.scalar(select(audit_head.c.seq)) == 1
        digest = "SELECT encode(sha256(convert_to('stored', 'UTF8')), 'hex')"
        assert record.entry.ciphertext_sha256 == await connection.scalar(text(digest))
