"""The end of a term: no record of it is left, and none can come after."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text, update

from model_service.custody import sealed_tables
from model_service.db import tables
from model_service.db.keyring import SqlKeyringStore
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, IntegrityFailure
from model_service.kernel.keyring import TermState
from model_service.kernel.sealed import term_prefix
from model_service.kernel.secret import Secret
from tests.keyrings import Process, let_pass, stored_texts

_k = tables.api_keys.c


async def test_a_process_that_never_heard_of_a_term_learns_of_it_when_it_meets_a_record(
    databases: list[Database], process: Process
) -> None:
    stale = await Process.start(databases[1])
    await process.change_term()
    key = await process.add_key("sk-under-term-2")
    assert stale.keyring.active_term == 1
    assert await stale.value_of(key.id) == "sk-under-term-2"
    assert stale.keyring.active_term == 2


async def test_forged_terms_cost_one_reload_a_second_and_do_not_open(
    databases: list[Database], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await process.add_key("sk-value")
    forged = term_prefix(999) + (await stored_texts(databases[0], _k.encrypted_key))[key.id][8:]
    async with databases[0].transaction() as connection:
        await connection.execute(update(tables.api_keys).values(encrypted_key=forged))
    reloads = []
    reload = process.keyring.reload

    async def counted(store: SqlKeyringStore) -> None:
        reloads.append(store)
        await reload(store)

    monkeypatch.setattr(process.keyring, "reload", counted)
    for _ in range(5):
        with pytest.raises(IntegrityFailure, match="unknown term"):
            await process.value_of(key.id)
    assert 1 <= len(reloads) <= 2, "the five may lie in two different seconds"


async def test_a_term_is_destroyed_when_its_records_were_moved_and_time_has_passed(
    process: Process,
) -> None:
    key = await process.add_key("sk-value")
    await process.change_term()
    assert not await process.terms.destroy(1, process.tables, after=0)
    await process.finish()
    assert not await process.terms.destroy(1, process.tables)
    await let_pass(process.database, 3_601)
    assert await process.terms.destroy(1, process.tables)
    assert process.keyring.states == {1: TermState.DESTROYED, 2: TermState.ACTIVE}
    assert await process.value_of(key.id) == "sk-value"
    async with process.database.single() as connection:
        terms = await connection.scalars(select(tables.keyring_term_keys.c.term))
        assert set(terms) == {2}


async def test_a_record_of_a_destroyed_term_cannot_be_stored_by_whoever_still_seals_it(
    databases: list[Database], process: Process
) -> None:
    stale = await Process.start(databases[1])
    key = await process.add_key("sk-value")
    await process.change_term()
    await process.finish()
    assert await process.terms.destroy(1, process.tables, after=0)
    with pytest.raises(DatabaseUnavailable):
        await stale.add_key("sk-too-late")
    coming = replace(key, key_version=2)
    with pytest.raises(DatabaseUnavailable):
        await stale.keys.replace(stale.sealer.seal(coming, Secret("sk-too-late")), was_version=1)
    with pytest.raises(DatabaseUnavailable):
        await stale.add_version(key, 3, "sk-too-late")
    with pytest.raises(DatabaseUnavailable):
        await stale.add_service_secrets("too late")
    await stale.watch.enter()
    assert await process.value_of((await stale.add_key("sk-in-time")).id) == "sk-in-time"


async def test_a_term_outlives_a_record_that_is_being_stored(
    databases: list[Database], process: Process
) -> None:
    slow = await Process.start(databases[1])
    await process.change_term()
    async with slow.database.transaction():
        key = await slow.add_key("sk-slow")
        assert not await process.terms.destroy(1, process.tables, after=0)
    assert not await process.terms.destroy(1, process.tables, after=0)
    assert await process.finish() == 1
    assert await process.terms.destroy(1, process.tables, after=0)
    assert await process.value_of(key.id) == "sk-slow"


async def test_every_table_that_is_fenced_is_gone_through_and_the_other_way_round(
    process: Process,
) -> None:
    fenced = text(
        "SELECT c.relname, trim(trailing '\\x00' from encode(t.tgargs, 'escape'))"
        " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = 'keyring_fence'"
    )
    async with process.database.single() as connection:
        found = {row[0] for row in await connection.execute(fenced)}
    assert found == {table.name for table in sealed_tables(process.database, process.keyring)}
