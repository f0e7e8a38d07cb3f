"""Which provider keys are listed for replacement after a leak."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from model_service.cli.secret_report import print_exposed
from model_service.db import tables
from model_service.kernel.keyring import TermState
from tests.keyrings import NEW_SECRET, Process

_t = tables.keyring_terms


async def listed(process: Process, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The names of the keys that are printed."""
    capsys.readouterr()
    await print_exposed(process.database, await process.custody.status(), (), as_json=True)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return [key["keyName"] for key in document["providerKeys"]]


async def after_a_leak(process: Process) -> Process:
    """The process that goes on with the new secret alone."""
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    new = await Process.start(process.database, secret=NEW_SECRET)
    await new.custody.secrets.finalize()
    return new


async def test_a_key_stored_while_the_new_term_was_being_taken_in_is_listed(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    new = await after_a_leak(process)
    term = await new.terms.add()
    # Long ago, as an instance may take its time.
    async with new.database.transaction() as connection:
        earlier = _t.c.created_at - timedelta(hours=1)
        await connection.execute(update(_t).where(_t.c.term == term).values(created_at=earlier))
    await new.add_key(
        "sk-under-term-1", key_name="meanwhile", created_at=datetime.now().astimezone()
    )
    await new.terms.activate(term)
    assert await listed(new, capsys) == ["meanwhile"]


@pytest.mark.parametrize(
    ("minutes", "names"),
    [
        pytest.param(-60, ["main"], id="long before"),
        pytest.param(9, ["main"], id="after it by a clock that is wrong"),
        pytest.param(11, [], id="after it"),
    ],
)
async def test_a_key_is_listed_unless_it_was_surely_stored_after_the_exposed_term_was_retired(
    process: Process, capsys: pytest.CaptureFixture[str], minutes: int, names: list[str]
) -> None:
    new = await after_a_leak(process)
    await new.change_term()
    await new.change_term()
    async with new.database.single() as connection:
        retired = await connection.scalar(select(_t.c.retired_at).where(_t.c.term == 1))
    assert retired is not None
    moment = retired + timedelta(minutes=minutes)
    await new.add_key("sk-value", key_name="main", created_at=moment)
    assert await listed(new, capsys) == names


async def test_a_term_that_was_destroyed_is_still_one_whose_keys_are_listed(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    await process.add_key("sk-value", key_name="main")
    new = await after_a_leak(process)
    await new.change_term()
    await new.finish()
    assert await new.terms.destroy(1, new.tables, after=0)
    assert new.keyring.states[1] is TermState.DESTROYED
    assert await listed(new, capsys) == ["main"]


async def test_while_an_exposed_term_is_in_use_every_key_is_listed(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    new = await after_a_leak(process)
    tomorrow = datetime.now().astimezone() + timedelta(days=1)
    await new.add_key("sk-value", key_name="main", created_at=tomorrow)
    assert await listed(new, capsys) == ["main"]
