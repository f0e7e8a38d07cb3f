"""The door reads `input`: items become turns, and what no other dialect has is refused by name."""

from typing import Any

import pytest

from model_service.providers.chat import (
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.signatures import mark
from tests.unit.dialects.openai_responses.wire import CALL, MESSAGE, REFUSAL, THOUGHT


def messages(*items: Any) -> list[Message]:
    return ResponsesDoor().read({"input": list(items)}, "fast", stream=False).messages


def refused(*items: Any) -> tuple[FaultKind, str | None]:
    with pytest.raises(CallFailed) as raised:
        messages(*items)
    return raised.value.fault.kind, raised.value.fault.param


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def result(call_id: str, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_a_string_is_one_turn_of_the_user() -> None:
    read = ResponsesDoor().read({"input": "Hello"}, "fast", stream=False)
    assert read.messages == [Message(Role.USER, [Text("Hello")])]


def test_a_message_may_come_without_its_type() -> None:
    assert messages({"role": "user", "content": "Hello"}) == [Message(Role.USER, [Text("Hello")])]


def test_texts_of_a_message_keep_their_order() -> None:
    parts = [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]
    assert messages({"type": "message", **user(*parts)}) == [
        Message(Role.USER, [Text("one"), Text("two")])
    ]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_leading_instructions_follow_those_of_the_request(role: str) -> None:
    body = {
        "instructions": "Be brief.",
        "input": [{"role": role, "content": "Be kind."}, {"role": "user", "content": "Hello"}],
    }
    read = ResponsesDoor().read(body, "fast", stream=False)
    assert read.system == [Text("Be brief."), Text("Be kind.")]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_an_instruction_in_mid_conversation_is_a_turn_of_its_own(role: str) -> None:
    read = messages(
        {"role": "user", "content": "Hello"},
        {"role": role, "content": [{"type": "input_text", "text": "Now in French."}]},
    )
    assert read[1] == Message(Role.SYSTEM, [Text("Now in French.")])


def test_an_instruction_cannot_hold_an_image() -> None:
    image = {"type": "input_image", "image_url": "https://img.example/a.png"}
    assert refused({"role": "developer", "content": [image]}) == (
        FaultKind.UNSUPPORTED,
        "input[0].content",
    )


def test_what_a_model_said_at_once_is_one_turn() -> None:
    assert messages(THOUGHT, MESSAGE, CALL) == [
        Message(
            Role.ASSISTANT,
            [
                Reasoning(
                    "Where is it?\n\nIn Bern.",
                    mark("openai_responses", "rs_01:gAAAAAB-sealed"),
                    id="rs_01",
                ),
                Text("It rains in Bern."),
                ToolCall("call_rain", "weather", '{"city":"Bern"}'),
            ],
        )
    ]


def test_results_that_follow_one_another_are_one_turn() -> None:
    read = messages(result("a", "1"), result("b", "2"), {"role": "user", "content": "Well?"})
    assert read == [
        Message(Role.USER, [ToolResult("a", [Text("1")]), ToolResult("b", [Text("2")])]),
        Message(Role.USER, [Text("Well?")]),
    ]


def test_a_turn_of_the_model_ends_the_results_before_it() -> None:
    read = messages(result("a", "1"), CALL, result("call_rain", "2"))
    assert [message.role for message in read] == [Role.USER, Role.ASSISTANT, Role.USER]


def test_a_result_may_be_empty() -> None:
    assert messages(result("a", "")) == [Message(Role.USER, [ToolResult("a", [])])]


def test_a_result_may_hold_texts_images_and_files() -> None:
    parts = [
        {"type": "input_text", "text": "see"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
        {"type": "input_file", "file_url": "https://files.example/a.pdf"},
    ]
    assert messages(result("a", parts)) == [
        Message(
            Role.USER,
            [
                ToolResult(
                    "a",
                    [
                        Text("see"),
                        Media("image", media_type="image/png", data="aGk="),
                        Media("file", url="https://files.example/a.pdf"),
                    ],
                )
            ],
        )
    ]


def test_a_refusal_of_the_model_is_kept() -> None:
    assert messages(REFUSAL) == [Message(Role.ASSISTANT, [Refusal("I will not.")])]


def test_a_phase_of_an_earlier_message_says_nothing_to_others() -> None:
    assert messages({**MESSAGE, "phase": "commentary"}) == messages(MESSAGE)


def test_texts_of_an_assistant_may_be_a_string() -> None:
    said = messages({"role": "assistant", "content": "Yes."})
    assert said == [Message(Role.ASSISTANT, [Text("Yes.")])]


@pytest.mark.parametrize(
    ("part", "media"),
    [
        (
            {"type": "input_image", "image_url": "https://img.example/a.png", "detail": "low"},
            Media("image", url="https://img.example/a.png", detail="low"),
        ),
        (
            {"type": "input_image", "file_id": "file-1", "detail": "auto"},
            Media("image", file_id="file-1"),
        ),
        (
            {"type": "input_image", "image_url": "data:image/jpeg;charset=x;base64,/9j/"},
            Media("image", media_type="image/jpeg", data="/9j/"),
        ),
        (
            {
                "type": "input_file",
                "filename": "a.pdf",
                "file_data": "data:application/pdf;base64,JVBERi0=",
            },
            Media("file", media_type="application/pdf", data="JVBERi0=", name="a.pdf"),
        ),
        (
            {"type": "input_file", "filename": "a.CSV", "file_data": "YSxi"},
            Media("file", media_type="text/csv", data="YSxi", name="a.CSV"),
        ),
        (
            {"type": "input_file", "file_data": "JVBERi0="},
            Media("file", media_type="application/pdf", data="JVBERi0="),
        ),
        ({"type": "input_file", "file_id": "file-2"}, Media("file", file_id="file-2")),
        (
            {"type": "input_audio", "input_audio": {"data": "SUQz", "format": "mp3"}},
            Media("audio", media_type="audio/mpeg", data="SUQz"),
        ),
    ],
)
def test_media_are_read(part: dict[str, Any], media: Media) -> None:
    assert messages(user(part)) == [Message(Role.USER, [media])]


@pytest.mark.parametrize(
    ("mark_", "cache"),
    [
        ({"mode": "explicit"}, {"type": "ephemeral"}),
        ({"mode": "explicit", "ttl": "30m"}, {"type": "ephemeral"}),
        ({"mode": "explicit", "ttl": "12h"}, {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_a_breakpoint_of_the_prompt_cache_is_a_cache_mark(
    mark_: dict[str, str], cache: dict[str, str]
) -> None:
    part = {"type": "input_text", "text": "long", "prompt_cache_breakpoint": mark_}
    assert messages(user(part)) == [Message(Role.USER, [Text("long", cache)])]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_image"}, "image_url"),
        ({"type": "input_image", "image_url": "u", "file_id": "f"}, "image_url"),
        ({"type": "input_image", "image_url": "data:image/png,plain"}, "image_url"),
        ({"type": "input_image", "image_url": "data:;base64,aGk="}, "image_url"),
        ({"type": "input_image", "image_url": {"url": "u"}}, "image_url"),
        ({"type": "input_image", "image_url": "u", "detail": "huge"}, "detail"),
        ({"type": "input_file"}, "file_data"),
        ({"type": "input_file", "file_data": "x", "file_id": "f"}, "file_data"),
        ({"type": "input_audio"}, "input_audio"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "input_audio.format"),
        ({"type": "input_text"}, "text"),
        ({"type": "output_text", "text": "x"}, "type"),
        ({"text": "x"}, "type"),
    ],
)
def test_a_wrong_part_is_refused_by_name(part: dict[str, Any], param: str) -> None:
    assert refused(user(part)) == (FaultKind.INVALID_REQUEST, f"input[0].content[0].{param}")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (None, "input[0]"),
        ("Hello", "input[0]"),
        ({"role": "critic", "content": "x"}, "input[0].role"),
        ({"type": "message", "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": 5}, "input[0].content"),
        ({"role": "user", "content": [5]}, "input[0].content[0]"),
        ({**CALL, "call_id": None}, "input[0].call_id"),
        ({**CALL, "arguments": {}}, "input[0].arguments"),
        ({**CALL, "status": "gone"}, "input[0].status"),
        ({"type": "function_call_output", "call_id": "a"}, "input[0].output"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
        ({"type": "function_call_output", "call_id": "a", "output": {}}, "input[0].output"),
        ({"type": "reasoning", "summary": [{"type": "summary_text"}]}, "input[0].summary[0].text"),
        ({"type": "reasoning", "summary": "x"}, "input[0].summary"),
    ],
)
def test_a_wrong_item_is_refused_by_name(item: Any, param: str) -> None:
    assert refused(item) == (FaultKind.INVALID_REQUEST, param)


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "custom_tool_call",
        "custom_tool_call_output",
        "mcp_call",
        "compaction",
        "configuration_update",
    ],
)
def test_items_of_openai_alone_are_refused(kind: str) -> None:
    assert refused({"type": kind, "id": "x"}) == (FaultKind.UNSUPPORTED, "input[0].type")


@pytest.mark.parametrize("item", [{"id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}])
def test_a_reference_to_a_stored_item_is_refused(item: dict[str, str]) -> None:
    assert refused(item) == (FaultKind.UNSUPPORTED, "input[0].id")


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"namespace": "crm"}, "namespace"),
        ({"caller": {"type": "program", "caller_id": "x"}}, "caller.type"),
        ({"async": True}, "async"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_call_that_others_cannot_tell_of_is_refused(changed: dict[str, Any], param: str) -> None:
    assert refused({**CALL, **changed}) == (FaultKind.UNSUPPORTED, f"input[0].{param}")


def test_a_call_of_the_models_own_may_say_so() -> None:
    assert messages({**CALL, "caller": {"type": "direct"}, "async": False}) == messages(CALL)


@pytest.mark.parametrize("value", [None, 5, {}])
def test_there_has_to_be_an_input(value: Any) -> None:
    with pytest.raises(CallFailed) as raised:
        ResponsesDoor().read({"input": value}, "fast", stream=False)
    assert raised.value.fault.param == "input"
