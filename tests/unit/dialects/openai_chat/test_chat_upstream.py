"""Requests written for OpenAI, Azure and the vendors."""

from typing import Any

import orjson
import pytest

from model_service.kernel.types import Provider
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
    ToolChoice,
)
from model_service.providers.dialects.openai_chat.door import ChatDoor
from model_service.providers.dialects.openai_chat.upstream import ChatUpstream
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.translation import Notes, Target

from .wire import notes, target

UPSTREAM = ChatUpstream()
VENDOR = ChatUpstream("max_tokens")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CUSTOM = target(Provider.CUSTOM)


def asked(**fields: Any) -> ChatRequest:
    return ChatRequest("my-model", [Message(Role.USER, [Text("Hi")])], **fields)


def body(
    upstream: ChatUpstream = UPSTREAM, to: Target | None = None, **fields: Any
) -> dict[str, Any]:
    outgoing = upstream.request(asked(**fields), to or target(), notes())
    assert orjson.dumps(outgoing.body)
    return outgoing.body


def dropped(
    upstream: ChatUpstream = UPSTREAM, to: Target | None = None, **fields: Any
) -> list[str]:
    listed = notes()
    upstream.request(asked(**fields), to or target(), listed)
    return listed.dropped


def refused(upstream: ChatUpstream = UPSTREAM, to: Target | None = None, **fields: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        upstream.request(asked(**fields), to or target(), notes())
    return caught.value.fault


def test_the_least_request_has_the_registered_bound() -> None:
    outgoing = UPSTREAM.request(asked(), target(), notes())
    assert outgoing.path == "/chat/completions"
    assert outgoing.headers == ()
    assert outgoing.body == {
        "model": "gpt-6-astra-2026-08-01",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 4096,
    }


def test_vendors_have_the_old_name_of_the_bound() -> None:
    written = body(VENDOR, CUSTOM, max_tokens=7)
    assert written["max_tokens"] == 7
    assert "max_completion_tokens" not in written


def test_a_stream_is_always_asked_for_its_usage() -> None:
    written = body(stream=True, include_usage=False)
    assert written["stream"] is True
    assert written["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("top_p", 0.5),
        ("stop", ["END"]),
        ("n", 2),
        ("seed", 7),
        ("presence_penalty", 1),
        ("frequency_penalty", -1),
        ("logit_bias", {"1": 5}),
        ("verbosity", "low"),
        ("service_tier", "flex"),
        ("user", "u-1"),
    ],
)
def test_a_field_goes_on_as_it_is(field: str, value: Any) -> None:
    assert body(**{field: value})[field] == value


def test_log_probabilities_are_asked_for_together() -> None:
    written = body(logprobs=True, top_logprobs=3)
    assert (written["logprobs"], written["top_logprobs"]) == (True, 3)
    assert "top_logprobs" not in body(logprobs=False, top_logprobs=3)


# --- defaults


def test_the_registered_temperature_holds_where_the_caller_is_silent() -> None:
    warm = target(default_temperature=0.3, upstream_model="gpt-4.1")
    thinker = target(default_temperature=0.3, upstream_model="gpt-5.5")
    assert body(to=warm)["temperature"] == 0.3
    assert "temperature" not in body(to=thinker)
    assert body(to=warm, temperature=1.0)["temperature"] == 1.0


@pytest.mark.parametrize(
    ("asks", "has_temperature"),
    [
        (ReasoningRequest(effort=Effort.LOW), False),
        (ReasoningRequest(budget=2000), False),
        (ReasoningRequest(adaptive=True), False),
        (ReasoningRequest(effort=Effort.NONE), True),
        (ReasoningRequest(budget=0), True),
    ],
)
def test_the_registered_temperature_stays_away_from_thinking(
    asks: ReasoningRequest, has_temperature: bool
) -> None:
    for model in ("gpt-4.1", "gpt-6-astra"):
        warm = target(default_temperature=0.3, upstream_model=model)
        assert ("temperature" in body(to=warm, reasoning=asks)) is has_temperature


@pytest.mark.parametrize("asks", [None, ReasoningRequest(visible=False)])
def test_the_registered_temperature_stays_away_from_models_that_think_by_themselves(
    asks: ReasoningRequest | None,
) -> None:
    warm = target(default_temperature=0.3, upstream_model="gpt-6-astra")
    assert "temperature" not in body(to=warm, reasoning=asks)
    assert body(to=warm, reasoning=asks, temperature=1.0)["temperature"] == 1.0


# --- thinking


@pytest.mark.parametrize(
    ("asks", "effort"),
    [
        (ReasoningRequest(effort=Effort.XHIGH), "xhigh"),
        (ReasoningRequest(budget=0), "none"),
        (ReasoningRequest(budget=1024), "low"),
        (ReasoningRequest(budget=1025), "medium"),
        (ReasoningRequest(budget=8192), "medium"),
        (ReasoningRequest(budget=32_000), "high"),
        (ReasoningRequest(adaptive=True), None),
        (ReasoningRequest(visible=False), None),
    ],
)
def test_a_budget_becomes_an_effort(asks: ReasoningRequest, effort: str | None) -> None:
    assert body(reasoning=asks).get("reasoning_effort") == effort


def test_that_thoughts_are_to_be_shown_cannot_be_said() -> None:
    asks = ReasoningRequest(effort=Effort.LOW, visible=True, detail="concise")
    assert dropped(reasoning=asks) == ["reasoning.visible", "reasoning.detail"]
    assert dropped(VENDOR, CUSTOM, reasoning=ReasoningRequest(visible=True)) == []
    assert dropped(reasoning=ReasoningRequest(visible=False)) == []
    assert dropped(VENDOR, CUSTOM, reasoning=ReasoningRequest(visible=False)) == [
        "reasoning.visible"
    ]


# --- forms of the answer


def test_json_of_any_kind() -> None:
    assert body(output=OutputFormat())["response_format"] == {"type": "json_object"}


def test_json_after_a_schema_gets_a_name_where_it_has_none() -> None:
    assert body(output=OutputFormat(SCHEMA))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    full = OutputFormat(SCHEMA, "place", "where", strict=True)
    assert body(output=full)["response_format"]["json_schema"] == {
        "name": "place",
        "schema": SCHEMA,
        "description": "where",
        "strict": True,
    }


# --- tools

TOOLS = [Tool("f", "does f", SCHEMA, strict=True), Tool("g")]


def test_tools_are_functions() -> None:
    assert body(tools=TOOLS)["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "does f",
                "parameters": SCHEMA,
                "strict": True,
            },
        },
        {
            "type": "function",
            "function": {"name": "g", "parameters": {"type": "object", "properties": {}}},
        },
    ]


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        (ToolChoice(Choice.AUTO), "auto"),
        (ToolChoice(Choice.NONE), "none"),
        (ToolChoice(Choice.REQUIRED), "required"),
        (ToolChoice(Choice.NAMED, "f"), {"type": "function", "function": {"name": "f"}}),
        (
            ToolChoice(Choice.REQUIRED, allowed=["g"]),
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "g"}}],
                },
            },
        ),
    ],
)
def test_every_choice_of_tools_can_be_said(choice: ToolChoice, word: Any) -> None:
    written = body(tools=TOOLS, tool_choice=choice)
    assert written["tool_choice"] == word
    assert len(written["tools"]) == 2


def test_vendors_get_none_but_the_allowed_tools() -> None:
    choice = ToolChoice(Choice.REQUIRED, allowed=["g"])
    written = body(VENDOR, CUSTOM, tools=TOOLS, tool_choice=choice)
    assert written["tool_choice"] == "required"
    assert [tool["function"]["name"] for tool in written["tools"]] == ["g"]


@pytest.mark.parametrize("kind", [Choice.AUTO, Choice.NONE])
def test_a_choice_without_tools_that_changes_nothing_is_not_sent(kind: Choice) -> None:
    written = body(tool_choice=ToolChoice(kind), parallel_tool_calls=False)
    assert "tool_choice" not in written
    assert "parallel_tool_calls" not in written


def test_a_choice_without_tools_that_cannot_be_met_is_the_providers_to_refuse() -> None:
    assert body(tool_choice=ToolChoice(Choice.REQUIRED))["tool_choice"] == "required"


def test_one_call_at_a_time_is_asked_for_and_several_are_what_happens_anyhow() -> None:
    assert body(tools=TOOLS, parallel_tool_calls=False)["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in body(tools=TOOLS, parallel_tool_calls=True)


def test_marks_for_caches_are_dropped_unless_the_vendor_takes_them() -> None:
    marked = [Tool("f", cache={"type": "ephemeral"})]
    assert dropped(tools=marked) == ["cache_control"]
    upstream = ChatUpstream("max_tokens", cache_marks=True)
    assert body(upstream, CUSTOM, tools=marked)["tools"][0]["cache_control"] == {
        "type": "ephemeral"
    }
    assert dropped(upstream, CUSTOM, tools=marked) == []


# --- what not everybody has


def test_top_k_is_the_vendors() -> None:
    fault = refused(top_k=5)
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "top_k")
    assert body(VENDOR, CUSTOM, top_k=5)["top_k"] == 5


def test_a_lenient_call_has_dropped_what_others_are_refused_for() -> None:
    lenient = notes(lenient=True)
    outgoing = UPSTREAM.request(asked(top_k=5), target(), lenient)
    assert lenient.dropped == ["top_k"]
    assert "top_k" not in outgoing.body


def test_refusals_speak_as_the_door_does() -> None:
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.request(asked(top_k=5), target(), Notes({"top_k": "generationConfig.topK"}))
    assert caught.value.fault.param == "generationConfig.topK"


def test_who_the_user_is_is_told_to_openai_alone() -> None:
    assert dropped(user="u-1") == []
    assert dropped(VENDOR, CUSTOM, user="u-1") == ["user"]


def test_metadata_is_for_stored_answers_alone() -> None:
    assert dropped(metadata={"run": "7"}) == ["metadata"]
    assert dropped(metadata={}) == []


@pytest.mark.parametrize(
    ("tier", "sent"),
    [
        ("auto", None),
        ("default", "default"),
        ("standard_only", "default"),
        ("standard", "default"),
        ("priority", "priority"),
    ],
)
def test_tiers_have_openais_words(tier: str, sent: str | None) -> None:
    assert body(service_tier=tier).get("service_tier") == sent


def test_vendors_have_the_usual_tier_alone() -> None:
    assert "service_tier" not in body(VENDOR, CUSTOM, service_tier="standard_only")
    assert refused(VENDOR, CUSTOM, service_tier="flex").param == "service_tier"
    assert refused(service_tier="gold").param == "service_tier"


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.AZURE, Provider.CUSTOM])
def test_values_that_say_nothing_are_taken_everywhere(provider: Provider) -> None:
    written = body(
        to=target(provider),
        logprobs=False,
        service_tier="auto",
        parallel_tool_calls=True,
        stop=[],
        metadata={},
    )
    assert set(written) == {"model", "messages", "max_completion_tokens"}


def test_what_the_door_reads_the_upstream_writes() -> None:
    sent = {
        "model": "gpt-6-astra-2026-08-01",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,AAAA",
                        },
                    },
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"a": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "assistant", "content": "Well.", "refusal": "No more."},
            {"role": "user", "content": "Again", "name": "ann"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "n": 2,
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logit_bias": {"1": 5},
        "logprobs": True,
        "top_logprobs": 2,
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
            }
        ],
        "parallel_tool_calls": False,
        "tool_choice": "required",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "verbosity": "low",
        "reasoning_effort": "low",
        "user": "u-1",
        "service_tier": "flex",
    }
    request = ChatDoor().read(orjson.loads(orjson.dumps(sent)), "my-model", stream=True)
    assert UPSTREAM.request(request, target(), notes()).body == sent
