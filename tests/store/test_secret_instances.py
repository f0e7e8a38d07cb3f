"""What running processes say of themselves, and what they hear in return."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from model_service.db import tables
from model_service.db.notices import CHANNEL
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, SecretMismatch
from model_service.kernel.keyring import InstanceRow, TermState
from model_service.kernel.secret import Secret
from model_service.vault.watch import SEALS_ALARM
from tests.keyrings import NEW_SECRET, Process, let_pass


async def instances(process: Process) -> tuple[InstanceRow, ...]:
    async with process.store.shared() as session:
        return await session.instances()


async def test_a_process_says_which_wrap_and_terms_it_uses(process: Process) -> None:
    assert await instances(process) == ()
    await process.watch.enter()
    (row,) = await instances(process)
    assert (row.name, row.wrap_id) == ("process", process.keyring.wrap_id)
    assert (row.active_term, row.newest_term, row.is_live) == (1, 1, True)
    await process.change_term()
    await process.watch.step()
    (later,) = await instances(process)
    assert (later.active_term, later.newest_term) == (2, 2)
    assert later.instance_id == row.instance_id
    assert later.started_at == row.started_at
    assert later.seen_at >= row.seen_at


async def test_a_process_that_is_silent_counts_as_gone_and_is_forgotten_later(
    process: Process, databases: list[Database]
) -> None:
    other = await Process.start(databases[1], "other")
    await process.watch.enter()
    await let_pass(process.database, 29)
    assert [row.is_live for row in await instances(process)] == [True]
    await let_pass(process.database, 2)
    assert [row.is_live for row in await instances(process)] == [False]
    await let_pass(process.database, 3_600)
    await other.watch.enter()
    assert [row.name for row in await instances(process)] == ["other"]
    async with process.database.single() as connection:
        stored = await connection.scalars(select(tables.keyring_instances.c.name))
        assert set(stored) == {"other"}


async def test_a_process_that_ends_says_so_and_one_that_never_began_says_nothing(
    process: Process, databases: list[Database]
) -> None:
    other = await Process.start(databases[1], "other")
    await process.watch.enter()
    await other.watch.leave()
    assert [row.name for row in await instances(process)] == ["process"]
    await process.watch.leave()
    assert await instances(process) == ()


async def test_a_process_that_is_present_for_a_while_beats_until_it_leaves(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_service.vault.watch.INTERVAL", 0.001)
    async with process.watch.present():
        await process.add_key("sk-1")
        (first,) = await instances(process)
        beaten = asyncio.Event()
        step = process.watch.step

        async def counted() -> None:
            await step()
            beaten.set()

        monkeypatch.setattr(process.watch, "step", counted)
        async with asyncio.timeout(10):
            await beaten.wait()
        (later,) = await instances(process)
        assert later.seen_at > first.seen_at
    assert await instances(process) == ()
    assert process.seals == {1: 1}
    await process.watch.leave()
    assert await instances(process) == (), "it left already"


async def test_what_was_sealed_is_counted_for_the_term_also_when_the_process_ends(
    process: Process,
) -> None:
    await process.watch.enter()
    await process.add_key("sk-1")
    await process.add_key("sk-2")
    await process.watch.step()
    assert process.seals == {1: 2}
    await process.change_term()
    await process.add_key("sk-3")
    await process.watch.leave()
    assert process.seals == {1: 2, 2: 1}


async def test_what_could_not_be_counted_is_counted_later(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await process.watch.enter()
    await process.add_key("sk-1")
    with monkeypatch.context() as patch:

        def away() -> Any:
            raise DatabaseUnavailable

        patch.setattr(process.store, "shared", away)
        with pytest.raises(DatabaseUnavailable):
            await process.watch.step()
    await process.watch.step()
    assert process.seals == {1: 1}


async def test_a_step_takes_in_what_another_process_changed(
    process: Process, databases: list[Database]
) -> None:
    other = await Process.start(databases[1])
    await other.watch.enter()
    term = await process.terms.add()
    await other.watch.step()
    assert (other.keyring.active_term, other.keyring.newest_term) == (1, term)
    await other.watch.step()
    await process.terms.activate(term)
    await other.watch.step()
    assert other.keyring.active_term == term
    assert await process.terms.destroy(1, process.tables, after=0) is False, "it has not said so"
    await other.watch.step()
    assert await process.terms.destroy(1, process.tables, after=0)
    await other.watch.step()
    assert other.keyring.states == {1: TermState.DESTROYED, term: TermState.ACTIVE}


async def test_changes_of_the_keyring_are_told_to_every_process_at_once(
    process: Process, keyring_url: Secret[str]
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(keyring_url.reveal())
    await connection.add_listener(CHANNEL, lambda *told: heard.put_nowait(str(told[-1])))
    await process.change_term()
    async with asyncio.timeout(10):
        assert (await heard.get()).startswith("keyring:")
    await connection.close()


async def test_a_process_whose_wrap_was_deleted_before_it_entered_does_not_start(
    process: Process, databases: list[Database]
) -> None:
    late = await Process.start(databases[1])
    await process.custody.secrets.stage(NEW_SECRET)
    new = await Process.start(databases[1], secret=NEW_SECRET)
    await new.custody.secrets.finalize()
    with pytest.raises(SecretMismatch, match="the wrap of this process was deleted"):
        await late.watch.enter()
    assert await instances(process) == ()


async def test_a_process_that_lost_its_wrap_goes_on_and_says_that_it_must_be_restarted(
    process: Process, databases: list[Database]
) -> None:
    key = await process.add_key("sk-value")
    await process.watch.enter()
    await process.custody.secrets.stage(NEW_SECRET)
    new = await Process.start(databases[1], secret=NEW_SECRET)
    await let_pass(process.database, 31)
    await new.custody.secrets.finalize()
    assert process.watch.check() is None
    with capture_logs() as logs:
        await process.watch.step()
        await process.watch.step()
    assert [entry["event"] for entry in logs] == [str(SecretMismatch(logs[0]["event"]))]
    with pytest.raises(SecretMismatch, match="restart it with the new ENCRYPTION_SECRET"):
        process.watch.check()
    assert await process.value_of(key.id) == "sk-value"
    assert process.keyring.active_term == 1


async def test_a_worn_term_is_told_once_and_shown_until_the_term_is_changed(
    process: Process,
) -> None:
    await process.watch.enter()
    assert process.watch.check() is None
    async with process.database.transaction() as connection:
        await connection.execute(update(tables.keyring_terms).values(seals=SEALS_ALARM - 1))
    await process.watch.step()
    assert process.watch.check() is None
    await process.add_key("sk-one-more")
    with capture_logs() as logs:
        await process.watch.step()
        await process.watch.step()
    assert [(entry["term"], entry["count"]) for entry in logs] == [(1, SEALS_ALARM)]
    assert "secret rotate --term" in json.dumps(logs)
    assert process.watch.check() == "rotate_term"
    await process.change_term()
    await process.watch.step()
    assert process.watch.check() is None


async def test_a_running_watch_goes_on_after_the_database_was_away(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_service.vault.watch.INTERVAL", 0.001)
    await process.watch.enter()
    step, outcomes = process.watch.step, iter([DatabaseUnavailable(), None, None])
    done = asyncio.Event()

    async def faltering() -> None:
        outcome = next(outcomes, None)
        if outcome is not None:
            raise outcome
        await step()
        done.set()

    monkeypatch.setattr(process.watch, "step", faltering)
    with capture_logs() as logs:
        running = asyncio.create_task(process.watch.run())
        async with asyncio.timeout(10):
            await done.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [entry["log_level"] for entry in logs] == ["warning"]
