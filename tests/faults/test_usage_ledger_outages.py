"""The database away and the journal full, under load: calls go on or are refused, none is lost."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from model_service.usage.journal import MOST_BYTES
from tests.faults import small_journal
from tests.faults.gateway_doors import Answer, Door, refusal
from tests.faults.ledger_world import ledger_world, same
from tests.faults.service_process import ServiceProcess

#: Seconds without a database; `LEDGER_OUTAGE=60` for as long as is promised.
OUTAGE = float(os.environ.get("LEDGER_OUTAGE", "3"))
#: Bytes that the journals may take: four segments.
ROOM = 4 * small_journal.SEGMENT


@contextmanager
def no_disk(_: Path) -> Iterator[int]:
    """The journal is full by its own bound; gives that."""
    yield ROOM


@contextmanager
def small_disk(path: Path) -> Iterator[int]:
    """A disk of its own for the journals, where one may be mounted; gives the journal's bound."""
    path.mkdir(parents=True)
    if not _run("mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=700", "tmpfs", str(path)):
        yield ROOM
        return
    try:
        yield MOST_BYTES
    finally:
        assert _run("umount", "--lazy", str(path))


def _run(command: str, *arguments: str) -> bool:
    """Whether a command exists, and succeeds."""
    path = shutil.which(command)
    return path is not None and (
        subprocess.run([path, *arguments], check=False, capture_output=True).returncode == 0
    )


async def test_with_the_database_away_calls_go_on_and_are_stored_later() -> None:
    async with ledger_world() as world:
        await world.start(world.new_service(), world.new_service())
        await world.set_up()
        async with world.load(0) as before:  # until both know all keys
            await asyncio.sleep(1.5)
        await world.stored(before)
        await world.stop_database()
        async with world.load(1) as during:
            await asyncio.sleep(OUTAGE)
            count = len(during.answered)
            await world.start_database()
            await asyncio.sleep(0.5)
        assert count > 10 * OUTAGE
        assert (during.refused, during.cut) == ([], {})
        same(world, before, await world.rows(before.everything))
        same(world, during, await world.stored(during))


@pytest.mark.parametrize("disk", [no_disk, small_disk], ids=["by its bound", "by its disk"])
async def test_a_full_journal_stops_calls_with_a_clear_error_and_loses_none(
    disk: Callable[[Path], AbstractContextManager[int]],
) -> None:
    async with ledger_world() as world, AsyncExitStack() as stack:
        most = stack.enter_context(disk(world.directory / "data" / "journal"))
        service = world.new_service(JOURNAL_MOST_BYTES=str(most))
        service.command = (small_journal.__file__, "serve")
        await world.start(service)
        await world.set_up()
        async with world.load(0) as before:
            await asyncio.sleep(1)
        await world.stored(before, processes=1)
        await world.stop_database()
        async with world.load(1, callers=8) as during:
            await _until(lambda: len({door.name for door, _ in during.refused}) == 4)
            answered = len(during.answered)
            assert await _state(service) == "journal_full"
            assert await _meter(service, "model_service_usage_journal_full") == 1
            assert await _meter(service, "model_service_usage_undrained_events") > 100
            await world.start_database()
            # By itself, and for all that come.
            await _until(lambda: len(during.answered) > answered + 40)
        for door, answer in during.refused:
            _is_clear(door, answer)
        assert during.cut == {}
        rows = await world.stored(during, processes=1)
        same(world, during, rows)
        assert await _meter(service, "model_service_usage_journal_full") == 0
        refused = [answer.headers["x-request-id"] for _, answer in during.refused]
        assert all(row["input_tokens"] == 0 for row in await world.rows(refused))
        assert await asyncio.to_thread(service.stop) == 0
        assert world.journals == []


def _is_clear(door: Door, answer: httpx.Response) -> None:
    assert answer.status_code == 503
    told = Answer(answer.status_code, answer.headers, answer.text, [])
    assert "no" in refusal(door, told)[1]
    assert "journal_full" in answer.text.lower()
    assert int(answer.headers["retry-after"]) >= 1


async def _state(service: ServiceProcess) -> str:
    await asyncio.sleep(1.1)  # readiness is believed for a second
    answer = await asyncio.to_thread(service.client.get, "/api/health/ready")
    assert answer.status_code == 503
    return str(answer.json()["checks"]["journal"])


async def _meter(service: ServiceProcess, name: str) -> float:
    answer = await asyncio.to_thread(service.client.get, "/metrics")
    lines = answer.text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


async def _until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while True:
            if check():
                return
            await asyncio.sleep(0.02)
