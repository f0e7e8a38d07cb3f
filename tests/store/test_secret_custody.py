"""The steps of `secret` together: what is shown, what comes next, and what is waited for."""

import asyncio
from types import SimpleNamespace

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.errors import Conflict
from model_service.kernel.keyring import TermState
from model_service.kernel.secret import Secret
from model_service.vault import custody, rewrap
from model_service.vault.custody import PATIENCE
from model_service.vault.unlock import ScryptUnlocker
from tests.keyrings import NEW_SECRET, OLD_SECRET, Process, let_pass
from tests.pauses import Pauses

THIRD_SECRET = Secret("a-secret-that-nobody-has-staged-yet-55d0")


@pytest_asyncio.fixture
async def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Those that custody takes between two looks at other processes."""
    return Pauses(monkeypatch, custody)


async def would_replace(process: Process, secret: Secret[str]) -> bool:
    return await process.custody.is_to_replace(ScryptUnlocker(secret))


async def test_the_status_shows_wraps_instances_and_terms_with_their_records(
    process: Process,
) -> None:
    await process.add_key("sk-one")
    await process.watch.enter()
    await process.change_term()
    await process.add_key("sk-two")
    await process.add_key("sk-three")
    await process.custody.secrets.stage(NEW_SECRET)
    status = await process.custody.status()
    assert status.wraps[0].wrap_id == process.keyring.wrap_id
    assert len(status.wraps) == 2
    assert [(row.name, row.active_term) for row in status.instances] == [("process", 1)]
    states = [(term.row.term, term.row.state) for term in status.terms]
    assert states == [(1, TermState.DECRYPT_ONLY), (2, TermState.ACTIVE)]
    empty = dict.fromkeys((table.name for table in process.tables), 0)
    assert [term.records for term in status.terms] == [
        empty | {"api_keys": 1},
        empty | {"api_keys": 2},
    ]
    assert status.exposed == ()


# --- what comes next after a leak ------------------------------------------------------------


async def test_a_secret_that_opens_nothing_yet_is_to_be_staged(process: Process) -> None:
    assert await would_replace(process, THIRD_SECRET)


async def test_the_only_secret_there_is_replaces_nothing(process: Process) -> None:
    assert not await would_replace(process, OLD_SECRET)


async def test_a_secret_staged_before_anybody_spoke_of_a_leak_replaces_the_leaked_one(
    process: Process,
) -> None:
    await process.custody.secrets.stage(NEW_SECRET)
    assert await would_replace(process, NEW_SECRET)
    assert not await would_replace(process, OLD_SECRET)


async def test_a_secret_that_was_staged_after_the_leak_is_not_to_be_staged_again(
    process: Process,
) -> None:
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    assert not await would_replace(process, NEW_SECRET)
    assert not await would_replace(process, OLD_SECRET)


# --- another term ----------------------------------------------------------------------------


async def test_a_new_term_is_activated_once_every_running_process_knows_it(
    process: Process, databases: list[Database], pauses: Pauses
) -> None:
    other = await Process.start(databases[1], "other")
    await other.watch.enter()
    changing = asyncio.create_task(process.custody.change_term())
    await pauses.begun()
    assert process.keyring.states == {1: TermState.ACTIVE, 2: TermState.DECRYPT_ONLY}
    await pauses.over()
    await other.watch.step()
    await other.watch.step()
    pauses.end()
    assert await changing == 2
    assert process.keyring.active_term == 2
    assert pauses.taken == [0.2, 0.2]


async def test_a_process_that_does_not_take_the_term_in_is_named_after_a_minute(
    process: Process,
    databases: list[Database],
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(custody, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for name in ("first", "second"):
        await (await Process.start(databases[1], name)).watch.enter()
    changing = asyncio.create_task(process.custody.change_term())
    await pauses.begun()
    now[0] += PATIENCE
    await pauses.over()
    now[0] += 0.001
    pauses.end()
    said = r"^2 running instances do not take in the new term 2: (first, second|second, first)\. "
    with pytest.raises(Conflict, match=said):
        await changing
    assert process.keyring.active_term == 1


# --- everything anew -------------------------------------------------------------------------


async def leaked(process: Process) -> Process:
    """The process with the secret in place of one that leaked, the old one's silent for long."""
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    return await Process.start(process.database, "new", NEW_SECRET)


async def test_records_are_moved_and_the_exposed_term_destroyed_and_each_batch_told(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrap, "BATCH", 2)
    keys = [await process.add_key(f"sk-{number}") for number in range(5)]
    new = await leaked(process)
    moved: list[int] = []
    assert await new.custody.renew(moved.append) == ()
    assert [count for count in moved if count] == [2, 2, 1]
    assert new.keyring.states == {1: TermState.DESTROYED, 2: TermState.ACTIVE}
    assert len((await new.custody.status()).wraps) == 1
    assert [await new.value_of(key.id) for key in keys] == [f"sk-{n}" for n in range(5)]
    assert (await new.custody.status()).instances == (), "it left again"


async def test_a_running_process_that_uses_the_leaked_secret_is_not_cut_off(
    process: Process,
) -> None:
    await process.watch.enter()
    new = await leaked(process)
    with pytest.raises(Conflict, match="process"):
        await new.custody.renew(lambda _: None)
    assert len((await new.custody.status()).wraps) == 2
    assert (await new.custody.status()).exposed == (1,)


async def test_records_are_moved_once_no_running_process_seals_under_the_exposed_term(
    process: Process, databases: list[Database], pauses: Pauses
) -> None:
    key = await process.add_key("sk-value")
    new = await leaked(process)
    slow = await Process.start(databases[1], "slow", NEW_SECRET)
    await slow.watch.enter()
    renewing = asyncio.create_task(new.custody.renew(lambda _: None))
    await pauses.begun()  # until it knows the term
    await slow.watch.step()
    await slow.watch.step()
    await pauses.over()  # until it seals under the term
    assert new.keyring.active_term == 2
    assert await new.counts(1) == {"api_keys": 1}
    await slow.watch.step()
    await slow.watch.step()
    pauses.end()
    assert await renewing == ()
    assert await slow.value_of(key.id) == "sk-value"


async def test_a_term_is_destroyed_at_the_first_look_without_a_record_being_stored(
    process: Process, databases: list[Database], pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await process.add_key("sk-value")
    new = await leaked(process)
    finished: list[None] = []
    finish = new.custody._rewrapper.finish

    async def counted(on_moved: object) -> None:
        finished.append(None)
        await finish(on_moved)  # type: ignore[arg-type]

    monkeypatch.setattr(new.custody._rewrapper, "finish", counted)
    storing = await Process.start(databases[1], "storing", NEW_SECRET)
    async with databases[1].transaction():
        stored = await storing.add_key("sk-being-stored")
        renewing = asyncio.create_task(new.custody.renew(lambda _: None))
        await pauses.begun()
        assert new.keyring.states[1] is TermState.DECRYPT_ONLY
        await pauses.over()
    pauses.end()
    assert await renewing == ()
    assert len(finished) == 3, "twice while a record was being stored, and once after"
    assert pauses.taken == [0.2, 0.2]
    assert [await new.value_of(each.id) for each in (key, stored)] == [
        "sk-value", "sk-being-stored",
    ]  # fmt: skip


async def test_what_was_interrupted_goes_on_where_it_was(process: Process) -> None:
    key = await process.add_key("sk-value")
    new = await leaked(process)
    await new.custody.secrets.finalize()
    term = await new.terms.add()
    assert await new.custody.renew(lambda _: None) == ()
    assert new.keyring.active_term == term
    again = await Process.start(process.database, "again", NEW_SECRET)
    await let_pass(process.database, 31)
    assert await again.custody.renew(lambda _: None) == ()
    assert again.keyring.active_term == term, "there is nothing to do any more"
    assert await again.value_of(key.id) == "sk-value"
