"""What is read of Ollama's streams, however they are cut."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    ChatAnswer,
    ChatEvent,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    Started,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.ollama.reader import OllamaReader
from model_service.providers.dialects.ollama.upstream import OllamaUpstream
from model_service.providers.faults import FaultKind
from model_service.providers.sse import MAX_EVENT

from .wire import CREATED_SECONDS, DONE, WEATHER_CALL, chunk, lines, read

TIME_CALL: dict[str, Any] = {
    "id": "call_7kq2",
    "function": {"index": 0, "name": "get_time", "arguments": {}},
}
STREAM = lines(
    chunk(thinking="They want"),
    chunk(thinking=" two things."),
    chunk("Let me "),
    chunk("see. ☀"),
    chunk(tool_calls=[WEATHER_CALL]),
    chunk(tool_calls=[TIME_CALL]),
    chunk(**DONE),
)
SECOND = lines(chunk("No", logprobs=[{"token": "No", "logprob": -0.1}]), chunk(".", **DONE))


def unmarked(events: list[ChatEvent]) -> list[ChatEvent]:
    """The same without ids that were made up."""
    plain: list[ChatEvent] = []
    for event in events:
        match event:
            case Started():
                plain.append(replace(event, id=""))
            case ToolCallStarted():
                plain.append(replace(event, id=""))
            case _:
                plain.append(event)
    return plain


def unnamed(answer: ChatAnswer) -> ChatAnswer:
    return replace(answer, id="")


def texts(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_a_stream_gives_thoughts_text_calls_and_usage_in_order() -> None:
    events, reader = read(STREAM)
    assert events[1:] == [
        ReasoningDelta("They want"),
        ReasoningDelta(" two things."),
        ReasoningEnded(),
        TextDelta("Let me "),
        TextDelta("see. ☀"),
        ToolCallStarted(0, "call_r5x0wq1f", "get_weather"),
        ToolCallDelta(0, '{"city":"Bern","days":2}'),
        ToolCallStarted(1, "call_7kq2", "get_time"),
        ToolCallDelta(1, "{}"),
        Finished(FinishReason.TOOL_CALLS),
        UsageReported(Usage(input=26, output=282)),
    ]
    assert isinstance(events[0], Started)
    assert events[0].created == CREATED_SECONDS
    assert reader.complete
    assert reader.failure is None


@given(st.sampled_from((STREAM, SECOND)), st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_any_cut_of_the_bytes_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(place % len(stream) for place in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert unmarked(read(*pieces)[0]) == unmarked(read(stream)[0])


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    pieces = [STREAM[place : place + 1] for place in range(len(STREAM))]
    assert unmarked(read(*pieces)[0]) == unmarked(read(STREAM)[0])


def test_a_stream_put_together_is_the_whole_answer() -> None:
    whole = chunk(
        "Let me see. ☀",
        thinking="They want two things.",
        tool_calls=[WEATHER_CALL, TIME_CALL],
        **DONE,
    )
    assert unnamed(assemble(read(STREAM)[0])) == unnamed(OllamaUpstream().answer(whole))


def test_log_probabilities_put_together_are_those_of_the_whole_answer() -> None:
    tokens = [{"token": token, "logprob": -0.5} for token in ("Hm", "No", ".")]
    stream = lines(
        chunk(thinking="Hm", logprobs=tokens[:1]),
        chunk("No", logprobs=tokens[1:2]),
        chunk(".", logprobs=tokens[2:]),
        chunk(**DONE),
    )
    whole = chunk("No.", thinking="Hm", logprobs=tokens, **DONE)
    assert unnamed(assemble(read(stream)[0])) == unnamed(OllamaUpstream().answer(whole))


def test_log_probabilities_of_thoughts_do_not_interrupt_them() -> None:
    events, _ = read(
        lines(
            chunk(thinking="one", logprobs=[{"token": "one", "logprob": -1}]),
            chunk(thinking=" two", logprobs=[{"token": " two", "logprob": -1}]),
            chunk("three", **DONE),
        )
    )
    kinds = [type(event) for event in events[1:5]]
    assert kinds == [ReasoningDelta, ReasoningDelta, ReasoningEnded, TextDelta]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_last_line_may_lack_its_end(end: bytes) -> None:
    _, reader = read(lines(chunk("x")) + orjson.dumps(chunk(**DONE)) + end)
    assert reader.complete
    assert reader.failure is None


def test_blank_lines_mean_nothing() -> None:
    events, reader = read(b"\n\r\n" + lines(chunk("x"), b"", b"  ", chunk("y", **DONE)))
    assert texts(events) == "xy"
    assert reader.failure is None


def test_what_follows_the_end_is_of_no_interest() -> None:
    events, reader = read(lines(chunk("x", **DONE), chunk("y"), b"{", {"error": "late"}), b"{}\n")
    assert texts(events) == "x"
    assert reader.failure is None


def test_complete_is_said_as_soon_as_all_has_come() -> None:
    reader = OllamaReader()
    reader.feed(lines(chunk("x")))
    assert not reader.complete
    reader.feed(lines(chunk(**DONE)))
    assert reader.complete


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        lines(chunk("Becau")),
        lines(chunk("Becau")) + orjson.dumps(chunk(**DONE))[:-30],
        lines(chunk("Becau")) + orjson.dumps(chunk("se")),
        lines(chunk("Becau", done_reason="stop")),
    ],
)
def test_a_stream_without_its_end_was_cut(stream: bytes) -> None:
    _, reader = read(stream)
    assert reader.failure is not None
    assert reader.failure.fault.code == "incomplete_answer"
    assert not reader.complete


def test_what_came_before_a_cut_is_given() -> None:
    events, _ = read(lines(chunk("Becau")))
    assert texts(events) == "Becau"


def test_an_error_in_mid_stream_is_the_failure() -> None:
    events, reader = read(
        lines(chunk("Because"), {"error": "an error was encountered while running the model"})
    )
    assert texts(events) == "Because"
    assert reader.failure is not None
    assert reader.failure.fault.kind is FaultKind.UPSTREAM
    assert reader.failure.fault.message == "an error was encountered while running the model"
    assert reader.failure.fault.status is None


def test_after_a_failure_nothing_more_is_given() -> None:
    reader = OllamaReader()
    reader.feed(lines({"error": "broken"}))
    failure = reader.failure
    assert reader.feed(lines(chunk("x", **DONE))) == []
    assert reader.end() == []
    assert reader.failure is failure
    assert not reader.complete


@pytest.mark.parametrize(
    "bad", [b"{", b"<html>", b"5", b"[]", {"message": 5}, {"message": {"content": 5}}]
)
def test_a_malformed_line_is_passed_over_when_sound_ones_follow(bad: object) -> None:
    events, reader = read(lines(chunk("x"), bad, chunk("y"), bad, chunk(**DONE)))
    assert texts(events) == "xy"
    assert reader.complete
    assert reader.failure is None


@pytest.mark.parametrize("stream", [lines(chunk("x"), b"{"), lines(b"{", b"{"), lines(b"{") + b"{"])
def test_a_malformed_line_with_nothing_sound_after_it_is_the_failure(stream: bytes) -> None:
    _, reader = read(stream)
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


def test_a_line_of_another_kind_is_passed_over() -> None:
    events, reader = read(lines({"status": "pulling manifest"}, chunk("x", **DONE)))
    assert texts(events) == "x"
    assert reader.failure is None


def test_a_line_without_end_is_refused_at_the_bound() -> None:
    reader = OllamaReader()
    piece = b"x" * (MAX_EVENT // 2)
    reader.feed(piece)
    reader.feed(piece)
    assert reader.failure is None
    reader.feed(b"x")
    assert reader.failure is not None


def test_calls_without_ids_are_told_apart() -> None:
    bare = {"function": {"name": "now", "arguments": {}}}
    parts = assemble(read(lines(chunk(tool_calls=[bare, bare]), chunk(**DONE)))[0])
    first, second = parts.candidates[0].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id != second.id


def test_a_stream_that_does_not_say_what_it_used_reports_nothing() -> None:
    events, _ = read(lines(chunk("x", done=True)))
    assert not any(isinstance(event, UsageReported) for event in events)


@given(st.lists(st.binary(max_size=12) | st.sampled_from((STREAM, SECOND, b"\n")), max_size=8))
def test_no_bytes_make_the_reader_raise(pieces: list[bytes]) -> None:
    _, reader = read(*pieces)
    assert reader.complete is not (reader.failure is not None)
