"""What Anthropic is sent for requests of any door, besides the conversation."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    Message,
    OutputFormat,
    ReasoningRequest,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from model_service.providers.dialects.anthropic.upstream import AnthropicUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes, Target
from tests.unit.dialects.anthropic.wire_data import notes, target

HELLO = Message(Role.USER, [Text("Hello")])
CACHE = {"type": "ephemeral"}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "Tells it.", SCHEMA)
CLOCK = Tool("clock")
CALLED = [
    HELLO,
    Message(Role.ASSISTANT, [ToolCall("1", "weather", "{}"), ToolCall("2", "clock", "")]),
    Message(Role.USER, [ToolResult("1", [Text("Rain")]), ToolResult("2", [])]),
]


def sent(
    model: str | Target = "claude-opus-4-8", told: Notes | None = None, **fields: Any
) -> dict[str, Any]:
    request = ChatRequest("opus", fields.pop("messages", [HELLO]), **fields)
    wanted = target(model) if isinstance(model, str) else model
    return AnthropicUpstream().request(request, wanted, told or notes()).body


def refused(model: str | Target = "claude-opus-4-8", **fields: Any) -> str | None:
    """The field that is refused; a lenient call drops it and goes on."""
    with pytest.raises(CallFailed) as failed:
        sent(model, **fields)
    assert failed.value.fault.kind is FaultKind.UNSUPPORTED
    lenient = notes(lenient=True)
    sent(model, lenient, **fields)
    assert lenient.dropped == [failed.value.fault.param]
    return failed.value.fault.param


def test_a_request_goes_to_the_messages_api_of_a_version() -> None:
    outgoing = AnthropicUpstream().request(ChatRequest("opus", [HELLO]), target(), notes())
    assert outgoing.path == "/v1/messages"
    assert outgoing.headers == (("anthropic-version", "2023-06-01"),)
    assert outgoing.body == {
        "model": "claude-opus-4-8",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


def test_what_the_caller_says_goes_before_what_is_registered() -> None:
    model = target("claude-haiku-4-5", default_temperature=0.3)
    body = sent(model, max_tokens=7, temperature=0.9, stream=True)
    assert (body["max_tokens"], body["temperature"], body["stream"]) == (7, 0.9, True)


def test_what_is_registered_is_said_for_a_silent_caller() -> None:
    body = sent(target("claude-haiku-4-5", default_temperature=0.3, max_tokens=9))
    assert (body["max_tokens"], body["temperature"]) == (9, 0.3)
    assert "stream" not in body


def test_a_system_prompt_is_blocks_with_their_cache_marks() -> None:
    body = sent(system=[Text("A"), Text(""), Text("B", CACHE)])
    assert body["system"] == [
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B", "cache_control": CACHE},
    ]


def test_a_system_prompt_of_nothing_is_left_out() -> None:
    assert "system" not in sent(system=[Text(" ")])


# Tools


def test_tools_are_defined_with_a_schema_that_is_an_object() -> None:
    open_ended = Tool("search", schema={"properties": {}}, cache=CACHE)
    assert sent(tools=[WEATHER, CLOCK, open_ended])["tools"] == [
        {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA},
        {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
        {
            "name": "search",
            "input_schema": {"type": "object", "properties": {}},
            "cache_control": CACHE,
        },
    ]


def test_a_strict_tools_schema_is_one_that_can_be_enforced() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    (tool,) = sent(tools=[Tool("f", schema=schema, strict=True)])["tools"]
    assert tool["strict"] is True
    assert tool["input_schema"] == {
        "type": "object",
        "properties": {"n": {"type": "integer", "description": "(minimum: 1)"}},
        "additionalProperties": False,
    }


def test_a_strict_tool_that_cannot_be_enforced_is_refused() -> None:
    anything = {"type": "object", "properties": {"a": {"type": "object"}}}
    assert refused(tools=[Tool("f", schema=anything, strict=True)]) == "tools"
    assert refused("claude-opus-4-1", tools=[Tool("f", schema=SCHEMA, strict=True)]) == "tools"


@pytest.mark.parametrize(
    ("choice", "parallel", "written"),
    [
        (None, None, None),
        (ToolChoice(Choice.AUTO), None, None),
        (ToolChoice(Choice.AUTO), True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(Choice.REQUIRED), None, {"type": "any"}),
        (
            ToolChoice(Choice.REQUIRED),
            False,
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (ToolChoice(Choice.NONE), False, {"type": "none"}),
        (ToolChoice(Choice.NAMED, "clock"), None, {"type": "tool", "name": "clock"}),
    ],
)
def test_a_tool_choice_is_written(
    choice: ToolChoice | None, parallel: bool | None, written: dict[str, Any] | None
) -> None:
    body = sent(tools=[WEATHER, CLOCK], tool_choice=choice, parallel_tool_calls=parallel)
    assert body.get("tool_choice") == written


def test_a_choice_of_some_tools_leaves_the_others_out() -> None:
    choice = ToolChoice(Choice.REQUIRED, allowed=["clock"])
    body = sent(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == ["clock"]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("kind", [Choice.REQUIRED, Choice.NAMED])
def test_a_call_cannot_be_forced_where_the_api_refuses_it(kind: Choice) -> None:
    choice = ToolChoice(kind, "clock")
    assert refused("claude-opus-5-5", tools=[CLOCK], tool_choice=choice) == "tool_choice"
    assert (
        refused(
            "claude-haiku-4-5",
            tools=[CLOCK],
            tool_choice=choice,
            reasoning=ReasoningRequest(budget=1024),
        )
        == "tool_choice"
    )
    assert refused(tool_choice=choice) == "tool_choice"


def test_a_choice_without_tools_is_none() -> None:
    body = sent(tool_choice=ToolChoice(Choice.NONE), parallel_tool_calls=False)
    assert "tools" not in body
    assert "tool_choice" not in body


def test_a_history_of_calls_without_tools_has_them_defined_but_not_offered() -> None:
    body = sent(messages=CALLED)
    assert [tool["name"] for tool in body["tools"]] == ["weather", "clock"]
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}
    assert body["tool_choice"] == {"type": "none"}


# The answer's form


def test_a_schema_for_the_answer_is_written_with_its_name_and_description() -> None:
    output = OutputFormat(SCHEMA, "place", "Where it is.", True)
    assert sent(output=output)["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {**SCHEMA, "title": "place", "description": "Where it is."},
        }
    }


def test_a_schemas_own_title_and_description_stay() -> None:
    schema = {**SCHEMA, "title": "A", "description": "B"}
    written = sent(output=OutputFormat(schema, "place", "Where it is."))
    assert written["output_config"]["format"]["schema"] == schema


def test_a_form_stands_beside_an_effort() -> None:
    body = sent(output=OutputFormat(SCHEMA), reasoning=ReasoningRequest(effort=Effort.LOW))
    assert body["output_config"].keys() == {"effort", "format"}


def test_forms_that_cannot_be_enforced_are_refused() -> None:
    assert refused(output=OutputFormat()) == "output"
    assert refused(output=OutputFormat({"type": "object"})) == "output"
    assert refused("claude-opus-4-1", output=OutputFormat(SCHEMA)) == "output"


# The rest


def test_plain_parameters_are_written() -> None:
    body = sent(stop=["END"], user="u-1", service_tier="default")
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u-1"}
    assert body["service_tier"] == "standard_only"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"presence_penalty": 0},
        {"frequency_penalty": 0.0},
        {"logit_bias": {}},
        {"logprobs": False},
        {"top_logprobs": 0},
        {"verbosity": "medium"},
        {"service_tier": "auto"},
        {"temperature": 1},
        {"top_p": 1},
        {"stop": []},
        {"parallel_tool_calls": True},
    ],
)
def test_values_that_change_nothing_are_taken_and_left_out(fields: dict[str, Any]) -> None:
    told = notes()
    assert sent("claude-opus-5-5", told, **fields) == sent("claude-opus-5-5")
    assert told.dropped == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("seed", 7),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -0.5),
        ("logit_bias", {"1": 5}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("verbosity", "low"),
        ("service_tier", "flex"),
        ("stop", ["\n"]),
        ("temperature", 0.2),
        ("top_p", 0.5),
        ("top_k", 5),
    ],
)
def test_what_the_api_has_nothing_like_is_refused_by_name(field: str, value: Any) -> None:
    assert refused(**{field: value}) == field


def test_metadata_is_told_as_dropped() -> None:
    told = notes()
    assert "metadata" not in sent(told=told, metadata={"team": "x"})
    assert told.dropped == ["metadata"]


def test_a_refusal_names_the_field_as_the_door_spells_it() -> None:
    with pytest.raises(CallFailed) as failed:
        sent(told=Notes({"output": "response_format"}), output=OutputFormat())
    assert failed.value.fault.param == "response_format"
