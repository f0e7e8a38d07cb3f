"""Moving records to another term, on the real tables, while everything else goes on."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update
from structlog.testing import capture_logs

from model_service.db import tables
from model_service.db.uow import Database
from model_service.kernel.errors import AuditUnavailable, DatabaseUnavailable
from model_service.kernel.keyring import TermState
from model_service.kernel.sealed import SealedRow, term_prefix
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.vault import rewrap
from model_service.vault.envelope import ciphertext_sha256, term_of
from model_service.vault.rewrap import Outcome
from tests.keyrings import Process, let_pass, stored_texts
from tests.pauses import Pauses, stopped

_k = tables.api_keys.c


async def test_records_of_every_table_are_moved_and_open_as_before(process: Process) -> None:
    key = await process.add_key("sk-in-use", metadata={"endpoint": "https://a.test/v1"})
    version_id = await process.add_version(key, 7, "sk-not-in-use")
    ids = await process.add_service_secrets("of the service's own")
    assert await process.change_term() == 2
    held = dict.fromkeys((table.name for table in process.tables), 1)
    assert await process.counts(1) == held
    assert await process.finish() == 6
    assert (await process.counts(1), await process.counts(2)) == ({}, held)
    assert await process.value_of(key.id) == "sk-in-use"
    for place, row_id in ids.items():
        column = {
            "admin_credentials": tables.provider_admin_credentials.c.sealed,
            "webhooks": tables.webhook_secrets.c.sealed,
            "audit_keys": tables.audit_keys.c.sealed,
            "access_keys": tables.access_keys.c.sealed,
        }[place]
        stored = (await stored_texts(process.database, column))[row_id]
        assert process.box.open(place, row_id, stored).reveal() == "of the service's own"
    text_of = await stored_texts(process.database, tables.api_key_versions.c.encrypted_key)
    (sealed,) = await process.keys.get_sealed([key.id])
    then = replace(sealed.key, key_version=7, metadata=None)
    moved = replace(sealed, key=then, encrypted_key=text_of[version_id])
    assert process.sealer.open(moved).reveal() == "sk-not-in-use"


async def test_a_moved_key_keeps_its_version_and_everything_else(process: Process) -> None:
    key = await process.add_key("sk-value")

    async def row() -> dict[str, Any]:
        async with process.database.single() as connection:
            found = (await connection.execute(select(tables.api_keys))).one()
        return {name: value for name, value in found._mapping.items() if name != "encrypted_key"}

    before = await row()
    await process.change_term()
    assert await process.finish() == 1
    assert await row() == before
    assert before["key_version"] == key.key_version


async def test_each_moved_record_is_recorded_with_its_new_ciphertext(process: Process) -> None:
    key = await process.add_key("sk-value")
    await process.change_term()
    process.trail.events.clear()
    await process.finish()
    (event,) = process.trail.events
    stored = (await stored_texts(process.database, _k.encrypted_key))[key.id]
    assert (event.type, event.subject, event.term) == ("keyring.rewrap", f"key:{key.id}", 2)
    assert event.ciphertext_sha256 == ciphertext_sha256(stored)
    assert process.moved == [("api_keys", 1)] + [
        (table.name, 0) for table in process.tables if table.name != "api_keys"
    ]


async def test_a_record_says_which_ciphertext_it_is_about(process: Process) -> None:
    key = await process.add_key("sk-value")
    before = (await stored_texts(process.database, _k.encrypted_key))[key.id]
    await process.change_term()
    process.trail.events.clear()
    await process.finish()
    (event,) = process.trail.events
    assert event.reason == f"replaces {ciphertext_sha256(before)}"


async def test_in_the_background_records_are_moved_and_their_terms_destroyed(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, rewrap)
    await process.add_key("sk-value")
    job = asyncio.create_task(process.rewrapper.run())
    await pauses.begun()
    assert pauses.taken == [rewrap.IDLE], "there is no former term"
    await process.change_term()
    for _ in process.tables:
        await pauses.over()
    assert pauses.taken[1:] == [rewrap.PAUSE] * len(process.tables)
    await let_pass(process.database, 100_000)
    await pauses.over()
    assert process.keyring.states == {1: TermState.DESTROYED, 2: TermState.ACTIVE}
    await pauses.over()
    assert pauses.taken[-2:] == [rewrap.IDLE] * 2
    await stopped(job)


async def test_in_the_background_a_term_that_has_to_stay_is_looked_at_again_later(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, rewrap)
    await process.add_key("sk-value")
    await process.change_term()
    job = asyncio.create_task(process.rewrapper.run())
    await pauses.begun()
    for _ in process.tables:
        await pauses.over()
    assert pauses.taken[-1] == rewrap.AGAIN, "the safety period is not over"
    destroy = process.terms.destroy

    async def away(*_: object) -> bool:
        raise DatabaseUnavailable

    monkeypatch.setattr(process.terms, "destroy", away)
    with capture_logs() as logs:
        for _ in range(len(process.tables) + 1):
            await pauses.over()
    assert pauses.taken[-1] == rewrap.AGAIN, "it is not known whether it could be"
    assert [entry["event"] for entry in logs] == ["former terms could not be destroyed"]
    monkeypatch.setattr(process.terms, "destroy", destroy)
    await stopped(job)


async def test_in_the_background_it_goes_on_after_the_trail_could_not_be_written(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, rewrap)
    await process.add_key("sk-value")
    await process.change_term()
    process.trail.available = False
    with capture_logs() as logs:
        job = asyncio.create_task(process.rewrapper.run())
        await pauses.begun()
    assert pauses.taken == [rewrap.IDLE]
    assert [entry["event"] for entry in logs] == ["re-encryption is interrupted"]
    process.trail.available = True
    await pauses.over()
    assert await process.counts(2) == {"api_keys": 1}
    await stopped(job)


async def test_who_finishes_waits_while_another_process_moves_records(
    databases: list[Database], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, rewrap)
    other = await Process.start(databases[1])
    await process.add_key("sk-value")
    await process.change_term()
    moved: list[int] = []
    async with other.store.turn() as ours:
        assert ours
        finishing = asyncio.create_task(process.rewrapper.finish(moved.append))
        await pauses.begun()
        await pauses.over()
    pauses.end()
    await finishing
    assert pauses.taken == [rewrap.PAUSE] * 2
    assert moved[:2] == [0, 0]
    assert sum(moved) == 1


async def test_a_later_term_is_gone_through_after_an_earlier_one_was(process: Process) -> None:
    await process.add_key("sk-1")
    await process.change_term()
    while await process.rewrapper.step() is not Outcome.DONE:
        continue
    await process.add_key("sk-2")
    await process.change_term()
    while await process.rewrapper.step() is not Outcome.DONE:
        continue
    assert await process.counts(3) == {"api_keys": 2}


async def test_as_many_records_as_fit_are_looked_at_once_more_for_others(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap, "BATCH", 2)
    for number in range(4):
        await process.add_key(f"sk-{number}")
    await process.change_term()
    assert await process.finish() == 4
    assert [count for table, count in process.moved if table == "api_keys"] == [2, 2, 0]


async def test_a_record_that_does_not_open_is_named_with_its_table_once(process: Process) -> None:
    key = await process.add_key("sk-value", key_name="main")
    await spoil(process, "main")
    await process.change_term()
    with capture_logs() as logs:
        await process.finish()
        await process.finish()
    assert [entry["subject"] for entry in logs] == [f"key:{key.id}"]


async def test_nothing_is_moved_that_cannot_be_recorded(process: Process) -> None:
    key = await process.add_key("sk-value")
    await process.change_term()
    before = await stored_texts(process.database, _k.encrypted_key)
    process.trail.available = False
    with pytest.raises(AuditUnavailable):
        await process.rewrapper.step()
    assert await stored_texts(process.database, _k.encrypted_key) == before
    process.trail.available = True
    assert await process.finish() == 1
    assert await process.value_of(key.id) == "sk-value"


async def test_without_a_former_term_there_is_nothing_to_do(process: Process) -> None:
    await process.add_key("sk-value")
    assert await process.rewrapper.step() is Outcome.IDLE
    term = await process.terms.add()
    assert await process.rewrapper.step() is Outcome.IDLE, f"term {term} is not active yet"


async def test_records_are_moved_in_batches_until_all_are(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap, "BATCH", 3)
    keys = [await process.add_key(f"sk-value-{number}") for number in range(7)]
    await process.change_term()
    steps: list[Outcome] = []
    while not steps or steps[-1] is not Outcome.DONE:
        steps.append(await process.rewrapper.step())
    assert [count for table, count in process.moved if table == "api_keys"] == [3, 3, 1]
    assert steps.count(Outcome.MOVED) == 3 + len(process.tables) - 1
    for number, key in enumerate(keys):
        assert await process.value_of(key.id) == f"sk-value-{number}"


async def test_records_of_several_former_terms_end_under_the_active_one(process: Process) -> None:
    keys = []
    for term in (1, 2, 3):
        keys.append(await process.add_key(f"sk-of-term-{term}"))
        await process.change_term()
    assert await process.finish() == 3
    assert await process.counts(4) == {"api_keys": 3}
    assert [await process.value_of(key.id) for key in keys] == [
        "sk-of-term-1",
        "sk-of-term-2",
        "sk-of-term-3",
    ]


async def test_a_record_that_does_not_open_is_left_alone_and_keeps_its_term(
    process: Process,
) -> None:
    good = await process.add_key("sk-good")
    moved_row = await process.add_key("sk-bad")
    async with process.database.transaction() as connection:
        await connection.execute(
            update(tables.api_keys).where(_k.id == moved_row.id).values(user_id="user-2")
        )
    before = (await stored_texts(process.database, _k.encrypted_key))[moved_row.id]
    await process.change_term()
    assert await process.finish() == 1
    assert process.rewrapper.unopened == 1
    assert (await stored_texts(process.database, _k.encrypted_key))[moved_row.id] == before
    assert await process.value_of(good.id) == "sk-good"
    await let_pass(process.database, 100_000)
    assert not await process.terms.destroy(1, process.tables)


async def spoil(process: Process, *names: str) -> None:
    """Have these keys not open any more."""
    async with process.database.transaction() as connection:
        await connection.execute(
            update(tables.api_keys).where(_k.key_name.in_(names)).values(user_id="user-2")
        )


async def test_more_records_that_do_not_open_than_are_named_end_the_moving_too(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap, "_NAMED", 2)
    monkeypatch.setattr(rewrap, "BATCH", 2)
    names = [f"key-{number}" for number in range(5)]
    for name in names:
        await process.add_key("sk-value", key_name=name)
    await spoil(process, *names)
    await process.change_term()
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            assert await process.finish() == 0
            assert await process.finish() == 0
    assert process.rewrapper.unopened == 5
    said = [entry["event"] for entry in logs]
    assert said == ["record does not open"] * 2 + ["more records do not open than are named"]


async def test_records_of_one_term_that_do_not_open_do_not_stand_for_those_of_another(
    process: Process,
) -> None:
    await process.add_key("sk-of-term-1", key_name="first")
    await spoil(process, "first")
    await process.change_term()
    assert await process.finish() == 0
    key = await process.add_key("sk-of-term-2", key_name="second")
    await process.change_term()
    assert await process.finish() == 1
    assert [process.rewrapper.unopened_of(term) for term in (1, 2)] == [1, 0]
    assert await process.value_of(key.id) == "sk-of-term-2"


async def test_records_that_open_again_are_moved_the_next_time(process: Process) -> None:
    key = await process.add_key("sk-value", key_name="main")
    await spoil(process, "main")
    await process.change_term()
    assert await process.finish() == 0
    async with process.database.transaction() as connection:
        await connection.execute(update(tables.api_keys).values(user_id=key.user_id))
    while await process.rewrapper.step() is not Outcome.DONE:
        continue
    assert (process.rewrapper.unopened, await process.counts(1)) == (0, {})


async def test_a_row_that_somebody_is_changing_is_moved_the_next_time(
    databases: list[Database], process: Process
) -> None:
    key = await process.add_key("sk-value")
    await process.change_term()
    async with databases[1].transaction() as connection:
        await connection.execute(select(_k.id).where(_k.id == key.id).with_for_update())
        while await process.rewrapper.step() is not Outcome.DONE:
            assert process.moved[-1][1] == 0
    assert await process.counts(1) == {"api_keys": 1}
    assert await process.finish() == 1


async def test_a_text_that_changed_since_it_was_read_is_not_replaced(process: Process) -> None:
    key = await process.add_key("sk-first")
    await process.change_term()
    table = process.tables[0]
    (row,) = await table.batch(1, None, 10)
    later = replace(key, key_version=2)
    assert await process.keys.replace(
        process.sealer.seal(later, Secret("sk-second")), was_version=1
    )
    assert await table.replace([row]) == set()
    assert await table.replace([SealedRow(uuid7(), row.stored, row.resealed)]) == set()
    assert await process.value_of(key.id) == "sk-second"


@pytest.mark.parametrize("seed", range(4))
async def test_no_change_made_meanwhile_is_lost(
    databases: list[Database], process: Process, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Two processes move records while a third party edits, reads, adds and deletes keys."""
    monkeypatch.setattr(rewrap, "BATCH", 5)
    chance = random.Random(seed)
    other = await Process.start(databases[1])
    expected = {}
    for number in range(30):
        key = await process.add_key(f"sk-{number}")
        expected[key.id] = f"sk-{number}"
    await process.change_term()
    await other.watch.enter()

    async def edit(editor: Process) -> None:
        for _ in range(40):
            key_id = chance.choice(list(expected))
            found = await editor.keys.get_sealed([key_id])
            if not found:
                continue
            (sealed,) = found
            assert editor.sealer.open(sealed).reveal().startswith("sk-")
            action = chance.random()
            if action < 0.6:
                value = f"sk-edited-{chance.random()}"
                version = sealed.key.key_version
                coming = replace(sealed.key, key_version=version + 1)
                stored = editor.sealer.seal(coming, Secret(value))
                if await editor.keys.replace(stored, was_version=version):
                    expected[key_id] = value
            elif action < 0.8:
                value = f"sk-added-{chance.random()}"
                expected[(await editor.add_key(value)).id] = value
            elif action < 0.9 and len(expected) > 5 and await editor.keys.delete(key_id):
                del expected[key_id]

    await asyncio.gather(
        *(edit(process) for _ in range(2)),
        *(edit(other) for _ in range(2)),
        process.finish(),
        other.finish(),
    )
    await process.finish()
    stored = await stored_texts(process.database, _k.encrypted_key)
    assert stored.keys() == expected.keys()
    assert {term_of(text) for text in stored.values()} == {2}
    for key_id, value in expected.items():
        assert await other.value_of(key_id) == value


@pytest.mark.parametrize("column", [_k.encrypted_key, tables.api_key_versions.c.encrypted_key])
async def test_records_of_a_term_are_found_by_an_index(process: Process, column: Any) -> None:
    name = f"ix_{column.table.name}_term"
    row_id = column.table.c.id
    query = (
        select(row_id)
        .where(func.left(column, 8) == term_prefix(1), row_id > uuid7())
        .order_by(row_id)
        .limit(100)
    )
    async with process.database.transaction() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        shown = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        plan = " ".join(await connection.scalars(text(f"EXPLAIN {shown}")))
    assert name in plan
    assert "Sort" not in plan


async def test_the_turn_is_one_process_s_at_a_time(
    databases: list[Database], process: Process
) -> None:
    await process.add_key("sk-value")
    other = await Process.start(databases[1])
    await process.change_term()
    await other.watch.enter()
    async with process.store.turn() as ours:
        assert ours
        assert await other.rewrapper.step() is Outcome.ELSEWHERE
    assert await other.rewrapper.step() is Outcome.MOVED


async def test_deleted_rows_end_a_pass_too(process: Process) -> None:
    await process.add_key("sk-value")
    await process.change_term()
    async with process.database.transaction() as connection:
        await connection.execute(delete(tables.api_keys))
    assert await process.finish() == 0
    assert process.rewrapper.unopened == 0
