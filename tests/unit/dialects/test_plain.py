"""The short ways that plain calls take give what the long ones give, or nothing."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.types import Provider
from model_service.providers.calls import CACHING_VENDOR, CALLS
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatRequest,
    FinishReason,
    Text,
    Usage,
)
from model_service.providers.dialects.anthropic import door as anthropic_door
from model_service.providers.dialects.anthropic import usage as anthropic_usage
from model_service.providers.dialects.anthropic import whole as anthropic
from model_service.providers.dialects.google import upstream as google
from model_service.providers.dialects.google.words import usage_of
from model_service.providers.dialects.openai_chat import door as openai_door
from model_service.providers.dialects.openai_chat import reading as openai_chat
from model_service.providers.dialects.openai_chat.answers import answer_document
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.translation import ChatUpstream, Document, Notes, Target

Read = Callable[..., ChatRequest | None]

_numbers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from((0, 1, 2, 0.0, 0.5, 1.0, 1.5, -1.0))
_words = st.sampled_from(
    ("", " ", "x", "text", "user", "assistant", "system", "developer", "stop", "length", "refusal",
     "error", "STOP", "SAFETY", "message")
)  # fmt: skip
_names = st.sampled_from(
    ("type", "role", "content", "text", "name", "error", "object", "temperature", "top_p", "stop",
     "max_tokens", "max_completion_tokens", "stream_options", "include_usage", "system", "tools",
     "cache_control", "refusal", "annotations", "tool_calls", "reasoning", "index", "logprobs",
     "thoughtSignature", "thought", "stop_sequence", "cache_creation", "service_tier", "created",
     "cache_creation_input_tokens", "output_tokens_details", "serviceTier", "thoughtsTokenCount")
)  # fmt: skip
_leaves = st.none() | st.booleans() | _numbers | _words
_json = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=2),
    max_leaves=4,
)

_TURN = {"role": "user", "content": "Hi"}
_SAID = {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}
_OPENAI_BODY: Document = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, _TURN, _SAID, _TURN],
    "max_tokens": 10,
    "temperature": 1,
    "top_p": 0.9,
    "stream_options": {"include_usage": True},
}
_ANTHROPIC_BODY: Document = {
    "model": "m",
    "messages": [_TURN, _SAID, _TURN],
    "system": "Be brief.",
    "max_tokens": 10,
    "temperature": 1,
    "top_p": 0.9,
}
_ANTHROPIC_ANSWER: Document = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 5,
        "service_tier": "standard",
    },
}
_OPENAI_ANSWER: Document = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741569952,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    "service_tier": "default",
}
_GOOGLE_ANSWER: Document = {
    "candidates": [
        {
            "content": {"parts": [{"text": "Hello"}], "role": "model"},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5, "totalTokenCount": 8},
    "responseId": "r",
}


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where something can be changed: each object and list, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            found += _places(value[key])
    return found


@st.composite
def changed(draw: st.DrawFn, whole: Document) -> Document:
    """The document with some values replaced, left out, added or repeated."""
    document = deepcopy(whole)
    for _ in range(draw(st.integers(0, 3))):
        places = _places(document)
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("replace", "remove", "add", "repeat"))):
            case "replace":
                holder[key] = draw(_json)
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(_names)] = draw(_json)
            case "repeat" if isinstance(holder, list):
                holder.insert(key, deepcopy(holder[key]))
    return document


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except CallFailed as failed:
        return failed.fault


DOORS = [
    pytest.param(openai_door.read_plain, openai_door.read_any, _OPENAI_BODY, id="openai"),
    pytest.param(
        anthropic_door.read_plain, anthropic_door.read_any, _ANTHROPIC_BODY, id="anthropic"
    ),
]


@pytest.mark.parametrize(("plain", "anyway", "body"), DOORS)
@given(data=st.data(), stream=st.booleans())
def test_a_plain_request_is_read_as_any(
    plain: Read, anyway: Read, body: Document, data: st.DataObject, stream: bool
) -> None:
    asked = data.draw(changed(body))
    before = deepcopy(asked)
    request = plain(asked, "m", stream=stream)
    assert asked == before
    if request is not None:
        assert request.is_plain
        assert request == anyway(asked, "m", stream=stream)


@pytest.mark.parametrize(("plain", "anyway", "body"), DOORS)
def test_usual_requests_are_plain(plain: Read, anyway: Read, body: Document) -> None:
    assert plain(body, "m", stream=False) is not None
    short = {"model": "m", "messages": [_TURN], "stream": False}
    assert plain(short, "m", stream=False) == anyway(short, "m", stream=False)


UPSTREAMS = [
    (CALLS[Provider.ANTHROPIC].chat, Provider.ANTHROPIC, "claude-haiku-4-5"),
    (CALLS[Provider.ANTHROPIC].chat, Provider.ANTHROPIC, "claude-opus-5-1"),
    (CALLS[Provider.GOOGLE].chat, Provider.GOOGLE, "gemini-3-flash"),
    (CALLS[Provider.OPENAI].chat, Provider.OPENAI, "gpt-4.1"),
    (CALLS[Provider.OPENAI].chat, Provider.OPENAI, "gpt-5.5"),
    (CALLS[Provider.CUSTOM].chat, Provider.CUSTOM, "m"),
    (CACHING_VENDOR, Provider.CUSTOM, "m"),
]


@pytest.mark.parametrize(("upstream", "provider", "model"), UPSTREAMS)
@pytest.mark.parametrize(("plain", "anyway", "body"), DOORS)
@given(data=st.data(), stream=st.booleans(), default=st.sampled_from((None, 0.3, 1.7)))
def test_a_plain_request_is_written_as_any(
    upstream: ChatUpstream,
    provider: Provider,
    model: str,
    plain: Read,
    anyway: Read,
    body: Document,
    data: st.DataObject,
    stream: bool,
    default: float | None,
) -> None:
    request = plain(data.draw(changed(body)), "m", stream=stream)
    if request is None:
        return
    target = Target("m", provider, model, 100, default)

    def written(asked: ChatRequest) -> tuple[bytes, Any, list[str]] | Fault:
        notes = Notes({})
        outgoing = upstream.request(asked, target, notes)
        return orjson.dumps(outgoing.body), (outgoing.path, outgoing.headers), notes.dropped

    long = replace(request)
    assert not long.is_plain
    assert _outcome(lambda: written(request)) == _outcome(lambda: written(long))


ANSWERS = [
    pytest.param(
        openai_chat.read_plain_answer, openai_chat.read_any_answer, _OPENAI_ANSWER, id="openai"
    ),
    pytest.param(
        anthropic.read_plain_answer, anthropic.read_any_answer, _ANTHROPIC_ANSWER, id="anthropic"
    ),
    pytest.param(google.read_plain_answer, google.read_any_answer, _GOOGLE_ANSWER, id="google"),
]


@pytest.mark.parametrize(("plain", "anyway", "whole"), ANSWERS)
@given(data=st.data())
def test_a_plain_answer_is_read_as_any(
    plain: Callable[[Document], ChatAnswer | None],
    anyway: Callable[[Document], ChatAnswer],
    whole: Document,
    data: st.DataObject,
) -> None:
    document = data.draw(changed(whole))
    before = deepcopy(document)
    answer = plain(document)
    assert document == before
    if answer is not None:
        expected = anyway(document)
        assert answer == expected
        assert answer.usage.tier == expected.usage.tier


@pytest.mark.parametrize(("plain", "anyway", "whole"), ANSWERS)
def test_usual_answers_are_plain(
    plain: Callable[[Document], ChatAnswer | None],
    anyway: Callable[[Document], ChatAnswer],
    whole: Document,
) -> None:
    assert plain(whole) == anyway(whole)


@given(usage=changed(_ANTHROPIC_ANSWER["usage"]))
def test_plain_counts_are_read_as_any(usage: Document) -> None:
    assert anthropic_usage.read_usage(usage) == anthropic_usage.read_usage(usage, Usage())


@given(metadata=changed(_GOOGLE_ANSWER["usageMetadata"]))
def test_usual_counts_of_google_are_read_as_any(metadata: Document) -> None:
    assert usage_of(metadata) == usage_of({"thoughtsTokenCount": 0} | metadata)


@given(text=st.text(), cut=st.integers(0, 5), finish=st.sampled_from(FinishReason))
def test_an_answer_of_one_text_is_written_as_one_of_two(
    text: str, cut: int, finish: FinishReason
) -> None:
    def written(*texts: str) -> bytes:
        candidate = Candidate([Text(part) for part in texts], finish)
        return orjson.dumps(answer_document(ChatAnswer("x", [candidate], Usage()), "m"))

    assert written(text) == written(text[:cut], text[cut:])
