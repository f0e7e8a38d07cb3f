"""What is read of Ollama's whole answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import ChatResponse

from model_service.providers.chat import (
    ChatAnswer,
    FinishReason,
    Part,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from model_service.providers.dialects.ollama.upstream import OllamaUpstream
from model_service.providers.faults import CallFailed, FaultKind

from .wire import CREATED_SECONDS, DONE, WEATHER_CALL, chunk

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 1) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("function", "name", "arguments", "id", "token", "logprob", "error")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
_FIELDS = ("message", "done", "done_reason", "created_at", "logprobs", "eval_count", "error")
_MESSAGE_FIELDS = ("role", "content", "thinking", "tool_calls")
_hostile = st.fixed_dictionaries({}, optional=dict.fromkeys(_FIELDS, _json))
_hostile_message = st.fixed_dictionaries({}, optional=dict.fromkeys(_MESSAGE_FIELDS, _json))


def read(document: dict[str, Any]) -> ChatAnswer:
    return OllamaUpstream().answer(document)


def parts(**message: Any) -> list[Part]:
    return read(chunk(**{"content": "", **message, **DONE})).candidates[0].parts


def test_text_usage_and_time_are_read() -> None:
    answer = read(chunk("Because of Rayleigh scattering.", **DONE))
    assert answer.candidates[0].parts == [Text("Because of Rayleigh scattering.")]
    assert answer.usage == Usage(input=26, output=282)
    assert answer.created == CREATED_SECONDS
    assert answer.id.startswith("ollama-")


def test_every_answer_has_an_id_of_its_own() -> None:
    assert read(chunk(**DONE)).id != read(chunk(**DONE)).id


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("load", FinishReason.STOP),
        ("unload", FinishReason.STOP),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("tomorrow", FinishReason.STOP),
        (None, FinishReason.STOP),
        (7, FinishReason.STOP),
    ],
)
def test_the_reason_of_the_end_is_read(reason: object, finish: FinishReason) -> None:
    assert read(chunk("x", **{**DONE, "done_reason": reason})).candidates[0].finish is finish


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", FinishReason.TOOL_CALLS), ("length", FinishReason.LENGTH)]
)
def test_an_answer_that_calls_tools_waits_for_them(reason: str, finish: FinishReason) -> None:
    answer = read(chunk(tool_calls=[WEATHER_CALL], **{**DONE, "done_reason": reason}))
    assert answer.candidates[0].finish is finish


def test_a_call_is_read_with_its_id_and_its_arguments_as_text() -> None:
    assert parts(tool_calls=[WEATHER_CALL]) == [
        ToolCall("call_r5x0wq1f", "get_weather", '{"city":"Bern","days":2}')
    ]


@pytest.mark.parametrize("given_id", [None, "", 7])
def test_a_call_without_an_id_gets_one(given_id: object) -> None:
    first, second = parts(tool_calls=[{**WEATHER_CALL, "id": given_id}] * 2)
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id.startswith("call_")
    assert first.id != second.id


@pytest.mark.parametrize(
    ("arguments", "text"), [({}, "{}"), (None, "{}"), ('{"a": 1}', '{"a": 1}'), ([1], "[1]")]
)
def test_arguments_of_any_form_become_text(arguments: object, text: str) -> None:
    (call,) = parts(tool_calls=[{"id": "a", "function": {"name": "x", "arguments": arguments}}])
    assert call == ToolCall("a", "x", text)


def test_thoughts_come_before_the_text_and_it_before_the_calls() -> None:
    found = parts(thinking="Hm.", content="Let me see.", tool_calls=[WEATHER_CALL])
    assert [type(part) for part in found] == [Reasoning, Text, ToolCall]
    assert found[0] == Reasoning("Hm.")


def test_an_answer_of_thoughts_alone_is_one() -> None:
    assert parts(thinking="Hm.") == [Reasoning("Hm.")]


def test_an_empty_answer_has_no_parts() -> None:
    assert parts(content="") == []


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 0, "eval_count": 0}, Usage()),
        ({"prompt_eval_count": None, "eval_count": 3}, Usage(output=3)),
        ({"prompt_eval_count": -1, "eval_count": True}, Usage()),
    ],
)
def test_counts_that_are_none_count_as_nothing(counts: dict[str, Any], usage: Usage) -> None:
    assert read(chunk("x", **{**DONE, **counts})).usage == usage


def test_log_probabilities_are_as_openai_has_them() -> None:
    logprobs = [
        {
            "token": "é",
            "logprob": -0.25,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.5}],
        },
        {"token": "!", "logprob": -0.5},
    ]
    answer = read(chunk("é!", logprobs=logprobs, **DONE))
    assert answer.candidates[0].logprobs == {
        "content": [
            {
                "token": "é",
                "logprob": -0.25,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
            },
            {"token": "!", "logprob": -0.5, "bytes": [33], "top_logprobs": []},
        ],
        "refusal": None,
    }


def test_log_probabilities_come_with_calls_too() -> None:
    answer = read(chunk(tool_calls=[WEATHER_CALL], logprobs=[{"token": "<", "logprob": 0}], **DONE))
    assert [type(part) for part in answer.candidates[0].parts] == [ToolCall]
    assert answer.candidates[0].logprobs is not None


def test_an_error_in_a_200_is_an_error() -> None:
    with pytest.raises(CallFailed) as caught:
        read({"error": "an error was encountered while running the model"})
    assert caught.value.fault.kind is FaultKind.UPSTREAM
    assert caught.value.fault.message == "an error was encountered while running the model"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"message": 5, "done": True},
        {"message": {"content": 5}, "done": True},
        {"message": {"thinking": [5]}, "done": True},
        {"message": {"tool_calls": {}}, "done": True},
        {"message": {"tool_calls": [5]}, "done": True},
        {"message": {"tool_calls": [{"function": {}}]}, "done": True},
        {"message": {"tool_calls": [{"function": None}]}, "done": True},
        {"response": "an answer of /api/generate", "done": True},
    ],
)
def test_what_is_no_answer_is_an_upstream_error(document: dict[str, Any]) -> None:
    with pytest.raises(CallFailed) as caught:
        read(document)
    assert caught.value.fault.kind is FaultKind.UPSTREAM


def test_arguments_too_deep_to_be_passed_on_are_an_upstream_error() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(CallFailed) as caught:
        parts(tool_calls=[{"function": {"name": "x", "arguments": deep}}])
    assert caught.value.fault.code == "malformed_answer"


def test_an_answer_that_is_not_done_is_incomplete() -> None:
    with pytest.raises(CallFailed) as caught:
        read(chunk("Because"))
    assert caught.value.fault.code == "incomplete_answer"


@given(_hostile, _hostile_message)
def test_any_shape_is_an_answer_or_an_upstream_error(
    document: dict[str, Any], message: dict[str, Any]
) -> None:
    for answer in (document, {"message": message, "done": True}, {**document, "message": message}):
        found: ChatAnswer | CallFailed
        try:
            found = read(answer)
        except CallFailed as error:
            found = error
        assert isinstance(found, CallFailed) or len(found.candidates) == 1


def test_the_official_client_reads_what_these_tests_read() -> None:
    official = ChatResponse.model_validate(
        chunk("x", thinking="Hm.", tool_calls=[WEATHER_CALL], **DONE)
    )
    assert official.done_reason == "stop"
    assert official.message.tool_calls is not None
