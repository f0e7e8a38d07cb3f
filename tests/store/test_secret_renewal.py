"""After a leak, on the real tables: a new term, everything under it, the exposed ones gone."""

import pytest
from sqlalchemy import update

from model_service.db import tables
from model_service.db.uow import Database
from model_service.kernel.errors import Conflict
from model_service.kernel.keyring import TermState
from model_service.vault import custody
from tests.keyrings import NEW_SECRET, Process


async def staged(process: Process) -> Process:
    """A process with the secret that is to replace the leaked one."""
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    return await Process.start(process.database, secret=NEW_SECRET)


async def renew(process: Process) -> tuple[int, ...]:
    return await process.custody.renew(lambda _: None)


async def test_a_term_left_over_from_before_the_leak_is_not_what_records_are_moved_to(
    process: Process,
) -> None:
    await process.terms.add()
    key = await process.add_key("sk-value")
    new = await staged(process)
    assert await renew(new) == ()
    assert new.keyring.states == {
        1: TermState.DESTROYED,
        2: TermState.DESTROYED,
        3: TermState.ACTIVE,
    }
    assert await new.value_of(key.id) == "sk-value"
    assert (await new.custody.status()).exposed == ()


async def test_a_leak_is_not_dealt_with_while_the_leaked_secret_is_the_one_in_use(
    process: Process,
) -> None:
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    await process.custody.secrets.abandon()
    with pytest.raises(Conflict, match="leaked"):
        await renew(process)
    assert process.keyring.states == {1: TermState.ACTIVE}


async def test_a_term_whose_records_do_not_open_is_told_from_one_that_has_to_wait(
    process: Process, databases: list[Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custody, "_TRIES", 2)
    monkeypatch.setattr(custody, "_LOOK", 0.001)
    await process.add_key("sk-spoilt")
    async with process.database.transaction() as connection:
        await connection.execute(update(tables.api_keys).values(user_id="somebody-else"))
    await process.change_term()
    await process.add_key("sk-good")
    new = await staged(process)
    slow = await Process.start(databases[1], secret=NEW_SECRET)
    async with slow.database.transaction():
        await slow.add_key("sk-being-stored")
        assert await renew(new) == (1, 2)
        assert [new.custody.unopened_of(term) for term in (1, 2)] == [1, 0]
    assert await renew(new) == (1,)
