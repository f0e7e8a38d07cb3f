"""What a caller of the Messages API asks for, besides its messages."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    OutputFormat,
    ReasoningRequest,
    Text,
    Tool,
    ToolChoice,
)
from model_service.providers.dialects.anthropic.door import AnthropicDoor
from model_service.providers.faults import CallFailed, FaultKind

HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(*, stream: bool = False, **fields: Any) -> ChatRequest:
    body = {"model": "opus", "max_tokens": 100, "messages": HELLO, **fields}
    return AnthropicDoor().read(body, "opus", stream=stream)


def refused(**fields: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        read(**fields)
    return failed.value


def test_plain_parameters_are_read() -> None:
    request = read(
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        metadata={"user_id": "u-1"},
    )
    assert (request.model, request.stream, request.max_tokens) == ("opus", True, 100)
    assert (request.temperature, request.top_p, request.top_k) == (0.5, 0.9, 40)
    assert (request.stop, request.user) == (["END"], "u-1")


def test_what_the_caller_does_not_say_stays_open() -> None:
    assert read() == ChatRequest("opus", read().messages, max_tokens=100)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": 0.5}, "top_k"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"stop_sequences": [1]}, "stop_sequences"),
        ({"metadata": {"user_id": 7}}, "metadata.user_id"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"system": 7}, "system"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "display": "all"}}, "thinking.display"),
        ({"output_config": {"effort": "some"}}, "output_config.effort"),
        ({"output_config": {"format": {}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    fault = refused(**fields).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"diagnostics": {"previous_message_id": None}}, "diagnostics"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"output_format": {}}, "output_format"),
        ({"speed": "fast"}, "speed"),
        ({"user_profile_id": "p"}, "user_profile_id"),
        ({"a_field_to_come": 1}, "a_field_to_come"),
        ({"metadata": {"team": "x"}}, "metadata.team"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, None),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]}, None),
        (
            {"tools": [{"name": "f", "input_schema": {}, "allowed_callers": ["code"]}]},
            "tools[0].allowed_callers",
        ),
        ({"thinking": {"type": "adaptive", "block_binding": {}}}, "thinking.block_binding"),
        ({"output_config": {"task_budget": {"type": "tokens"}}}, "output_config.task_budget"),
    ],
)
def test_what_only_anthropic_has_is_refused_by_name(
    fields: dict[str, Any], param: str | None
) -> None:
    fault = refused(**fields).fault
    assert fault.kind is FaultKind.UNSUPPORTED
    assert param in (None, fault.param)


@pytest.mark.parametrize(
    "fields",
    [
        {"speed": "standard"},
        {"service_tier": "auto"},
        {"container": None},
        {"stream": False},
        {"top_k": 0},
        {"tools": []},
    ],
)
def test_values_that_change_nothing_are_taken(fields: dict[str, Any]) -> None:
    assert read(**fields).max_tokens == 100


def test_the_standard_tier_is_the_default_one() -> None:
    assert read(service_tier="standard_only").service_tier == "default"


def test_a_system_prompt_is_a_string_or_blocks() -> None:
    cache = {"type": "ephemeral", "ttl": "1h"}
    blocks = [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": cache}]
    assert read(system="A").system == [Text("A")]
    assert read(system=blocks).system == [Text("A"), Text("B", cache)]


def test_a_cache_mark_of_the_whole_request_is_put_on_its_last_block() -> None:
    cache = {"type": "ephemeral"}
    request = read(system="A", cache_control=cache)
    assert request.system == [Text("A")]
    assert request.messages[-1].parts == [Text("Hello", cache)]


def test_tools_are_read_with_their_schema_and_cache_mark() -> None:
    cache = {"type": "ephemeral"}
    tool = {
        "type": "custom",
        "name": "weather",
        "description": "Tells it.",
        "input_schema": SCHEMA,
        "strict": True,
        "cache_control": cache,
        "eager_input_streaming": True,
        "defer_loading": False,
        "allowed_callers": ["direct"],
    }
    assert read(tools=[tool]).tools == [Tool("weather", "Tells it.", SCHEMA, True, cache)]


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({"type": "auto"}, ToolChoice(Choice.AUTO)),
        ({"type": "any"}, ToolChoice(Choice.REQUIRED)),
        ({"type": "none"}, ToolChoice(Choice.NONE)),
        ({"type": "tool", "name": "weather"}, ToolChoice(Choice.NAMED, "weather")),
    ],
)
def test_a_tool_choice_is_read(given: dict[str, Any], choice: ToolChoice) -> None:
    request = read(tool_choice=given)
    assert (request.tool_choice, request.parallel_tool_calls) == (choice, None)


def test_parallel_calls_can_be_ruled_out() -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert read(tool_choice=choice).parallel_tool_calls is False


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            ReasoningRequest(budget=2048),
        ),
        ({"thinking": {"type": "disabled"}}, ReasoningRequest(effort=Effort.NONE)),
        ({"thinking": {"type": "between_tools"}}, ReasoningRequest(effort=Effort.NONE)),
        ({"thinking": {"type": "adaptive"}}, ReasoningRequest(adaptive=True)),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            ReasoningRequest(adaptive=True, visible=True),
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            ReasoningRequest(adaptive=True, visible=False),
        ),
        ({"output_config": {"effort": "xhigh"}}, ReasoningRequest(effort=Effort.XHIGH)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            ReasoningRequest(effort=Effort.MAX, adaptive=True),
        ),
    ],
)
def test_how_the_model_should_think_is_read(
    fields: dict[str, Any], asked: ReasoningRequest
) -> None:
    assert read(**fields).reasoning == asked


@pytest.mark.parametrize(
    "thinking", [{"type": "disabled"}, {"type": "enabled", "budget_tokens": 2048}]
)
def test_an_effort_beside_what_says_more_is_told_as_dropped(thinking: dict[str, Any]) -> None:
    request = read(thinking=thinking, output_config={"effort": "low"})
    assert request.reasoning is not None
    assert request.reasoning.effort is not Effort.LOW
    assert request.dropped == ["output_config.effort"]


def test_a_schema_for_the_answer_is_read() -> None:
    output = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert read(output_config=output).output == OutputFormat(SCHEMA)


def test_errors_of_upstreams_can_name_fields_as_this_api_spells_them() -> None:
    spelling = AnthropicDoor().spelling
    assert spelling["stop"] == "stop_sequences"
    assert spelling["user"] == "metadata.user_id"
