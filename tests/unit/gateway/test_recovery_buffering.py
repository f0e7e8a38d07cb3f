"""Streams that are held back until they are whole."""

import pytest

from model_service.gateway.buffering import BufferedStream
from model_service.gateway.recovery import RecoverableStream
from tests.unit.gateway.recovery_streams import DOORS, FAULT, answer, begin, parsed, sent


def held(door: str, most: int = 8 * 1024 * 1024) -> tuple[BufferedStream, RecoverableStream]:
    stream = begin(door, "openai")
    return BufferedStream(stream, most), stream


@pytest.mark.parametrize("door", DOORS)
def test_the_answer_comes_at_once_when_it_is_whole(door: str) -> None:
    buffered, _ = held(door)
    *before, last = sent("openai", door, answer(["It is ", "Paris."]))
    assert [buffered.feed(piece) for piece in before] == [b""] * len(before)

    got = parsed(door, buffered.feed(last) + buffered.end())

    assert got.text == "It is Paris."
    assert buffered.complete
    assert (buffered.usage, buffered.finish) != (None, None)


def test_nothing_is_given_of_an_answer_that_fails() -> None:
    buffered, _ = held("openai_chat")
    said = sent("openai", "openai_chat", answer(["It is ", "Paris."]))
    assert b"".join(map(buffered.feed, said[:2])) + buffered.end() == b""
    assert buffered.failure is not None
    assert FAULT.message.encode() in buffered.fail(FAULT)


def test_an_answer_that_is_too_large_is_passed_on_from_there() -> None:
    buffered, _ = held("openai_chat", most=1000)
    pieces = sent("openai", "openai_chat", answer(["x" * 100] * 10))
    out = [buffered.feed(piece) for piece in pieces]

    assert out[0] == b""
    assert all(out[-4:])
    assert parsed("openai_chat", b"".join(out)).text == "x" * 1000
