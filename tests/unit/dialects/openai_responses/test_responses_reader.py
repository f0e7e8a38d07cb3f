"""Answers of the Responses API are read: whole, streamed, cut, failed and hostile."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Finished,
    FinishReason,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.openai_responses.upstream import ResponsesUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.translation import StreamReader
from tests.unit.dialects.openai_responses.wire import (
    CALL,
    MESSAGE,
    REFUSAL,
    SECOND_CALL,
    THOUGHT,
    begun,
    events_of,
    response,
    sse,
    stream_of,
)

Json = dict[str, Any]

OUTPUTS = [
    (),
    (MESSAGE,),
    (REFUSAL,),
    (CALL,),
    (CALL, SECOND_CALL),
    (THOUGHT, MESSAGE),
    (THOUGHT, CALL, SECOND_CALL),
    ({**THOUGHT, "summary": []}, MESSAGE, CALL),
]


def read(*pieces: bytes) -> tuple[list[ChatEvent], StreamReader]:
    reader = ResponsesUpstream().reader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    if not reader.complete and reader.failure is None:
        events += reader.end()
    return events, reader


def sound(*pieces: bytes) -> list[ChatEvent]:
    events, reader = read(*pieces)
    assert reader.failure is None
    assert reader.complete
    return events


def whole(document: Any) -> ChatAnswer:
    return ResponsesUpstream().answer(document)


def failure(*pieces: bytes) -> CallFailed:
    _, reader = read(*pieces)
    assert reader.failure is not None
    return reader.failure


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


# Whole answers.


def test_a_whole_answer_is_read() -> None:
    assert whole(response(THOUGHT, MESSAGE, CALL)) == ChatAnswer(
        "resp_0a1b",
        [
            Candidate(
                [
                    Reasoning(
                        "Where is it?\n\nIn Bern.",
                        mark("openai_responses", "rs_01:gAAAAAB-sealed"),
                        id="rs_01",
                    ),
                    Text("It rains in Bern."),
                    ToolCall("call_rain", "weather", '{"city":"Bern"}'),
                ],
                FinishReason.TOOL_CALLS,
            )
        ],
        Usage(input=10, cached_input=60, cache_write=30, output=50, reasoning=20),
        1793000000,
        "default",
    )


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ((MESSAGE,), FinishReason.STOP),
        ((), FinishReason.STOP),
        ((MESSAGE, CALL), FinishReason.TOOL_CALLS),
        ((REFUSAL,), FinishReason.REFUSAL),
    ],
)
def test_what_it_holds_says_why_it_ended(output: tuple[Json, ...], reason: FinishReason) -> None:
    assert whole(response(*output)).candidates[0].finish is reason


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ({"reason": "max_output_tokens"}, FinishReason.LENGTH),
        ({"reason": "content_filter"}, FinishReason.CONTENT_FILTER),
        ({"reason": "max_messages"}, FinishReason.LENGTH),
        (None, FinishReason.LENGTH),
    ],
)
def test_an_incomplete_answer_says_why(why: Json | None, reason: FinishReason) -> None:
    answer = whole(response(MESSAGE, CALL, status="incomplete", incomplete_details=why))
    assert answer.candidates[0].finish is reason


def test_items_of_other_kinds_are_passed_over() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert whole(response(search, MESSAGE)).candidates[0].parts == [Text("It rains in Bern.")]


def test_a_hidden_thought_is_known_as_such() -> None:
    [thought] = whole(response({**THOUGHT, "summary": []})).candidates[0].parts
    assert thought == Reasoning(
        "", mark("openai_responses", "rs_01:gAAAAAB-sealed"), redacted=True, id="rs_01"
    )


def test_a_thought_may_be_told_in_full() -> None:
    open_thought = {
        "type": "reasoning",
        "id": "rs_02",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
    }
    assert whole(response(open_thought)).candidates[0].parts == [Reasoning("Hm.", id="rs_02")]


def test_a_thought_that_says_nothing_is_none() -> None:
    empty: Json = {"type": "reasoning", "id": "rs_03", "summary": [], "encrypted_content": None}
    assert whole(response(empty)).candidates[0].parts == []


def test_log_probabilities_are_those_of_chat_completions() -> None:
    entry = {"token": "It", "logprob": -0.1, "bytes": [73, 116], "top_logprobs": []}
    part = {**MESSAGE["content"][0], "logprobs": [entry]}
    [candidate] = whole(response({**MESSAGE, "content": [part]})).candidates
    assert candidate.logprobs == {"content": [entry]}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ("lots", Usage()),
        ({}, Usage()),
        ({"input_tokens": 5, "output_tokens": 2}, Usage(input=5, output=2)),
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {
                    "cached_tokens": 10,
                    "cache_write_tokens": 50,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 30},
                },
            },
            Usage(input=40, cached_input=10, cache_write=20, cache_write_1h=30),
        ),
        # Never less than nothing, whatever the parts are said to be.
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 25, "cache_write_tokens": 9},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(cached_input=10, output=3, reasoning=3),
        ),
        (
            {"input_tokens": True, "output_tokens": 2**60, "input_tokens_details": []},
            Usage(),
        ),
    ],
)
def test_usage_is_read_in_disjoint_classes(usage: Any, expected: Usage) -> None:
    assert whole(response(MESSAGE, usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("given", "read_as"),
    [(1793000000.5, 1793000000), ("now", None), (-1, None), (1e300, None), (None, None)],
)
def test_the_time_of_an_answer_is_in_whole_seconds(given: Any, read_as: int | None) -> None:
    assert whole(response(MESSAGE, created_at=given)).created == read_as


ERROR = {"code": "rate_limit_exceeded", "message": "Too fast", "param": None}


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (response(status="failed", error=ERROR), FaultKind.RATE_LIMITED, "Too fast"),
        (
            response(status="failed", error={"code": "server_error", "message": "Oops"}),
            FaultKind.UPSTREAM,
            "Oops",
        ),
        (response(status="failed", output=None, error=ERROR), FaultKind.RATE_LIMITED, "Too fast"),
        ({"error": ERROR}, FaultKind.RATE_LIMITED, "Too fast"),
        (
            {"error": {"message": "filtered", "code": "content_filter"}},
            FaultKind.CONTENT_FILTER,
            "filtered",
        ),
        ({"type": "error", "code": "x", "message": "Oops"}, FaultKind.UPSTREAM, "Oops"),
    ],
)
def test_an_error_within_an_answer_is_one(document: Json, kind: FaultKind, message: str) -> None:
    with pytest.raises(CallFailed) as raised:
        whole(document)
    assert (raised.value.fault.kind, raised.value.fault.message) == (kind, message)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_answer_that_failed_without_a_reason_is_an_error(status: str) -> None:
    with pytest.raises(CallFailed) as raised:
        whole(response(status=status))
    assert raised.value.fault.kind is FaultKind.UPSTREAM


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"object": "chat.completion", "choices": []},
        response(status="queued"),
        response(status="in_progress"),
        {**response(), "output": None},
        {**response(), "output": {}},
        response(5),  # type: ignore[arg-type]
        response({}),
        response({"type": 5}),
        response({**CALL, "name": None}),
        response({**CALL, "call_id": 7}),
        response({**MESSAGE, "content": [{"type": "output_text"}]}),
        response({**MESSAGE, "content": [{"type": "refusal", "refusal": []}]}),
        response({**THOUGHT, "summary": [{"type": "summary_text", "text": None}]}),
    ],
)
def test_what_is_no_answer_is_malformed(document: Json) -> None:
    with pytest.raises(CallFailed) as raised:
        whole(document)
    assert raised.value.fault.code == "malformed_answer"


# Streams.


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_stream_comes_to_the_whole_answer(output: tuple[Json, ...]) -> None:
    assert assemble(sound(stream_of(*output))) == whole(response(*output))


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_incomplete_stream_comes_to_the_whole_answer(output: tuple[Json, ...]) -> None:
    changed = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert assemble(sound(stream_of(*output, **changed))) == whole(response(*output, **changed))


def test_the_events_come_as_the_pieces_do() -> None:
    assert sound(stream_of(THOUGHT, MESSAGE, CALL)) == [
        Started("resp_0a1b", 1793000000, "default"),
        ReasoningDelta("Where ", id="rs_01"),
        ReasoningDelta("is it?", id="rs_01"),
        ReasoningDelta("\n\nIn B", id="rs_01"),
        ReasoningDelta("ern.", id="rs_01"),
        ReasoningEnded(mark("openai_responses", "rs_01:gAAAAAB-sealed"), id="rs_01"),
        TextDelta("It rains"),
        TextDelta(" in Bern."),
        ToolCallStarted(0, "call_rain", "weather"),
        ToolCallDelta(0, '{"city"'),
        ToolCallDelta(0, ':"Bern"}'),
        Finished(FinishReason.TOOL_CALLS),
        UsageReported(Usage(input=10, cached_input=60, cache_write=30, output=50, reasoning=20)),
    ]


def test_a_refusal_comes_in_pieces() -> None:
    events = sound(stream_of(REFUSAL))
    assert events[1:3] == [RefusalDelta("I wil"), RefusalDelta("l not.")]


def test_calls_beside_each_other_are_told_apart_by_their_place() -> None:
    events = events_of(CALL, SECOND_CALL)
    # The two calls' events in turns: added, added, delta, delta, ...
    both = [events[2:7], events[7:12]]
    mixed = [event for pair in zip(*both, strict=True) for event in pair]
    answer = assemble(sound(sse(*events[:2], *mixed, events[-1])))
    assert answer == whole(response(CALL, SECOND_CALL))


def test_a_logprob_comes_with_its_text() -> None:
    entries = [
        {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}
        for token in ("It rains", " in Bern.")
    ]
    part = {**MESSAGE["content"][0], "logprobs": entries}
    item = {**MESSAGE, "content": [part]}
    events = sound(stream_of(item))
    assert events[1] == TextDelta("It rains", logprobs={"content": entries[:1]})
    assert assemble(events) == whole(response(item))


def test_log_probabilities_that_come_at_the_end_are_not_lost() -> None:
    entry = {"token": "It", "logprob": -0.5, "bytes": [73, 116], "top_logprobs": []}
    part = {**MESSAGE["content"][0], "logprobs": [entry]}
    events = [
        event | {"logprobs": []} if event["type"].endswith(".delta") else event
        for event in events_of({**MESSAGE, "content": [part]})
    ]
    answer = assemble(sound(sse(*events)))
    assert answer.candidates[0].logprobs == {"content": [entry]}


def _without(*kinds: str) -> Callable[[Json], bool]:
    return lambda event: not event["type"].endswith(kinds)


@pytest.mark.parametrize(
    "keeps",
    [
        _without(".delta"),
        _without(".delta", "text.done", "arguments.done", "refusal.done"),
        _without(".added"),
        _without(".added", ".delta"),
        _without("created", "in_progress"),
        lambda event: event["type"] == "response.completed",
    ],
)
@pytest.mark.parametrize("output", OUTPUTS)
def test_what_some_events_leave_out_is_taken_from_others(
    output: tuple[Json, ...], keeps: Callable[[Json], bool]
) -> None:
    events = [event for event in events_of(*output) if keeps(event)]
    assert assemble(sound(sse(*events))) == whole(response(*output))


@pytest.mark.parametrize("keeps", [_without(".done"), _without(".delta", ".done")])
@pytest.mark.parametrize("output", OUTPUTS[:5])
def test_what_is_never_said_to_be_done_is_taken_from_the_last_event(
    output: tuple[Json, ...], keeps: Callable[[Json], bool]
) -> None:
    events = [event for event in events_of(*output) if keeps(event)]
    assert assemble(sound(sse(*events))) == whole(response(*output))


def test_a_last_event_without_output_is_enough() -> None:
    events = events_of(THOUGHT, MESSAGE)
    events[-1] = {"type": "response.completed", "response": {**response(), "output": []}}
    assert assemble(sound(sse(*events))) == whole(response(THOUGHT, MESSAGE))


def test_places_may_be_told_by_ids_alone() -> None:
    events = [
        {name: value for name, value in event.items() if name != "output_index"}
        if "item_id" in event
        else {**event, "output_index": None, "item_id": event["item"]["id"]}
        if "item" in event
        else event
        for event in events_of(MESSAGE, CALL)
    ]
    assert assemble(sound(sse(*events))) == whole(response(MESSAGE, CALL))


def test_arguments_in_the_opening_event_are_taken() -> None:
    events = events_of(CALL)
    events[2]["item"] = CALL
    del events[3:5]
    assert assemble(sound(sse(*events))) == whole(response(CALL))


def test_events_of_unknown_kinds_are_passed_over() -> None:
    events = events_of(MESSAGE)
    events.insert(3, {"type": "response.tomorrow", "output_index": 0, "delta": "?"})
    events.insert(4, {"type": "keepalive"})
    events.insert(5, {"type": "response.output_text.annotation.added", "annotation": {}})
    assert assemble(sound(sse(*events))) == whole(response(MESSAGE))


def test_nothing_is_read_after_the_last_event() -> None:
    stream = stream_of(MESSAGE)
    assert sound(stream, stream_of(CALL), b"data: [DONE]\n\n") == sound(stream)


def test_a_stream_may_end_with_the_mark_of_others() -> None:
    done = b"data: [DONE]\n\n"
    events = events_of(MESSAGE)
    assert sound(sse(*events[:-1]) + done + sse(events[-1])) == sound(stream_of(MESSAGE))


def test_the_last_event_need_not_be_closed() -> None:
    assert sound(stream_of(MESSAGE)[:-2]) == sound(stream_of(MESSAGE))


def test_usage_is_reported_once() -> None:
    events = sound(stream_of(MESSAGE))
    assert sum(isinstance(event, UsageReported) for event in events) == 1


# Streams that fail.


@pytest.mark.parametrize("count", range(9))
def test_a_stream_without_its_last_event_was_cut(count: int) -> None:
    events = events_of(MESSAGE)[:count]
    assert failure(sse(*events)).fault.code == "incomplete_answer"


def test_a_stream_that_ends_within_an_event_was_cut() -> None:
    assert failure(stream_of(MESSAGE)[:-40]).fault.code == "incomplete_answer"


def test_what_came_before_the_cut_is_there() -> None:
    events, reader = read(sse(*events_of(MESSAGE)[:5]))
    assert events[-1] == TextDelta("It rains")
    assert reader.failure is not None


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "error": {**ERROR, "type": "too_many_requests"}},
        {"type": "error", **ERROR},
        {"error": ERROR},
        {"type": "response.failed", "response": begun(status="failed", error=ERROR)},
        {"type": "response.completed", "response": begun(status="failed", error=ERROR)},
    ],
)
def test_an_error_within_a_stream_is_a_failure(error: Json) -> None:
    fault = failure(sse(*events_of(MESSAGE)[:5], error)).fault
    assert (fault.kind, fault.message) == (FaultKind.RATE_LIMITED, "Too fast")


def test_after_an_error_nothing_is_read() -> None:
    reader = ResponsesUpstream().reader()
    reader.feed(sse({"type": "error", "error": ERROR}))
    assert reader.feed(stream_of(MESSAGE)) == []
    assert reader.end() == []
    assert not reader.complete


def test_a_failed_response_tells_its_usage() -> None:
    failed = {"type": "response.failed", "response": response(status="failed", error=ERROR)}
    events, _ = read(sse(*events_of()[:2], failed))
    assert isinstance(events[-1], UsageReported)


FAILED_SILENTLY = {"type": "response.failed", "response": begun(status="failed")}


def test_an_error_after_a_failure_without_a_reason_gives_the_reason() -> None:
    filtered = {"error": {"code": "content_policy_violation", "message": "Filtered"}}
    stream = sse(*events_of()[:2], FAILED_SILENTLY, {"type": "error", **filtered})
    fault = failure(stream).fault
    assert (fault.kind, fault.message) == (FaultKind.CONTENT_FILTER, "Filtered")


def test_a_failure_without_a_reason_is_one_at_the_end() -> None:
    fault = failure(sse(*events_of()[:2], FAILED_SILENTLY)).fault
    assert fault.kind is FaultKind.UPSTREAM
    assert fault.code is None


def test_an_error_as_a_plain_body_is_a_failure() -> None:
    fault = failure(orjson.dumps({"error": ERROR})).fault
    assert fault.kind is FaultKind.RATE_LIMITED


@pytest.mark.parametrize("body", [b"{}", b'{"error":', b"<html>no</html>", b"[]", b""])
def test_a_body_that_is_no_stream_was_cut(body: bytes) -> None:
    assert failure(body).fault.code == "incomplete_answer"


WRONG = [
    b"data: {not json}\n\n",
    b"data: []\n\n",
    b'data: "x"\n\n',
    b"data: {}\n\n",
    b'data: {"type":5}\n\n',
    b'data: {"type":"response.created"}\n\n',
    b'data: {"type":"response.output_text.delta","output_index":0,"delta":5}\n\n',
    b'data: {"type":"response.output_text.delta","delta":"x"}\n\n',
    b'data: {"type":"response.output_text.delta","output_index":true,"delta":"x"}\n\n',
    b'data: {"type":"response.output_item.added","output_index":0,"item":[]}\n\n',
    b'data: {"type":"response.output_item.added","output_index":9,"item":{"type":"reasoning_"}\n\n',
    b'data: {"type":"response.output_item.done","output_index":9,"item":{"type":"message"}\n\n',
    b'data: {"type":"response.completed","response":null}\n\n',
    b'data: {"type":"response.completed","response":{"output":[5]}}\n\n',
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_event_is_passed_over_when_sound_ones_follow(wrong: bytes) -> None:
    events = events_of(MESSAGE)
    stream = sse(*events[:2]) + wrong + sse(*events[2:])
    assert assemble(sound(stream)) == whole(response(MESSAGE))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_event_at_the_end_is_a_failure(wrong: bytes) -> None:
    assert failure(sse(*events_of(MESSAGE)[:5]) + wrong).fault.code == "malformed_answer"


def test_an_item_that_was_told_wrongly_is_taken_from_the_last_event() -> None:
    events = events_of(CALL)
    for event in events:
        if event["type"] in ("response.output_item.added", "response.output_item.done"):
            event["item"] = {**event["item"], "name": None}
    assert assemble(sound(sse(*events))) == whole(response(CALL))


def test_an_event_about_an_item_of_another_type_is_wrong() -> None:
    events = events_of(MESSAGE)
    other = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"}
    stream = sse(*events[:4], other, *events[4:])
    assert assemble(sound(stream)) == whole(response(MESSAGE))


def test_an_event_without_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ResponsesUpstream().reader()
    piece = b"x" * (8 * 1024 * 1024)
    for _ in range(5):
        assert reader.feed(piece) == []
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


# However it is cut, and whatever it is.

_outputs = st.sampled_from(OUTPUTS)
_cuts = st.lists(st.integers(min_value=0), max_size=30)
_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(_outputs, _cuts, _line_ends)
def test_any_cut_of_the_bytes_gives_the_same_events(
    output: tuple[Json, ...], cuts: list[int], end: bytes
) -> None:
    stream = stream_of(*output).replace(b"\n", end)
    assert sound(*cut(stream, cuts)) == sound(stream_of(*output))


@given(_outputs, st.integers(min_value=0), _cuts)
def test_any_stream_cut_short_fails_with_the_events_before(
    output: tuple[Json, ...], length: int, cuts: list[int]
) -> None:
    stream = stream_of(*output)
    # Less than what would still be the whole last event.
    short = stream[: length % (len(stream) - 2)]
    events, reader = read(*cut(short, cuts))
    assert reader.failure is not None
    assert events == sound(stream)[: len(events)]


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
_fields = st.dictionaries(
    st.sampled_from(
        [
            "type", "response", "item", "output", "output_index", "item_id", "delta", "text",
            "content_index", "summary_index", "error", "status", "usage", "id", "content",
            "summary", "encrypted_content", "arguments", "name", "call_id", "logprobs",
            "incomplete_details", "refusal", "created_at", "input_tokens", "message", "code",
        ]
    ),
    _json,
)  # fmt: skip
_kinds = st.sampled_from([event["type"] for event in events_of(THOUGHT, MESSAGE, REFUSAL, CALL)])
_items = st.sampled_from(["message", "function_call", "reasoning", "other"])
_item = st.builds(lambda kind, fields: {**fields, "type": kind}, _items, _fields)
_response = st.builds(
    lambda fields, output: {**fields, "output": output},
    _fields,
    st.lists(_item | _json, max_size=3),
)
_event = st.builds(
    lambda kind, fields, item, answer: {**fields, "type": kind, "item": item, "response": answer},
    _kinds,
    _fields,
    _item | _json,
    _response | _json,
)


@given(_fields | _response)
def test_any_answer_is_read_or_refused(document: Json) -> None:
    answer: ChatAnswer | None = None
    with suppress(CallFailed):
        answer = whole(document)
    assert answer is None or len(answer.candidates) == 1


@given(st.lists(_event | _json, max_size=6))
def test_any_stream_is_read_or_fails(events: list[Any]) -> None:
    stream = b"".join(b"data: %s\n\n" % orjson.dumps(event) for event in events)
    read_events, reader = read(stream)
    assert reader.complete is (reader.failure is None)
    assert assemble(read_events) is not None


@given(st.binary(max_size=300), _cuts)
def test_any_bytes_fail(data: bytes, cuts: list[int]) -> None:
    _, reader = read(*cut(data, cuts))
    assert reader.failure is not None
