"""Any JSON from callers and providers: a clear failure or a sound result, nothing else."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.providers.assembly import assemble
from model_service.providers.chat import ChatRequest
from model_service.providers.dialects.openai_chat.door import ChatDoor
from model_service.providers.dialects.openai_chat.upstream import ChatUpstream
from model_service.providers.faults import CallFailed, Fault, FaultKind

from .wire import (
    CALLS_STREAM,
    DEEPSEEK_STREAM,
    OPENROUTER_STREAM,
    TEXT_ANSWER,
    cut_up,
    events_in,
    notes,
    read,
    sse,
    target,
)

DOOR = ChatDoor()
UPSTREAM = ChatUpstream()

_words = st.sampled_from(("", "x", "text", "function", "assistant", "tool", "auto", "f", "stop"))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-9, 9) | _words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("type", "role", "content", "text", "id", "name", "function", "index")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_paths = st.lists(st.integers(0, 50), min_size=1, max_size=8)

REQUEST: Any = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "x"}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "format": "model-service", "index": 0}
            ],
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "s"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    },
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "stream_options": {"include_usage": True},
    "reasoning": {"effort": "low"},
    "logprobs": True,
    "top_logprobs": 2,
    "stop": ["x"],
    "n": 2,
    "temperature": 1,
    "max_tokens": 5,
    "metadata": {"a": "b"},
}


def put(document: Any, path: list[int], value: Any) -> Any:
    """The document with something else in one of its places."""
    changed = deepcopy(document)
    inner = changed
    for number, step in enumerate(path):
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[step % len(keys)]
        child = inner[key]
        is_last = number == len(path) - 1 or not isinstance(child, dict | list) or not child
        if is_last:
            inner[key] = value
            return changed
        inner = child
    return changed


def tried(call: Callable[[], bytes]) -> bytes | Fault:
    """What the call gives, or what it says is wrong; anything else is an error."""
    try:
        return call()
    except CallFailed as failure:
        return failure.fault


def translated(body: Any) -> bytes:
    request = DOOR.read(body, "m", stream=True)
    return orjson.dumps(UPSTREAM.request(request, target(), notes()).body)


@settings(max_examples=400)
@given(_paths, _json)
def test_any_request_is_read_or_refused(path: list[int], value: Any) -> None:
    outcome = tried(lambda: translated(put(REQUEST, path, value)))
    if isinstance(outcome, Fault):
        assert outcome.kind in (FaultKind.INVALID_REQUEST, FaultKind.UNSUPPORTED)
        assert outcome.param
    else:
        assert orjson.loads(outcome)["messages"]


@given(_json)
def test_any_value_of_a_message_is_read_or_refused(value: Any) -> None:
    outcome = tried(lambda: translated({"messages": [value]}))
    if isinstance(outcome, Fault):
        assert (outcome.param or "").startswith("messages")
    else:
        assert len(orjson.loads(outcome)["messages"]) <= 1


@settings(max_examples=400)
@given(_paths, _json)
def test_any_whole_answer_is_read_or_malformed(path: list[int], value: Any) -> None:
    document = put(TEXT_ANSWER, path, value)
    outcome = tried(lambda: orjson.dumps(DOOR.answer(UPSTREAM.answer(document), "m")))
    if isinstance(outcome, Fault):
        assert outcome.message
    else:
        assert orjson.loads(outcome)["choices"]


_EVENTS = (
    events_in(CALLS_STREAM),
    events_in(DEEPSEEK_STREAM.replace(b": keep-alive\n\n", b"")),
    events_in(OPENROUTER_STREAM.partition(b"\n\n")[2]),
)


@settings(max_examples=400)
@given(st.sampled_from(_EVENTS), st.lists(st.tuples(_paths, _json), max_size=3))
def test_any_stream_is_read_or_fails(
    events: list[Any], changes: list[tuple[list[int], Any]]
) -> None:
    for path, value in changes:
        events = put(events, path, value)
    found, failure = read(sse(*events))
    if failure is None:
        answer = assemble(found)
        writer = DOOR.writer(ChatRequest("m", [], stream=True), "m")
        written = b"".join(map(writer.write, found)) + writer.end()
        assert events_in(written)
        assert orjson.dumps(DOOR.answer(answer, "m"))
    else:
        assert failure.fault.message


@given(st.binary(max_size=80), st.lists(st.integers(0, 100), max_size=10))
def test_any_bytes_are_a_failure_and_the_same_one_however_they_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    _, failure = read(data)
    _, other = read(*cut_up(data, cuts))
    assert failure is not None
    assert other is not None
    assert failure.fault == other.fault


def test_a_plain_error_in_place_of_a_stream_keeps_its_words_also_with_a_blank_line_behind() -> None:
    reader = UPSTREAM.reader()
    assert not reader.feed(b'{"error":{"code":503,"message":"Busy"}}\n\n')
    assert reader.failure is not None
    assert reader.failure.fault.message == "Busy"
