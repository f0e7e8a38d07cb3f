"""Counting tokens without a call."""

from typing import Any

import orjson
import pytest
from anthropic.types import MessageTokensCount

from model_service.providers.chat import (
    ChatRequest,
    Effort,
    Message,
    ReasoningRequest,
    Role,
    Text,
    Tool,
)
from model_service.providers.dialects.anthropic.counting import AnthropicCount, CountPassthrough
from model_service.providers.dialects.anthropic.door import AnthropicDoor
from model_service.providers.faults import CallFailed, FaultKind
from tests.unit.dialects.anthropic.wire_data import notes, target

COUNT = AnthropicCount()
PASS = CountPassthrough()


def test_the_answer_is_the_number_of_tokens() -> None:
    assert MessageTokensCount.model_validate(COUNT.count(14)).input_tokens == 14


def test_what_is_to_be_counted_need_not_say_how_long_the_answer_may_be() -> None:
    body = {"model": "opus", "messages": [{"role": "user", "content": "Hello"}]}
    request = AnthropicDoor().read(body, "opus", stream=False)
    assert request.messages == [Message(Role.USER, [Text("Hello")])]


def test_only_what_counts_is_sent() -> None:
    request = ChatRequest(
        "opus",
        [Message(Role.USER, [Text("Hello")])],
        [Text("Be brief.")],
        stream=True,
        max_tokens=9,
        stop=["END"],
        tools=[Tool("f")],
        reasoning=ReasoningRequest(effort=Effort.LOW),
        user="u-1",
    )
    outgoing = COUNT.count_request(request, target(), notes())
    assert outgoing.path == "/v1/messages/count_tokens"
    assert outgoing.headers == (("anthropic-version", "2023-06-01"),)
    assert outgoing.body.keys() == {
        "model",
        "messages",
        "system",
        "tools",
        "thinking",
        "output_config",
    }


def test_a_count_is_read() -> None:
    assert COUNT.count_answer({"input_tokens": 2095}) == 2095


@pytest.mark.parametrize("tokens", [None, "9", -1, True, 1.5])
def test_what_is_no_count_is_malformed(tokens: Any) -> None:
    with pytest.raises(CallFailed) as failed:
        COUNT.count_answer({"input_tokens": tokens})
    assert failed.value.fault.code == "malformed_answer"


def test_an_error_in_place_of_a_count_is_one() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "No."}}
    with pytest.raises(CallFailed) as failed:
        COUNT.count_answer(error)
    assert failed.value.fault.kind is FaultKind.OVERLOADED


def test_a_count_passes_through_with_nothing_but_the_models_name_edited() -> None:
    body = {"model": "opus", "messages": [{"role": "user", "content": "Hello"}], "to_come": 1}
    outgoing = PASS.request(dict(body), target(default_temperature=0.5), stream=False)
    assert outgoing.path == "/v1/messages/count_tokens"
    assert outgoing.body == {**body, "model": "claude-opus-4-8"}


def test_the_count_comes_back_as_it_came() -> None:
    assert PASS.answer(b'{ "input_tokens": 3 }', "opus") == (b'{ "input_tokens": 3 }', None)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", orjson.dumps({"input_tokens": "3"})])
def test_what_passes_through_has_to_be_a_count(data: bytes) -> None:
    with pytest.raises(CallFailed) as failed:
        PASS.answer(data, "opus")
    assert failed.value.fault.code == "malformed_answer"


def test_counting_does_not_stream() -> None:
    with pytest.raises(RuntimeError):
        PASS.relay({}, "opus")
