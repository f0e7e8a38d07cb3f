"""Every door, its stream cut at one provider and gone on with by another, wherever it is cut."""

from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.resumption import Mode
from model_service.providers.chat import ChatEvent, Usage
from tests.unit.gateway.recovery_streams import (
    DOORS,
    FAULT,
    PREFILLS,
    PROVIDERS,
    Got,
    answer,
    begin,
    parsed,
    prefilled,
    registered,
    sent,
)

#: In its pieces, with blanks where it may be cut, and longer than what is gone on from.
TEXT = ("The capital", " of France is ", "Paris,\n\n", " which lies", " on the Seine.")
WHOLE = "".join(TEXT)
CALLS = (
    ("call_1", "weather", ('{"city":', '"Paris"}')),
    ("call_2", "clock", ("{}",)),
)
FIRST = answer(TEXT, CALLS, thought="They ask for a capital.", usage=Usage(input=5, output=3))
OTHER = "The capital of France is the city of light."


def second(text: str, begun: str, *, echo: bool) -> list[ChatEvent]:
    """The other model's answer: what follows the beginning, or all of it."""
    rest = text if echo else text[len(begun) :]
    middle = len(rest) // 2
    pieces = [piece for piece in (rest[:middle], rest[middle:]) if piece]
    calls = [("call_8", "weather", ('{"ci', 'ty":"Lyon"}')), ("call_9", "clock", ("{}",))]
    return answer(pieces, calls, name="a2", usage=Usage(input=20, output=11))


def play(
    door: str, first: str, other: str, cut: int, text: str, pieces: tuple[int, ...] = ()
) -> tuple[Got, Any]:
    """The gateway's loop: the first provider's stream is cut after so many bytes."""
    stream = begin(door, first)
    data = b"".join(sent(first, door, FIRST))[:cut]
    out = [stream.feed(piece) for piece in cut_up(data, pieces)]
    out.append(stream.end())
    if stream.complete:
        return parsed(door, b"".join(out)), stream
    assert stream.lost(FAULT)
    attempt = stream.resumption(registered(other, "second"))
    begun = prefilled(attempt.outgoing.body)
    assert bool(begun) is (attempt.mode is Mode.PREFILL)
    assert text.startswith(begun)
    stream.resume(attempt)
    data = b"".join(sent(other, door, second(text, begun, echo=other == "mistral")))
    for piece in cut_up(data, pieces):
        out.append(stream.feed(piece))
        if stream.complete:
            break
    else:
        out.append(stream.end())
    assert stream.complete
    return parsed(door, b"".join(out)), stream


def cut_up(data: bytes, pieces: tuple[int, ...]) -> list[bytes]:
    """The data in pieces that end at these places."""
    places = sorted({0, len(data), *(place for place in pieces if place < len(data))})
    return [data[start:end] for start, end in pairwise(places)]


def check(got: Got, stream: Any, text: str) -> None:
    """The answer is one, whole, each call in it once, and nothing twice but what was replaced."""
    assert got.text == text
    assert len(got.ends) == 1
    assert len({name for _, name, _ in got.calls}) == len(got.calls) == 2
    assert len(got.ids) == 1
    if not stream.spent:
        assert not got.marks
        assert got.calls[0][2] == {"city": "Paris"}
        return
    assert got.calls[0][2] == {"city": "Lyon"}
    assert got.usage == (20, 11)
    rewinds = [note["text_offset"] for note in got.marks if note["type"] == "rewind"]
    recovered = [note for note in got.marks if note["type"] == "recovered"]
    assert len(rewinds) <= 1
    assert len(recovered) <= 1
    if recovered:
        assert recovered[0]["model"] == "second"
    replaced = recovered[0]["text_offset"] - rewinds[0] if rewinds else 0
    assert len(got.printed) == len(text) + replaced


def ends_of_events(door: str, place: str) -> list[int]:
    """Where each event of the first answer ends, in bytes."""
    places = [0]
    for piece in sent(place, door, FIRST):
        places.append(places[-1] + len(piece))
    return places


@pytest.mark.parametrize(("door", "first", "other"), [*product(DOORS, PROVIDERS, PROVIDERS)])
def test_the_same_answer_is_gone_on_with_wherever_it_is_cut(
    door: str, first: str, other: str
) -> None:
    for cut in ends_of_events(door, first):
        got, stream = play(door, first, other, cut, WHOLE)
        check(got, stream, WHOLE)
        assert got.printed == WHOLE


@pytest.mark.parametrize(
    ("door", "other"), [*product(DOORS, [place for place in PROVIDERS if place not in PREFILLS])]
)
def test_another_answer_takes_the_place_of_the_first_from_where_they_part(
    door: str, other: str
) -> None:
    first = "anthropic"
    for cut in ends_of_events(door, first):
        stream = begin(door, first)
        stream.feed(b"".join(sent(first, door, FIRST))[:cut])
        stream.end()
        if stream.complete:
            continue
        got, stream = play(door, first, other, cut, OTHER)
        check(got, stream, OTHER)


@given(
    door=st.sampled_from(DOORS),
    first=st.sampled_from(PROVIDERS),
    other=st.sampled_from(PROVIDERS),
    share=st.floats(0, 1),
    pieces=st.lists(st.integers(1, 3000), max_size=30).map(tuple),
)
def test_it_does_not_matter_where_it_is_cut_nor_in_what_pieces_it_comes(
    door: str, first: str, other: str, share: float, pieces: tuple[int, ...]
) -> None:
    cut = int(ends_of_events(door, first)[-1] * share)
    got, stream = play(door, first, other, cut, WHOLE, pieces)
    check(got, stream, WHOLE)
