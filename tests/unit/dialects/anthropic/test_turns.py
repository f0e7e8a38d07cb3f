"""Conversations as the Messages API wants them."""

import base64
from typing import Any

import pytest

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
from model_service.providers.dialects.anthropic.upstream import AnthropicUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes
from tests.unit.dialects.anthropic.wire_data import notes, target

CACHE = {"type": "ephemeral"}
HELLO = Message(Role.USER, [Text("Hello")])
WITH_SYSTEM = "claude-opus-4-8"
WITHOUT_SYSTEM = "claude-sonnet-5"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: Part) -> Message:
    return Message(Role.USER, list(parts))


def assistant(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, list(parts))


def system(words: str) -> Message:
    return Message(Role.SYSTEM, [Text(words)])


def call(call_id: str) -> ToolCall:
    return ToolCall(call_id, "f", "{}")


def result(call_id: str, words: str = "Done") -> ToolResult:
    return ToolResult(call_id, [Text(words)])


def turns(
    *messages: Message, model: str = WITH_SYSTEM, told: Notes | None = None
) -> list[dict[str, Any]]:
    request = ChatRequest("opus", list(messages))
    written: list[dict[str, Any]] = (
        AnthropicUpstream().request(request, target(model), told or notes()).body["messages"]
    )
    return written


def content(*parts: Part) -> list[dict[str, Any]]:
    """What becomes of the parts of a user's turn."""
    (turn,) = turns(user(*parts))
    found: list[dict[str, Any]] = turn["content"]
    return found


def refused(*messages: Message, model: str = WITH_SYSTEM) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        turns(*messages, model=model)
    return failed.value


def shape(written: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        (
            turn["role"],
            [
                block.get("tool_use_id") or block.get("id") or block["text"]
                for block in turn["content"]
            ],
        )
        for turn in written
    ]


# Turns


def test_turns_of_one_role_become_one() -> None:
    written = turns(user(Text("A")), user(Text("B")), assistant(Text("C")), assistant(Text("D")))
    assert shape(written) == [("user", ["A", "B"]), ("assistant", ["C", "D"])]


def test_a_conversation_may_begin_with_the_assistant() -> None:
    assert shape(turns(assistant(Text("Yes?")), HELLO)) == [
        ("assistant", ["Yes?"]),
        ("user", ["Hello"]),
    ]


def test_empty_texts_and_turns_are_left_out() -> None:
    written = turns(user(Text("")), user(Text("A"), Text(" \n")), assistant(Text("")))
    assert shape(written) == [("user", ["A"])]


@pytest.mark.parametrize("messages", [[], [user(Text(" "))], [assistant()]])
def test_a_conversation_of_nothing_is_refused(messages: list[Message]) -> None:
    fault = refused(*messages).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, "messages")


def test_the_beginning_of_an_answer_does_not_end_in_a_blank() -> None:
    assert turns(HELLO, assistant(Text("It is \n")))[-1]["content"] == [text("It is")]


def test_cache_marks_are_kept() -> None:
    written = turns(
        user(Text("A", CACHE)),
        assistant(ToolCall("1", "f", "{}", cache=CACHE)),
        user(ToolResult("1", [], cache=CACHE), Media("image", url="https://a", cache=CACHE)),
    )
    blocks = [block for turn in written for block in turn["content"]]
    assert [block["cache_control"] for block in blocks] == [CACHE] * 4


# Calls and results


def test_results_of_parallel_calls_become_one_turn_in_order() -> None:
    written = turns(HELLO, assistant(call("a"), call("b")), user(result("a")), user(result("b")))
    assert shape(written)[1:] == [("assistant", ["a", "b"]), ("user", ["a", "b"])]


def test_results_come_before_what_else_the_user_says() -> None:
    written = turns(
        HELLO, assistant(call("a"), call("b")), user(Text("Hm"), result("b")), user(result("a"))
    )
    assert shape(written)[2] == ("user", ["b", "a", "Hm"])


def test_calls_in_turns_of_their_own_are_answered_together() -> None:
    written = turns(
        HELLO, assistant(call("a")), assistant(call("b")), user(result("a"), result("b"))
    )
    assert shape(written)[1:] == [("assistant", ["a", "b"]), ("user", ["a", "b"])]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([], None),
        ([Text("")], None),
        ([Text("A")], "A"),
        ([Text("A"), Text("B")], [text("A"), text("B")]),
        ([Text("A", CACHE)], [{**text("A"), "cache_control": CACHE}]),
        (
            [Text("A"), Media("image", url="https://a")],
            [text("A"), {"type": "image", "source": {"type": "url", "url": "https://a"}}],
        ),
    ],
)
def test_a_result_is_text_or_blocks_or_nothing(given: list[Text | Media], written: Any) -> None:
    (block,) = turns(HELLO, assistant(call("a")), user(ToolResult("a", given)))[2]["content"]
    assert block.get("content") == written
    assert "is_error" not in block


def test_a_result_may_be_an_error() -> None:
    failed = ToolResult("a", [Text("No.")], is_error=True)
    (block,) = turns(HELLO, assistant(call("a")), user(failed))[2]["content"]
    assert block == {"type": "tool_result", "tool_use_id": "a", "content": "No.", "is_error": True}


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ('{"a":1}', {"a": 1}),
        ("", {}),
        ("[1]", {"arguments": "[1]"}),
        ('{"city": "Par', {"arguments": '{"city": "Par'}),
    ],
)
def test_arguments_are_an_object_whatever_they_are(arguments: str, written: Any) -> None:
    turn = turns(HELLO, assistant(ToolCall("a", "f", arguments)), user(result("a")))[1]
    assert turn["content"] == [{"type": "tool_use", "id": "a", "name": "f", "input": written}]


def test_ids_that_the_api_does_not_take_are_replaced_in_both_places() -> None:
    written = turns(HELLO, assistant(call("f:0#é"), call("")), user(result("f:0#é"), result("")))
    calls = [block["id"] for block in written[1]["content"]]
    assert calls == [block["tool_use_id"] for block in written[2]["content"]]
    assert len(set(calls)) == 2
    assert all(known.replace("_", "").isalnum() and known.isascii() for known in calls)


@pytest.mark.parametrize(
    "messages",
    [
        [HELLO, user(result("x"))],
        [HELLO, assistant(call("a")), user(result("x"))],
        [HELLO, assistant(call("x")), user(result("x"), result("x"))],
        [
            HELLO,
            assistant(call("x")),
            user(result("x")),
            assistant(Text("A")),
            user(result("x")),
        ],
    ],
)
def test_a_result_without_its_call_is_refused_by_its_id(messages: list[Message]) -> None:
    fault = refused(*messages).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, "messages")
    assert "'x'" in fault.message


@pytest.mark.parametrize(
    "messages",
    [
        [HELLO, assistant(call("x"))],
        [HELLO, assistant(call("x")), HELLO],
        [HELLO, assistant(call("x")), HELLO, assistant(Text("A"))],
        [HELLO, assistant(call("a"), call("x")), user(result("a"))],
    ],
)
def test_a_call_without_its_result_is_refused_by_its_id(messages: list[Message]) -> None:
    fault = refused(*messages).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, "messages")
    assert "'x'" in fault.message


# Instructions in mid-conversation


def test_an_instruction_follows_the_users_turn_that_it_stands_before() -> None:
    written = turns(HELLO, assistant(Text("A")), system("Be brief."), user(Text("B")))
    assert shape(written) == [
        ("user", ["Hello"]),
        ("assistant", ["A"]),
        ("user", ["B"]),
        ("system", ["Be brief."]),
    ]


def test_instructions_that_follow_one_another_become_one() -> None:
    written = turns(HELLO, system("A"), system("B"), assistant(Text("C")), HELLO)
    assert shape(written)[:2] == [("user", ["Hello"]), ("system", ["A", "B"])]


def test_an_instruction_does_not_part_calls_from_their_results() -> None:
    written = turns(HELLO, assistant(call("a")), system("Be brief."), user(result("a")))
    assert shape(written)[2:] == [("user", ["a"]), ("system", ["Be brief."])]


@pytest.mark.parametrize(
    "messages", [[assistant(Text("A")), system("B"), assistant(Text("C"))], [system("B")]]
)
def test_an_instruction_without_a_users_turn_is_said_in_one(messages: list[Message]) -> None:
    roles = [turn["role"] for turn in turns(*messages)]
    assert "system" not in roles
    assert text("<system>\nB\n</system>") in [
        block for turn in turns(*messages) for block in turn["content"]
    ]


def test_models_that_take_no_instructions_get_them_in_the_users_turn() -> None:
    written = turns(
        HELLO, assistant(call("a")), system("Be brief."), user(result("a")), model=WITHOUT_SYSTEM
    )
    assert shape(written)[2] == ("user", ["a", "<system>\nBe brief.\n</system>"])


def test_an_instruction_has_to_be_text() -> None:
    picture = Message(Role.SYSTEM, [Media("image", url="https://a")])
    assert refused(HELLO, picture).fault.kind is FaultKind.UNSUPPORTED


# What a model said


def test_thoughts_go_back_with_signatures_of_anthropics_alone() -> None:
    said = assistant(
        Reasoning("Hm.", "model-service:anthropic:sig"),
        Reasoning("", "model-service:anthropic:hidden", redacted=True),
        Reasoning("Not signed."),
        Reasoning("Theirs.", "model-service:google:abc"),
        Refusal("No."),
    )
    told = notes()
    assert turns(HELLO, said, told=told)[1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "hidden"},
        text("No."),
    ]
    assert told.dropped == ["messages.reasoning"]


def test_a_turn_of_thoughts_that_cannot_go_back_is_left_out() -> None:
    assert shape(turns(HELLO, assistant(Reasoning("Hm.")))) == [("user", ["Hello"])]


@pytest.mark.parametrize(
    "message",
    [
        assistant(Media("image", url="https://a")),
        assistant(result("a")),
        user(call("a")),
        user(Reasoning("Hm.")),
    ],
)
def test_what_has_no_place_in_a_turn_is_refused(message: Message) -> None:
    fault = refused(HELLO, message).fault
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "messages")


# Media


@pytest.mark.parametrize(
    ("data", "given", "written"),
    [
        ("iVBORw0KGgoAAA", "image/png", "image/png"),
        ("anything", "image/jpg", "image/jpeg"),
        ("iVBORw0KGgoAAA", None, "image/png"),
        ("/9j/4AAQ", None, "image/jpeg"),
        ("R0lGODlh", None, "image/gif"),
        ("UklGRhIA", None, "image/webp"),
    ],
)
def test_images_are_data_of_a_known_type(data: str, given: str | None, written: str) -> None:
    source = {"type": "base64", "media_type": written, "data": data}
    assert content(Media("image", given, data)) == [{"type": "image", "source": source}]


def test_addresses_are_given_on() -> None:
    assert content(Media("image", url="https://a"), Media("file", url="https://b")) == [
        {"type": "image", "source": {"type": "url", "url": "https://a"}},
        {"type": "document", "source": {"type": "url", "url": "https://b"}},
    ]


@pytest.mark.parametrize("kind", ["application/pdf", None])
def test_a_pdf_is_a_document_with_its_name(kind: str | None) -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
    assert content(Media("file", kind, "JVBERi0xLjQ=", name="Terms")) == [
        {"type": "document", "source": source, "title": "Terms"}
    ]


@pytest.mark.parametrize("kind", ["text/plain", "text/csv; charset=utf-8", "application/json"])
def test_files_of_text_are_documents_of_text(kind: str) -> None:
    data = base64.b64encode("Zürich".encode()).decode()
    source = {"type": "text", "media_type": "text/plain", "data": "Zürich"}
    assert content(Media("file", kind, data)) == [{"type": "document", "source": source}]


@pytest.mark.parametrize(
    "media",
    [
        Media("image", "image/tiff", "x"),
        Media("image", None, "x"),
        Media("audio", "audio/wav", "x"),
        Media("file", "application/zip", "x"),
        Media("file", None, "x"),
        Media("image", file_id="file-1"),
    ],
)
def test_media_that_the_models_do_not_take_are_refused(media: Media) -> None:
    fault = refused(user(media)).fault
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "messages")


@pytest.mark.parametrize(
    "media", [Media("image"), Media("file", "text/plain", "%"), Media("file", "text/plain", "/w==")]
)
def test_media_that_are_not_what_they_say_are_refused(media: Media) -> None:
    fault = refused(user(media)).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, "messages")


@pytest.mark.parametrize(("detail", "dropped"), [("low", ["messages.detail"]), ("high", [])])
def test_a_wish_for_less_detail_is_told_as_dropped(detail: str, dropped: list[str]) -> None:
    told = notes()
    turns(user(Media("image", url="https://a", detail=detail)), told=told)
    assert told.dropped == dropped


# Names


def test_a_name_that_all_messages_have_is_told_as_dropped() -> None:
    told = notes()
    message = Message(Role.USER, [Text("A")], name="ada")
    assert "name" not in turns(message, message, told=told)[0]
    assert told.dropped == ["messages.name"]


def test_names_that_tell_speakers_apart_are_refused() -> None:
    ada = Message(Role.USER, [Text("A")], name="ada")
    bob = Message(Role.USER, [Text("B")], name="bob")
    fault = refused(ada, bob).fault
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "messages.name")
