"""Streams for callers: the documented events in order, as the official client takes them."""

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Started,
    TextDelta,
    Tool,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.sse import EventParser
from tests.unit.dialects.openai_responses.wire import question

STARTED = Started("msg_9", 1793000000, "default")
USAGE = Usage(input=10, output=5)
Json = dict[str, Any]

TEXT: list[ChatEvent] = [STARTED, TextDelta("It "), TextDelta("rains.")]
STOP: list[ChatEvent] = [Finished(FinishReason.STOP), UsageReported(USAGE)]
EVERYTHING: list[ChatEvent] = [
    STARTED,
    ReasoningDelta("Whe"),
    ReasoningDelta("re?"),
    ReasoningEnded(mark("anthropic", "EqQB")),
    TextDelta("It "),
    TextDelta("rains.", logprobs={"content": [{"token": "rains.", "logprob": -1.5}]}),
    RefusalDelta("No "),
    RefusalDelta("more."),
    ToolCallStarted(0, "call_a", "weather"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Bern"}'),
    ToolCallStarted(1, "call_b", "now", signature=mark("google", "CiQ")),
    Finished(FinishReason.TOOL_CALLS),
    UsageReported(USAGE),
]


def written(*events: ChatEvent, request: ChatRequest | None = None) -> bytes:
    writer = ResponsesDoor().writer(request or question(), "fast")
    return b"".join(map(writer.write, events)) + writer.end()


def parsed(stream: bytes) -> list[Json]:
    events = EventParser().feed(stream)
    documents = [orjson.loads(data) for _, data in events]
    assert [name.decode() for name, _ in events] == [event["type"] for event in documents]
    return documents


def kinds(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in parsed(stream)]


def client(stream: bytes) -> OpenAI:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.MockTransport(lambda _: answer)
    return OpenAI(
        api_key="msk_test",
        base_url="http://gateway.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    )


def accumulated(stream: bytes) -> Response:
    """The response as the official client's helper for streams puts it together."""
    with client(stream).responses.stream(model="fast", input="Hello") as events:
        return events.get_final_response()


def without_ids(output: list[Json]) -> list[Json]:
    return [{name: value for name, value in item.items() if name != "id"} for item in output]


def test_a_text_has_the_documented_events() -> None:
    assert kinds(written(*TEXT, *STOP)) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_a_thought_has_the_events_of_a_summary() -> None:
    thought = [STARTED, ReasoningDelta("Hm."), ReasoningEnded(), *STOP]
    assert kinds(written(*thought))[2:-1] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]


def test_a_call_has_the_events_of_its_arguments() -> None:
    call = [STARTED, ToolCallStarted(0, "a", "f"), ToolCallDelta(0, "{}"), *STOP]
    assert kinds(written(*call))[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]


def test_a_refusal_has_its_own_events() -> None:
    assert kinds(written(STARTED, RefusalDelta("No."), *STOP))[2:-1] == [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
    ]


def test_events_are_numbered_from_zero() -> None:
    numbers = [event["sequence_number"] for event in parsed(written(*EVERYTHING))]
    assert numbers == list(range(len(numbers)))


def test_the_official_types_accept_every_event() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    events = parsed(written(*EVERYTHING))
    assert [adapter.validate_python(event).type for event in events] == [
        event["type"] for event in events
    ]


def test_the_official_client_puts_everything_together() -> None:
    response = accumulated(written(*EVERYTHING))
    assert response.output_text == "It rains."
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "reasoning",
        "function_call",
    ]
    assert response.usage is not None
    assert response.usage.total_tokens == 15


def test_the_last_event_holds_the_same_as_a_whole_answer() -> None:
    response = parsed(written(*EVERYTHING))[-1]["response"]
    whole = ResponsesDoor().answer(assemble(EVERYTHING), "fast")
    assert without_ids(response.pop("output")) == without_ids(whole.pop("output"))
    assert response == whole


def test_the_items_of_the_last_event_are_those_that_were_done() -> None:
    events = parsed(written(*EVERYTHING))
    done = {
        event["output_index"]: event["item"]
        for event in events
        if event["type"] == "response.output_item.done"
    }
    assert events[-1]["response"]["output"] == [done[index] for index in range(len(done))]


def test_calls_whose_pieces_come_in_turns_keep_apart() -> None:
    response = accumulated(
        written(
            STARTED,
            ToolCallStarted(0, "a", "f"),
            ToolCallStarted(1, "b", "g"),
            ToolCallDelta(0, '{"x":'),
            ToolCallDelta(1, '{"y":'),
            ToolCallDelta(0, "1}"),
            ToolCallDelta(1, "2}"),
            *STOP,
        )
    )
    assert [item.to_dict()["arguments"] for item in response.output] == ['{"x":1}', '{"y":2}']


def test_a_call_is_done_as_soon_as_the_next_begins() -> None:
    writer = ResponsesDoor().writer(question(), "fast")
    for event in (STARTED, ToolCallStarted(0, "a", "f"), ToolCallDelta(0, '{"x":1}')):
        writer.write(event)
    assert kinds(writer.write(ToolCallStarted(1, "b", "g"))) == [
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
    ]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    events = parsed(written(STARTED, ToolCallStarted(0, "a", "now"), *STOP))
    assert [event.get("delta") for event in events if "delta" in event] == ["{}"]
    assert events[-1]["response"]["output"][0]["arguments"] == "{}"


def test_a_call_that_begins_twice_is_two_calls() -> None:
    again = ToolCallStarted(0, "b", "g")
    response = accumulated(written(STARTED, ToolCallStarted(0, "a", "f"), again, *STOP))
    assert [item.to_dict()["name"] for item in response.output] == ["f", "g"]


def test_thoughts_after_one_another_are_items_of_their_own() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta("One."),
        ReasoningEnded(),
        ReasoningDelta("Two."),
        ReasoningEnded(),
    ]
    output = parsed(written(STARTED, *events, *STOP))[-1]["response"]["output"]
    assert [item["summary"][0]["text"] for item in output] == ["One.", "Two."]


def test_a_hidden_thought_is_an_item_without_a_summary() -> None:
    hidden = ReasoningEnded(mark("anthropic", "x"), redacted=True)
    [item] = parsed(written(STARTED, hidden, *STOP))[-1]["response"]["output"]
    assert item["summary"] == []
    assert item["encrypted_content"].endswith("x")


def test_a_thought_of_openais_keeps_its_id() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta("Hm.", id="rs_01"),
        ReasoningEnded(mark("openai_responses", "rs_01:g")),
    ]
    [item] = parsed(written(STARTED, *events, *STOP))[-1]["response"]["output"]
    assert (item["id"], item["encrypted_content"]) == ("rs_01", "g")


def test_an_end_without_a_thought_says_nothing() -> None:
    assert parsed(written(STARTED, ReasoningEnded(), *STOP))[-1]["response"]["output"] == []


@pytest.mark.parametrize(
    ("reason", "kind", "why"),
    [
        (FinishReason.LENGTH, "incomplete", "max_output_tokens"),
        (FinishReason.CONTENT_FILTER, "incomplete", "content_filter"),
    ],
)
def test_a_cut_answer_ends_as_incomplete(reason: FinishReason, kind: str, why: str) -> None:
    events = parsed(written(*TEXT, Finished(reason), UsageReported(USAGE)))
    assert events[-1]["type"] == f"response.{kind}"
    assert events[-1]["response"]["incomplete_details"] == {"reason": why}
    assert events[-2]["item"]["status"] == "incomplete"


def test_the_request_is_repeated_in_each_event_that_holds_the_response() -> None:
    request = question(tools=[Tool("now", None, {"type": "object"})], max_tokens=9)
    responses = [
        event["response"]
        for event in parsed(written(*TEXT, *STOP, request=request))
        if "response" in event
    ]
    assert [response["max_output_tokens"] for response in responses] == [9, 9, 9]
    assert [response["tools"][0]["name"] for response in responses] == ["now"] * 3


def test_log_probabilities_come_with_their_text() -> None:
    logprobs = {"content": [{"token": "It ", "logprob": -1, "top_logprobs": []}]}
    events = parsed(written(STARTED, TextDelta("It ", logprobs=logprobs), *STOP))
    expected = [{"token": "It ", "logprob": -1, "bytes": [73, 116, 32], "top_logprobs": []}]
    assert [event["logprobs"] for event in events if "logprobs" in event] == [expected, expected]


def test_other_candidates_are_not_shown() -> None:
    assert parsed(written(STARTED, TextDelta("a", 1), *STOP))[-1]["response"]["output"] == []


def test_an_empty_stream_is_an_empty_answer() -> None:
    assert kinds(written()) == ["created", "in_progress", "completed"]


def test_text_before_the_beginning_begins_the_response() -> None:
    assert kinds(written(TextDelta("x")))[:3] == ["created", "in_progress", "output_item.added"]


def failing(*events: ChatEvent, fault: Fault) -> bytes:
    writer = ResponsesDoor().writer(question(), "fast")
    return b"".join(map(writer.write, events)) + writer.fail(fault)


CUT = Fault(FaultKind.UPSTREAM, "It was cut off", code="incomplete_answer")


def test_a_failure_is_an_error_and_a_failed_response() -> None:
    events = parsed(failing(*TEXT, fault=CUT))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_the_official_types_accept_the_failure() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    error, failed = map(adapter.validate_python, parsed(failing(*TEXT, fault=CUT))[-2:])
    assert (error.message, error.code) == ("It was cut off", "incomplete_answer")
    assert (failed.response.status, failed.response.error.code) == ("failed", "server_error")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FaultKind.RATE_LIMITED, "rate_limit_exceeded"),
        (FaultKind.CONTEXT_LENGTH, "invalid_prompt"),
        (FaultKind.TIMEOUT, "server_error"),
    ],
)
def test_the_failed_response_has_a_code_that_readers_know(kind: FaultKind, code: str) -> None:
    failed = parsed(failing(*TEXT, fault=Fault(kind, "No")))[-1]["response"]
    assert failed["error"] == {"code": code, "message": "No"}


def test_a_failure_tells_what_was_done_before() -> None:
    thought: list[ChatEvent] = [
        STARTED,
        ReasoningDelta("Hm."),
        ReasoningEnded(),
        UsageReported(USAGE),
    ]
    failed = parsed(failing(*thought, fault=CUT))[-1]["response"]
    assert [item["type"] for item in failed["output"]] == ["reasoning"]
    assert failed["usage"]["total_tokens"] == 15


@pytest.mark.parametrize("events", [[], TEXT])
def test_the_official_client_raises_a_failure(events: list[ChatEvent]) -> None:
    stream = client(failing(*events, fault=CUT)).responses.create(
        model="fast", input="Hello", stream=True
    )
    with pytest.raises(APIError, match="It was cut off"):
        list(stream)


def test_the_official_helper_raises_a_failure_after_text() -> None:
    with pytest.raises(APIError, match="It was cut off"):
        accumulated(failing(*TEXT, fault=CUT))


_text = st.text(max_size=5)


def _events(draw_parts: list[tuple[str, list[str]]]) -> Iterator[ChatEvent]:
    yield STARTED
    calls = 0
    for kind, pieces in draw_parts:
        if kind == "text":
            yield from map(TextDelta, pieces)
        elif kind == "refusal":
            yield from map(RefusalDelta, pieces)
        elif kind == "thought":
            yield from map(ReasoningDelta, pieces)
            yield ReasoningEnded(mark("anthropic", "x") if pieces else None)
        else:
            yield ToolCallStarted(calls, f"call_{calls}", "f")
            yield from (ToolCallDelta(calls, piece) for piece in pieces)
            calls += 1
    yield from STOP


_parts = st.lists(
    st.tuples(st.sampled_from(["text", "refusal", "thought", "call"]), st.lists(_text, max_size=3)),
    max_size=6,
)


@given(_parts)
def test_any_stream_ends_in_the_items_of_the_whole_answer(
    parts: list[tuple[str, list[str]]],
) -> None:
    events = list(_events(parts))
    streamed = parsed(written(*events))[-1]["response"]["output"]
    whole = ResponsesDoor().answer(assemble(events), "fast")["output"]
    assert without_ids(streamed) == without_ids(whole)


@given(_parts)
def test_the_official_client_follows_any_stream(parts: list[tuple[str, list[str]]]) -> None:
    events = list(_events(parts))
    stream = written(*events)
    streamed = accumulated(stream)
    assert len(streamed.output) == len(parsed(stream)[-1]["response"]["output"])
