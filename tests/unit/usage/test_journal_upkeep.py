"""The thread beside the journal: nothing it does gets in the way of writing."""

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_service.usage.journal import Journal
from model_service.usage.segments import START, Segment, read_part
from model_service.usage.upkeep import Upkeep
from tests.usage_journals import SEGMENT, event


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, segment_bytes=SEGMENT, most_bytes=1 << 40)


def _fill_up(journal: Journal) -> None:
    """Write until another segment is begun."""
    current = journal.current
    while journal.current is current:
        journal.note(event(1))


def test_a_segment_that_fills_up_while_it_is_synced_is_synced_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int, int]] = []
    sync = Segment.sync

    def slow(segment: Segment) -> None:
        if not synced:
            _fill_up(journal)
        synced.append((segment.number, segment.end))
        sync(segment)

    monkeypatch.setattr(Segment, "sync", slow)
    journal.note(event(1))
    assert journal.sync()
    full = journal.kept[0]
    assert synced[-1] == (full.number, full.end)
    assert full.file == -1


def test_what_did_not_change_is_not_synced_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.note(event(1))
    assert journal.sync()
    monkeypatch.setattr(Segment, "sync", None)
    assert journal.sync()


def test_writing_beside_the_thread_loses_nothing_and_never_fails(journal: Journal) -> None:
    with capture_logs() as logs:
        upkeep = Upkeep(journal, interval=0.0)
        upkeep.start()
        for number in range(20_000):
            journal.note(event(number))
        upkeep.stop()
    assert logs == []
    count = 0
    for segment in (*journal.kept, journal.current):
        at, is_last = START, False
        while not is_last:
            part = read_part(segment.path, at)
            count += len(part.records)
            at, is_last = part.end, part.is_last
    assert count == 20_000
    assert {segment.file for segment in journal.kept} == {-1}


def test_a_failure_that_nobody_thought_of_does_not_end_the_thread(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, went_on = threading.Event(), threading.Event()

    def fail() -> bool:
        (went_on if failed.is_set() else failed).set()
        raise RuntimeError

    with monkeypatch.context() as broken, capture_logs() as logs:
        broken.setattr(journal, "sync", fail)
        upkeep = Upkeep(journal, interval=0.001)
        upkeep.start()
        assert failed.wait(20)
        assert went_on.wait(20)
        assert upkeep.is_alive
    upkeep.stop()
    assert not upkeep.is_alive
    assert logs[0]["error_type"] == "RuntimeError"


def test_the_next_segment_is_ready_before_it_is_needed(journal: Journal) -> None:
    upkeep = Upkeep(journal, interval=0.001)
    upkeep.start()
    journal.note(event(1))
    for _ in range(5):
        while journal.wants_room:
            threading.Event().wait(0.001)
        _fill_up(journal)
    upkeep.stop()
    assert len(journal.kept) == 5
