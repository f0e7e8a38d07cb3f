"""A full disk stops admission with a clear error; what was begun is ended, nothing is lost."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_service.kernel.errors import JournalFull
from model_service.usage.metering import Metering
from tests.usage_journals import SEGMENT, MemorySink, begun, event, event_id


@dataclass
class Disk:
    """One with room for ten segments, unless something else fills it."""

    path: Path
    size: int = 10 * SEGMENT

    @property
    def filler(self) -> Path:
        return self.path / "filler"

    @property
    def used(self) -> int:
        return sum(item.stat().st_size for item in self.path.rglob("*") if item.is_file())

    def fill(self) -> None:
        """Leave no room."""
        with self.filler.open("wb", buffering=0) as file:
            try:
                while self.used < self.size:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        """Give the room back."""
        self.filler.unlink()


def _run(command: str, *arguments: str) -> bool:
    """Whether a command exists, and succeeds."""
    path = shutil.which(command)
    return path is not None and (
        subprocess.run([path, *arguments], check=False, capture_output=True).returncode == 0
    )


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A file system of its own where one may be mounted, else one that is said to be full."""
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    if _run("mount", "-t", "tmpfs", "-o", f"size={disk.size}", "tmpfs", str(disk.path)):
        yield disk
        assert _run("umount", "--lazy", str(disk.path))
        return
    allocate = os.posix_fallocate

    def refuse(file: int, offset: int, length: int) -> None:
        if disk.used + length > disk.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(file, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    yield disk


def _call_until_full(metering: Metering) -> tuple[dict[int, int], int]:
    """Begin calls, end half of them, until none are admitted.

    The answer is the numbers of those under way, by ticket, and how many there were in all.
    """
    under_way: dict[int, int] = {}
    number = 0
    while True:
        try:
            metering.journal.check()
            ticket = metering.journal.begin(begun(number))
        except JournalFull:
            return under_way, number
        if number % 2:
            metering.journal.finish(ticket, event(number))
        else:
            under_way[ticket] = number
        number += 1


async def _until_admitted(metering: Metering) -> None:
    async with asyncio.timeout(20):
        while metering.journal.is_full:  # noqa: ASYNC110 - a thread finds room, and tells nobody
            await asyncio.sleep(0.01)


async def test_a_full_disk_stops_admission_and_loses_nothing(disk: Disk) -> None:
    sink = MemorySink()
    metering = Metering.open(disk.path / "journal", sink, segment_bytes=SEGMENT)
    disk.fill()
    under_way, count = _call_until_full(metering)
    with pytest.raises(JournalFull):
        await metering.check()
    assert under_way
    for ticket, number in under_way.items():
        metering.journal.finish(ticket, event(number))
    assert metering.journal.under_way == 0
    await metering.drainer.drain()
    assert set(sink.told) == {event_id(number) for number in range(count)}
    assert {event.status for event in sink.events.values()} == {200}
    disk.free()
    await metering.close()


async def test_calls_are_admitted_again_when_the_disk_has_room(disk: Disk) -> None:
    metering = Metering.open(disk.path / "journal", MemorySink(), segment_bytes=SEGMENT)
    disk.fill()
    for ticket, number in _call_until_full(metering)[0].items():
        metering.journal.finish(ticket, event(number))
    disk.free()
    await _until_admitted(metering)
    assert await metering.check() is None
    await metering.close()


async def test_a_disk_filled_by_the_journal_itself_is_free_again_once_it_is_drained(
    disk: Disk,
) -> None:
    sink = MemorySink()
    sink.available = False
    metering = Metering.open(disk.path / "journal", sink, segment_bytes=SEGMENT)
    under_way, count = _call_until_full(metering)
    assert len(list(metering.holding.path.glob("*.segment"))) >= 8
    for ticket, number in under_way.items():
        metering.journal.finish(ticket, event(number))
    sink.available = True
    await metering.drainer.drain()
    await _until_admitted(metering)
    assert len(sink.told) == count
    await metering.close()


async def test_a_process_that_died_on_a_full_disk_is_drained_by_one_that_starts_on_it(
    disk: Disk,
) -> None:
    sink = MemorySink()
    sink.available = False
    dead = Metering.open(disk.path / "journal", sink, segment_bytes=SEGMENT)
    disk.fill()
    under_way, _ = _call_until_full(dead)
    dead.upkeep.stop()
    dead.journal.close()
    dead.holding.release()

    sink.available = True
    metering = Metering.open(disk.path / "journal", sink, segment_bytes=SEGMENT)
    with pytest.raises(JournalFull):
        metering.journal.check()
    await metering.adopter.adopt()
    assert set(sink.told.values()) == {1}
    assert {event.id for event in sink.events.values() if event.estimated} == {
        event_id(number) for number in under_way.values()
    }
    await _until_admitted(metering)
    metering.journal.finish(metering.journal.begin(begun(99_999)), event(99_999))
    await metering.close()
    assert sink.told[event_id(99_999)] == 1
    assert not metering.holding.path.exists()
