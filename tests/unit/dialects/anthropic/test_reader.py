"""Answers of the Messages API, whole ones and streams."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    ChatAnswer,
    Finished,
    FinishReason,
    Part,
    Reasoning,
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
from model_service.providers.dialects.anthropic.reader import AnthropicReader
from model_service.providers.dialects.anthropic.upstream import AnthropicUpstream
from model_service.providers.faults import CallFailed, FaultKind
from tests.unit.dialects.anthropic.wire_data import (
    CONTENTS,
    HIDDEN,
    MESSAGE_STOP,
    PING,
    SIGNATURE,
    STREAMS,
    TEXT_STREAM,
    THINKING_STREAM,
    TOOL_STREAM,
    answer,
    block_delta,
    block_start,
    block_stop,
    message_delta,
    message_start,
    read,
    read_pieces,
    sse,
)


def whole(document: dict[str, Any]) -> ChatAnswer:
    return AnthropicUpstream().answer(document)


def parts(*events: dict[str, Any]) -> list[Part]:
    reader, found = read(message_start(), *events, message_delta("end_turn"), MESSAGE_STOP)
    assert reader.complete
    return assemble(found).candidates[0].parts


def usage(*events: dict[str, Any]) -> Usage:
    _, found = read(*events)
    return [event for event in found if isinstance(event, UsageReported)][-1].usage


# Streams


def test_a_stream_of_text_is_read() -> None:
    reader, events = read(*TEXT_STREAM)
    assert reader.complete
    assert reader.failure is None
    assert events == [
        Started("msg_01T6kXWEF"),
        UsageReported(Usage(input=25, output=1)),
        TextDelta("Hello"),
        TextDelta("!"),
        Finished(FinishReason.STOP),
        UsageReported(Usage(input=25, output=15)),
    ]


def test_calls_come_with_their_arguments_in_pieces() -> None:
    _, events = read(*TOOL_STREAM)
    assert [event for event in events if isinstance(event, ToolCallStarted | ToolCallDelta)] == [
        ToolCallStarted(0, "toolu_01T1x", "get_weather"),
        ToolCallDelta(0, '{"location":'),
        ToolCallDelta(0, '"San Francisco, CA"}'),
        ToolCallStarted(1, "toolu_01T2x", "get_time"),
        ToolCallDelta(1, "{}"),
    ]


def test_thoughts_keep_their_order_and_their_marked_signatures() -> None:
    _, events = read(*THINKING_STREAM)
    mark = "model-service:anthropic:"
    assert assemble(events).candidates[0].parts == [
        Reasoning("First, 27 * 453.", mark + SIGNATURE),
        Reasoning("", mark + HIDDEN, redacted=True),
        Reasoning("", mark + SIGNATURE),
        Text("It is 12,231."),
    ]


def test_arguments_may_be_whole_in_the_opening_event() -> None:
    call = block_start(0, type="tool_use", id="1", name="f", input={"a": 1})
    assert parts(call, block_stop(0)) == [ToolCall("1", "f", '{"a":1}')]


def test_arguments_that_follow_an_opening_event_are_not_doubled() -> None:
    call = block_start(0, type="tool_use", id="1", name="f", input={"a": 1})
    more = block_delta(0, type="input_json_delta", partial_json='{"a":2}')
    assert parts(call, more, block_stop(0)) == [ToolCall("1", "f", '{"a":2}')]


def test_arguments_that_are_cut_are_given_on_as_they_are() -> None:
    call = block_start(0, type="tool_use", id="1", name="f", input={})
    more = block_delta(0, type="input_json_delta", partial_json='{"city": "Par')
    reader, events = read(message_start(), call, more, message_delta("max_tokens"), MESSAGE_STOP)
    assert reader.complete
    candidate = assemble(events).candidates[0]
    assert candidate.parts == [ToolCall("1", "f", '{"city": "Par')]
    assert candidate.finish is FinishReason.LENGTH


def test_blocks_that_are_not_closed_are_closed_by_the_end() -> None:
    thought = block_start(0, type="thinking", thinking="Hm.", signature="s")
    call = block_start(1, type="tool_use", id="1", name="f", input={})
    assert parts(thought, call) == [
        Reasoning("Hm.", "model-service:anthropic:s"),
        ToolCall("1", "f", "{}"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    (call,) = parts(block_start(0, type="tool_use", name="f", input={}), block_stop(0))
    assert isinstance(call, ToolCall)
    assert call.id.startswith("toolu_")


def test_text_whose_opening_event_was_lost_is_read() -> None:
    assert parts(block_delta(0, type="text_delta", text="Hello")) == [Text("Hello")]


def test_an_empty_thought_without_a_signature_is_none() -> None:
    assert parts(block_start(0, type="thinking", thinking=""), block_stop(0)) == []


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("pause_turn", FinishReason.PAUSE),
        ("refusal", FinishReason.REFUSAL),
        ("a_reason_to_come", FinishReason.STOP),
    ],
)
def test_stop_reasons_are_told_in_streams_and_whole_answers(
    reason: str, finish: FinishReason
) -> None:
    _, events = read(message_start(), message_delta(reason), MESSAGE_STOP)
    assert Finished(finish) in events
    assert whole(answer([], reason)).candidates[0].finish is finish


def test_the_stop_sequence_is_told_in_streams_and_whole_answers() -> None:
    end = message_delta("stop_sequence", delta={"stop_sequence": "END"})
    _, events = read(message_start(), end, MESSAGE_STOP)
    expected = Finished(FinishReason.STOP_SEQUENCE, 0, "END")
    assert expected in events
    candidate = whole(answer([], "stop_sequence", stop_sequence="END")).candidates[0]
    assert (candidate.finish, candidate.stop_sequence) == (expected.reason, "END")


def test_why_an_answer_was_refused_is_told_in_streams_and_whole_answers() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not this."}
    end = message_delta("refusal", delta={"stop_details": details})
    _, events = read(message_start(), end, MESSAGE_STOP)
    assert assemble(events).candidates[0].parts == [Refusal("Not this.")]
    refused = whole(answer([], "refusal", stop_details=details))
    assert refused.candidates[0].parts == [Refusal("Not this.")]


# Usage


def test_totals_at_the_end_replace_those_of_the_beginning() -> None:
    start = message_start(
        input_tokens=10,
        cache_creation_input_tokens=7,
        cache_read_input_tokens=5,
        cache_creation={"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        output_tokens=1,
    )
    end = message_delta(
        "end_turn",
        20,
        input_tokens=10,
        cache_creation_input_tokens=7,
        cache_read_input_tokens=5,
        output_tokens_details={"thinking_tokens": 6},
    )
    assert usage(start, end) == Usage(10, 5, 3, 4, 20, 6)


def test_searches_may_make_the_prompt_grow_until_the_end() -> None:
    end = message_delta("end_turn", 20, input_tokens=10_000)
    assert usage(message_start(input_tokens=10, output_tokens=1), end).input == 10_000


def test_a_prompt_that_is_repeated_as_nothing_keeps_its_count() -> None:
    end = message_delta("end_turn", 20, input_tokens=0, cache_read_input_tokens=0)
    start = message_start(input_tokens=10, cache_read_input_tokens=5, output_tokens=1)
    assert usage(start, end) == Usage(input=10, cached_input=5, output=20)


def test_cache_writes_without_their_lifetimes_are_of_the_shortest() -> None:
    start = message_start(input_tokens=1, cache_creation_input_tokens=7, output_tokens=1)
    assert usage(start, message_delta("end_turn")).cache_write == 7


def test_lifetimes_without_a_total_make_one() -> None:
    creation = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    start = message_start(input_tokens=1, cache_creation=creation, output_tokens=1)
    read_ = usage(start, message_delta("end_turn"))
    assert (read_.cache_write, read_.cache_write_1h) == (3, 4)


@pytest.mark.parametrize("value", ["9", -1, True, 1.5, None, 2**60, [], {}])
def test_what_is_no_count_is_none(value: Any) -> None:
    start = message_start(input_tokens=value, output_tokens=value, cache_creation=value)
    end = message_delta("end_turn", 3)
    assert usage(start, end) == Usage(output=3)


def test_a_whole_answer_tells_its_usage_and_tier() -> None:
    given = {"input_tokens": 1, "output_tokens": 2, "service_tier": "standard"}
    read_ = whole(answer([], usage=given))
    assert (read_.usage, read_.service_tier) == (Usage(1, output=2), "default")


# What goes wrong


def test_a_stream_that_is_cut_fails() -> None:
    reader, events = read(*TEXT_STREAM[:4])
    assert TextDelta("Hello") in events
    assert not reader.complete
    assert reader.failure is not None
    assert reader.failure.fault.code == "incomplete_answer"


def test_an_empty_stream_is_a_cut_one() -> None:
    reader, events = read_pieces([])
    assert events == []
    assert reader.failure is not None
    assert reader.failure.fault.code == "incomplete_answer"


def test_a_stream_that_says_why_it_ended_needs_no_closing_mark() -> None:
    reader, _ = read(*TEXT_STREAM[:-1])
    assert reader.complete
    assert reader.failure is None


def test_a_closing_mark_without_a_reason_is_a_cut_stream() -> None:
    reader, _ = read(*TEXT_STREAM[:-2], MESSAGE_STOP)
    assert not reader.complete
    assert reader.failure is not None


def test_an_error_event_is_the_failure() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    reader, events = read(*TEXT_STREAM[:4], error, *TEXT_STREAM[4:])
    assert events[-1] == TextDelta("Hello")
    assert reader.failure is not None
    assert reader.failure.fault.kind is FaultKind.OVERLOADED
    assert not reader.complete


def test_an_error_without_a_type_is_the_failure() -> None:
    reader = AnthropicUpstream().reader()
    reader.feed(b'data: {"error": {"message": "No."}}\n\n')
    assert reader.failure is not None
    assert reader.failure.fault.message == "No."


def test_nothing_is_read_after_a_failure() -> None:
    reader = AnthropicReader()
    reader.feed(sse({"type": "error", "error": {"type": "api_error", "message": "No."}}))
    assert reader.feed(sse(*TEXT_STREAM)) == []
    assert reader.end() == []


def test_nothing_is_read_after_the_end() -> None:
    reader, _ = read(*TEXT_STREAM)
    assert reader.feed(sse(*TEXT_STREAM)) == []


def test_an_answer_does_not_go_on_after_its_reason() -> None:
    late = block_delta(0, type="text_delta", text="More")
    _, events = read(*TEXT_STREAM[:-1], block_start(1, type="text", text="x"), late, MESSAGE_STOP)
    assert assemble(events).candidates[0].parts == [Text("Hello!")]


_MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_\n\n'


def test_a_malformed_event_is_passed_over_when_sound_ones_follow() -> None:
    reader, events = read_pieces([sse(*TEXT_STREAM[:4]), _MALFORMED, sse(*TEXT_STREAM[4:])])
    assert reader.complete
    assert assemble(events).candidates[0].parts == [Text("Hello!")]


def test_a_malformed_event_at_the_end_is_the_failure() -> None:
    reader, _ = read_pieces([sse(*TEXT_STREAM[:4]), _MALFORMED])
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_delta", "index": "0", "delta": {}},
        {"type": "content_block_stop", "index": None},
        {"type": "content_block_start", "index": 0, "content_block": "text"},
        block_start(0, type="thinking", thinking=7),
        block_delta(0, type="text_delta", text=7),
        block_delta(5, type="input_json_delta", partial_json="{}"),
        {"type": "message_start"},
        {"type": "message_delta"},
        {"type": 7},
    ],
)
def test_an_event_that_is_not_what_it_should_be_is_passed_over(event: dict[str, Any]) -> None:
    reader, events = read(*TEXT_STREAM[:3], event, *TEXT_STREAM[3:])
    assert reader.complete
    assert assemble(events).candidates[0].parts == [Text("Hello!")]


@pytest.mark.parametrize(
    ("start", "delta"),
    [
        (block_start(0, type="thinking", thinking="A"), {"type": "signature_delta"}),
        (
            block_start(0, type="tool_use", id="1", name="f", input={}),
            {"type": "input_json_delta", "partial_json": 7},
        ),
    ],
)
def test_an_odd_delta_at_the_end_is_the_failure(
    start: dict[str, Any], delta: dict[str, Any]
) -> None:
    reader, _ = read(message_start(), start, block_delta(0, **delta))
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


def test_an_event_that_is_no_object_is_the_failure_at_the_end() -> None:
    reader, _ = read_pieces([b"data: [7]\n\n"])
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


def test_events_of_kinds_to_come_are_passed_over() -> None:
    to_come = {"type": "message_aside", "error": None}
    delta = block_delta(0, type="colour_delta", colour="red")
    reader, events = read(*TEXT_STREAM[:3], to_come, PING, delta, *TEXT_STREAM[3:])
    assert reader.complete
    assert assemble(events).candidates[0].parts == [Text("Hello!")]


def test_an_event_without_end_is_the_failure() -> None:
    reader = AnthropicReader()
    for _ in range(34):
        reader.feed(b"data: " + b"x" * 1024 * 1024)
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


@pytest.mark.parametrize("stream", STREAMS)
@given(data=st.data())
def test_streams_give_the_same_events_however_they_are_cut(
    stream: tuple[dict[str, Any], ...], data: st.DataObject
) -> None:
    text = sse(*stream)
    if data.draw(st.booleans()):
        text = text.replace(b"\n", b"\r\n")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read_pieces(pieces)[1] == read_pieces([text])[1]


@pytest.mark.parametrize(("stream", "content"), [*zip(STREAMS, CONTENTS, strict=True)])
def test_a_stream_put_together_is_the_whole_answer(
    stream: tuple[dict[str, Any], ...], content: list[dict[str, Any]]
) -> None:
    streamed = assemble(read(*stream)[1]).candidates
    called = any(block["type"] == "tool_use" for block in content)
    assert whole(answer(content, "tool_use" if called else "end_turn")).candidates == streamed


# Whole answers that are none


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"content": None, "stop_reason": "end_turn"},
        {"content": []},
        {"content": [], "stop_reason": None},
        {"content": ["text"], "stop_reason": "end_turn"},
        {"content": [{"type": "text", "text": 7}], "stop_reason": "end_turn"},
        {"content": [{"type": "tool_use", "name": None}], "stop_reason": "end_turn"},
        {"content": [{"type": "tool_use", "name": "f", "input": "x"}], "stop_reason": "x"},
        {"content": [{"type": "redacted_thinking"}], "stop_reason": "end_turn"},
        {"content": [{}], "stop_reason": "end_turn"},
    ],
)
def test_what_is_no_answer_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(CallFailed) as failed:
        whole(document)
    assert failed.value.fault.code == "malformed_answer"


def test_an_error_in_place_of_an_answer_is_one() -> None:
    with pytest.raises(CallFailed) as failed:
        whole({"type": "error", "error": {"type": "rate_limit_error", "message": "Slowly."}})
    assert failed.value.fault.kind is FaultKind.RATE_LIMITED


def test_arguments_nested_too_deeply_to_be_written_are_malformed() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": deep}
    with pytest.raises(CallFailed) as failed:
        whole(answer([call]))
    assert failed.value.fault.code == "malformed_answer"


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.sampled_from(["text", "thinking", "tool_use", "text_delta", "end_turn", "error", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "index",
                    "delta",
                    "content_block",
                    "message",
                    "usage",
                    "text",
                    "content",
                    "stop_reason",
                    "input",
                    "name",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)
_events = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
        )
    },
    optional={
        "index": st.integers(0, 2) | _values,
        "delta": _values,
        "content_block": _values,
        "message": _values,
        "usage": _values,
    },
)


@given(st.lists(_events, max_size=8))
def test_whatever_a_provider_streams_comes_to_an_end(events: list[dict[str, Any]]) -> None:
    reader, found = read(*events)
    assert reader.complete is (reader.failure is None)
    assert len(assemble(found).candidates) <= 1


def _is_answer(document: dict[str, Any]) -> bool:
    try:
        return len(whole(document).candidates) == 1
    except CallFailed as failed:
        return failed.fault.message == ""


@given(
    st.lists(_values, max_size=4),
    st.none() | st.sampled_from(["end_turn", "tool_use"]),
    _values,
)
def test_whatever_a_provider_answers_is_an_answer_or_malformed(
    content: list[Any], reason: str | None, counts: Any
) -> None:
    document = {"content": content, "stop_reason": reason, "usage": counts}
    blocks = all(isinstance(block, dict) for block in content)
    assert not _is_answer(document) or (blocks and reason is not None)
