"""Messages of callers, read into turns."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Media,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.openai_chat.door import ChatDoor
from model_service.providers.faults import CallFailed, Fault, FaultKind

DOOR = ChatDoor()
PNG = "iVBORw0KGgo="


def read(*messages: Any) -> ChatRequest:
    return DOOR.read({"model": "m", "messages": list(messages)}, "m", stream=False)


def refused(*messages: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        read(*messages)
    return caught.value.fault


def user(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def call(call_id: str, name: str = "f", arguments: str = "{}", **more: Any) -> Any:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function, **more}


def parts_of(message: Any) -> list[Any]:
    (turn,) = read(message).messages
    return turn.parts


# --- instructions


def test_leading_instructions_of_both_roles_are_the_system_prompt() -> None:
    request = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "No jokes."}]},
        {"role": "user", "content": "Hi"},
    )
    assert request.system == [Text("Be brief."), Text("No jokes.")]
    assert request.messages == [Message(Role.USER, [Text("Hi")])]


def test_an_instruction_in_mid_conversation_stays_where_it_is() -> None:
    request = read(
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "Now in German."},
        {"role": "user", "content": "Again"},
    )
    assert request.system == []
    assert [turn.role for turn in request.messages] == [Role.USER, Role.SYSTEM, Role.USER]


def test_a_named_instruction_keeps_its_name() -> None:
    request = read({"role": "system", "content": "Be brief.", "name": "boss"})
    assert request.messages == [Message(Role.SYSTEM, [Text("Be brief.")], "boss")]


def test_an_empty_instruction_says_nothing() -> None:
    request = read({"role": "system", "content": ""}, {"role": "user", "content": "Hi"})
    assert request.system == []


def test_an_instruction_has_no_images() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}
    fault = refused({"role": "system", "content": [part]})
    assert fault.kind is FaultKind.UNSUPPORTED
    assert fault.param == "messages[0].content[0].type"


# --- users


def test_a_users_name_is_kept() -> None:
    (turn,) = read({"role": "user", "content": "Hi", "name": "ann"}).messages
    assert turn == Message(Role.USER, [Text("Hi")], "ann")


def test_an_empty_text_is_still_a_turn() -> None:
    assert parts_of({"role": "user", "content": ""}) == [Text("")]


def test_an_image_of_data_becomes_data_with_its_type() -> None:
    url = f"data:image/png;base64,{PNG}"
    part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    assert parts_of(user(part)) == [Media("image", media_type="image/png", data=PNG, detail="low")]


def test_an_image_elsewhere_is_passed_on_by_its_url() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://x.example/y.png", "detail": "auto"}}
    assert parts_of(user(part)) == [Media("image", url="https://x.example/y.png")]


def test_an_image_may_be_a_bare_url_as_with_many_vendors() -> None:
    part = {"type": "image_url", "image_url": "https://x.example/y.png"}
    assert parts_of(user(part)) == [Media("image", url="https://x.example/y.png")]


@pytest.mark.parametrize(
    "url",
    ["ftp://x.example/y.png", PNG, "data:image/png,abc", "data:;base64,AAAA", "data:image/png"],
)
def test_other_urls_are_refused(url: str) -> None:
    fault = refused(user({"type": "image_url", "image_url": {"url": url}}))
    assert fault.kind is FaultKind.INVALID_REQUEST
    assert fault.param == "messages[0].content[0].image_url.url"


def test_parameters_of_a_media_type_are_no_part_of_it() -> None:
    part = {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,aGk="}}
    assert parts_of(user(part)) == [Media("file", media_type="text/plain", data="aGk=")]


@pytest.mark.parametrize(
    ("form", "media_type"), [("wav", "audio/wav"), ("mp3", "audio/mpeg"), ("flac", "audio/flac")]
)
def test_sounds_have_a_media_type(form: str, media_type: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": form}}
    assert parts_of(user(part)) == [Media("audio", media_type=media_type, data="UklGRg==")]


@pytest.mark.parametrize(
    ("file", "media"),
    [
        (
            {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"},
            Media("file", media_type="application/pdf", data="JVBERg==", name="a.pdf"),
        ),
        (
            {"file_data": "JVBERg==", "filename": "a.pdf"},
            Media("file", media_type="application/pdf", data="JVBERg==", name="a.pdf"),
        ),
        (
            {"file_data": "YSxi", "filename": "a.CSV"},
            Media("file", media_type="text/csv", data="YSxi", name="a.CSV"),
        ),
        ({"file_id": "file-abc"}, Media("file", file_id="file-abc")),
        (
            {"file_data": "https://x.example/a.pdf"},
            Media("file", url="https://x.example/a.pdf"),
        ),
    ],
)
def test_files_come_as_data_by_id_or_by_url(file: Any, media: Media) -> None:
    assert parts_of(user({"type": "file", "file": file})) == [media]


def test_a_file_has_to_be_somewhere() -> None:
    assert refused(user({"type": "file", "file": {"filename": "a.pdf"}})).param == (
        "messages[0].content[0].file"
    )


def test_parts_keep_their_order() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}}
    text = {"type": "text", "text": "what is it?"}
    assert [type(part) for part in parts_of(user(text, image, text))] == [Text, Media, Text]


def test_marks_for_caches_are_kept() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    part = {"type": "text", "text": "long", "cache_control": mark}
    assert parts_of(user(part)) == [Text("long", mark)]


def test_openais_own_mark_means_the_same() -> None:
    part = {"type": "text", "text": "long", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert parts_of(user(part)) == [Text("long", {"type": "ephemeral"})]


def test_a_mark_on_a_message_is_one_on_its_last_part() -> None:
    mark = {"type": "ephemeral"}
    request = read(
        {"role": "system", "content": "long", "cache_control": mark},
        {
            **user({"type": "text", "text": "a"}, {"type": "text", "text": "b"}),
            "cache_control": mark,
        },
    )
    assert request.system == [Text("long", mark)]
    assert request.messages[0].parts == [Text("a"), Text("b", mark)]


# --- assistants


def test_an_answer_has_its_text_refusal_and_calls_in_order() -> None:
    message = {
        "role": "assistant",
        "content": "Let me look.",
        "refusal": "Not that.",
        "tool_calls": [call("call_1", "f", '{"a": 1}'), call("call_2", "g", "")],
        "name": "bot",
    }
    (turn,) = read(message).messages
    assert turn == Message(
        Role.ASSISTANT,
        [
            Text("Let me look."),
            Refusal("Not that."),
            ToolCall("call_1", "f", '{"a": 1}'),
            ToolCall("call_2", "g", ""),
        ],
        "bot",
    )


def test_an_answers_parts_may_be_text_and_refusals() -> None:
    content = [{"type": "text", "text": "No."}, {"type": "refusal", "refusal": "Sorry."}]
    assert parts_of({"role": "assistant", "content": content}) == [Text("No."), Refusal("Sorry.")]


def test_an_answer_of_the_official_client_can_be_sent_back_as_it_is() -> None:
    message = {
        "role": "assistant",
        "content": "",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [call("call_1", index=0)],
    }
    assert parts_of(message) == [ToolCall("call_1", "f", "{}")]


def test_an_answer_that_says_nothing_is_a_turn_without_parts() -> None:
    assert parts_of({"role": "assistant", "content": None}) == []


def test_a_call_of_a_custom_tool_is_refused() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
    fault = refused({"role": "assistant", "tool_calls": [custom]})
    assert fault.kind is FaultKind.UNSUPPORTED
    assert fault.param == "messages[0].tool_calls[0].type"


def test_sounds_of_earlier_answers_are_refused() -> None:
    fault = refused({"role": "assistant", "audio": {"id": "audio_1"}})
    assert fault.param == "messages[0].audio"


def test_a_call_is_named_in_full_when_it_is_wrong() -> None:
    fault = refused({"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": 1}}]})
    assert fault.param == "messages[0].tool_calls[0].function.name"


# --- thoughts


def test_a_bare_thought_comes_first() -> None:
    message = {"role": "assistant", "content": "Four.", "reasoning_content": "2 + 2"}
    assert parts_of(message) == [Reasoning("2 + 2"), Text("Four.")]


def test_details_of_thoughts_keep_signatures_and_order() -> None:
    message = {
        "role": "assistant",
        "content": "Four.",
        "reasoning_content": "2 + 2",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "text": "2 + 2",
                "signature": "model-service:anthropic:EqQB",
                "format": "model-service",
                "index": 0,
            },
            {
                "type": "reasoning.encrypted",
                "data": "model-service:anthropic:hidden",
                "format": "model-service",
                "index": 1,
            },
        ],
        "tool_calls": [call("call_1")],
    }
    assert parts_of(message) == [
        Reasoning("2 + 2", "model-service:anthropic:EqQB"),
        Reasoning("", "model-service:anthropic:hidden", redacted=True),
        Text("Four."),
        ToolCall("call_1", "f", "{}"),
    ]


def test_thoughts_between_calls_go_back_to_their_places() -> None:
    details = [
        {"type": "reasoning.text", "text": text, "format": "model-service", "index": index}
        for text, index in (("first", 0), ("then", 3))
    ]
    message = {
        "role": "assistant",
        "content": "Wait.",
        "reasoning_details": details,
        "tool_calls": [call("call_1"), call("call_2")],
    }
    assert parts_of(message) == [
        Reasoning("first"),
        Text("Wait."),
        ToolCall("call_1", "f", "{}"),
        Reasoning("then"),
        ToolCall("call_2", "f", "{}"),
    ]


@pytest.mark.parametrize("indexes", [(0, 7), (1, 0), (0, None), (-1, 0)])
def test_thoughts_whose_places_make_no_sense_come_first(indexes: tuple[int | None, ...]) -> None:
    details = [
        {"type": "reasoning.text", "text": "t", "format": "model-service", "index": index}
        for index in indexes
    ]
    message = {"role": "assistant", "content": "x", "reasoning_details": details}
    assert parts_of(message) == [Reasoning("t"), Reasoning("t"), Text("x")]


def test_a_vendors_own_details_are_marked_as_this_dialects() -> None:
    details = [
        {
            "type": "reasoning.text",
            "text": "2 + 2",
            "signature": "EqQB",
            "format": "anthropic-claude-v1",
            "id": "r1",
            "index": 5,
        },
        {"type": "reasoning.summary", "summary": "sums", "format": "unknown", "index": 6},
    ]
    message = {"role": "assistant", "content": "Four.", "reasoning_details": details}
    assert parts_of(message) == [
        Reasoning("2 + 2", "model-service:openai_chat:EqQB", id="r1"),
        Reasoning("sums"),
        Text("Four."),
    ]


def test_a_bare_text_beside_details_without_one_is_a_thought_of_its_own() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x", "index": 0}]
    message = {"role": "assistant", "reasoning": "sums", "reasoning_details": details}
    assert parts_of(message) == [
        Reasoning("sums"),
        Reasoning("", "model-service:openai_chat:x", redacted=True),
    ]


def test_unknown_details_are_refused() -> None:
    details = [{"type": "reasoning.video", "data": "x"}]
    fault = refused({"role": "assistant", "reasoning_details": details})
    assert fault.param == "messages[0].reasoning_details[0].type"


def test_what_gemini_wants_back_with_a_call_is_taken() -> None:
    extra = {"google": {"thought_signature": "CuMB"}}
    assert parts_of({"role": "assistant", "tool_calls": [call("c", extra_content=extra)]}) == [
        ToolCall("c", "f", "{}", "model-service:google:CuMB")
    ]


def test_a_calls_signature_of_another_origin_keeps_it() -> None:
    extra = {"google": {"thought_signature": "model-service:openai_chat:CuMB"}}
    assert parts_of({"role": "assistant", "tool_calls": [call("c", extra_content=extra)]}) == [
        ToolCall("c", "f", "{}", "model-service:openai_chat:CuMB")
    ]


# --- results of tools


def test_results_that_follow_one_another_are_one_turn_in_order() -> None:
    request = read(
        {"role": "assistant", "tool_calls": [call("call_1"), call("call_2")]},
        {"role": "tool", "tool_call_id": "call_2", "content": "two"},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "one"}]},
        {"role": "user", "content": "And?"},
    )
    assert request.messages[1:] == [
        Message(
            Role.USER,
            [ToolResult("call_2", [Text("two")]), ToolResult("call_1", [Text("one")])],
        ),
        Message(Role.USER, [Text("And?")]),
    ]


def test_results_after_something_else_are_another_turn() -> None:
    request = read(
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "user", "content": "Hm."},
        {"role": "tool", "tool_call_id": "b", "content": "2"},
    )
    assert [len(turn.parts) for turn in request.messages] == [1, 1, 1]


@pytest.mark.parametrize("content", ["", None, []])
def test_an_empty_result_has_no_parts(content: Any) -> None:
    message = {"role": "tool", "tool_call_id": "a", "content": content}
    assert parts_of(message) == [ToolResult("a", [])]


def test_a_result_may_have_images_as_with_some_vendors() -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    message = {"role": "tool", "tool_call_id": "a", "content": [part], "name": "shoot"}
    assert parts_of(message) == [
        ToolResult("a", [Media("image", media_type="image/png", data=PNG)], "shoot")
    ]


def test_a_results_mark_for_caches_is_the_results() -> None:
    mark = {"type": "ephemeral"}
    message = {"role": "tool", "tool_call_id": "a", "content": "1", "cache_control": mark}
    assert parts_of(message) == [ToolResult("a", [Text("1")], cache=mark)]


def test_a_result_has_to_say_which_calls() -> None:
    assert refused({"role": "tool", "content": "1"}).param == "messages[0].tool_call_id"


def test_old_functions_get_ids_that_stay_the_same() -> None:
    history = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "[]"}},
        {"role": "function", "name": "f", "content": "2"},
        {"role": "function", "name": "g", "content": None},
    ]
    request = read(*history)
    assert request.messages == [
        Message(Role.ASSISTANT, [ToolCall("call_function_1", "f", "{}")]),
        Message(Role.USER, [ToolResult("call_function_1", [Text("1")], "f")]),
        Message(Role.ASSISTANT, [ToolCall("call_function_2", "f", "[]")]),
        Message(
            Role.USER,
            [
                ToolResult("call_function_2", [Text("2")], "f"),
                ToolResult("call_function_3", [], "g"),
            ],
        ),
    ]
    assert read(*history) == request


# --- what is wrong


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "critic", "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0].type"),
        (
            {"role": "user", "content": [{"type": "video_url", "video_url": {}}]},
            "messages[0].content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "mood": 1}]},
            "messages[0].content[0].mood",
        ),
        ({"role": "user", "content": "x", "mood": "bad"}, "messages[0].mood"),
        ({"role": "assistant", "content": "x", "prefix": True}, "messages[0].prefix"),
        ("hello", "messages[0]"),
    ],
)
def test_what_is_wrong_is_named(message: Any, param: str) -> None:
    assert refused(message).param == param


@pytest.mark.parametrize("messages", [None, [], "hello", {}])
def test_there_have_to_be_messages(messages: Any) -> None:
    with pytest.raises(CallFailed) as caught:
        DOOR.read({"model": "m", "messages": messages}, "m", stream=False)
    assert caught.value.fault.param == "messages"
