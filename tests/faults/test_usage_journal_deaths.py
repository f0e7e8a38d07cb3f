"""Processes killed at any instant: every call that was answered is stored, none is invented."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest

from model_service.usage.adoption import Adopter
from model_service.usage.delivery import Delivery
from tests.faults.usage_journal_process import KEPT, SAID
from tests.usage_journals import MemorySink, event_id

KILLS = 25


@dataclass
class Said:
    """What the processes said before they died."""

    pids: list[int] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)

    def take(self, data: bytes) -> None:
        """Read it. Each statement is written at once, so it is there whole or not at all."""
        assert len(data) % SAID.size == 0
        for kind, number in SAID.iter_unpack(data):
            if kind == b"p":
                self.pids.append(number)
            else:
                (self.begun if kind == b"b" else self.ended).add(number)


@contextmanager
def _family(root: Path, seed: int, said: Said) -> Iterator["subprocess.Popen[bytes]"]:
    """What the processes are forked from. At the end all have died, and all was read."""
    command = [sys.executable, "-m", "tests.faults.usage_journal_process"]
    with (
        (root / "errors").open("wb") as errors,
        subprocess.Popen(
            [*command, str(root), "0", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        yield process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        said.take(process.stdout.read())
        assert process.wait() == 0


def _let_one_live(process: subprocess.Popen[bytes], said: Said, seconds: float) -> None:
    """Have a new process work for a moment, and kill it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    known = len(said.pids)
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        said.take(_read(process.stdout))
        if deadline is None and len(said.pids) > known:
            deadline = time.monotonic() + seconds
    os.kill(said.pids[-1], signal.SIGKILL)


def _read(pipe: IO[bytes]) -> bytes:
    data = os.read(pipe.fileno(), SAID.size * 4096)
    assert data, "the process ended"
    return data


def _kept(root: Path) -> Iterator[tuple[bytes, bool]]:
    """What the processes stored, in that order: ids, and whether they are estimates."""
    return KEPT.iter_unpack((root / "kept").read_bytes())


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
async def test_every_answered_call_survives_the_death_of_its_process(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    said = Said()
    with _family(tmp_path, seed, said) as process:
        for _ in range(KILLS):
            _let_one_live(process, said, chance.uniform(0.002, 0.06))

    last = MemorySink()
    await Adopter(tmp_path / "journal", Delivery(last, tmp_path / "refused")).adopt()

    # As a store has it that keeps what it is told first.
    is_estimate: dict[bytes, bool] = {}
    for id_, estimated in _kept(tmp_path):
        is_estimate.setdefault(id_, estimated)
    for event in last.events.values():
        is_estimate.setdefault(event.id.bytes, event.estimated)
    ended = {event_id(number).bytes for number in said.ended}
    begun = {event_id(number).bytes for number in said.begun}
    assert len(said.pids) == KILLS
    assert len(ended) > KILLS
    assert any(is_estimate.values()), "no process died with a call under way"
    lost = {id_ for id_ in ended if is_estimate.get(id_, True)}
    assert lost == set(), "an answered call was lost, or taken for one that was cut"
    assert begun <= is_estimate.keys(), "a call that was begun was lost"
    # A process may die between writing something and saying so: one record for each of them.
    assert len(is_estimate.keys() - begun) <= KILLS
    assert list((tmp_path / "journal").glob("*/*.segment")) == []
    assert (tmp_path / "errors").read_bytes().count(b"Traceback") == 0
    assert not (tmp_path / "journal" / "damaged").exists()
    assert not (tmp_path / "refused").exists()


def test_the_processes_do_take_over_from_one_another(tmp_path: Path) -> None:
    said = Said()
    with _family(tmp_path, 9, said) as process:
        for _ in range(6):
            _let_one_live(process, said, 0.3)
    first_process = {event_id(number).bytes for number in said.ended if number < 20_000_000}
    kept = {id_ for id_, _ in _kept(tmp_path)}
    assert first_process
    assert first_process <= kept
