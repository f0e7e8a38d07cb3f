"""What is written for Ollama's /api/chat."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from ollama._types import ChatRequest as OfficialRequest

from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    Media,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningRequest,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from model_service.providers.dialects.ollama.upstream import OllamaUpstream
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.translation import Notes

from .wire import asking, assistant, target, user, written

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "The weather of a city", SCHEMA)
CLOCK = Tool("get_time")
HIDDEN = Reasoning("", mark("anthropic", "sealed"), redacted=True)


def refused(request: ChatRequest, **settings: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        written(request, target(**settings))
    return caught.value.fault


def options(request: ChatRequest, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = written(request, target(**settings))["options"]
    return found


def dropped(request: ChatRequest) -> list[str]:
    notes = Notes({})
    written(request, notes=notes)
    return notes.dropped


def test_it_goes_to_ollamas_own_route_under_the_providers_name_of_the_model() -> None:
    outgoing = OllamaUpstream().request(asking(), target(), Notes({}))
    assert outgoing.path == "/api/chat"
    assert outgoing.body["model"] == "gemma4:latest"


@pytest.mark.parametrize("stream", [True, False])
def test_whether_it_streams_is_always_said(stream: bool) -> None:
    assert written(asking(stream=stream))["stream"] is stream


def test_the_system_prompt_comes_first_as_one_message() -> None:
    body = written(asking(system=[Text("Be brief."), Text("Speak German.")]))
    assert body["messages"] == [
        {"role": "system", "content": "Be brief.\n\nSpeak German."},
        {"role": "user", "content": "Why is the sky blue?"},
    ]


def test_an_instruction_in_mid_conversation_stays_where_it_is() -> None:
    body = written(asking(user("a"), Message(Role.SYSTEM, [Text("now in Latin")]), user("b")))
    assert [message["role"] for message in body["messages"]] == ["user", "system", "user"]


def test_several_texts_of_a_turn_become_one() -> None:
    assert written(asking(user("one", "", "two")))["messages"][0]["content"] == "one\n\ntwo"


def test_a_turn_without_parts_is_an_empty_message() -> None:
    assert written(asking(user()))["messages"] == [{"role": "user", "content": ""}]


def test_no_messages_at_all_are_refused() -> None:
    fault = refused(ChatRequest("local", []))
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, "messages")


def test_an_image_goes_as_base64_beside_the_text() -> None:
    body = written(asking(user("What is this?", Media("image", "image/png", data=PIXEL))))
    assert body["messages"] == [{"role": "user", "content": "What is this?", "images": [PIXEL]}]


@pytest.mark.parametrize(
    "media",
    [
        Media("image", url="https://example.com/cat.png"),
        Media("image", file_id="file-1"),
        Media("audio", "audio/wav", data="UklGRg=="),
        Media("file", "application/pdf", data="JVBERi0="),
    ],
)
@pytest.mark.parametrize("lenient", [True, False])
def test_what_ollama_cannot_see_is_refused_even_when_lenient(media: Media, lenient: bool) -> None:
    notes = Notes({"messages": "contents"}, lenient=lenient)
    with pytest.raises(CallFailed) as caught:
        written(asking(user("What is this?", media)), notes=notes)
    assert caught.value.fault.kind is FaultKind.UNSUPPORTED


def test_a_refused_part_is_named_as_the_door_names_messages() -> None:
    media = Media("image", url="https://example.com/cat.png")
    with pytest.raises(CallFailed) as caught:
        written(asking(user(media)), notes=Notes({"messages": "contents"}))
    assert caught.value.fault.param == "contents"


def test_a_call_in_the_history_has_its_arguments_as_an_object() -> None:
    body = written(
        asking(
            user("?"), assistant("Let me see.", ToolCall("c1", "get_weather", '{"city":"Bern"}'))
        )
    )
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [
            {
                "id": "c1",
                "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Bern"}},
            }
        ],
    }


@pytest.mark.parametrize(("text", "arguments"), [("", {}), ('{"ci', {"arguments": '{"ci'})])
def test_arguments_that_are_empty_or_cut_do_no_harm(text: str, arguments: object) -> None:
    body = written(asking(user("?"), assistant(ToolCall("c1", "now", text))))
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == arguments


def test_parallel_calls_keep_their_order_and_number() -> None:
    body = written(asking(user("?"), assistant(ToolCall("a", "x", ""), ToolCall("b", "y", ""))))
    calls = body["messages"][1]["tool_calls"]
    assert [(call["id"], call["function"]["index"]) for call in calls] == [("a", 0), ("b", 1)]


def test_results_are_messages_of_their_own_with_the_tools_name() -> None:
    body = written(
        asking(
            user("?"),
            assistant(ToolCall("a", "get_weather", ""), ToolCall("b", "get_time", "")),
            user(ToolResult("a", [Text("22 C")]), ToolResult("b", [Text("noon")]), "and now?"),
        )
    )
    assert body["messages"][2:] == [
        {"role": "tool", "content": "22 C", "tool_name": "get_weather", "tool_call_id": "a"},
        {"role": "tool", "content": "noon", "tool_name": "get_time", "tool_call_id": "b"},
        {"role": "user", "content": "and now?"},
    ]


def test_a_result_may_say_its_tool_itself() -> None:
    body = written(asking(user(ToolResult("a", [Text("x")], name="get_time"))))
    assert body["messages"][0]["tool_name"] == "get_time"


def test_a_result_without_its_call_has_no_tools_name() -> None:
    body = written(asking(user(ToolResult("a", [Text("x")]))))
    assert body["messages"] == [{"role": "tool", "content": "x", "tool_call_id": "a"}]


def test_an_empty_result_is_an_empty_message() -> None:
    assert written(asking(user(ToolResult("a", []))))["messages"][0]["content"] == ""


@pytest.mark.parametrize(
    ("text", "content"),
    [("no such city", "Error: no such city"), ("Error: 404", "Error: 404"), ("", "Error:")],
)
def test_a_failed_tool_is_told_in_words(text: str, content: str) -> None:
    result = ToolResult("a", [Text(text)], is_error=True)
    assert written(asking(user(result)))["messages"][0]["content"] == content


def test_an_image_in_a_result_goes_with_it() -> None:
    result = ToolResult("a", [Text("a chart"), Media("image", "image/png", data=PIXEL)])
    message = written(asking(user(result)))["messages"][0]
    assert (message["role"], message["content"], message["images"]) == ("tool", "a chart", [PIXEL])


def test_what_was_said_before_a_result_comes_before_it() -> None:
    body = written(asking(user("first", ToolResult("a", [Text("second")]))))
    assert [message["content"] for message in body["messages"]] == ["first", "second"]


def test_thoughts_go_back_as_thoughts() -> None:
    body = written(asking(user("?"), assistant(Reasoning("Rayleigh."), "Scattering.")))
    assert body["messages"][1] == {
        "role": "assistant",
        "content": "Scattering.",
        "thinking": "Rayleigh.",
    }


def test_what_another_provider_hid_stays_away() -> None:
    body = written(asking(user("?"), assistant(HIDDEN, "Hm.")))
    assert b"sealed" not in orjson.dumps(body)


def test_a_refusal_in_the_history_is_text() -> None:
    body = written(asking(user("?"), assistant(Refusal("I would rather not."))))
    assert body["messages"][1]["content"] == "I would rather not."


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("max_tokens", 99, "num_predict"),
        ("temperature", 0.0, "temperature"),
        ("top_p", 0.5, "top_p"),
        ("top_k", 7, "top_k"),
        ("seed", 0, "seed"),
        ("stop", ["\n", "END"], "stop"),
        ("presence_penalty", 0.1, "presence_penalty"),
        ("frequency_penalty", -0.1, "frequency_penalty"),
    ],
)
def test_what_the_caller_sets_is_an_option(field: str, value: object, option: str) -> None:
    assert options(asking(**{field: value}), options={option: "of the model"})[option] == value


def test_the_registered_defaults_apply_where_the_caller_is_silent() -> None:
    called = replace(target(), max_tokens=321, default_temperature=0.3)
    assert written(asking(), called)["options"] == {"num_predict": 321, "temperature": 0.3}


def test_the_models_own_options_come_before_the_registered_defaults() -> None:
    called = replace(
        target(options={"temperature": 0.9, "num_predict": -1}), default_temperature=0.3
    )
    assert written(asking(), called)["options"] == {"num_predict": -1, "temperature": 0.9}


def test_options_that_callers_do_not_know_come_from_the_settings() -> None:
    found = options(asking(), options={"num_ctx": 8192, "min_p": 0.05})
    assert (found["num_ctx"], found["min_p"]) == (8192, 0.05)


def test_the_context_window_may_be_set_by_itself() -> None:
    assert options(asking(), options={"num_ctx": 1}, numCtx=32768)["num_ctx"] == 32768


def test_the_settings_themselves_stay_as_they_are() -> None:
    called = target(options={"num_ctx": 8192})
    written(asking(temperature=0.5), called)
    assert called.settings == {"options": {"num_ctx": 8192}}


@pytest.mark.parametrize("keep_alive", ["10m", 0, -1, 1.5])
def test_how_long_a_model_stays_loaded_comes_from_the_settings(keep_alive: object) -> None:
    assert written(asking(), target(keepAlive=keep_alive))["keep_alive"] == keep_alive


def test_without_a_setting_ollama_decides_how_long_a_model_stays_loaded() -> None:
    assert "keep_alive" not in written(asking())


def test_a_conversation_that_does_not_fit_is_not_cut_without_a_word() -> None:
    assert written(asking())["truncate"] is False
    assert written(asking(), target(truncate=True))["truncate"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("options", [1]),
        ("numCtx", "8192"),
        ("numCtx", True),
        ("numCtx", 0),
        ("keepAlive", True),
        ("keepAlive", {}),
        ("think", 1),
        ("truncate", "no"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(name: str, value: object) -> None:
    assert refused(asking(), **{name: value}).param == f"providerSettings.{name}"


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        (Effort.NONE, False),
        (Effort.MINIMAL, "low"),
        (Effort.LOW, "low"),
        (Effort.MEDIUM, "medium"),
        (Effort.HIGH, "high"),
        (Effort.XHIGH, "max"),
        (Effort.MAX, "max"),
    ],
)
def test_an_effort_is_a_level_of_thinking(effort: Effort, think: object) -> None:
    assert written(asking(reasoning=ReasoningRequest(effort=effort)))["think"] == think


@pytest.mark.parametrize(
    ("budget", "think"),
    [
        (0, False),
        (1, "low"),
        (1024, "low"),
        (1025, "medium"),
        (8192, "medium"),
        (8193, "high"),
    ],
)
def test_a_budget_is_the_nearest_level(budget: int, think: object) -> None:
    assert written(asking(reasoning=ReasoningRequest(budget=budget)))["think"] == think


@pytest.mark.parametrize("reasoning", [None, ReasoningRequest(adaptive=True), ReasoningRequest()])
def test_otherwise_the_model_decides_whether_it_thinks(reasoning: ReasoningRequest | None) -> None:
    assert "think" not in written(asking(reasoning=reasoning))


def test_the_settings_say_how_much_it_thinks_when_the_caller_does_not() -> None:
    assert written(asking(), target(think=False))["think"] is False
    asked = asking(reasoning=ReasoningRequest(effort=Effort.HIGH))
    assert written(asked, target(think=False))["think"] == "high"


@pytest.mark.parametrize(
    ("output", "wanted"),
    [(OutputFormat(), "json"), (OutputFormat(SCHEMA, "place", strict=True), SCHEMA)],
)
def test_a_form_of_the_answer_is_ollamas_format(output: OutputFormat, wanted: object) -> None:
    assert written(asking(output=output))["format"] == wanted


def test_tools_are_functions_with_a_schema() -> None:
    assert written(asking(tools=[WEATHER, CLOCK]))["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather of a city",
                "parameters": SCHEMA,
            },
        },
        {
            "type": "function",
            "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
        },
    ]


def test_no_tools_are_offered_when_none_may_be_called() -> None:
    request = asking(
        tools=[WEATHER], tool_choice=ToolChoice(Choice.NONE), parallel_tool_calls=False
    )
    assert "tools" not in written(request)


def test_only_the_allowed_tools_are_offered() -> None:
    choice = ToolChoice(Choice.AUTO, allowed=["get_time"])
    tools = written(asking(tools=[WEATHER, CLOCK], tool_choice=choice))["tools"]
    assert [tool["function"]["name"] for tool in tools] == ["get_time"]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("n", {"n": 2}),
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("verbosity", {"verbosity": "low"}),
        ("service_tier", {"service_tier": "flex"}),
        ("tool_choice", {"tools": [WEATHER], "tool_choice": ToolChoice(Choice.REQUIRED)}),
        (
            "tool_choice",
            {"tools": [WEATHER], "tool_choice": ToolChoice(Choice.NAMED, "get_weather")},
        ),
        ("parallel_tool_calls", {"tools": [WEATHER], "parallel_tool_calls": False}),
    ],
)
def test_what_ollama_has_nothing_like_is_refused_by_name(
    field: str, fields: dict[str, Any]
) -> None:
    fault = refused(asking(**fields))
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, field)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"logit_bias": {}},
        {"logprobs": False, "top_logprobs": 0},
        {"verbosity": "medium"},
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"parallel_tool_calls": True, "tools": [WEATHER]},
        {"parallel_tool_calls": False},
        {"tool_choice": ToolChoice(Choice.AUTO)},
    ],
)
def test_what_changes_nothing_is_accepted(fields: dict[str, Any]) -> None:
    plain = written(asking(tools=fields.get("tools", [])))
    assert written(asking(**fields)) == plain


def test_a_lenient_call_goes_without_what_ollama_lacks_and_says_so() -> None:
    notes = Notes({"n": "candidateCount"}, lenient=True)
    written(asking(n=2, logit_bias={"1": 1}), notes=notes)
    assert notes.dropped == ["candidateCount", "logit_bias"]


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        (asking(user="u-1"), ["user"]),
        (asking(metadata={"a": "b"}), ["metadata"]),
        (asking(user(Text("x", cache={"type": "ephemeral"}))), ["cache_control"]),
        (asking(tools=[Tool("t", cache={"type": "ephemeral"})]), ["cache_control"]),
        (asking(tools=[Tool("t", strict=True)]), ["tools.strict"]),
        (asking(Message(Role.USER, [Text("x")], name="Ann")), ["messages.name"]),
        (asking(user(Media("image", data=PIXEL, detail="low"))), ["messages.detail"]),
        (asking(reasoning=ReasoningRequest(visible=False)), ["reasoning.visible"]),
        (asking(reasoning=ReasoningRequest(visible=True)), []),
        (asking(reasoning=ReasoningRequest(detail="concise")), ["reasoning.detail"]),
        (asking(user("?"), assistant(HIDDEN)), ["messages.reasoning"]),
        (asking(user(Media("image", data=PIXEL, detail="auto"))), []),
        (asking(), []),
    ],
)
def test_hints_are_dropped_and_listed(request_: ChatRequest, names: list[str]) -> None:
    assert dropped(request_) == names


def test_log_probabilities_are_asked_for() -> None:
    body = written(asking(logprobs=True, top_logprobs=3))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 3)


def test_the_official_client_knows_all_that_is_sent() -> None:
    body = written(
        asking(
            user("What is this?", Media("image", "image/png", data=PIXEL)),
            assistant(Reasoning("Hm."), ToolCall("a", "get_weather", '{"city": "Bern"}')),
            user(ToolResult("a", [Text("22 C")])),
            system=[Text("Be brief.")],
            tools=[WEATHER],
            output=OutputFormat(SCHEMA),
            reasoning=ReasoningRequest(effort=Effort.LOW),
            logprobs=True,
            top_logprobs=2,
            stop=["END"],
        ),
        target(keepAlive="10m", numCtx=8192),
    )
    official = OfficialRequest.model_validate(body)
    assert official.messages is not None
    assert [message["role"] for message in official.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]
    assert official.tools is not None
    assert official.think == "low"
    assert set(body) - set(OfficialRequest.model_fields) == {"truncate"}
