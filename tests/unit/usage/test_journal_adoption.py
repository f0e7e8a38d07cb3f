"""What a dead process left is taken over by one that lives, and by one alone."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from model_service.kernel.errors import DatabaseUnavailable
from model_service.usage.adoption import Adopter
from model_service.usage.delivery import Delivery
from model_service.usage.journal import Journal
from model_service.usage.owners import Holding, take_over
from model_service.usage.segments import START
from tests.usage_journals import SEGMENT, MemorySink, begun, event, event_id


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def adopter(tmp_path: Path, sink: MemorySink) -> Adopter:
    return Adopter(tmp_path, Delivery(sink, tmp_path / "refused"))


def _dead(root: Path, events: range, cut: range = range(0)) -> Path:
    """The journal of a process that died: its events, and its calls that were cut."""
    holding = Holding.new(root)
    journal = Journal(holding.path, segment_bytes=SEGMENT)
    tickets = [journal.begin(begun(number)) for number in cut]
    for number in events:
        journal.finish(journal.begin(begun(number)), event(number))
    assert len(tickets) == len(cut)
    journal.close()
    holding.release()
    return holding.path


def _names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"lock"}


async def test_its_events_are_stored_and_its_journal_is_gone(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    _dead(tmp_path, range(900))
    await adopter.adopt()
    assert (len(sink.told), set(sink.told.values())) == (900, {1})
    assert _names(tmp_path) == set()
    assert adopter.adopted == 1


async def test_calls_that_were_cut_are_stored_as_estimates(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    _dead(tmp_path, range(10, 700), cut=range(3))
    await adopter.adopt()
    cut = [event for event in sink.events.values() if event.estimated]
    assert {event.id for event in cut} == {event_id(number) for number in range(3)}
    assert {event.error_class for event in cut} == {"interrupted"}
    assert adopter.interrupted == 3


async def test_the_journal_of_a_process_that_lives_is_left_alone(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    holding = Holding.new(tmp_path)
    journal = Journal(holding.path, segment_bytes=SEGMENT)
    journal.note(event(1))
    await adopter.adopt()
    assert not sink.told
    assert holding.path.exists()
    journal.close()


async def test_all_that_died_are_taken_over(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    for start in range(0, 50, 10):
        _dead(tmp_path, range(start, start + 10))
    await adopter.adopt()
    assert len(sink.told) == 50


async def test_without_the_database_it_stays_and_costs_little_disk(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    path = _dead(tmp_path, range(5), cut=range(100, 102))
    sink.available = False
    with pytest.raises(DatabaseUnavailable):
        await adopter.adopt()
    assert sum(file.stat().st_size for file in path.iterdir()) < START + 7 * 600
    sink.available = True
    await adopter.adopt()
    assert len(sink.told) == 7


async def test_one_of_a_process_that_wrote_nothing_needs_no_database(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    _dead(tmp_path, range(0))
    sink.available = False
    await adopter.adopt()
    assert _names(tmp_path) == set()


async def test_who_dies_over_it_leaves_it_to_the_next_who_tells_little_again(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    _dead(tmp_path, range(2000), cut=range(5000, 5002))
    keep = sink.keep

    async def at_most_four_times(events: Any) -> None:
        if sink.told and len(sink.told) > 700:
            raise asyncio.CancelledError
        await keep(events)

    sink.keep = at_most_four_times  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await adopter.adopt()
    before = len(sink.told)
    sink.keep = keep  # type: ignore[method-assign]
    await adopter.adopt()
    assert 0 < before < 2000
    assert (len(sink.told), set(sink.told.values())) == (2002, {1})


async def test_an_altered_journal_is_stored_as_far_as_it_goes_and_kept(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    path = _dead(tmp_path, range(20))
    segment = next(path.glob("*.segment"))
    with segment.open("r+b") as file:
        file.seek(3000)
        file.write(b"\xff" * 30)
    await adopter.adopt()
    assert len(sink.told) > 5
    assert {item.name for item in (tmp_path / "damaged").iterdir()} == {
        f"{path.name}-{segment.name}"
    }
    await adopter.adopt()
    assert set(sink.told.values()) == {1}


async def test_a_journal_that_cannot_be_read_does_not_hold_up_others(
    tmp_path: Path, adopter: Adopter, sink: MemorySink
) -> None:
    bad = _dead(tmp_path, range(1))
    segment = next(bad.glob("*.segment"))
    segment.unlink()
    segment.mkdir()
    _dead(tmp_path, range(1, 3))
    await adopter.adopt()
    assert len(sink.told) == 2
    assert bad.exists()


def test_one_that_is_being_made_is_never_taken(tmp_path: Path) -> None:
    holding = Holding.new(tmp_path)
    assert take_over(tmp_path) is None
    holding.release()
    taken = take_over(tmp_path)
    assert taken is not None
    assert taken.path == holding.path
    assert take_over(tmp_path) is None


def test_what_was_taken_for_somebody_who_is_gone_can_be_taken_again(tmp_path: Path) -> None:
    Holding.new(tmp_path).release()
    assert take_over(tmp_path) is not None  # and nobody holds on to it
    assert take_over(tmp_path) is not None


def test_nothing_is_taken_where_no_journal_ever_was(tmp_path: Path) -> None:
    assert take_over(tmp_path / "none") is None


def test_who_dies_while_deleting_one_leaves_nothing_that_looks_alive(tmp_path: Path) -> None:
    half = tmp_path / "0199.gone"
    half.mkdir()
    (half / "0000000001.segment").write_bytes(b"x")
    assert take_over(tmp_path) is None
    assert not half.exists()
