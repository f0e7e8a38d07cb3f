"""Whatever happens to a segment's bytes, what is whole in it is read, and nothing else."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.usage.journal import Journal
from model_service.usage.segments import (
    BEGUN,
    EVENT,
    MOST_RECORD,
    RECORD_BYTES,
    START,
    Part,
    Record,
    Segment,
    mark,
    marked,
    read_own,
    read_part,
)
from tests.usage_journals import SEGMENT

_PAYLOADS = st.lists(st.binary(max_size=300), min_size=1, max_size=30)


def _written(directory: Path, payloads: list[bytes]) -> tuple[Path, list[tuple[int, int, bytes]]]:
    """A segment with the payloads, every other one an intent; and what should be read of it."""
    journal = Journal(directory, segment_bytes=SEGMENT)
    said = []
    for number, payload in enumerate(payloads):
        if number % 2 == 0:
            said.append((BEGUN, journal.begin(payload), payload))
        else:
            journal.note(payload)
            said.append((EVENT, 0, payload))
    journal.close()
    return journal.current.path, said


def _read(path: Path, most: int = 512) -> tuple[list[tuple[int, int, bytes]], Part]:
    records: list[Record] = []
    at, damaged = START, 0
    while True:
        part = read_part(path, at, most=most)
        records += part.records
        damaged += part.damaged
        at = part.end
        if part.is_last:
            part.damaged = damaged
            return [(record.kind, record.ticket, record.payload) for record in records], part


@given(_PAYLOADS, st.integers(1, 40))
def test_what_was_written_is_read_in_parts_of_any_size(payloads: list[bytes], most: int) -> None:
    with TemporaryDirectory() as name:
        path, said = _written(Path(name), payloads)
        read, part = _read(path, most)
        assert read == said
        assert (part.damaged, part.is_torn) == (0, False)


@given(_PAYLOADS, st.data())
def test_a_segment_cut_anywhere_keeps_every_whole_record(
    payloads: list[bytes], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        path, said = _written(Path(name), payloads)
        ends = [record.end for record in read_part(path, START).records]
        cut = data.draw(st.integers(START, ends[-1]))
        with path.open("r+b") as file:
            file.truncate(cut)
        read, _ = _read(path)
        assert read == said[: sum(end <= cut for end in ends)]


@given(_PAYLOADS, st.data())
def test_a_record_torn_by_a_death_is_left_out_and_is_no_damage(
    payloads: list[bytes], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        path, said = _written(Path(name), payloads)
        records = read_part(path, START).records
        start = records[-2].end if len(records) > 1 else START
        written = data.draw(st.integers(0, records[-1].end - start - 1))
        with path.open("r+b") as file:
            file.seek(start + written)
            file.write(bytes(records[-1].end - start - written))
        read, part = _read(path)
        # What was torn off may have been zeros, and then nothing is torn.
        assert read in (said[:-1], said)
        assert read == said[:-1] or not any(said[-1][2][max(written - RECORD_BYTES, 0) :])
        assert part.damaged == 0


@given(_PAYLOADS, st.data())
def test_an_altered_byte_costs_the_record_that_it_is_in_and_no_other(
    payloads: list[bytes], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        path, said = _written(Path(name), payloads)
        ends = [record.end for record in read_part(path, START).records]
        at = data.draw(st.integers(START, ends[-1] - 1))
        flip = data.draw(st.integers(1, 255))
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ flip]))
        read, _ = _read(path)
        hit = sum(end <= at for end in ends)
        assert read == said[:hit] + said[hit + 1 :]


def test_an_altered_payload_costs_that_record_alone(tmp_path: Path) -> None:
    path, said = _written(tmp_path, [b"a" * 100, b"b" * 100, b"c" * 100])
    with path.open("r+b") as file:
        file.seek(START + RECORD_BYTES + 100 + RECORD_BYTES + 50)
        file.write(b"?")
    read, part = _read(path)
    assert read == [said[0], said[2]]
    assert part.damaged == 1


def test_a_hole_where_the_machine_died_is_noticed(tmp_path: Path) -> None:
    path, said = _written(tmp_path, [b"a" * 4000] * 9)
    first = read_part(path, START).records[0].end
    with path.open("r+b") as file:
        file.seek(first)
        file.write(bytes(8192))
    read, part = _read(path)
    assert read == said[:1]
    assert part.damaged == 1


def test_reading_stops_where_it_is_told(tmp_path: Path) -> None:
    path, said = _written(tmp_path, [b"a", b"b", b"c"])
    ends = [record.end for record in read_part(path, START).records]
    part = read_part(path, START, ends[1])
    assert [record.payload for record in part.records] == [b"a", b"b"]
    assert (part.end, part.is_last, part.is_torn) == (ends[1], True, False)
    assert len(said) == 3


@given(_PAYLOADS)
def test_what_a_process_reads_of_its_own_unchecked_are_the_same_events(
    payloads: list[bytes],
) -> None:
    with TemporaryDirectory() as name:
        path, said = _written(Path(name), payloads)
        stop = _read(path)[1].end
        found: list[bytes] = []
        at = START
        while at < stop:
            behind = read_own(path, at, stop, found)
            assert behind > at
            at = behind
    assert found == [payload for kind, _, payload in said if kind == EVENT]


@pytest.mark.parametrize("altered", [b"\0\0\0\0", b"\xff\xff\xff\x02", b"\1\0\0\3"])
def test_unchecked_reading_goes_no_further_than_where_lengths_make_sense(
    tmp_path: Path, altered: bytes
) -> None:
    path, _ = _written(tmp_path, [b"a", b"b", b"c", b"d"])
    ends = [record.end for record in read_part(path, START).records]
    with path.open("r+b") as file:
        file.seek(ends[1] + 4)
        file.write(altered)
    found: list[bytes] = []
    assert read_own(path, START, ends[3], found) == ends[1]
    assert read_own(path, ends[1], ends[3], found) == ends[1]
    assert found == [b"b"]


def test_a_longer_record_than_may_be_is_never_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=SEGMENT)
    with pytest.raises(ValueError, match="too long"):
        journal.note(bytes(MOST_RECORD - RECORD_BYTES + 1))
    journal.note(b"\1" * (MOST_RECORD - RECORD_BYTES))
    journal.close()
    assert len(_read(journal.current.path)[0]) == 1


def test_a_mark_is_read_as_it_was_set(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, 1, SEGMENT)
    segment.close()
    assert marked(segment.path) == START
    mark(segment.path, 4711)
    assert marked(segment.path) == 4711


@pytest.mark.parametrize("at", range(64, 76))
def test_a_torn_mark_counts_for_none(tmp_path: Path, at: int) -> None:
    segment = Segment.create(tmp_path, 1, SEGMENT)
    segment.close()
    mark(segment.path, 0x0102_0304_0506_0708)
    with segment.path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x55]))
    assert marked(segment.path) == START


def test_a_segment_takes_all_its_room_on_the_disk_when_it_is_made(tmp_path: Path) -> None:
    segment = Segment.create(tmp_path, 1, SEGMENT)
    segment.close()
    state = segment.path.stat()
    assert state.st_blocks * 512 >= SEGMENT
    assert state.st_mode & 0o777 == 0o600
