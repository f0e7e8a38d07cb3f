"""A call that was begun can be ended, whatever the disk does; others are not begun."""

import asyncio
import errno
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from model_service.kernel.errors import JournalFull
from model_service.usage.adoption import Adopter
from model_service.usage.delivery import Delivery
from model_service.usage.journal import Journal
from model_service.usage.owners import Holding
from model_service.usage.records import MOST_BYTES
from model_service.usage.segments import Segment
from tests.usage_journals import SEGMENT, MemorySink, begun, event, event_id


class Disk:
    """Makes segments as long as it `has_room`."""

    def __init__(self) -> None:
        self.has_room = True
        self.asked = 0

    def make(self, directory: Path, number: int, size: int) -> Segment:
        self.asked += 1
        if not self.has_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Segment.create(directory, number, size)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def journal(tmp_path: Path, disk: Disk) -> Journal:
    return Journal(tmp_path, segment_bytes=SEGMENT, allocator=disk.make)


def _fill(journal: Journal) -> list[int]:
    """Begin calls until none can be begun any more; their tickets."""
    tickets: list[int] = []
    while True:
        try:
            tickets.append(journal.begin(begun(len(tickets))))
        except JournalFull:
            return tickets


def test_a_full_disk_refuses_calls_and_says_when_to_come_back(journal: Journal, disk: Disk) -> None:
    disk.has_room = False
    tickets = _fill(journal)
    assert len(tickets) > 5
    with pytest.raises(JournalFull) as caught:
        journal.check()
    assert (caught.value.code, caught.value.retry_after) == ("journal_full", 5)
    assert journal.is_full


def test_on_a_full_disk_every_call_under_way_can_still_say_the_most_there_is_to_say(
    journal: Journal, disk: Disk
) -> None:
    disk.has_room = False
    tickets = _fill(journal)
    for ticket in tickets:
        journal.finish(ticket, b"x" * MOST_BYTES)
    assert (journal.under_way, journal.events) == (0, len(tickets))


def test_a_full_disk_is_asked_again_by_the_other_thread_alone(journal: Journal, disk: Disk) -> None:
    disk.has_room = False
    _fill(journal)
    asked = disk.asked
    for _ in range(50):
        assert journal.is_full
    assert disk.asked == asked


def test_calls_are_taken_again_once_there_is_room(journal: Journal, disk: Disk) -> None:
    disk.has_room = False
    _fill(journal)
    disk.has_room = True
    assert journal.allocate()
    journal.check()
    assert journal.begin(begun(999)) > 0


def test_a_late_thread_is_helped_out(journal: Journal, disk: Disk) -> None:
    for number in range(200):
        journal.finish(journal.begin(begun(number)), event(number))
        journal.begin(begun(1000 + number))
    assert disk.asked > 10


def test_too_much_that_waits_stops_admission_and_not_those_under_way(
    tmp_path: Path, disk: Disk
) -> None:
    journal = Journal(tmp_path, segment_bytes=SEGMENT, most_bytes=3 * SEGMENT, allocator=disk.make)
    number = 0
    while not journal.is_full:
        journal.finish(journal.begin(begun(number)), event(number))
        number += 1
    assert len(journal.kept) == 3
    with pytest.raises(JournalFull, match="waits"):
        journal.check()
    journal.finish(journal.begin(begun(number)), event(number))


def test_giving_up_what_is_drained_lifts_that(tmp_path: Path, disk: Disk) -> None:
    journal = Journal(tmp_path, segment_bytes=SEGMENT, most_bytes=2 * SEGMENT, allocator=disk.make)
    while not journal.is_full:
        journal.note(event(1))
    assert journal.give_up(journal.kept[0])
    journal.check()


def test_a_disk_that_cannot_be_synced_stops_admission_until_it_can(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(segment: Segment) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    journal.note(event(1))
    with monkeypatch.context() as broken:
        broken.setattr(Segment, "sync", fail)
        assert not journal.sync()
        with pytest.raises(JournalFull, match="disk"):
            journal.check()
    assert journal.sync()
    journal.check()


def test_a_call_is_ended_once(journal: Journal) -> None:
    ticket = journal.begin(begun(1))
    journal.finish(ticket, event(1))
    with pytest.raises(LookupError):
        journal.finish(ticket, event(1))
    assert journal.events == 1


def test_a_call_that_outlives_its_segment_is_carried_over(journal: Journal) -> None:
    ticket = journal.begin(begun(1))
    while not journal.kept:
        journal.note(event(2))
    old = journal.kept[0]
    assert journal.give_up(old)
    assert journal.under_way == 1
    old.path.unlink()
    journal.finish(ticket, event(1))
    assert journal.under_way == 0


def test_a_segment_full_of_calls_that_go_on_is_not_given_up(journal: Journal) -> None:
    tickets: list[int] = []
    while not journal.kept:
        tickets.append(journal.begin(begun(len(tickets))))
    assert not journal.give_up(journal.kept[0])
    for ticket in tickets[len(tickets) // 8 :]:
        journal.finish(ticket, event(0))
    assert journal.give_up(journal.kept[0])


class JournalModel(RuleBasedStateMachine):
    """Any sequence of calls begun and ended, with the disk full at any time, then a death."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.root = Path(self.directory.name) / "journal"
        self.holding = Holding.new(self.root)
        self.disk = Disk()
        self.journal = Journal(
            self.holding.path,
            segment_bytes=SEGMENT // 2,
            most_bytes=1 << 40,
            allocator=self.disk.make,
        )
        self.under_way: dict[int, int] = {}
        self.ended: set[int] = set()
        self.given_up: set[int] = set()
        self.number = 0

    def _next(self) -> int:
        self.number += 1
        return self.number

    @rule(padding=st.integers(0, 6000), times=st.integers(1, 8))
    def begin(self, padding: int, times: int) -> None:
        for _ in range(times):
            number = self._next()
            try:
                ticket = self.journal.begin(begun(number, "m" * padding))
            except JournalFull:
                assert not self.disk.has_room
                return
            self.under_way[ticket] = number

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), padding=st.integers(0, 7000), times=st.integers(1, 8))
    def finish(self, data: st.DataObject, padding: int, times: int) -> None:
        for _ in range(min(times, len(self.under_way))):
            ticket = data.draw(st.sampled_from(sorted(self.under_way)))
            number = self.under_way.pop(ticket)
            self.journal.finish(ticket, event(number, model="m" * padding))
            self.ended.add(number)

    @rule()
    def note(self) -> None:
        number = self._next()
        try:
            self.journal.note(event(number))
        except JournalFull:
            assert not self.disk.has_room
            return
        self.ended.add(number)

    @rule()
    def drain_and_delete(self) -> None:
        for segment in list(self.journal.kept):
            stored = set(self.ended)
            if self.journal.give_up(segment):
                segment.path.unlink()
                self.given_up |= stored

    @rule(has_room=st.booleans())
    def change_disk(self, has_room: bool) -> None:
        self.disk.has_room = has_room
        if has_room:
            self.journal.allocate()  # as the thread does within half a second

    @rule()
    def upkeep(self) -> None:
        if self.journal.wants_room:
            self.journal.allocate()
        self.journal.sync()

    @invariant()
    def counts_are_right(self) -> None:
        assert self.journal.under_way == len(self.under_way)
        assert self.journal.events == len(self.ended)

    @override
    def teardown(self) -> None:
        """The process is gone: all events are there, and the calls that were cut."""
        sink = MemorySink()
        self.holding.release()  # as the death of the process does; its mappings are as they are
        adopter = Adopter(self.root, Delivery(sink, self.root / "refused"))
        with asyncio.Runner() as runner:
            runner.run(adopter.adopt())
        told = set(sink.events)
        cut = {event_id(number) for number in self.under_way.values()}
        whole = {event_id(number) for number in self.ended}
        assert told >= cut | (whole - {event_id(number) for number in self.given_up})
        assert told <= cut | whole
        assert all(sink.events[id_].error_class == "interrupted" for id_ in cut)
        assert set(sink.told.values()) <= {1}
        self.journal.close()
        self.directory.cleanup()


TestJournalModel = JournalModel.TestCase
TestJournalModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
