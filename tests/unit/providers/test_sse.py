"""Server-sent events: the same ones however the bytes are cut, within bounds."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.sse import (
    Event,
    EventParser,
    data_event,
    named_event,
    parse_block,
)

LINE_ENDS = (b"\n", b"\r\n", b"\r")

# Text within a line: anything but its ends.
_line = st.binary(max_size=12).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
_name = st.sampled_from((b"", b"ping", b"message_start"))
_written = st.tuples(_name, st.lists(_line, min_size=1, max_size=3), st.booleans())


def parsed(*pieces: bytes, max_event: int = 1024 * 1024) -> list[Event]:
    parser = EventParser(max_event)
    return [event for piece in pieces for event in parser.feed(piece)]


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@given(
    st.lists(_written, max_size=5),
    st.sampled_from(LINE_ENDS),
    st.lists(st.integers(min_value=0), max_size=12),
)
def test_any_cut_of_the_bytes_gives_the_events_that_were_written(
    written: list[tuple[bytes, list[bytes], bool]], end: bytes, cuts: list[int]
) -> None:
    stream = b""
    for name, lines, has_comment in written:
        comment = b": still there" + end if has_comment else b""
        event = b"event: " + name + end if name else b""
        data = b"".join(b"data: " + line + end for line in lines)
        stream += comment + event + data + end
    events = [(name, b"\n".join(lines)) for name, lines, _ in written]
    assert parsed(*cut(stream, cuts)) == events


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=30))
def test_any_cut_of_any_bytes_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    assert parsed(*cut(data, cuts)) == parsed(data)


@given(
    st.lists(st.sampled_from((b"data: a", b"data:b", b"event: c", b":", b"\r", b"\n", b"\r\n"))),
    st.lists(st.integers(min_value=0), max_size=30),
)
def test_any_mixture_of_line_ends_gives_the_same_events_however_cut(
    tokens: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(tokens)
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")
    whole = [event for block in lines[:-1] if (event := parse_block(block))]
    assert parsed(*cut(data, cuts)) == whole


@pytest.mark.parametrize("end", LINE_ENDS)
def test_one_byte_at_a_time_gives_every_event(end: bytes) -> None:
    stream = b"data: one" + end + end + b"event: two" + end + b"data: 2" + end + end
    pieces = [stream[place : place + 1] for place in range(len(stream))]
    assert parsed(*pieces) == [(b"", b"one"), (b"two", b"2")]


def test_data_lines_are_joined_by_line_feeds() -> None:
    assert parsed(b"data: a\ndata:\ndata: b\n\n") == [(b"", b"a\n\nb")]


def test_one_space_after_the_colon_is_not_part_of_the_value() -> None:
    assert parsed(b"data:  two\n\ndata:none\n\n") == [(b"", b" two"), (b"", b"none")]


def test_a_field_without_a_colon_has_an_empty_value() -> None:
    assert parsed(b"data\n\n") == [(b"", b"")]


def test_the_name_may_come_after_the_data() -> None:
    assert parsed(b"data: 1\nevent: late\n\n") == [(b"late", b"1")]


def test_comments_and_other_fields_mean_nothing() -> None:
    assert parsed(b": OPENROUTER PROCESSING\n\nid: 7\nretry: 10\n\ndata: x\nid: 8\n\n") == [
        (b"", b"x")
    ]


def test_a_name_without_data_is_no_event() -> None:
    assert parsed(b"event: ping\n\ndata: x\n\n") == [(b"", b"x")]


def test_several_blank_lines_end_one_event() -> None:
    assert parsed(b"\n\n\ndata: x\n\n\n\n\ndata: y\n\n") == [(b"", b"x"), (b"", b"y")]


def test_a_carriage_return_at_the_end_of_a_piece_ends_the_line_at_once() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x\r\n\r") == [(b"", b"x")]
    assert parser.feed(b"\ndata: y\r\n\r\n") == [(b"", b"y")]


def test_an_empty_piece_changes_nothing() -> None:
    assert parsed(b"data: x\r", b"", b"\n", b"", b"\r", b"", b"\n") == [(b"", b"x")]


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x\n") == []
    assert parser.feed(b"\nda") == [(b"", b"x")]
    assert parser.feed(b"ta: y\n\n") == [(b"", b"y")]


def test_whole_gives_the_text_of_whole_events_alone() -> None:
    parser = EventParser()
    assert parser.whole(b"data: x\r\n\r\ndata: y") == b"data: x\n\n"
    assert parser.whole(b"y\n") == b""
    assert parser.whole(b"\n") == b"data: yy\n\n"


@pytest.mark.parametrize("rest", [b"data: x", b"data: x\n", b"ev", b": comment\ndata"])
def test_a_stream_that_ends_within_an_event_has_a_rest(rest: bytes) -> None:
    parser = EventParser()
    parser.feed(b"data: whole\n\n" + rest)
    assert parser.has_rest


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b" \n", b": comment", b": one\n: two\n"])
def test_blank_lines_and_comments_are_no_rest(rest: bytes) -> None:
    parser = EventParser()
    parser.feed(b"data: whole\n\n" + rest)
    assert not parser.has_rest


def test_an_event_without_end_is_refused_at_the_bound() -> None:
    parser = EventParser(max_event=100)
    parser.feed(b"x" * 60)
    with pytest.raises(CallFailed) as caught:
        parser.feed(b"x" * 41)
    assert caught.value.fault.kind is FaultKind.UPSTREAM
    assert caught.value.fault.code == "malformed_answer"


def test_the_bound_is_for_one_event_and_not_for_the_stream() -> None:
    pieces = [b"data: " + b"x" * 80 + b"\n\nda", b"ta: y\n\n"] * 9
    assert len(parsed(*pieces, max_event=100)) == 18


def test_a_large_event_in_small_pieces_is_not_copied_for_each_of_them() -> None:
    size, piece = 20 * 1024 * 1024, b"x" * 1024
    parser = EventParser()
    parser.feed(b"data: ")
    for _ in range(size // 2 // len(piece)):
        parser.feed(piece)
    tracemalloc.start()
    try:
        for _ in range(size // 2 // len(piece)):
            parser.feed(piece)
        # One that joined what it has with each piece would have had both at once.
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * size
    assert [len(data) for _, data in parser.feed(b"\n\n")] == [size]


def test_the_smallest_pieces_take_no_more_memory_than_their_bytes() -> None:
    size = 200_000
    tracemalloc.start()
    try:
        parser = EventParser()
        for _ in range(size // 2):
            parser.feed(b"xy")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size


@given(_line, st.binary(min_size=1, max_size=20).map(lambda name: name.hex().encode()))
def test_what_is_written_is_read_back(data: bytes, name: bytes) -> None:
    assert parsed(data_event(data) + named_event(name, data)) == [(b"", data), (name, data)]
