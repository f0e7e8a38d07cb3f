"""Events that are known by their form bring what the parser would have found in them."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from model_service.providers.chat import ChatEvent, Started, TextDelta
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.dialects.openai_chat.reader import ChatReader
from model_service.providers.dialects.openai_chat.writer import ChatWriter
from model_service.providers.faults import Fault
from model_service.providers.forms import Form

Reader = AnthropicReader | ChatReader


class Unknowing(Form):
    """No event is of a form that is known."""

    @override
    def text(self, block: bytes) -> str | None:
        return None


_texts = st.sampled_from((" word", "x", "", "naïve 世界", "\n", 'a "b"', "\\", "\x7f", "\x00")) | (
    st.text(max_size=8)
)
_paddings = st.none() | st.text("abcXYZ019", max_size=4) | st.just('"')


@st.composite
def _spelled(draw: st.DrawFn, document: dict[str, Any], name: bytes = b"") -> bytes:
    """An event that holds the document, in one of the ways in which it can be written."""
    option = draw(st.sampled_from((0, 0, 0, orjson.OPT_INDENT_2)))
    data = orjson.dumps(document, option=option).replace(b"\n", b"")
    if not option and draw(st.integers(0, 9)) == 0:
        data = data.replace(b" ", b"\\u0020")
    head = b"event: %b\n" % name if name else b""
    return head + b"data: " + data


@st.composite
def _anthropic(draw: st.DrawFn) -> bytes:
    index = draw(st.sampled_from((0, 0, 0, 1)))
    text = draw(_texts)
    documents: dict[str, dict[str, Any]] = {
        "text": {"delta": {"type": "text_delta", "text": text}},
        "thinking": {"delta": {"type": "thinking_delta", "thinking": text}},
        "both": {"delta": {"type": "text_delta", "text": text, "thinking": text}},
        "signature": {"delta": {"type": "signature_delta", "signature": text}},
        "twice": {"note": {"text": "x"}, "delta": {"type": "text_delta", "text": text}},
        "begin": {"content_block": {"type": "text", "text": text}},
        "think": {"content_block": {"type": "thinking", "thinking": text}},
        "call": {"content_block": {"type": "tool_use", "id": "c", "name": "f", "input": {}}},
        "more": {"delta": {"type": "input_json_delta", "partial_json": text}},
        "end": {},
        "ping": {},
        "finish": {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    }
    kinds = {
        "begin": "content_block_start", "think": "content_block_start",
        "call": "content_block_start", "end": "content_block_stop", "ping": "ping",
        "finish": "message_delta",
    }  # fmt: skip
    word = draw(st.sampled_from(("text",) * 12 + ("thinking",) * 4 + tuple(documents)))
    kind = kinds.get(word, "content_block_delta")
    document = {"type": kind, "index": index, **documents[word]}
    return draw(_spelled(document, draw(st.sampled_from((kind.encode(), b"")))))


@st.composite
def _openai(draw: st.DrawFn) -> bytes:
    text = draw(_texts)
    delta: dict[str, Any] = {"content": text}
    choice: dict[str, Any] = {"index": draw(st.sampled_from((0, 0, 0, 1))), "delta": delta}
    document: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "choices": [choice]}
    word = draw(st.sampled_from(("plain",) * 12 + tuple(range(10))))
    match word:
        case 0:
            delta["role"] = "assistant"
        case 1:
            delta["reasoning_content"] = draw(_texts)
        case 2:
            function = draw(st.sampled_from(({"arguments": text}, {"name": "f"})))
            delta["tool_calls"] = [{"index": 0, "id": "c", "function": function}]
        case 3:
            choice["logprobs"] = {"content": []}
        case 4:
            document["usage"] = {"prompt_tokens": 3, "completion_tokens": draw(st.integers(0, 2))}
        case 5:
            choice["finish_reason"] = draw(st.sampled_from(("stop", "length", 5, None)))
        case 6:
            delta["refusal"] = draw(_texts)
        case 7:
            document["choices"].append({"index": 2, "delta": {"content": text}})
        case 8:
            document["note"] = {"content": "x", "obfuscation": "y"}
        case 9:
            del delta["content"]
    padding = draw(_paddings)
    if padding is not None:
        document["obfuscation"] = padding
    return draw(_spelled(document))


_odd = st.sampled_from(
    (b": comment", b"data: {", b"data: 5", b"data: [DONE]", b"event: error\ndata: {}", b"",
     b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\xff"}}',
     b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","x":"',
     b'data: {"error":{"message":"x"}}', b"data: a\ndata: b")
)  # fmt: skip


def _result(reader: Reader, pieces: list[bytes]) -> tuple[list[ChatEvent], Fault | None, bool]:
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    fault = None if reader.failure is None else reader.failure.fault
    return events, fault, reader.complete


@st.composite
def _streams(draw: st.DrawFn, events: st.SearchStrategy[bytes]) -> list[bytes]:
    # Of few different ones, so that an event comes again, at once and after others.
    few = [*draw(st.lists(events, min_size=1, max_size=3)), *draw(st.lists(_odd, max_size=1))]
    runs = draw(st.lists(st.tuples(st.sampled_from(few), st.integers(1, 3)), max_size=8))
    blocks = [block for block, times in runs for _ in range(times)]
    data = b"".join(block + b"\n\n" for block in blocks)
    if draw(st.booleans()):
        return [block + b"\n\n" for block in blocks]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@settings(max_examples=300)
@given(pieces=_streams(_anthropic()))
def test_a_stream_of_messages_is_read_as_without_forms(pieces: list[bytes]) -> None:
    start = b'data: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}\n\n'
    plodding = AnthropicReader()
    plodding._form = Unknowing()
    known, parsed = (_result(reader, [start, *pieces]) for reader in (AnthropicReader(), plodding))
    assert known == parsed


@settings(max_examples=300)
@given(pieces=_streams(_openai()))
def test_a_stream_of_chunks_is_read_as_without_forms(pieces: list[bytes]) -> None:
    plodding = ChatReader()
    plodding._form = Unknowing()
    start = b'data: {"id":"x","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    known, parsed = (_result(reader, [start, *pieces]) for reader in (ChatReader(), plodding))
    assert known == parsed


def _chunk(text: str, **more: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "x", "delta": {"content": text}, **more})


@pytest.fixture
def form() -> Form:
    learned = Form()
    _learn(learned, _chunk("hello", obfuscation="abc"))
    return learned


def _learn(form: Form, block: bytes) -> None:
    document = orjson.loads(block[6:])
    form.learn(block, document, document["delta"], "content")


@pytest.mark.parametrize("text", ["a", " world", "naïve 世界", "x" * 10_000, "hello"])
def test_a_text_of_the_form_is_known(form: Form, text: str) -> None:
    assert form.text(_chunk(text, obfuscation="")) == text
    assert form.text(_chunk(text, obfuscation="zz")) == text


@pytest.mark.parametrize(
    "block",
    [
        b"",
        _chunk("hello"),
        _chunk("", obfuscation="abc"),
        _chunk('"', obfuscation="abc"),
        _chunk("\n", obfuscation="abc"),
        _chunk("a", obfuscation='"'),
        _chunk("a", obfuscation="abc", end="stop"),
        _chunk("hello", obfuscation="abc").replace(b"hello", b"\xff"),
        _chunk("hello", obfuscation="abc").replace(b"hello", b'x","role":"y'),
    ],
)
def test_what_is_not_of_the_form_is_left_to_the_parser(form: Form, block: bytes) -> None:
    assert form.text(block) is None


def test_nothing_is_known_once_the_form_is_forgotten(form: Form) -> None:
    form.forget()
    assert form.text(_chunk("hello", obfuscation="abc")) is None


@pytest.mark.parametrize(
    "block",
    [
        _chunk("hello", note="hello"),
        b'data: {"note":"hello","delta":{"content":"\\u0068ello"}}',
        b'data: {"note":{"hello":1},"delta":{"content":"\\u0068ello"}}',
        b'data: {"note":"\\"hello","delta":{"content":"\\u0068ello\\""}}',
    ],
)
def test_a_text_that_may_stand_elsewhere_teaches_nothing(block: bytes) -> None:
    form = Form()
    _learn(form, block)
    assert form.text(block) is None
    assert form.text(block.replace(b"hello", b"hallo")) is None


def test_a_text_that_needs_the_parser_leaves_the_form_known(form: Form) -> None:
    _learn(form, _chunk("line\n", obfuscation="abc"))
    assert form.text(_chunk("next", obfuscation="")) == "next"


@given(deltas=st.lists(st.tuples(_texts, st.sampled_from((None, None, {"content": []})))))
def test_a_text_under_way_is_written_as_one_that_begins(
    deltas: list[tuple[str, dict[str, Any] | None]],
) -> None:
    going, beginning = (ChatWriter("m", include_usage=True) for _ in range(2))
    for writer in (going, beginning):
        writer.write(Started("x"))
    for text, logprobs in deltas:
        for choice in beginning._choices.values():
            choice.last = None
        event = TextDelta(text, 0, logprobs)
        assert going.write(event) == beginning.write(event)
