"""Events that differ in one text alone are known without a parser; nothing else is."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.repeats import Repeats


def event(text: str, **more: object) -> bytes:
    return b"data: " + orjson.dumps({"id": "x", "delta": {"content": text}, "end": None} | more)


@pytest.fixture
def repeats() -> Repeats:
    learned = Repeats()
    learned.learn(event("hello"), "hello")
    return learned


def test_nothing_is_known_before_one_was_learnt() -> None:
    assert not Repeats().fits(event("hello"))


@pytest.mark.parametrize("text", ["", "a", " world", "1,2:{}[]", "x" * 10_000])
def test_an_event_with_another_text_fits(repeats: Repeats, text: str) -> None:
    assert repeats.fits(event(text))


@pytest.mark.parametrize(
    "block",
    [
        event("hello", end="stop"),
        event("hello", usage={}),
        b"data: " + orjson.dumps({"id": "y", "delta": {"content": "hello"}, "end": None}),
        event("hello")[:-1],
        event("hello") + b" ",
        b"",
        b"data: [DONE]",
        event("hello").replace(b"hello", b'x","end":"stop","c":"'),
        event("hello").replace(b"hello", b"a\\"),
        event("hello").replace(b"hello", b"a\nb"),
        event("hello").replace(b"hello", b"\x00"),
        event("hello").replace(b"hello", b"\xff"),
    ],
)
def test_what_differs_in_more_or_is_not_plain_is_left_to_the_parser(
    repeats: Repeats, block: bytes
) -> None:
    assert not repeats.fits(block)


def test_an_overlap_of_beginning_and_end_does_not_fit() -> None:
    repeats = Repeats()
    repeats.learn(b'{"a":"x"}', "x")
    assert not repeats.fits(b'{"a":"}')
    assert repeats.fits(b'{"a":""}')


def test_a_text_that_stands_twice_teaches_nothing() -> None:
    repeats = Repeats()
    repeats.learn(b'{"a":"x","b":"x"}', "x")
    assert not repeats.fits(b'{"a":"x","b":"x"}')


def test_an_empty_text_teaches_nothing() -> None:
    repeats = Repeats()
    repeats.learn(b'{"a":""}', "")
    assert not repeats.fits(b'{"a":"x"}')


@given(st.text(min_size=1), st.binary())
def test_what_fits_is_what_the_parser_would_read_so(text: str, between: bytes) -> None:
    repeats = Repeats()
    repeats.learn(event(text), text)
    block = event(text).replace(orjson.dumps(text), b'"' + between + b'"')
    if repeats.fits(block):
        document = orjson.loads(block[6:])
        assert document == {"id": "x", "delta": {"content": between.decode()}, "end": None}
