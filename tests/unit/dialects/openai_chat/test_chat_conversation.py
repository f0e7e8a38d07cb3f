"""Conversations written for OpenAI, Azure and the vendors."""

from typing import Any

import pytest

from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatRequest,
    Media,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_chat.upstream import ChatUpstream
from model_service.providers.faults import CallFailed, FaultKind

from .wire import notes, target

PNG = Media("image", media_type="image/png", data="AAAA")
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
MARK = {"type": "ephemeral"}


def user(*parts: Part, name: str | None = None) -> Message:
    return Message(Role.USER, list(parts), name)


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, list(parts))


def written(
    *turns: Message,
    system: list[Text] | None = None,
    provider: Provider = Provider.OPENAI,
    cache_marks: bool = False,
    dropped: list[str] | None = None,
) -> list[Any]:
    listed = notes()
    request = ChatRequest("m", list(turns), system or [])
    upstream = ChatUpstream(cache_marks=cache_marks)
    body = upstream.request(request, target(provider), listed).body
    assert listed.dropped == (dropped or [])
    messages: list[Any] = body["messages"]
    return messages


def one(turn: Message, **more: Any) -> Any:
    (message,) = written(turn, **more)
    return message


def refused(*turns: Message, provider: Provider = Provider.OPENAI) -> None:
    with pytest.raises(CallFailed) as caught:
        written(*turns, provider=provider)
    fault = caught.value.fault
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "messages")


# --- instructions


def test_the_system_prompt_is_a_message_of_one_text() -> None:
    assert written(user(Text("Hi")), system=[Text("Be brief.")]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_several_instructions_are_parts_or_for_vendors_one_text() -> None:
    system = [Text("Be brief."), Text("No jokes.")]
    assert written(user(Text("Hi")), system=system)[0]["content"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "No jokes."},
    ]
    (message, _) = written(user(Text("Hi")), system=system, provider=Provider.CUSTOM)
    assert message["content"] == "Be brief.\n\nNo jokes."


def test_an_instruction_in_mid_conversation_stays_there() -> None:
    turns = (user(Text("Hi")), Message(Role.SYSTEM, [Text("In German.")], "boss"), user(Text("Na")))
    assert written(*turns)[1] == {"role": "system", "content": "In German.", "name": "boss"}


def test_an_instruction_has_to_be_text() -> None:
    refused(Message(Role.SYSTEM, [PNG]))


# --- users


def test_a_name_goes_along() -> None:
    assert one(user(Text("Hi"), name="ann")) == {"role": "user", "content": "Hi", "name": "ann"}


def test_a_turn_without_parts_is_an_empty_message() -> None:
    assert one(user()) == {"role": "user", "content": ""}


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (PNG, PNG_PART),
        (
            Media("image", url="https://x.example/y.png", detail="high"),
            {
                "type": "image_url",
                "image_url": {"url": "https://x.example/y.png", "detail": "high"},
            },
        ),
        (
            Media("audio", media_type="audio/mpeg", data="AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            Media("audio", media_type="audio/x-wav", data="AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        (
            Media("file", media_type="application/pdf", data="AAAA", name="a.pdf"),
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            },
        ),
        (
            Media("file", media_type="text/plain", data="AAAA"),
            {
                "type": "file",
                "file": {"filename": "document.txt", "file_data": "data:text/plain;base64,AAAA"},
            },
        ),
        (Media("file", file_id="file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
    ],
)
def test_what_is_attached_is_a_part(media: Media, part: Any) -> None:
    assert one(user(Text("See:"), media))["content"] == [{"type": "text", "text": "See:"}, part]


@pytest.mark.parametrize(
    "media",
    [
        Media("image", file_id="file-1"),
        Media("image"),
        Media("audio", media_type="audio/flac", data="AAAA"),
        Media("audio", url="https://x.example/a.mp3", media_type="audio/mpeg"),
        Media("file", url="https://x.example/a.pdf"),
        Media("file"),
        Media("video", media_type="video/mp4", data="AAAA"),
    ],
)
def test_what_cannot_be_attached_is_refused(media: Media) -> None:
    refused(user(media))


def test_a_vendor_may_fetch_files() -> None:
    media = Media("file", url="https://x.example/a.pdf")
    (part,) = one(user(media), provider=Provider.CUSTOM)["content"]
    assert part["file"]["file_data"] == "https://x.example/a.pdf"


def test_a_users_turn_has_nothing_that_a_model_says() -> None:
    refused(user(ToolCall("c", "f", "{}")))


# --- assistants


def test_an_answer_is_text_and_calls() -> None:
    turn = assistant(
        Text("Wait"), Text("."), ToolCall("c", "f", '{"a": 1}'), ToolCall("d", "g", "")
    )
    assert one(turn) == {
        "role": "assistant",
        "content": "Wait.",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_an_answer_of_calls_alone_has_no_content() -> None:
    assert one(assistant(ToolCall("c", "f", "{}")))["content"] is None


def test_an_answer_that_says_nothing_is_empty() -> None:
    assert one(assistant()) == {"role": "assistant", "content": ""}


def test_arguments_that_were_cut_are_sent_as_they_are() -> None:
    message = one(assistant(ToolCall("c", "f", '{"a": ')))
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": '


def test_a_refusal_has_its_field_or_for_vendors_is_text() -> None:
    assert one(assistant(Refusal("No."))) == {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
    }
    assert one(assistant(Refusal("No.")), provider=Provider.CUSTOM)["content"] == "No."


def test_a_models_turn_has_no_media() -> None:
    refused(assistant(PNG))


# --- thoughts


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_thought_goes_back_to_a_vendor_in_the_field_it_came_in(field: str) -> None:
    turn = assistant(Reasoning("hm", f"model-service:openai_chat:{field}"), Text("Four."))
    assert one(turn, provider=Provider.CUSTOM) == {
        "role": "assistant",
        "content": "Four.",
        field: "hm",
    }


def test_signed_thoughts_go_back_to_a_vendor_as_they_came() -> None:
    kept = '{"type":"reasoning.text","format":"anthropic-claude-v1","index":0,"signature":"Eq"}'
    hidden = '{"type":"reasoning.encrypted","data":"x","index":1}'
    turn = assistant(
        Reasoning("hm", f"model-service:openai_chat:{kept}"),
        Reasoning("", f"model-service:openai_chat:{hidden}", redacted=True),
    )
    assert one(turn, provider=Provider.CUSTOM)["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "format": "anthropic-claude-v1",
            "index": 0,
            "signature": "Eq",
            "text": "hm",
        },
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ]


def test_signatures_that_a_caller_got_from_the_vendor_itself_go_back() -> None:
    turn = assistant(
        Reasoning("hm", "model-service:openai_chat:EqQB"),
        Reasoning("", "model-service:openai_chat:gAAA", redacted=True),
    )
    assert one(turn, provider=Provider.CUSTOM)["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hm", "signature": "EqQB"},
        {"type": "reasoning.encrypted", "data": "gAAA"},
    ]


@pytest.mark.parametrize(
    ("provider", "signature"),
    [
        (Provider.CUSTOM, "model-service:anthropic:EqQB"),
        (Provider.CUSTOM, None),
        (Provider.OPENAI, "model-service:openai_chat:reasoning_content"),
        (Provider.AZURE, "model-service:openai_chat:EqQB"),
    ],
)
def test_thoughts_of_others_stay_away_and_are_listed(
    provider: Provider, signature: str | None
) -> None:
    turn = assistant(Reasoning("hm", signature), Text("Four."))
    sent = one(turn, provider=provider, dropped=["messages.reasoning"])
    assert sent == {"role": "assistant", "content": "Four."}


@pytest.mark.parametrize(
    ("provider", "signature", "is_sent"),
    [
        (Provider.CUSTOM, "model-service:openai_chat:CuMB", True),
        (Provider.CUSTOM, "model-service:google:CuMB", False),
        (Provider.OPENAI, "model-service:openai_chat:CuMB", False),
    ],
)
def test_a_calls_signature_goes_back_to_its_vendor_alone(
    provider: Provider, signature: str, is_sent: bool
) -> None:
    (call,) = one(assistant(ToolCall("c", "f", "{}", signature)), provider=provider)["tool_calls"]
    assert (call.get("extra_content") == {"google": {"thought_signature": "CuMB"}}) is is_sent
    assert ("extra_content" in call) is is_sent


# --- results of tools


def test_every_result_is_a_message_and_what_else_is_said_comes_after() -> None:
    turns = (
        assistant(ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")),
        user(
            Text("Here:"), ToolResult("a", [Text("one")]), ToolResult("b", [Text("2"), Text("3")])
        ),
    )
    assert written(*turns)[1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "2"}, {"type": "text", "text": "3"}],
        },
        {"role": "user", "content": "Here:"},
    ]


def test_results_that_are_spread_over_turns_still_follow_their_calls() -> None:
    turns = (
        assistant(ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")),
        user(ToolResult("a", [Text("1")]), Text("Half.")),
        user(ToolResult("b", [Text("2")]), Text("Done.")),
        assistant(ToolCall("c", "f", "{}")),
        user(ToolResult("c", [Text("3")])),
    )
    assert [(m["role"], m["content"]) for m in written(*turns)] == [
        ("assistant", None),
        ("tool", "1"),
        ("tool", "2"),
        ("user", "Half."),
        ("user", "Done."),
        ("assistant", None),
        ("tool", "3"),
    ]


def test_an_image_in_a_result_follows_in_a_users_message() -> None:
    turns = (
        user(
            ToolResult("a", [Text("shot:"), PNG]),
            ToolResult("b", [PNG]),
            Text("What is on it?"),
        ),
    )
    assert written(*turns) == [
        {"role": "tool", "tool_call_id": "a", "content": "shot:"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": "The result follows in the next message of the user.",
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Belongs to the result of the call a:"},
                PNG_PART,
                {"type": "text", "text": "Belongs to the result of the call b:"},
                PNG_PART,
            ],
        },
        {"role": "user", "content": "What is on it?"},
    ]


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ([Text("no such file")], "Error: no such file"),
        ([Text("Error: no such file")], "Error: no such file"),
        ([Text("ERROR 5")], "ERROR 5"),
        ([], "Error"),
        (
            [Text("a"), Text("b")],
            [
                {"type": "text", "text": "Error:"},
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b"},
            ],
        ),
    ],
)
def test_that_a_tool_failed_is_said_in_words(parts: list[Text | Media], content: Any) -> None:
    assert one(user(ToolResult("a", parts, is_error=True)))["content"] == content


def test_a_result_without_parts_is_empty() -> None:
    assert one(user(ToolResult("a", []))) == {"role": "tool", "tool_call_id": "a", "content": ""}


# --- marks for caches


def test_marks_for_caches_go_to_vendors_that_take_them() -> None:
    turns = (
        user(Text("a", MARK), Text("b")),
        assistant(Text("c", MARK)),
        user(ToolResult("t", [Text("d")], cache=MARK)),
        user(Media("image", url="https://x.example/y.png", cache=MARK)),
    )
    first, second, third, fourth = written(
        *turns, system=[], provider=Provider.CUSTOM, cache_marks=True
    )
    assert first["content"] == [
        {"type": "text", "text": "a", "cache_control": MARK},
        {"type": "text", "text": "b"},
    ]
    assert second["content"] == [{"type": "text", "text": "c", "cache_control": MARK}]
    assert third["content"] == [{"type": "text", "text": "d", "cache_control": MARK}]
    assert fourth["content"][0]["cache_control"] == MARK


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.CUSTOM])
@pytest.mark.parametrize(
    "turn",
    [
        user(Text("a", MARK)),
        user(Text("a", MARK), Text("b")),
        user(Media("image", url="https://x.example/y.png", cache=MARK)),
        assistant(Text("c", MARK)),
        assistant(ToolCall("c", "f", "{}", cache=MARK)),
        user(ToolResult("t", [Text("d")], cache=MARK)),
        user(ToolResult("t", [], cache=MARK)),
    ],
)
def test_marks_for_caches_are_dropped_and_listed_elsewhere(
    provider: Provider, turn: Message
) -> None:
    (message,) = written(turn, provider=provider, dropped=["cache_control"])
    assert "cache_control" not in str(message)
