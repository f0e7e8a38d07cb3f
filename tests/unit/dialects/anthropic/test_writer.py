"""Answers of any model, as callers of the Messages API get them."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from anthropic.types import Message, ThinkingBlock, ToolUseBlock
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import assemble, events_of
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
    Part,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    Refusal,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.anthropic.door import AnthropicDoor
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.sse import EventParser
from tests.unit.dialects.anthropic.wire_data import STREAMS, as_client_sees, read

DOOR = AnthropicDoor()
REQUEST = ChatRequest("opus", [])
USAGE = Usage(input=10, cached_input=5, cache_write=3, cache_write_1h=4, output=20, reasoning=6)
THEIRS = "model-service:google:abc"


def answered(*parts: Part, finish: FinishReason = FinishReason.STOP, **more: Any) -> ChatAnswer:
    return ChatAnswer("resp_1", [Candidate(list(parts), finish, **more)], USAGE)


def document(answer: ChatAnswer) -> dict[str, Any]:
    return DOOR.answer(answer, "opus")


def stream(events: Iterable[ChatEvent]) -> bytes:
    writer = DOOR.writer(REQUEST, "opus")
    return b"".join([*map(writer.write, events), writer.end()])


def parsed(data: bytes) -> list[dict[str, Any]]:
    found = EventParser().feed(data)
    documents = [orjson.loads(event) for _, event in found]
    assert [name.decode() for name, _ in found] == [event["type"] for event in documents]
    return documents


def from_stream(data: bytes) -> Message:
    return as_client_sees(data, "text/event-stream")


def from_document(written: dict[str, Any]) -> Message:
    return as_client_sees(orjson.dumps(written), "application/json")


def comparable(message: Message) -> dict[str, Any]:
    dumped = message.model_dump(exclude={"id"}, exclude_none=True)
    dumped["usage"].pop("cache_creation", None)  # a stream's end has no place for it
    for block in dumped["content"]:
        block.pop("parsed_output", None)
    return dumped


# Whole answers


def test_a_whole_answer_is_a_message_under_the_registered_name() -> None:
    written = document(answered(Text("Hello!")))
    assert written == {
        "id": "resp_1",
        "type": "message",
        "role": "assistant",
        "model": "opus",
        "content": [{"type": "text", "text": "Hello!"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 10,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 5,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 3,
                "ephemeral_1h_input_tokens": 4,
            },
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 6},
        },
    }
    assert from_document(written).content[0].type == "text"


def test_an_answer_without_candidates_or_an_id_is_a_message_all_the_same() -> None:
    message = from_document(document(ChatAnswer("", [], Usage())))
    assert (message.content, message.stop_reason) == ([], "end_turn")
    assert message.id.startswith("msg_")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (FinishReason.STOP, "end_turn"),
        (FinishReason.LENGTH, "max_tokens"),
        (FinishReason.TOOL_CALLS, "tool_use"),
        (FinishReason.CONTENT_FILTER, "refusal"),
        (FinishReason.REFUSAL, "refusal"),
        (FinishReason.STOP_SEQUENCE, "stop_sequence"),
        (FinishReason.PAUSE, "pause_turn"),
    ],
)
def test_every_ending_has_its_stop_reason(finish: FinishReason, reason: str) -> None:
    answer = answered(Text("A"), finish=finish)
    assert document(answer)["stop_reason"] == reason
    assert from_stream(stream(events_of(answer))).stop_reason == reason


def test_the_stop_sequence_is_told() -> None:
    answer = answered(Text("A"), finish=FinishReason.STOP_SEQUENCE, stop_sequence="END")
    assert document(answer)["stop_sequence"] == "END"
    assert from_stream(stream(events_of(answer))).stop_sequence == "END"


def test_a_refusal_is_text_that_says_why_it_stopped() -> None:
    answer = answered(Refusal("I will not."))
    written = document(answer)
    assert written["content"] == [{"type": "text", "text": "I will not."}]
    assert written["stop_reason"] == "refusal"
    assert written["stop_details"]["type"] == "refusal"
    assert comparable(from_stream(stream(events_of(answer)))) == comparable(from_document(written))


def test_a_provider_that_only_says_it_stopped_may_have_called_a_tool() -> None:
    answer = answered(ToolCall("1", "f", "{}"))
    assert document(answer)["stop_reason"] == "tool_use"
    assert from_stream(stream(events_of(answer))).stop_reason == "tool_use"


def test_arguments_that_are_no_object_do_not_break_an_answer() -> None:
    answer = answered(ToolCall("1", "f", '{"city": "Par'), finish=FinishReason.LENGTH)
    (block,) = from_document(document(answer)).content
    assert isinstance(block, ToolUseBlock)
    assert block.input == {"arguments": '{"city": "Par'}


def test_a_call_without_an_id_gets_one() -> None:
    (block,) = document(answered(ToolCall("", "f", "")))["content"]
    assert block["id"].startswith("toolu_")
    assert block["input"] == {}


def test_signatures_of_anthropics_are_bare_and_others_marked() -> None:
    own = answered(Reasoning("Hm.", "model-service:anthropic:sig"))
    other = answered(Reasoning("Hm.", THEIRS))
    assert document(own)["content"][0]["signature"] == "sig"
    assert document(other)["content"][0]["signature"] == THEIRS


def test_a_hidden_thought_is_a_redacted_block() -> None:
    answer = answered(Reasoning("", THEIRS, redacted=True))
    assert document(answer)["content"] == [{"type": "redacted_thinking", "data": THEIRS}]


def test_a_calls_signature_comes_back_through_an_empty_thought() -> None:
    call = ToolCall("1", "f", '{"a":1}', signature=THEIRS)
    written = document(answered(Text("A"), call))
    assert [block["type"] for block in written["content"]] == ["text", "thinking", "tool_use"]
    body = {"messages": [{"role": "assistant", "content": written["content"]}]}
    sent_back = DOOR.read(body, "opus", stream=False).messages[0]
    assert sent_back.parts == [Text("A"), call]


def test_tiers_are_named_as_anthropic_names_them() -> None:
    answer = answered(Text("A"))
    answer.service_tier = "default"
    assert document(answer)["usage"]["service_tier"] == "standard"
    answer.service_tier = "flex"
    assert "service_tier" not in document(answer)["usage"]


# Streams


def test_a_stream_has_the_events_of_the_api_in_their_order() -> None:
    events = parsed(stream(events_of(answered(Text("Hello!")))))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["model"] == "opus"
    assert events[4]["usage"] == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_read_input_tokens": 5,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 6},
    }


def test_a_call_opens_with_no_arguments_and_is_filled() -> None:
    events = parsed(stream(events_of(answered(ToolCall("1", "f", '{"a":1}')))))
    assert events[1]["content_block"] == {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    assert events[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"a":1}'}


def test_parallel_calls_are_filled_in_turns() -> None:
    message = from_stream(
        stream(
            [
                Started("1"),
                ToolCallStarted(0, "a", "f"),
                ToolCallStarted(1, "b", "g"),
                ToolCallDelta(0, '{"x"'),
                ToolCallDelta(1, '{"y":2}'),
                ToolCallDelta(0, ":1}"),
                Finished(FinishReason.TOOL_CALLS),
            ]
        )
    )
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [(call.id, call.input) for call in calls] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_a_signed_call_closes_the_calls_before_it() -> None:
    first = ToolCall("a", "f", "{}")
    second = ToolCall("b", "g", "{}", signature=THEIRS)
    events = parsed(stream(events_of(answered(first, second))))
    shape = [(event["type"], event.get("index")) for event in events[1:-2]]
    assert shape == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
    ]


def test_a_thought_that_is_open_does_not_get_a_calls_signature() -> None:
    events: list[ChatEvent] = [
        Started("1"),
        ReasoningDelta("Hm."),
        ToolCallStarted(0, "a", "f", signature=THEIRS),
        Finished(FinishReason.TOOL_CALLS),
    ]
    blocks = from_stream(stream(events)).content
    thoughts = [block for block in blocks if isinstance(block, ThinkingBlock)]
    assert [(thought.thinking, thought.signature) for thought in thoughts] == [
        ("Hm.", ""),
        ("", THEIRS),
    ]


def test_a_stream_without_a_beginning_gets_one() -> None:
    message = from_stream(stream([TextDelta("A"), Finished(FinishReason.STOP)]))
    assert message.id.startswith("msg_")
    assert message.content[0].type == "text"


def test_a_stream_begins_once_and_tells_its_tier() -> None:
    events: list[ChatEvent] = [
        Started("1", service_tier="priority"),
        Started("2"),
        Finished(FinishReason.STOP),
    ]
    message = from_stream(stream(events))
    assert (message.id, message.usage.service_tier) == ("1", "priority")


def test_arguments_of_a_call_that_never_began_are_left_out() -> None:
    events: list[ChatEvent] = [ToolCallDelta(0, "{}"), Finished(FinishReason.STOP)]
    assert from_stream(stream(events)).content == []


def test_only_the_last_usage_counts() -> None:
    events: list[ChatEvent] = [
        Started("1"),
        UsageReported(Usage(input=3)),
        UsageReported(Usage(input=3, output=4)),
        Finished(FinishReason.STOP),
    ]
    usage = from_stream(stream(events)).usage
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


def test_other_candidates_are_left_out() -> None:
    events: list[ChatEvent] = [
        Started("1"),
        TextDelta("A"),
        TextDelta("B", candidate=1),
        ToolCallStarted(0, "a", "f", candidate=1),
        ToolCallDelta(0, "{}", candidate=1),
        ReasoningDelta("C", candidate=1),
        ReasoningEnded("s", candidate=1),
        Finished(FinishReason.LENGTH, candidate=1),
        Finished(FinishReason.STOP),
    ]
    message = from_stream(stream(events))
    assert message.stop_reason == "end_turn"
    assert [block.model_dump(include={"text"}) for block in message.content] == [{"text": "A"}]


def test_what_says_nothing_makes_no_block() -> None:
    empty: list[ChatEvent] = [TextDelta(""), ReasoningDelta(""), ReasoningEnded()]
    assert from_stream(stream([*empty, Finished(FinishReason.STOP)])).content == []


def test_a_failure_is_an_error_event() -> None:
    writer = DOOR.writer(REQUEST, "opus")
    data = writer.fail(Fault(FaultKind.OVERLOADED, "Too much."))
    assert parsed(data) == [
        {"type": "error", "error": {"type": "overloaded_error", "message": "Too much."}}
    ]


@pytest.mark.parametrize("wire", STREAMS)
def test_a_translated_stream_is_the_translated_whole_answer(wire: tuple[Any, ...]) -> None:
    _, events = read(*wire)
    assert comparable(from_stream(stream(events))) == comparable(
        from_document(document(assemble(events)))
    )


_text = st.text(max_size=6)
_signature = st.none() | st.sampled_from([THEIRS, "model-service:anthropic:sig"])
_said: st.SearchStrategy[Part] = st.one_of(
    _text.map(Text),
    _text.map(Refusal),
    st.builds(Reasoning, text=_text, signature=_signature),
    st.builds(Reasoning, text=st.just(""), signature=_signature, redacted=st.just(True)),
    st.builds(
        ToolCall,
        id=st.uuids().map(str),
        name=st.just("f"),
        arguments=st.sampled_from(["", "{}", '{"a":{"b":[1]}}']),
        signature=st.none() | st.just(THEIRS),
    ),
)


def _settled(parts: list[Part]) -> list[Part]:
    """Without neighbours that a stream cannot tell from one part."""
    kept: list[Part] = []
    for part in parts:
        if not isinstance(part, ToolCall | Reasoning) and not part.text:  # type: ignore[union-attr]
            continue
        if isinstance(part, Text | Refusal) and kept and type(kept[-1]) is type(part):
            continue
        kept.append(part)
    return kept


@given(st.lists(_said, max_size=6).map(_settled), st.sampled_from(FinishReason))
def test_any_answer_streamed_is_the_whole_answer(parts: list[Part], finish: FinishReason) -> None:
    answer = answered(*parts, finish=finish)
    events = parsed(stream(events_of(answer)))
    whole = document(answer)
    content: list[dict[str, Any]] = []
    fragments: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(content)
            content.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            block, delta = content[event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                fragments[event["index"]] = (
                    fragments.get(event["index"], "") + delta["partial_json"]
                )
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
    for index, fragment in fragments.items():
        content[index]["input"] = orjson.loads(fragment)
    stopped = sorted(event["index"] for event in events if event["type"] == "content_block_stop")
    assert content == whole["content"]
    assert stopped == list(range(len(content)))
    assert events[-2]["delta"]["stop_reason"] == whole["stop_reason"]
