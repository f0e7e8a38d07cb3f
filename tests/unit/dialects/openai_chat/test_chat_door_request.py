"""What callers ask for besides the messages."""

from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_chat.door import ChatDoor
from model_service.providers.faults import CallFailed, Fault, FaultKind

DOOR = ChatDoor()
HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(**fields: Any) -> ChatRequest:
    return DOOR.read({"model": "m", "messages": HI, **fields}, "m", stream=True)


def refused(**fields: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        read(**fields)
    return caught.value.fault


def function(name: str = "f", **more: Any) -> Any:
    return {"type": "function", "function": {"name": name, **more}}


def test_a_request_without_wishes_has_none() -> None:
    plain = read()
    assert plain == ChatRequest("m", plain.messages, stream=True, include_usage=False)


@pytest.mark.parametrize(
    ("field", "value", "attribute"),
    [
        ("max_tokens", 100, "max_tokens"),
        ("max_completion_tokens", 100, "max_tokens"),
        ("temperature", 0, "temperature"),
        ("temperature", 1.5, "temperature"),
        ("top_p", 0.5, "top_p"),
        ("top_k", 40, "top_k"),
        ("n", 3, "n"),
        ("seed", -7, "seed"),
        ("presence_penalty", -2, "presence_penalty"),
        ("frequency_penalty", 0.5, "frequency_penalty"),
        ("logit_bias", {"50256": -100}, "logit_bias"),
        ("parallel_tool_calls", False, "parallel_tool_calls"),
        ("verbosity", "low", "verbosity"),
        ("user", "u-1", "user"),
        ("safety_identifier", "u-1", "user"),
        ("metadata", {"run": "7"}, "metadata"),
        ("service_tier", "flex", "service_tier"),
        ("stop", ["a", "b"], "stop"),
    ],
)
def test_a_field_is_read(field: str, value: Any, attribute: str) -> None:
    assert getattr(read(**{field: value}), attribute) == value


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"store": False},
        {"logprobs": False},
        {"logprobs": False, "top_logprobs": 0},
        {"presence_penalty": 0, "frequency_penalty": 0.0},
        {"logit_bias": {}},
        {"service_tier": "auto"},
        {"modalities": ["text"]},
        {"stop": None},
        {"stop": []},
        {"tools": []},
        {"response_format": {"type": "text"}},
        {"stream": True},
        {"stream_options": {"include_obfuscation": False}},
        {"stream_options": None},
        {"audio": None, "prediction": None, "reasoning_effort": None, "functions": None},
    ],
)
def test_a_value_that_says_nothing_changes_nothing(fields: Any) -> None:
    assert read(**fields) == read()


def test_a_single_stop_sequence_is_a_list_of_one() -> None:
    assert read(stop="END").stop == ["END"]


def test_usage_at_the_end_of_a_stream_has_to_be_asked_for() -> None:
    assert read(stream_options={"include_usage": True}).include_usage
    assert not read(stream_options={}).include_usage


def test_both_names_of_the_bound_may_agree() -> None:
    assert read(max_tokens=5, max_completion_tokens=5).max_tokens == 5


def test_log_probabilities_are_asked_for_together() -> None:
    request = read(logprobs=True, top_logprobs=5)
    assert (request.logprobs, request.top_logprobs) == (True, 5)


def test_what_cannot_change_the_answer_is_listed_as_dropped() -> None:
    request = read(
        prompt_cache_key="k",
        prompt_cache_retention="24h",
        prompt_cache_options={"mode": "explicit"},
        user="a",
        safety_identifier="b",
    )
    assert request.user == "b"
    assert sorted(request.dropped) == [
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "user",
    ]


# --- tools


def test_a_function_is_read() -> None:
    mark = {"type": "ephemeral"}
    tool = function(description="d", parameters=SCHEMA, strict=True)
    assert read(tools=[{**tool, "cache_control": mark}]).tools == [
        Tool("f", "d", SCHEMA, strict=True, cache=mark)
    ]


def test_a_function_may_have_nothing_but_its_name() -> None:
    assert read(tools=[function()]).tools == [Tool("f")]


@pytest.mark.parametrize("kind", ["custom", "web_search", "code_interpreter"])
def test_tools_that_are_openais_alone_are_refused(kind: str) -> None:
    fault = refused(tools=[function(), {"type": kind, kind: {"name": "x"}}])
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "tools[1].type")


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("auto", ToolChoice(Choice.AUTO)),
        ("none", ToolChoice(Choice.NONE)),
        ("required", ToolChoice(Choice.REQUIRED)),
        ("any", ToolChoice(Choice.REQUIRED)),
        (function("f"), ToolChoice(Choice.NAMED, "f")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [function("f"), function("g")]},
            },
            ToolChoice(Choice.REQUIRED, allowed=["f", "g"]),
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [function("f")]}},
            ToolChoice(Choice.AUTO, allowed=["f"]),
        ),
    ],
)
def test_every_choice_of_tools_is_read(value: Any, choice: ToolChoice) -> None:
    assert read(tools=[function("f"), function("g")], tool_choice=value).tool_choice == choice


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("maybe", "tool_choice"),
        (5, "tool_choice"),
        ({"type": "custom", "custom": {"name": "x"}}, "tool_choice.type"),
        ({"type": "function"}, "tool_choice.function"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "mcp"}]},
            },
            "tool_choice.allowed_tools.tools[0].type",
        ),
    ],
)
def test_other_choices_of_tools_are_refused(value: Any, param: str) -> None:
    assert refused(tool_choice=value).param == param


# --- forms of the answer, thinking


def test_json_of_any_kind_is_a_form_without_a_schema() -> None:
    assert read(response_format={"type": "json_object"}).output == OutputFormat()


def test_json_after_a_schema_is_read() -> None:
    wanted = {"name": "place", "schema": SCHEMA, "description": "d", "strict": True}
    assert read(response_format={"type": "json_schema", "json_schema": wanted}).output == (
        OutputFormat(SCHEMA, "place", "d", strict=True)
    )


@pytest.mark.parametrize("effort", list(Effort))
def test_every_effort_is_read(effort: Effort) -> None:
    assert read(reasoning_effort=effort.value).reasoning == ReasoningRequest(effort=effort)


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ({"effort": "high"}, ReasoningRequest(effort=Effort.HIGH)),
        ({"max_tokens": 2000}, ReasoningRequest(budget=2000)),
        ({"enabled": True}, ReasoningRequest(effort=Effort.MEDIUM)),
        ({"enabled": False}, ReasoningRequest(effort=Effort.NONE)),
        (
            {"enabled": True, "max_tokens": 2000, "exclude": True},
            ReasoningRequest(budget=2000, visible=False),
        ),
        ({"exclude": False}, ReasoningRequest(visible=True)),
        (
            {"effort": "low", "summary": "concise"},
            ReasoningRequest(effort=Effort.LOW, detail="concise"),
        ),
    ],
)
def test_openrouters_way_to_ask_for_thoughts_is_read(value: Any, asked: ReasoningRequest) -> None:
    assert read(reasoning=value).reasoning == asked


def test_thinking_is_asked_for_in_one_way() -> None:
    assert refused(reasoning_effort="low", reasoning={"max_tokens": 5}).param == "reasoning"


# --- what is wrong, and what nobody else has


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": []}, "logit_bias"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"verbosity": "loud"}, "verbosity"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
        ({"stream_options": {"include_everything": True}}, "stream_options.include_everything"),
        ({"user": 5}, "user"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_a_wrong_field_is_named(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {}),
        ("moderation", {"model": "omni-moderation-latest"}),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("store", True),
        ("frobnicate", 1),
    ],
)
def test_what_no_other_provider_has_is_refused_by_name(field: str, value: Any) -> None:
    fault = refused(**{field: value})
    assert (fault.kind, fault.param, fault.code) == (FaultKind.UNSUPPORTED, field, "unsupported")


#: A value of each documented field that this door takes, or None where it refuses the field.
_TRIED: dict[str, Any] = {
    "audio": None,
    "frequency_penalty": 1,
    "function_call": None,
    "functions": None,
    "logit_bias": {"1": 1},
    "logprobs": True,
    "max_completion_tokens": 5,
    "max_tokens": 5,
    "messages": HI,
    "metadata": {},
    "modalities": ["text"],
    "model": "m",
    "moderation": None,
    "n": 2,
    "parallel_tool_calls": True,
    "prediction": None,
    "presence_penalty": 1,
    "prompt_cache_key": "k",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "text"},
    "safety_identifier": "s",
    "seed": 1,
    "service_tier": "default",
    "stop": "x",
    "store": False,
    "stream_options": {},
    "temperature": 1,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "user": "u",
    "verbosity": "low",
    "web_search_options": None,
}


def test_every_field_that_the_official_client_knows_is_known_here() -> None:
    documented = set(CompletionCreateParamsBase.__annotations__)
    assert documented == set(_TRIED)


@pytest.mark.parametrize("field", [name for name, value in _TRIED.items() if value is not None])
def test_every_documented_field_is_read_or_refused_for_a_reason(field: str) -> None:
    assert read(**{field: _TRIED[field]}).model == "m"


def test_the_door_spells_its_fields_as_callers_do() -> None:
    assert DOOR.name == "openai_chat"
    assert DOOR.spelling["output"] == "response_format"
