"""The door reads a request's fields, and refuses by name what no other dialect has."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.faults import CallFailed, Fault, FaultKind

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"type": "function", "name": "weather", "parameters": SCHEMA}


def read(**fields: Any) -> ChatRequest:
    return ResponsesDoor().read({"model": "x", "input": "Hello", **fields}, "fast", stream=False)


def refused(**fields: Any) -> Fault:
    with pytest.raises(CallFailed) as raised:
        read(**fields)
    return raised.value.fault


def test_the_model_is_the_registered_one() -> None:
    assert read().model == "fast"


@pytest.mark.parametrize("stream", [True, False])
def test_whether_it_streams_is_what_the_gateway_says(stream: bool) -> None:
    body = {"input": "Hello", "stream": not stream}
    assert ResponsesDoor().read(body, "fast", stream=stream).stream is stream


def test_what_is_not_said_stays_unsaid() -> None:
    assert read() == ChatRequest("fast", read().messages)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"max_output_tokens": 200}, "max_tokens", 200),
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"top_p": 0.9}, "top_p", 0.9),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"metadata": {"team": "a"}}, "metadata", {"team": "a"}),
        ({"service_tier": "flex"}, "service_tier", "flex"),
        ({"user": "u-1"}, "user", "u-1"),
        ({"safety_identifier": "s-1"}, "user", "s-1"),
        ({"user": "u-1", "safety_identifier": "s-1"}, "user", "s-1"),
        ({"text": {"verbosity": "low"}}, "verbosity", "low"),
        ({"text": {"format": {"type": "text"}}}, "output", None),
        ({"text": {"format": {"type": "json_object"}}}, "output", OutputFormat()),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "place",
                        "description": "where",
                        "schema": SCHEMA,
                        "strict": True,
                    }
                }
            },
            "output",
            OutputFormat(SCHEMA, "place", "where", True),
        ),
        ({"reasoning": {}}, "reasoning", None),
        ({"reasoning": {"effort": None}}, "reasoning", None),
        ({"reasoning": {"effort": "high"}}, "reasoning", ReasoningRequest(Effort.HIGH)),
        (
            {"reasoning": {"effort": "low", "summary": "concise"}},
            "reasoning",
            ReasoningRequest(Effort.LOW, visible=True, detail="concise"),
        ),
        (
            {"reasoning": {"generate_summary": "auto", "context": "auto", "mode": "standard"}},
            "reasoning",
            ReasoningRequest(visible=True, detail="auto"),
        ),
        ({"include": ["message.output_text.logprobs"]}, "logprobs", True),
        (
            {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
            "top_logprobs",
            3,
        ),
        ({"top_logprobs": 3}, "top_logprobs", None),
        ({"include": ["reasoning.encrypted_content"]}, "logprobs", None),
        ({"tool_choice": "auto"}, "tool_choice", ToolChoice(Choice.AUTO)),
        ({"tool_choice": "none"}, "tool_choice", ToolChoice(Choice.NONE)),
        ({"tool_choice": "required"}, "tool_choice", ToolChoice(Choice.REQUIRED)),
        (
            {"tool_choice": {"type": "function", "name": "weather"}},
            "tool_choice",
            ToolChoice(Choice.NAMED, "weather"),
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "weather"}],
                }
            },
            "tool_choice",
            ToolChoice(Choice.REQUIRED, allowed=["weather"]),
        ),
    ],
)
def test_a_field_is_read(fields: dict[str, Any], name: str, value: object) -> None:
    assert getattr(read(**fields), name) == value


def test_a_function_is_read() -> None:
    tool = {**FUNCTION, "description": "the weather", "strict": True, "defer_loading": False}
    assert read(tools=[tool]).tools == [Tool("weather", "the weather", SCHEMA, True)]


def test_a_function_may_have_no_parameters() -> None:
    tool = {"type": "function", "name": "now", "parameters": None, "allowed_callers": ["direct"]}
    assert read(tools=[tool]).tools == [Tool("now")]


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True},
        {"store": False},
        {"background": False},
        {"truncation": "disabled"},
        {"context_management": []},
        {"max_tool_calls": 3},
        {"stream_options": {"include_obfuscation": True}},
        {"previous_response_id": None},
    ],
)
def test_what_has_no_effect_is_passed_over(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    "field", ["prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"]
)
def test_hints_for_openais_cache_are_listed_as_dropped(field: str) -> None:
    value: Any = {"ttl": "30m"} if field.endswith("options") else "24h"
    assert read(**{field: value}).dropped == [field]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("previous_response_id", "resp_1", "keeps no conversations"),
        ("conversation", "conv_1", "keeps no conversations"),
        ("conversation", {"id": "conv_1"}, "keeps no conversations"),
        ("prompt", {"id": "pmpt_1"}, "stores no prompts"),
        ("background", True, "fetched later"),
        ("truncation", "auto", "only 'disabled'"),
        ("context_management", [{"type": "compaction"}], "compacts nothing"),
        ("moderation", {"model": "omni"}, "no equivalent"),
        ("tomorrow", 1, "no equivalent"),
    ],
)
def test_what_only_openai_has_is_refused_with_the_reason(
    field: str, value: object, words: str
) -> None:
    fault = refused(**{field: value})
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, field)
    assert words in fault.message


@pytest.mark.parametrize(
    "kind",
    [
        "web_search",
        "web_search_preview",
        "file_search",
        "code_interpreter",
        "computer_use_preview",
        "image_generation",
        "mcp",
        "local_shell",
        "custom",
    ],
)
def test_tools_of_openai_alone_are_refused_by_name(kind: str) -> None:
    fault = refused(tools=[FUNCTION, {"type": kind}])
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "tools[1].type")
    assert f"'{kind}' tools are not supported" in fault.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools[0].type",
        ),
        ({"tools": [{**FUNCTION, "async": True}]}, "tools[0].async"),
        ({"tools": [{**FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{**FUNCTION, "output_schema": {}}]}, "tools[0].output_schema"),
        (
            {"tools": [{**FUNCTION, "allowed_callers": ["programmatic"]}]},
            "tools[0].allowed_callers",
        ),
    ],
)
def test_an_option_that_only_openai_has_is_refused(fields: dict[str, Any], param: str) -> None:
    fault = refused(**fields)
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, param)


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"max_output_tokens": 1e30}, "max_output_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": ["everything"]}, "include"),
        ({"include": [["x"]]}, "include"),
        ({"include": "message.output_text.logprobs"}, "include"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": ["a"]}, "metadata"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"truncation": "some"}, "truncation"),
        ({"store": "yes"}, "store"),
        ({"stream_options": True}, "stream_options"),
        ({"text": "plain"}, "text"),
        ({"text": {"verbosity": "loud"}}, "text.verbosity"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "schema": {}}}},
            "text.format.name",
        ),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"tools": {}}, "tools"),
        ({"tools": ["weather"]}, "tools[0]"),
        ({"tools": [{"name": "weather"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{**FUNCTION, "parameters": []}]}, "tools[0].parameters"),
        ({"tools": [{**FUNCTION, "strict": 1}]}, "tools[0].strict"),
        ({"tools": [{**FUNCTION, "parameters": _deep(300)}]}, "tools[0].parameters"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "tools": []}}, "tool_choice.mode"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    fault = refused(**fields)
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, param)


def test_fields_have_the_names_that_callers_know() -> None:
    spelling = ResponsesDoor().spelling
    assert spelling["max_tokens"] == "max_output_tokens"
    assert spelling["messages"] == "input"
