"""Workers die under load: each answered call is in the ledger once, as its provider billed it."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.ledger_world import MODELS, LedgerWorld, ledger_world, same

#: How many deaths; `LEDGER_SEEDS=100` for as many as are promised.
SEEDS = int(os.environ.get("LEDGER_SEEDS", "4"))


@pytest_asyncio.fixture(scope="module")
async def world() -> AsyncIterator[LedgerWorld]:
    """Two services on one database and one DATA_DIR."""
    async with ledger_world() as world:
        await world.start(world.new_service(), world.new_service())
        await world.set_up()
        yield world


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_after_a_death_both_ledgers_agree(world: LedgerWorld, seed: int) -> None:
    chance = random.Random(seed)
    victim = world.services[seed % 2]
    async with world.load(seed) as done:
        await asyncio.sleep(chance.uniform(0.1, 0.8))
        assert victim.process is not None
        victim.process.kill()
        await asyncio.to_thread(victim.process.wait, 20)
        await world.restart(victim)
    rows = await world.stored(done)
    assert len(done.answered) > 10
    assert done.refused == []
    same(world, done, rows)


async def test_supervised_workers_that_die_one_by_one_lose_nothing(world: LedgerWorld) -> None:
    service = world.new_service(WORKERS="2")
    await world.start(service)
    assert service.process is not None
    before = workers(service.process.pid)
    async with world.load(SEEDS + 1) as done:
        for pid in before:
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(30):
                while True:
                    if len(workers(service.process.pid)) == 2:
                        break
                    await asyncio.sleep(0.02)
    rows = await world.stored(done, processes=4)
    assert done.refused == []
    same(world, done, rows)


async def test_keys_were_used_as_often_as_they_paid_and_last_when_they_did(
    world: LedgerWorld,
) -> None:
    async with world.load(SEEDS + 2) as done:
        await asyncio.sleep(0.5)
    await world.stored(done, processes=4)
    for provider, key_id in world.keys.items():
        key = await world.admin("GET", f"/api/api-keys/{key_id}")
        paid = [row for row in await world.rows() if str(row["key_id"]) == key_id]
        assert key["usageCount"] == len(paid) > 0
        assert datetime.fromisoformat(key["lastUsedAt"]) == max(row["time"] for row in paid)
        assert {MODELS[row["model"]][0] for row in paid} == {provider}


async def test_at_the_end_no_call_was_counted_twice_and_no_journal_is_left(
    world: LedgerWorld,
) -> None:
    """The last of this module: the services are stopped."""
    for service in world.services:
        assert await asyncio.to_thread(service.stop) == 0
    assert world.journals == []
    rows = await world.rows()
    assert len({row["request_id"] for row in rows}) == len(rows)
    assert {row["error_class"] for row in rows} <= {None, "interrupted"}
    assert not (world.directory / "data" / "journal" / "refused.jsonl").exists()


def workers(supervisor: int) -> set[int]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return {
        int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    }
