"""Several processes that want the same dead journals: each journal is drained by one of them."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from model_service.usage.journal import Journal
from model_service.usage.owners import Holding
from tests.usage_journals import SEGMENT, begun, event, event_id

JOURNALS = 40
EVENTS = 50
RACERS = 3


def _leave_journals(root: Path) -> None:
    number = 0
    for _ in range(JOURNALS):
        holding = Holding.new(root)
        journal = Journal(holding.path, segment_bytes=SEGMENT)
        journal.begin(begun(number))
        for _ in range(EVENTS - 1):
            number += 1
            journal.note(event(number))
        number += 1
        journal.close()
        holding.release()


def test_processes_that_race_for_dead_journals_store_each_event_once(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    _leave_journals(root)
    files = [tmp_path / f"kept-{racer}" for racer in range(RACERS)]
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.usage_journal_adopter", root, file],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            )
            for file in files
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.read(1) == b"r"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(b"g")
            racer.stdin.flush()
        assert [racer.wait() for racer in racers] == [0] * RACERS
    kept = [file.read_bytes() for file in files]
    ids = [data[at : at + 16] for data in kept for at in range(0, len(data), 16)]
    assert sorted(ids) == sorted(event_id(number).bytes for number in range(JOURNALS * EVENTS))
    assert sum(map(bool, kept)) > 1, "only one of them did anything: that was no race"
    assert [path.name for path in root.iterdir()] == ["lock"]
