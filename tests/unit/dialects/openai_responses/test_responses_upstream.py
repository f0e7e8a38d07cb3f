"""What is sent to a Responses API, and what is refused because it has nothing like it."""

from dataclasses import replace
from typing import Any

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    Media,
    Message,
    OutputFormat,
    Part,
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
from model_service.providers.dialects.openai_responses.upstream import ResponsesUpstream
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.translation import Notes, Target
from tests.unit.dialects.openai_responses.wire import TARGET, question

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = Tool("weather", "the weather", SCHEMA)


def body(request: ChatRequest, target: Target = TARGET, notes: Notes | None = None) -> Any:
    return ResponsesUpstream().request(request, target, notes or Notes({})).body


def asked(**fields: Any) -> Any:
    return body(question(**fields))


def items(*messages: Message, notes: Notes | None = None) -> Any:
    return body(ChatRequest("fast", [*messages]), notes=notes)["input"]


def said(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, [*parts])


def told(*parts: Part) -> Message:
    return Message(Role.USER, [*parts])


def refused(request: ChatRequest) -> Fault:
    with pytest.raises(CallFailed) as raised:
        body(request)
    return raised.value.fault


def dropped(request: ChatRequest) -> list[str]:
    notes = Notes({})
    body(request, notes=notes)
    return notes.dropped


def test_the_path_is_that_of_responses() -> None:
    outgoing = ResponsesUpstream().request(question(), TARGET, Notes({}))
    assert (outgoing.path, outgoing.headers) == ("/responses", ())


def test_a_question_is_sent_with_the_registered_defaults() -> None:
    target = replace(TARGET, upstream_model="gpt-4.1", default_temperature=0.3)
    assert body(question("Hello"), target) == {
        "model": "gpt-4.1",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hello"}],
            }
        ],
        "store": False,
        "max_output_tokens": 4096,
        "temperature": 0.3,
    }


def test_what_the_caller_says_goes_before_the_defaults() -> None:
    target = replace(TARGET, default_temperature=0.3)
    sent = body(question(temperature=0.9, max_tokens=64, top_p=0.8), target)
    assert (sent["temperature"], sent["max_output_tokens"], sent["top_p"]) == (0.9, 64, 0.8)


@pytest.mark.parametrize("reasoning", [ReasoningRequest(Effort.LOW), ReasoningRequest(budget=2000)])
def test_beside_thinking_there_is_no_default_temperature(reasoning: ReasoningRequest) -> None:
    target = replace(TARGET, default_temperature=0.3)
    assert "temperature" not in body(question(reasoning=reasoning), target)


@pytest.mark.parametrize("reasoning", [ReasoningRequest(Effort.NONE), ReasoningRequest(budget=0)])
def test_without_thinking_there_is_one(reasoning: ReasoningRequest) -> None:
    target = replace(TARGET, default_temperature=0.3)
    assert body(question(reasoning=reasoning), target)["temperature"] == 0.3


def test_instructions_are_one_text() -> None:
    assert asked(system=[Text("Be brief."), Text("Be kind.")])["instructions"] == (
        "Be brief.\n\nBe kind."
    )


def test_an_instruction_in_mid_conversation_is_the_developers() -> None:
    [item] = items(Message(Role.SYSTEM, [Text("Now in French.")]))
    assert (item["role"], item["content"][0]["text"]) == ("developer", "Now in French.")


def test_a_turn_of_the_model_is_its_items_in_order() -> None:
    thought = Reasoning("Hm.", mark("openai_responses", "rs_01:gAAA"), id="rs_01")
    assert items(
        said(thought, Text("It "), Text("rains."), Refusal("No."), ToolCall("a", "f", '{"x":1}'))
    ) == [
        {
            "type": "reasoning",
            "id": "rs_01",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "It "},
                {"type": "output_text", "text": "rains."},
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x":1}'},
    ]


def test_what_the_model_said_is_a_bare_text_where_it_can_be() -> None:
    assert items(said(Text("Hello"))) == [
        {"type": "message", "role": "assistant", "content": "Hello"}
    ]


def test_empty_texts_of_the_model_are_no_items() -> None:
    assert [item["type"] for item in items(said(Text(""), ToolCall("a", "f", "{}")))] == [
        "function_call"
    ]


@pytest.mark.parametrize(
    ("payload", "thought_id", "sent"),
    [
        ("rs_01:gAAA", None, "rs_01"),
        (":gAAA", "rs_02", "rs_02"),
        (":gAAA", None, None),
        (":gAAA", "thought-7", None),
        ("gAAA", None, None),
        ("gAAA", "rs_03", "rs_03"),
    ],
)
def test_a_thought_is_sent_with_the_id_that_the_api_gave(
    payload: str, thought_id: str | None, sent: str | None
) -> None:
    [item] = items(said(Reasoning("", mark("openai_responses", payload), id=thought_id)))
    assert (item.get("id"), item["encrypted_content"], item["summary"]) == (sent, "gAAA", [])


@pytest.mark.parametrize(
    "thought",
    [Reasoning("Hm.", mark("anthropic", "x")), Reasoning("Hm."), Reasoning("", redacted=True)],
)
def test_thoughts_that_the_api_did_not_seal_are_left_out_and_listed(thought: Reasoning) -> None:
    notes = Notes({})
    assert items(said(thought, Text("Hi")), notes=notes)[0]["type"] == "message"
    assert notes.dropped == ["messages.reasoning"]


@pytest.mark.parametrize("arguments", ["", "  "])
def test_a_call_without_arguments_has_an_empty_object(arguments: str) -> None:
    assert items(said(ToolCall("a", "f", arguments)))[0]["arguments"] == "{}"


def test_arguments_that_were_cut_are_sent_as_they_are() -> None:
    assert items(said(ToolCall("a", "f", '{"x":')))[0]["arguments"] == '{"x":'


def test_an_id_that_is_too_long_is_the_same_shorter_one_for_call_and_result() -> None:
    call_id = "codex_mcp__" + "x" * 80
    call, result = items(said(ToolCall(call_id, "f", "{}")), told(ToolResult(call_id, [])))
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64


def test_results_and_what_is_said_beside_them_keep_their_order() -> None:
    sent = items(told(ToolResult("a", [Text("1")]), ToolResult("b", [Text("2")]), Text("Well?")))
    assert [item["type"] for item in sent] == [
        "function_call_output",
        "function_call_output",
        "message",
    ]


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult("a", []), ""),
        (ToolResult("a", [Text("1")]), "1"),
        (
            ToolResult("a", [Text("1"), Text("2")]),
            [{"type": "input_text", "text": "1"}, {"type": "input_text", "text": "2"}],
        ),
        (
            ToolResult("a", [Media("image", "image/png", "aGk=")]),
            [
                {
                    "type": "input_image",
                    "detail": "auto",
                    "image_url": "data:image/png;base64,aGk=",
                }
            ],
        ),
        (ToolResult("a", [Text("no such city")], is_error=True), "Error: no such city"),
        (ToolResult("a", [Text("error: none")], is_error=True), "error: none"),
        (ToolResult("a", [], is_error=True), "Error"),
        (
            ToolResult("a", [Media("image", url="https://i.example/a")], is_error=True),
            [
                {"type": "input_text", "text": "Error"},
                {"type": "input_image", "detail": "auto", "image_url": "https://i.example/a"},
            ],
        ),
    ],
)
def test_a_result_is_sent(result: ToolResult, output: Any) -> None:
    assert items(told(result)) == [
        {"type": "function_call_output", "call_id": "a", "output": output}
    ]


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (
            Media("image", url="https://i.example/a.png", detail="high"),
            {"type": "input_image", "detail": "high", "image_url": "https://i.example/a.png"},
        ),
        (
            Media("image", file_id="file-1"),
            {"type": "input_image", "detail": "auto", "file_id": "file-1"},
        ),
        (
            Media("file", "application/pdf", "JVBERi0=", name="a.pdf"),
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,JVBERi0=",
            },
        ),
        (
            Media("file", "text/plain", "aGk="),
            {
                "type": "input_file",
                "filename": "file.txt",
                "file_data": "data:text/plain;base64,aGk=",
            },
        ),
        (
            Media("file", url="https://f.example/a.pdf"),
            {"type": "input_file", "file_url": "https://f.example/a.pdf"},
        ),
        (Media("file", file_id="file-2"), {"type": "input_file", "file_id": "file-2"}),
    ],
)
def test_media_are_sent(media: Media, part: dict[str, Any]) -> None:
    assert items(told(media))[0]["content"] == [part]


@pytest.mark.parametrize(
    "message",
    [
        told(Media("audio", "audio/wav", "UklG")),
        told(ToolResult("a", [Media("audio", "audio/wav", "UklG")])),
        said(Media("image", url="https://i.example/a")),
        told(ToolCall("a", "f", "{}")),
    ],
)
def test_what_no_item_can_hold_is_refused(message: Message) -> None:
    fault = refused(ChatRequest("fast", [message]))
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "messages")


@pytest.mark.parametrize(
    "request_",
    [
        question(system=[Text("x", {"type": "ephemeral"})]),
        question(tools=[replace(WEATHER, cache={"type": "ephemeral"})]),
        ChatRequest("fast", [told(Text("x", {"type": "ephemeral"}))]),
        ChatRequest("fast", [told(ToolResult("a", [], cache={"type": "ephemeral"}))]),
        ChatRequest("fast", [said(Text("x", {"type": "ephemeral"}))]),
        ChatRequest("fast", [said(ToolCall("a", "f", "", cache={"type": "ephemeral"}))]),
    ],
)
def test_cache_marks_are_dropped_and_listed(request_: ChatRequest) -> None:
    assert dropped(request_) == ["cache_control"]


def test_names_of_participants_are_dropped_and_listed() -> None:
    assert dropped(ChatRequest("fast", [Message(Role.USER, [Text("x")], "ann")])) == [
        "messages.name"
    ]


@pytest.mark.parametrize(("strict", "sent"), [(None, False), (False, False), (True, True)])
def test_whether_a_function_is_strict_is_always_said(strict: bool | None, sent: bool) -> None:
    [tool] = asked(tools=[replace(WEATHER, strict=strict)])["tools"]
    assert tool == {
        "type": "function",
        "name": "weather",
        "description": "the weather",
        "parameters": SCHEMA,
        "strict": sent,
    }


def test_a_function_without_a_schema_takes_nothing() -> None:
    [tool] = asked(tools=[Tool("now")])["tools"]
    assert tool["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice(Choice.AUTO), "auto"),
        (ToolChoice(Choice.NONE), "none"),
        (ToolChoice(Choice.REQUIRED), "required"),
        (ToolChoice(Choice.NAMED, "weather"), {"type": "function", "name": "weather"}),
        (
            ToolChoice(Choice.REQUIRED, allowed=["weather"]),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "weather"}],
            },
        ),
    ],
)
def test_the_choice_of_tools_is_sent(choice: ToolChoice, sent: Any) -> None:
    assert asked(tools=[WEATHER], tool_choice=choice)["tool_choice"] == sent


def test_without_tools_nothing_is_said_about_them() -> None:
    sent = asked(tool_choice=ToolChoice(Choice.AUTO), parallel_tool_calls=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(sent)


def test_calls_beside_each_other_can_be_forbidden() -> None:
    assert asked(tools=[WEATHER], parallel_tool_calls=False)["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("output", "sent"),
    [
        (OutputFormat(), {"type": "json_object"}),
        (OutputFormat(SCHEMA), {"type": "json_schema", "name": "answer", "schema": SCHEMA}),
        (
            OutputFormat(SCHEMA, "place", "where", True),
            {
                "type": "json_schema",
                "name": "place",
                "description": "where",
                "schema": SCHEMA,
                "strict": True,
            },
        ),
    ],
)
def test_the_form_of_the_answer_is_sent(output: OutputFormat, sent: Any) -> None:
    assert asked(output=output)["text"] == {"format": sent}


def test_json_without_a_schema_is_spoken_of_in_the_input() -> None:
    sent = body(question("Who?", output=OutputFormat()))["input"]
    assert [item["role"] for item in sent] == ["developer", "user"]
    assert "JSON" in sent[0]["content"][0]["text"]


@pytest.mark.parametrize("output", [OutputFormat(SCHEMA), OutputFormat(), None])
def test_what_speaks_of_json_needs_no_reminder(output: OutputFormat | None) -> None:
    assert len(body(question("Who? As Json, please", output=output))["input"]) == 1


def test_how_much_to_say_is_sent() -> None:
    assert asked(verbosity="low")["text"] == {"verbosity": "low"}


@pytest.mark.parametrize(
    ("reasoning", "sent"),
    [
        (ReasoningRequest(Effort.XHIGH), {"effort": "xhigh"}),
        (ReasoningRequest(Effort.LOW, visible=True), {"effort": "low", "summary": "auto"}),
        (ReasoningRequest(Effort.LOW, visible=False, detail="auto"), {"effort": "low"}),
        (ReasoningRequest(detail="concise"), {"summary": "concise"}),
        (ReasoningRequest(Effort.NONE, visible=True), {"effort": "none"}),
        (ReasoningRequest(budget=0), {"effort": "none"}),
        (ReasoningRequest(budget=1024), {"effort": "low"}),
        (ReasoningRequest(budget=1025), {"effort": "medium"}),
        (ReasoningRequest(budget=8192), {"effort": "medium"}),
        (ReasoningRequest(budget=8193), {"effort": "high"}),
    ],
)
def test_how_to_think_is_sent(reasoning: ReasoningRequest, sent: dict[str, str]) -> None:
    assert asked(reasoning=reasoning)["reasoning"] == sent


def test_thinking_as_it_finds_right_is_what_it_does_unasked() -> None:
    assert "reasoning" not in asked(reasoning=ReasoningRequest(adaptive=True))


@pytest.mark.parametrize(
    ("model", "asks"),
    [
        ("gpt-5.6-sol", True),
        ("gpt-6-astra", True),
        ("o4-mini", True),
        ("ft:o4-mini:acme", True),
        ("openai/gpt-5", True),
        ("gpt-4o", False),
        ("gpt-4.1-mini", False),
        ("gpt-5-chat-latest", False),
        ("our-deployment", False),
        ("omni-chat", False),
    ],
)
def test_sealed_thoughts_are_asked_of_models_that_think(model: str, asks: bool) -> None:
    sent = body(question(), replace(TARGET, upstream_model=model))
    assert sent.get("include", []) == (["reasoning.encrypted_content"] if asks else [])


def test_sealed_thoughts_are_asked_of_any_model_that_is_to_think() -> None:
    target = replace(TARGET, upstream_model="our-deployment", provider=Provider.AZURE)
    sent = body(question(reasoning=ReasoningRequest(Effort.LOW)), target)
    assert sent["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(("top", "sent"), [(None, 0), (5, 5)])
def test_log_probabilities_are_asked_for(top: int | None, sent: int) -> None:
    asked_for = asked(logprobs=True, top_logprobs=top)
    assert asked_for["include"][0] == "message.output_text.logprobs"
    assert asked_for["top_logprobs"] == sent


def test_a_stream_from_openai_has_no_padding() -> None:
    sent = asked(stream=True)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_obfuscation": False})


def test_of_others_padding_is_not_spoken_of() -> None:
    sent = body(question(stream=True), replace(TARGET, provider=Provider.CUSTOM))
    assert sent["stream"] is True
    assert "stream_options" not in sent


def test_annotations_are_sent() -> None:
    sent = asked(user="u-1", metadata={"team": "a"})
    assert (sent["user"], sent["metadata"]) == ("u-1", {"team": "a"})


def test_metadata_of_another_form_are_dropped_and_listed() -> None:
    assert dropped(question(metadata={"team": 1})) == ["metadata"]


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("flex", "flex"), ("default", "default"), ("auto", None), ("standard_only", None)],
)
def test_the_tier_is_sent(tier: str, sent: str | None) -> None:
    assert asked(service_tier=tier).get("service_tier") == sent


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"stop": ["END"]}, "stop"),
        ({"seed": 0}, "seed"),
        ({"top_k": 5}, "top_k"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": -0.1}, "frequency_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"max_tokens": 15}, "max_tokens"),
        ({"service_tier": "gold"}, "service_tier"),
        ({"verbosity": "loud"}, "verbosity"),
    ],
)
def test_what_the_api_has_nothing_like_is_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    fault = refused(question(**fields))
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"presence_penalty": 0},
        {"frequency_penalty": 0.0},
        {"logit_bias": {}},
        {"logprobs": False},
        {"include_usage": False},
    ],
)
def test_values_without_an_effect_are_accepted(fields: dict[str, Any]) -> None:
    assert asked(**fields) == asked()


def test_a_lenient_call_gets_what_the_api_can_do() -> None:
    notes = Notes({}, lenient=True)
    sent = body(question(stop=["END"], max_tokens=1), notes=notes)
    assert sent["max_output_tokens"] == 16
    assert notes.dropped == ["stop", "max_tokens"]


def test_the_official_types_accept_what_is_sent() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
    request = ChatRequest(
        "fast",
        [
            told(Text("Hi"), Media("image", url="https://i.example/a.png")),
            said(
                Reasoning("Hm.", mark("openai_responses", "rs_01:gAAA")),
                Text("Hello"),
                ToolCall("a", "weather", "{}"),
            ),
            told(ToolResult("a", [Text("1"), Media("image", "image/png", "aGk=")])),
        ],
        [Text("Be brief.")],
        stream=True,
        tools=[WEATHER],
        tool_choice=ToolChoice(Choice.AUTO, allowed=["weather"]),
        output=OutputFormat(SCHEMA, "place"),
        reasoning=ReasoningRequest(Effort.LOW, visible=True),
        metadata={"a": "b"},
        user="u",
    )
    sent = body(request)
    assert adapter.validate_python(sent)["model"] == "gpt-5.6-sol"
