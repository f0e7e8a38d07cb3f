"""Events that differ in their texts alone are known without a parser; nothing else is."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.repeats import Repeats


def event(text: str, **more: object) -> bytes:
    return b"data: " + orjson.dumps({"id": "x", "delta": {"content": text}, "end": None} | more)


def edit(data: bytes) -> bytes:
    return data.replace(b'"id":"x"', b'"id":"mine"')


@pytest.fixture
def repeats() -> Repeats:
    learned = Repeats()
    assert learned.learn(event("hello"), edit(event("hello")), ["hello"])
    return learned


def test_nothing_is_known_before_one_was_learnt() -> None:
    assert Repeats().edited(event("hello")) is None


@pytest.mark.parametrize("text", ["", "a", " world", "1,2:{}[]", "x" * 10_000])
def test_an_event_with_another_text_is_edited_as_the_first(repeats: Repeats, text: str) -> None:
    assert repeats.edited(event(text)) == edit(event(text))


HOSTILE = [
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
]


@pytest.mark.parametrize("data", HOSTILE)
def test_what_differs_in_more_or_is_not_plain_is_left_to_the_parser(
    repeats: Repeats, data: bytes
) -> None:
    assert repeats.edited(data) is None


def test_an_overlap_of_beginning_and_end_does_not_fit() -> None:
    repeats = Repeats()
    repeats.learn(b'{"a":"x"}', b'{"a":"x"}', ["x"])
    assert repeats.edited(b'{"a":"}') is None
    assert repeats.edited(b'{"a":""}') == b'{"a":""}'


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b'{"a":"x","b":"x"}', ["x"]),
        (b'{"a":""}', [""]),
        (b'{"a":"x"}', []),
        (b'{"a":"x"}', ["y"]),
        (b'{"a":"x","b":"y","c":"z"}', ["x", "y", "z"]),
    ],
)
def test_what_is_not_clear_teaches_nothing(data: bytes, texts: list[str]) -> None:
    repeats = Repeats()
    assert not repeats.learn(data, data, texts)
    assert repeats.edited(data) is None


def two(text: str, other: str, **more: object) -> bytes:
    return event(text, obfuscation=other, **more)


@pytest.fixture
def pairs() -> Repeats:
    learned = Repeats()
    assert learned.learn(two("hello", "aB3"), edit(two("hello", "aB3")), ["hello", "aB3"])
    return learned


@pytest.mark.parametrize(("text", "other"), [("a", "b"), ("", ""), ("x y", ""), ("", "z" * 99)])
def test_two_texts_may_differ(pairs: Repeats, text: str, other: str) -> None:
    assert pairs.edited(two(text, other)) == edit(two(text, other))


@pytest.mark.parametrize(
    "data",
    [
        event("hello"),
        two("hello", "x", end="stop"),
        two('a"b', "x"),
        two("a", "x\ny"),
        two("hello", "x").replace(b'"obfuscation":', b'"obfuscation": '),
        two("a", "b").replace(b'"end":null', b'"end":"stop"'),
        two("a", "b").replace(b'"b"', b'"b","obfuscation":"c"'),
    ],
)
def test_two_texts_do_not_hide_anything_else(pairs: Repeats, data: bytes) -> None:
    assert pairs.edited(data) is None


@given(st.text(min_size=1), st.binary())
def test_what_fits_is_what_the_parser_would_read_so(text: str, between: bytes) -> None:
    repeats = Repeats()
    repeats.learn(event(text), event(text), [text])
    data = event(text).replace(orjson.dumps(text), b'"' + between + b'"')
    if repeats.edited(data) is not None:
        document = orjson.loads(data[6:])
        assert document == {"id": "x", "delta": {"content": between.decode()}, "end": None}


@given(st.lists(st.sampled_from([b'"', b",", b":", b"obfuscation", b"end", b"null", b"x", b"}"])))
def test_whatever_is_put_together_of_its_own_pieces_is_read_rightly(pieces: list[bytes]) -> None:
    pairs = Repeats()
    pairs.learn(two("hello", "aB3"), two("hello", "aB3"), ["hello", "aB3"])
    data = two("hello", "aB3").replace(b"hello", b"".join(pieces))
    if pairs.edited(data) is not None:
        document = orjson.loads(data[6:])
        assert document.keys() == {"id", "delta", "end", "obfuscation"}
        assert document["end"] is None
