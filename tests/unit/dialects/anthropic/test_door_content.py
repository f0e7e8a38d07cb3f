"""The messages that a caller of the Messages API sends."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import (
    Media,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from model_service.providers.dialects.anthropic.door import AnthropicDoor
from model_service.providers.faults import CallFailed, FaultKind

CACHE = {"type": "ephemeral"}
PNG = base64.b64encode(b"\x89PNG").decode()


def messages(*turns: Any) -> list[Message]:
    body = {"max_tokens": 1, "messages": list(turns)}
    return AnthropicDoor().read(body, "opus", stream=False).messages


def user(*blocks: Any) -> list[Part]:
    return messages({"role": "user", "content": list(blocks)})[0].parts


def assistant(*blocks: Any) -> list[Part]:
    return messages({"role": "assistant", "content": list(blocks)})[0].parts


def refused(*turns: Any) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        messages(*turns)
    return failed.value


def test_turns_keep_their_order_and_may_repeat_a_role() -> None:
    given = [
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "A"},
        {"role": "user", "content": [{"type": "text", "text": "B", "cache_control": CACHE}]},
    ]
    assert messages(*given) == [
        Message(Role.ASSISTANT, [Text("Yes?")]),
        Message(Role.USER, [Text("A")]),
        Message(Role.USER, [Text("B", CACHE)]),
    ]


def test_an_instruction_in_mid_conversation_keeps_its_place() -> None:
    given = messages(
        {"role": "user", "content": "A"},
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    )
    assert given[1] == Message(Role.SYSTEM, [Text("Be brief.")])


def test_an_instruction_at_the_start_belongs_to_the_system_prompt() -> None:
    turns = [{"role": "system", "content": "B"}, {"role": "user", "content": "A"}]
    body = {"max_tokens": 1, "system": "A", "messages": turns}
    request = AnthropicDoor().read(body, "opus", stream=False)
    assert request.system == [Text("A"), Text("B")]
    assert [message.role for message in request.messages] == [Role.USER]


@pytest.mark.parametrize(
    ("source", "media"),
    [
        (
            {"type": "base64", "media_type": "image/png", "data": PNG},
            Media("image", "image/png", PNG, cache=CACHE),
        ),
        (
            {"type": "url", "url": "https://example.com/a.png"},
            Media("image", url="https://example.com/a.png", cache=CACHE),
        ),
        ({"type": "file", "file_id": "file_1"}, Media("image", file_id="file_1", cache=CACHE)),
    ],
)
def test_images_are_data_or_addresses_or_stored_files(source: Any, media: Media) -> None:
    assert user({"type": "image", "source": source, "cache_control": CACHE}) == [media]


def test_a_pdf_is_a_file_with_its_title() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    block = {"type": "document", "source": source, "title": "Terms", "cache_control": CACHE}
    assert user(block) == [Media("file", "application/pdf", "JVBERi0=", name="Terms", cache=CACHE)]


def test_the_context_of_a_pdf_stands_before_it() -> None:
    source = {"type": "url", "url": "https://example.com/a.pdf"}
    block = {"type": "document", "source": source, "context": "Our terms."}
    assert user(block) == [
        Text("About the document that follows: Our terms."),
        Media("file", url="https://example.com/a.pdf"),
    ]


def test_a_document_of_text_is_words_that_every_model_reads() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Pay us."}
    block = {
        "type": "document",
        "source": source,
        "title": "Terms",
        "cache_control": CACHE,
        "citations": {"enabled": False},
    }
    expected = Text('<document title="Terms">\nPay us.\n</document>', CACHE)
    assert user(block) == [expected]


def test_a_document_of_blocks_keeps_its_images() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    content = [{"type": "text", "text": "Look:"}, image]
    block = {"type": "document", "source": {"type": "content", "content": content}}
    assert user(block) == [
        Text("<document>"),
        Text("Look:"),
        Media("image", url="https://example.com/a.png"),
        Text("</document>"),
    ]


def test_a_search_result_is_words_with_their_source() -> None:
    block = {
        "type": "search_result",
        "source": "https://example.com",
        "title": "Home",
        "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
    }
    tag = '<search_result title="Home" source="https://example.com">'
    assert user(block) == [Text(f"{tag}\nA\nB\n</search_result>")]


def test_what_was_cited_is_told_as_dropped() -> None:
    block = {"type": "text", "text": "A", "citations": [{"type": "char_location"}]}
    body = {"max_tokens": 1, "messages": [{"role": "assistant", "content": [block]}]}
    request = AnthropicDoor().read(body, "opus", stream=False)
    assert request.dropped == ["messages[0].content[0].citations"]


def test_a_call_keeps_its_arguments_as_json() -> None:
    block = {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "weather",
        "input": {"city": "Zürich"},
        "caller": {"type": "direct"},
        "cache_control": CACHE,
    }
    call = ToolCall("toolu_1", "weather", '{"city":"Zürich"}', cache=CACHE)
    assert assistant(block) == [call]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({}, []),
        ({"content": None}, []),
        ({"content": ""}, []),
        ({"content": "15 degrees"}, [Text("15 degrees")]),
        ({"content": [{"type": "text", "text": "15"}]}, [Text("15")]),
        (
            {"content": [{"type": "image", "source": {"type": "url", "url": "https://a/b"}}]},
            [Media("image", url="https://a/b")],
        ),
    ],
)
def test_a_result_is_text_or_blocks_or_nothing(content: Any, parts: list[Text | Media]) -> None:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **content}
    assert user(block) == [ToolResult("toolu_1", parts)]


def test_a_result_may_be_an_error() -> None:
    block = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "No.",
        "is_error": True,
        "cache_control": CACHE,
    }
    expected = ToolResult("toolu_1", [Text("No.")], is_error=True, cache=CACHE)
    assert user(block) == [expected]


def test_thoughts_are_marked_as_anthropics() -> None:
    parts = assistant(
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "hidden"},
        {"type": "text", "text": "A"},
    )
    assert parts == [
        Reasoning("Hm.", "model-service:anthropic:sig"),
        Reasoning("", "model-service:anthropic:hidden", redacted=True),
        Text("A"),
    ]


def test_thoughts_of_others_stay_theirs() -> None:
    theirs = "model-service:google:abc"
    parts = assistant({"type": "thinking", "thinking": "Hm.", "signature": theirs})
    assert parts == [Reasoning("Hm.", theirs)]


def test_a_thought_without_a_signature_has_none() -> None:
    parts = assistant({"type": "thinking", "thinking": "Hm.", "signature": ""})
    assert parts == [Reasoning("Hm.")]


def test_a_signature_that_was_put_before_a_call_goes_back_to_it() -> None:
    theirs = "model-service:google:abc"
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    parts = assistant({"type": "thinking", "thinking": "", "signature": theirs}, call)
    assert parts == [ToolCall("1", "f", "{}", signature=theirs)]


def test_an_empty_thought_of_anthropics_before_a_call_stays_a_thought() -> None:
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    parts = assistant({"type": "thinking", "thinking": "", "signature": "sig"}, call)
    assert parts == [Reasoning("", "model-service:anthropic:sig"), ToolCall("1", "f", "{}")]


TEXT = {"type": "text", "text": "A"}


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        ("A", "messages[0]"),
        ({"content": "A"}, "messages[0].role"),
        ({"role": "tool", "content": "A"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "user", "content": ["A"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"text": "A"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "image"}]}, "messages[0].content[0].source"),
        (
            {"role": "user", "content": [{"type": "image", "source": {}}]},
            "messages[0].content[0].source.type",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]},
            "messages[0].content[0].input",
        ),
        (
            {"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f"}]},
            "messages[0].content[0].type",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "1"}]},
            "messages[0].content[0].type",
        ),
        (
            {"role": "system", "content": [{"type": "image"}]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_a_block_that_is_wrong_is_named(turn: Any, param: str) -> None:
    fault = refused(turn).fault
    assert (fault.kind, fault.param) == (FaultKind.INVALID_REQUEST, param)


@pytest.mark.parametrize(
    ("role", "block", "param"),
    [
        ("user", {"type": "container_upload", "file_id": "f"}, "type"),
        ("assistant", {"type": "server_tool_use", "id": "1"}, "type"),
        ("user", {**TEXT, "a_field_to_come": 1}, "a_field_to_come"),
        (
            "assistant",
            {"type": "tool_use", "id": "1", "name": "f", "input": {}, "toolset_name": "browser"},
            "toolset_name",
        ),
        (
            "assistant",
            {"type": "tool_use", "id": "1", "name": "f", "input": {}, "caller": {"type": "code"}},
            "caller",
        ),
        (
            "user",
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "tool_reference"}]},
            "content[0].type",
        ),
        (
            "user",
            {
                "type": "image",
                "source": {"type": "url", "url": "https://a"},
                "transformations": {"oversized_image": "error"},
            },
            "transformations",
        ),
        (
            "user",
            {
                "type": "document",
                "source": {"type": "url", "url": "https://a"},
                "citations": {"enabled": True},
            },
            "citations.enabled",
        ),
    ],
)
def test_blocks_that_only_anthropics_models_know_are_refused_by_name(
    role: str, block: Any, param: str
) -> None:
    fault = refused({"role": role, "content": [block]}).fault
    assert fault.kind is FaultKind.UNSUPPORTED
    assert fault.param == f"messages[0].content[0].{param}"


def test_arguments_that_cannot_be_written_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    block = {"type": "tool_use", "id": "1", "name": "f", "input": deep}
    fault = refused({"role": "assistant", "content": [block]}).fault
    assert fault.param == "messages[0].content[0].input"


_words = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "user", "assistant", "url"]
)
_names = st.sampled_from(
    ["type", "text", "source", "content", "role", "input", "id", "name", "url", "tool_use_id"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)
_FIELDS = [
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "cache_control",
    "max_tokens",
    "top_k",
]


def _param_at_fault(body: dict[str, Any]) -> str | None:
    """The field that a request was refused for, None for one that was taken."""
    try:
        AnthropicDoor().read(body, "opus", stream=False)
    except CallFailed as failed:
        return failed.fault.param or ""
    return None


@given(st.dictionaries(st.sampled_from(_FIELDS), _json))
def test_any_json_is_a_request_or_an_error_that_names_a_field(body: dict[str, Any]) -> None:
    param = _param_at_fault(body)
    assert param is None or param.split(".")[0].split("[")[0] in _FIELDS


@given(st.lists(_json, min_size=1, max_size=4), st.sampled_from(["user", "assistant", "system"]))
def test_any_blocks_are_a_message_or_an_error_that_names_one(blocks: list[Any], role: str) -> None:
    turns = [{"role": "user", "content": "A"}, {"role": role, "content": blocks}]
    param = _param_at_fault({"max_tokens": 1, "messages": turns})
    assert param is None or param.startswith("messages[1]")
