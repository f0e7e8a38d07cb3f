"""Verifying: each way to tamper with the trail in the database is found, and where it begins."""

import asyncio
from hashlib import sha256

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from model_service.audit import seals, store
from model_service.audit import verify as verifying
from model_service.audit.domain import Checkpoint
from model_service.audit.signing import AuditKeys
from model_service.audit.verify import verify
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditBroken
from model_service.kernel.secret import Secret
from tests.audit_trails import CHAIN_KEY, SIGNING_KEY, Bench, empty_trail, make_bench

KEYS = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY)


@pytest_asyncio.fixture
async def bench(database: Database) -> Bench:
    """A trail of 30 records, of which checkpoints cover 20."""
    await empty_trail(database)
    bench = make_bench(database)
    for _ in range(2):
        await bench.write(10)
        await bench.ledger.checkpointer.cover()
    await bench.write(10)
    return bench


async def kept(bench: Bench) -> list[Checkpoint]:
    async with bench.database.transaction() as connection:
        return [
            signed.checkpoint
            for signed in await seals.checkpoints(connection, KEYS, after=0, limit=100)
        ]


async def test_a_trail_as_it_was_written_is_right(bench: Bench) -> None:
    progress: list[int] = []
    found = await bench.ledger.verify(await kept(bench), progress.append)
    assert (found.first_seq, found.last_seq, found.records) == (1, 30, 30)
    assert (found.checkpoints, found.signed_seq, found.keys) == (2, 20, 0)
    assert progress == [30]


async def test_an_empty_trail_is_right(database: Database) -> None:
    await empty_trail(database)
    found = await make_bench(database).ledger.verify()
    assert (found.records, found.checkpoints) == (0, 0)


TAMPERED: dict[str, tuple[list[str], int]] = {
    "a field edited": (["UPDATE audit_records SET actor = 'nobody' WHERE seq = 7"], 7),
    "a field edited behind the last checkpoint": (
        ["UPDATE audit_records SET decision = 'deny' WHERE seq = 25"],
        25,
    ),
    "a time edited": (
        ["UPDATE audit_records SET time = time + interval '1 ms' WHERE seq = 7"],
        7,
    ),
    "a null filled in": (["UPDATE audit_records SET reason = '' WHERE seq = 7"], 7),
    "a hash edited": (["UPDATE audit_records SET hash = prev_hash WHERE seq = 7"], 7),
    "a link edited": (["UPDATE audit_records SET prev_hash = hash WHERE seq = 7"], 7),
    "one deleted": (["DELETE FROM audit_records WHERE seq = 7"], 7),
    "the first deleted": (["DELETE FROM audit_records WHERE seq = 1"], 1),
    "one deleted and the gap closed": (
        [
            "DELETE FROM audit_records WHERE seq = 7",
            "UPDATE audit_records SET seq = -seq WHERE seq > 7",
            "UPDATE audit_records SET seq = -seq - 1 WHERE seq < 0",
            "UPDATE audit_head SET seq = 29",
        ],
        7,
    ),
    "two swapped": (
        [
            "UPDATE audit_records SET seq = -8 WHERE seq = 7",
            "UPDATE audit_records SET seq = 7 WHERE seq = 8",
            "UPDATE audit_records SET seq = 8 WHERE seq = -8",
        ],
        7,
    ),
    "one inserted": (
        [
            "UPDATE audit_records SET seq = -seq WHERE seq >= 7",
            "UPDATE audit_records SET seq = -seq + 1 WHERE seq < 0",
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM audit_records WHERE seq = 6",
            "UPDATE copy SET seq = 7, reason = 'never happened'",
            "INSERT INTO audit_records TABLE copy",
            "DROP TABLE copy",
            "UPDATE audit_head SET seq = 31",
        ],
        7,
    ),
    "one put before the beginning": (
        [
            "CREATE TEMPORARY TABLE copy AS SELECT * FROM audit_records WHERE seq = 6",
            "UPDATE copy SET seq = 0",
            "INSERT INTO audit_records TABLE copy",
            "DROP TABLE copy",
        ],
        0,
    ),
    "the end cut off": (["DELETE FROM audit_records WHERE seq > 25"], 26),
    "the end cut off into what is signed": (
        [
            "DELETE FROM audit_records WHERE seq > 15",
            (
                "UPDATE audit_head SET (seq, hash) ="
                " (SELECT seq, hash FROM audit_records WHERE seq = 15)"
            ),
        ],
        16,
    ),
    "the head set back": (["UPDATE audit_head SET seq = 28"], 29),
    "the head's hash edited": (["UPDATE audit_head SET hash = decode('00', 'hex')"], 30),
    "the head removed": (["DELETE FROM audit_head"], 30),
    "a checkpoint edited": (
        ["UPDATE audit_checkpoints SET document = replace(document, '12', '13') WHERE seq = 20"],
        20,
    ),
    "a signature edited": (["UPDATE audit_checkpoints SET signature = '' WHERE seq = 10"], 10),
    "a checkpoint removed": (["DELETE FROM audit_checkpoints WHERE seq = 10"], 1),
    "a checkpoint moved": (["UPDATE audit_checkpoints SET seq = 21 WHERE seq = 20"], 21),
    "a checkpoint made an anchor": (
        [
            "UPDATE audit_checkpoints SET kind = 'anchor' WHERE seq = 10",
            "DELETE FROM audit_records WHERE seq <= 10",
        ],
        10,
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_tampering_is_found_where_it_begins(bench: Bench, name: str) -> None:
    statements, seq = TAMPERED[name]
    async with bench.database.transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    try:
        with pytest.raises(AuditBroken) as broken:
            await bench.ledger.verify()
        assert broken.value.seq == seq
        assert broken.value.message.startswith(f"audit record {seq}: ")
    finally:
        await bench.execute("INSERT INTO audit_head VALUES (true, 0, '') ON CONFLICT DO NOTHING")


async def cut(bench: Bench, last: int) -> None:
    """Take the end away, and every trace of it that the database holds."""
    await bench.execute("DELETE FROM audit_records WHERE seq > :last", last=last)
    await bench.execute("DELETE FROM audit_checkpoints WHERE seq > :last", last=last)
    await bench.execute(
        "UPDATE audit_head SET (seq, hash) ="
        " (SELECT seq, hash FROM audit_records WHERE seq = :last)",
        last=last,
    )


async def test_an_end_cut_off_without_a_trace_shows_against_a_checkpoint_kept_elsewhere(
    bench: Bench,
) -> None:
    checkpoints = await kept(bench)
    await cut(bench, 15)
    assert (await bench.ledger.verify()).last_seq == 15
    assert (await bench.ledger.verify(checkpoints[:1])).last_seq == 15
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify(checkpoints)
    assert broken.value.seq == 16


async def test_another_end_written_in_its_place_shows_too(bench: Bench) -> None:
    checkpoints = await kept(bench)
    await cut(bench, 15)
    await bench.write(15, "key.delete")  # with the service's own keys, as a replay would
    with pytest.raises(AuditBroken) as broken:
        await bench.ledger.verify(checkpoints)
    assert broken.value.seq == 20


async def test_a_trail_of_other_keys_is_not_taken(bench: Bench) -> None:
    strangers = (
        AuditKeys(Secret(bytes(32)), SIGNING_KEY),
        AuditKeys(Secret(CHAIN_KEY), Ed25519PrivateKey.generate()),
    )
    for keys in strangers:
        with pytest.raises(AuditBroken):
            await verify(bench.database, keys)


async def test_records_that_arrive_meanwhile_do_no_harm(bench: Bench) -> None:
    stop = asyncio.Event()

    async def go_on() -> None:
        while not stop.is_set():
            await bench.write(5)
            await bench.ledger.checkpointer.cover()

    writing = asyncio.create_task(go_on())
    for _ in range(5):
        await bench.ledger.verify()
    stop.set()
    await writing


# --- stored keys -----------------------------------------------------------------------------

KEY = "00000000-0000-7000-8000-000000000001"


async def store_key(bench: Bench, ciphertext: str) -> None:
    await bench.execute(
        "INSERT INTO api_keys (id, user_id, provider, key_name, encrypted_key, key_version,"
        " key_prefix, usage_count, is_active, is_valid, created_at, updated_at)"
        " VALUES (CAST(:id AS uuid), 'u', 'OPENAI', 'k', :text, 1, '***', 0, true, true,"
        " now(), now())"
        " ON CONFLICT (id) DO UPDATE SET encrypted_key = excluded.encrypted_key",
        id=KEY,
        text=ciphertext,
    )


async def record_ciphertext(bench: Bench, digest: str, type: str = "key.create") -> None:  # noqa: A002
    await bench.trail.record(
        AuditEvent(type=type, subject=f"key:{KEY}", ciphertext_sha256=digest, term=1)
    )


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


async def test_a_key_is_stored_as_it_was_recorded_last(bench: Bench) -> None:
    await store_key(bench, "one")
    await record_ciphertext(bench, digest("one"))
    assert (await bench.ledger.verify()).keys == 1
    await store_key(bench, "two")
    await record_ciphertext(bench, digest("two"), "key.rotate")
    await bench.trail.record(AuditEvent(type="key.reveal", subject=f"key:{KEY}"))
    assert (await bench.ledger.verify()).keys == 1


async def test_an_old_ciphertext_put_back_is_found(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await record_ciphertext(bench, digest("two"), "key.rotate")
    await store_key(bench, "one")
    with pytest.raises(AuditBroken, match=KEY) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 32


async def test_a_deleted_key_put_back_is_found(bench: Bench) -> None:
    await record_ciphertext(bench, digest("one"))
    await bench.trail.record(AuditEvent(type="key.delete", subject=f"key:{KEY}"))
    assert (await bench.ledger.verify()).keys == 0
    await store_key(bench, "one")
    with pytest.raises(AuditBroken, match="was deleted") as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 32


async def test_a_key_that_nobody_recorded_is_found(bench: Bench) -> None:
    await store_key(bench, "one")
    with pytest.raises(AuditBroken, match=KEY):
        await bench.ledger.verify()


async def test_an_old_ciphertext_put_back_is_not_made_good_by_sealing_it_anew(
    bench: Bench,
) -> None:
    await record_ciphertext(bench, digest("one"))
    await reseal(bench, "one", "two")
    await store_key(bench, "two")
    assert (await bench.ledger.verify()).keys == 1
    await reseal(bench, "one", "three")  # when the stored one should have been two
    await store_key(bench, "three")
    with pytest.raises(AuditBroken, match=KEY) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 33


async def reseal(bench: Bench, before: str, after: str) -> None:
    await bench.trail.record(
        AuditEvent(
            type="keyring.rewrap",
            subject=f"key:{KEY}",
            reason=f"replaces {digest(before)}",
            ciphertext_sha256=digest(after),
            term=2,
        )
    )


async def store_keys(bench: Bench, count: int) -> list[str]:
    """So many keys, each with its ciphertext on record."""
    ids = [f"00000000-0000-7000-8000-{number:012}" for number in range(count)]
    for key_id in ids:
        await bench.execute(
            "INSERT INTO api_keys (id, user_id, provider, key_name, encrypted_key, key_version,"
            " key_prefix, usage_count, is_active, is_valid, created_at, updated_at)"
            " VALUES (CAST(:id AS uuid), 'u', 'OPENAI', CAST(:id AS text), 'one', 1, '***', 0,"
            " true, true, now(), now())",
            id=key_id,
        )
        await bench.trail.record(
            AuditEvent(
                type="key.create", subject=f"key:{key_id}", ciphertext_sha256=digest("one"), term=1
            )
        )
    return ids


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
async def test_every_stored_key_is_compared_however_many_are_read_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(verifying, "KEYS_BATCH", batch)
    ids = await store_keys(bench, 5)
    assert (await bench.ledger.verify()).keys == 5
    await bench.execute(
        "UPDATE api_keys SET encrypted_key = 'two' WHERE id = CAST(:id AS uuid)", id=ids[-1]
    )
    with pytest.raises(AuditBroken, match=ids[-1]) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 35


@pytest.mark.parametrize("batch", [1, 2, 3])
async def test_every_sealing_anew_is_compared_however_many_are_read_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(verifying, "KEYS_BATCH", batch)
    await record_ciphertext(bench, digest("0"))
    for number in range(3):
        await reseal(bench, str(number), str(number + 1))
    await bench.ledger.verify()
    await reseal(bench, "2", "4")
    with pytest.raises(AuditBroken, match=KEY) as broken:
        await bench.ledger.verify()
    assert broken.value.seq == 35


@pytest.mark.parametrize("batch", [1, 2, 3])
async def test_every_checkpoint_is_compared_however_many_are_read_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(verifying, "SEALS_BATCH", batch)
    await bench.ledger.checkpointer.cover()
    found = await bench.ledger.verify(await kept(bench))
    assert (found.checkpoints, found.signed_seq, found.last_seq) == (3, 30, 30)


@pytest.mark.parametrize("batch", [1, 7, 30, 31])
async def test_every_record_is_read_however_many_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(store, "READ_BATCH", batch)
    progress: list[int] = []
    assert (await bench.ledger.verify((), progress.append)).last_seq == 30
    assert progress == [*range(batch, 30, batch), 30]
