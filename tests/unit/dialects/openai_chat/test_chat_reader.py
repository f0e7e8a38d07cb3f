"""Streams and whole answers of OpenAI and Azure: the same events, however the bytes are cut."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import assemble, events_of
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Finished,
    FinishReason,
    Refusal,
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
from model_service.providers.dialects.openai_chat.reader import ChatReader
from model_service.providers.dialects.openai_chat.upstream import ChatUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.sse import MAX_EVENT

from .wire import (
    AZURE_STREAM,
    CALLS_ANSWER,
    CALLS_STREAM,
    CHUNK,
    DEEPSEEK_STREAM,
    DONE,
    OPENROUTER_STREAM,
    TEXT_ANSWER,
    TEXT_STREAM,
    call_delta,
    chunk,
    cut_up,
    failed,
    read,
    read_whole,
    sse,
    usage_chunk,
)

UPSTREAM = ChatUpstream()
USED = Usage(input=40, cached_input=64, cache_write=16, output=60, reasoning=40)
BEGUN = Started(CHUNK["id"], 1795000000, "default")
STREAMS = (TEXT_STREAM, CALLS_STREAM, AZURE_STREAM, DEEPSEEK_STREAM, OPENROUTER_STREAM)

_cuts = st.lists(st.integers(0, 10_000), max_size=40)


def test_a_text_is_read() -> None:
    assert read_whole(TEXT_STREAM) == [
        BEGUN,
        TextDelta("Hello"),
        TextDelta(', "you"\n'),
        TextDelta("there"),
        Finished(FinishReason.STOP),
        UsageReported(USED),
    ]


def test_calls_at_the_same_time_are_read() -> None:
    assert read_whole(CALLS_STREAM) == [
        BEGUN,
        ToolCallStarted(0, "call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather"),
        ToolCallDelta(0, '{"ci'),
        ToolCallDelta(0, 'ty": "Ulm"}'),
        ToolCallStarted(1, "call_ABCx9pD3xa9XTPNJ32zg2hcB", "get_time"),
        ToolCallDelta(1, '{"zone": "CET"}'),
        Finished(FinishReason.TOOL_CALLS),
        UsageReported(USED),
    ]


def test_azures_chunks_of_filters_say_nothing() -> None:
    assert read_whole(AZURE_STREAM) == [
        BEGUN,
        TextDelta("Hi"),
        Finished(FinishReason.STOP),
        UsageReported(USED),
    ]


@pytest.mark.parametrize(
    ("stream", "whole"), [(TEXT_STREAM, TEXT_ANSWER), (CALLS_STREAM, CALLS_ANSWER)]
)
def test_a_stream_put_together_is_the_whole_answer(stream: bytes, whole: Any) -> None:
    assert assemble(read_whole(stream)) == UPSTREAM.answer(whole)


@given(st.sampled_from(STREAMS), _cuts, st.sampled_from((b"\n", b"\r\n", b"\r")))
def test_any_cut_of_the_bytes_gives_the_same_events(
    stream: bytes, cuts: list[int], end: bytes
) -> None:
    written = stream.replace(b"\n", end)
    assert read_whole(*cut_up(written, cuts)) == read_whole(stream)


@given(st.sampled_from(STREAMS), st.integers(0, 5_000), _cuts)
def test_a_stream_that_is_cut_off_anywhere_fails_the_same_however_its_bytes_are_cut(
    stream: bytes, length: int, cuts: list[int]
) -> None:
    part = stream[: length % len(stream)]
    events, failure = read(part)
    others, other = read(*cut_up(part, cuts))
    assert events == others
    assert (failure is None) == (other is None)
    if failure is None:
        # Nothing but the closing mark, or the usage, is missing.
        assert any(isinstance(event, Finished) for event in events)
    else:
        assert failure.fault.code == "incomplete_answer"
        assert not any(isinstance(event, Finished) for event in events)


def test_several_choices_are_read_by_their_index() -> None:
    stream = sse(
        chunk({"role": "assistant", "content": "a"}),
        chunk({"role": "assistant", "content": "b"}, index=1),
        chunk(finish="length", index=1),
        chunk(finish="stop"),
    )
    assert assemble(read_whole(stream)).candidates == [
        Candidate([Text("a")], FinishReason.STOP),
        Candidate([Text("b")], FinishReason.LENGTH),
    ]


def test_several_choices_have_to_end_all() -> None:
    stream = sse(chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}, index=1))
    assert failed(stream).code == "incomplete_answer"


def test_a_refusal_in_words_is_a_refusal() -> None:
    stream = sse(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"refusal": "I'm "}),
        chunk({"refusal": "sorry."}),
        chunk(finish="stop"),
    )
    assert read_whole(stream)[1:] == [
        RefusalDelta("I'm "),
        RefusalDelta("sorry."),
        Finished(FinishReason.REFUSAL),
    ]
    message = {"role": "assistant", "content": None, "refusal": "I'm sorry."}
    answer = {**TEXT_ANSWER, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert UPSTREAM.answer(answer).candidates == [
        Candidate([Refusal("I'm sorry.")], FinishReason.REFUSAL)
    ]


def test_log_probabilities_come_with_their_text() -> None:
    first = {"content": [{"token": "Hel", "logprob": -0.1}], "refusal": None}
    second = {"content": [{"token": "lo", "logprob": -0.2}], "refusal": None}
    stream = sse(
        chunk({"role": "assistant", "content": "Hel"}, logprobs=first),
        chunk({"content": "lo"}, logprobs=second, finish="stop"),
    )
    (candidate,) = assemble(read_whole(stream)).candidates
    assert candidate.logprobs == {
        "content": [*first["content"], *second["content"]],  # type: ignore[misc]
        "refusal": None,
    }


def test_log_probabilities_of_a_refusal_are_not_lost() -> None:
    given = {"content": None, "refusal": [{"token": "No", "logprob": -0.1}]}
    stream = sse(chunk({"refusal": "No"}, logprobs=given), chunk(finish="stop"))
    (candidate,) = assemble(read_whole(stream)).candidates
    assert candidate.logprobs == given
    assert candidate.parts == [Refusal("No")]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("model_length", FinishReason.LENGTH),
        ("eos", FinishReason.STOP),
        ("something new", FinishReason.STOP),
    ],
)
def test_every_word_for_the_end_is_read(word: str, reason: FinishReason) -> None:
    events = read_whole(sse(chunk({"content": "x"}, finish=word)))
    assert events[-1] == Finished(reason)


@pytest.mark.parametrize("word", ["error", "insufficient_system_resource", "abort"])
def test_an_end_that_is_a_failure_is_one(word: str) -> None:
    fault = failed(sse(chunk({"content": "x"}), chunk(finish=word)))
    assert (fault.kind, fault.code) == (FaultKind.UPSTREAM, "incomplete_answer")


def test_a_function_that_had_to_be_called_ends_with_calls_although_the_word_is_stop() -> None:
    stream = sse(chunk(call_delta(0, "{}", "call_1", "f")), chunk(finish="stop"))
    assert read_whole(stream)[-1] == Finished(FinishReason.TOOL_CALLS)


def test_nothing_is_read_after_the_closing_mark() -> None:
    reader = ChatReader()
    reader.feed(TEXT_STREAM + sse(chunk({"content": "more"})))
    assert reader.complete
    assert reader.feed(sse(chunk({"content": "more"}))) == []
    assert reader.end() == []
    assert reader.failure is None


def test_a_finished_stream_without_its_closing_mark_is_complete() -> None:
    assert read_whole(TEXT_STREAM.removesuffix(DONE)) == read_whole(TEXT_STREAM)


def test_a_stream_without_its_last_blank_line_is_complete() -> None:
    assert read_whole(TEXT_STREAM.rstrip(b"\n")) == read_whole(TEXT_STREAM)
    assert read_whole(sse(chunk({"content": "x"}, finish="stop"), done=False).rstrip()) == [
        BEGUN,
        TextDelta("x"),
        Finished(FinishReason.STOP),
    ]


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b": keep-alive\n\n",
        DONE,
        sse(chunk({"content": "x"}), done=False),
        sse(chunk({"content": "x"})),
        sse(usage_chunk()),
        sse(chunk({"content": "x"}), done=False) + b'data: {"id":"chatc',
    ],
)
def test_a_stream_without_an_end_is_cut(stream: bytes) -> None:
    fault = failed(stream)
    assert (fault.kind, fault.code) == (FaultKind.UPSTREAM, "incomplete_answer")


def test_a_malformed_event_is_skipped_when_what_follows_is_sound() -> None:
    stream = (
        sse(chunk({"content": "a"}), done=False)
        + b'data: {"id": "chatcm\n\ndata: 5\n\n'
        + sse(chunk({"content": "b"}), chunk(finish="stop"))
    )
    (candidate,) = assemble(read_whole(stream)).candidates
    assert candidate.parts == [Text("ab")]


@pytest.mark.parametrize("tail", [b"", DONE])
def test_a_malformed_event_with_nothing_sound_after_it_is_a_failure(tail: bytes) -> None:
    stream = sse(chunk({"content": "a"}), done=False) + b'data: {"id": \n\n' + tail
    events, failure = read(stream)
    assert events == [BEGUN, TextDelta("a")]
    assert failure is not None
    assert failure.fault.code == "malformed_answer"


def test_events_of_unknown_kinds_are_skipped() -> None:
    stream = b'event: ping\ndata: {"type": "ping"}\n\n' + TEXT_STREAM
    assert read_whole(stream) == read_whole(TEXT_STREAM)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n',
        b'event: error\ndata: {"message": "The server had an error"}\n\n',
        b'data: {"object": "error", "message": "The server had an error"}\n\n',
    ],
)
def test_an_error_in_mid_stream_is_a_failure_and_what_came_before_is_kept(event: bytes) -> None:
    stream = sse(chunk({"content": "a"}), done=False) + event + DONE
    events, failure = read(stream)
    assert events == [BEGUN, TextDelta("a")]
    assert failure is not None
    assert failure.fault.kind is FaultKind.UPSTREAM
    assert failure.fault.message == "The server had an error"


def test_an_error_that_came_without_a_stream_is_read() -> None:
    fault = failed(b'{"error": {"message": "Slow down", "type": "requests", "code": null}}')
    assert (fault.kind, fault.message) == (FaultKind.RATE_LIMITED, "Slow down")


def test_a_whole_answer_in_place_of_a_stream_is_read() -> None:
    assert assemble(read_whole(orjson.dumps(TEXT_ANSWER))) == UPSTREAM.answer(TEXT_ANSWER)


def test_a_page_in_place_of_a_stream_is_a_failure() -> None:
    assert failed(b"<html>\n\n<body>502</body>").code == "incomplete_answer"
    assert failed(b"{nothing").code == "incomplete_answer"


def test_an_event_without_end_is_a_failure() -> None:
    reader = ChatReader()
    reader.feed(b"data: " + b"x" * MAX_EVENT)
    assert reader.failure is not None
    assert reader.failure.fault.code == "malformed_answer"


def test_usage_is_reported_when_it_changes_and_never_added_up() -> None:
    stream = sse(
        chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1}),
        chunk({"content": "b"}, usage={"prompt_tokens": 5, "completion_tokens": 2}),
        chunk(finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 2}),
    )
    reported = [event for event in read_whole(stream) if isinstance(event, UsageReported)]
    assert reported == [
        UsageReported(Usage(input=5, output=1)),
        UsageReported(Usage(input=5, output=2)),
    ]


# --- whole answers


def test_a_whole_answer_is_read() -> None:
    assert UPSTREAM.answer(TEXT_ANSWER) == ChatAnswer(
        CHUNK["id"],
        [Candidate([Text('Hello, "you"\nthere')], FinishReason.STOP)],
        USED,
        1795000000,
        "default",
    )


def test_a_whole_answers_choices_are_numbered_as_they_stand() -> None:
    # Gemini's compatible API has begun with 1.
    choice = {**TEXT_ANSWER["choices"][0], "index": 1}
    assert len(UPSTREAM.answer({**TEXT_ANSWER, "choices": [choice]}).candidates) == 1


def test_a_whole_answer_without_a_reason_has_ended_by_itself() -> None:
    choice = {**TEXT_ANSWER["choices"][0], "finish_reason": None}
    (candidate,) = UPSTREAM.answer({**TEXT_ANSWER, "choices": [choice]}).candidates
    assert candidate.finish is FinishReason.STOP


def test_an_answer_of_nothing_is_an_answer() -> None:
    message = {"role": "assistant", "content": None}
    answer = UPSTREAM.answer(
        {"id": "x", "choices": [{"message": message, "finish_reason": "stop"}]}
    )
    assert answer == ChatAnswer("x", [Candidate([], FinishReason.STOP)], Usage())


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"message": "x"}]},
        {"choices": [{"message": {"tool_calls": ["x"]}}]},
        {"choices": [{"message": {"tool_calls": [{"id": "c", "function": {}}]}}]},
    ],
)
def test_a_malformed_answer_fails_as_such(document: Any) -> None:
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.answer(document)
    assert caught.value.fault.code == "malformed_answer"


def test_an_error_in_a_200_is_a_failure() -> None:
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.answer({"error": {"message": "No credits", "code": 402}})
    assert caught.value.fault.kind is FaultKind.QUOTA_EXHAUSTED


def test_arguments_nested_too_deeply_are_no_json() -> None:
    deep: Any = {}
    for _ in range(400):
        deep = [deep]
    call = {"id": "c", "function": {"name": "f", "arguments": deep}}
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.answer({"choices": [{"message": {"tool_calls": [call]}}]})
    assert caught.value.fault.code == "malformed_answer"


def test_events_of_a_whole_answer_are_those_of_its_stream() -> None:
    answer = UPSTREAM.answer(CALLS_ANSWER)
    assert answer.candidates[0].parts == [
        ToolCall("call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather", '{"city": "Ulm"}'),
        ToolCall("call_ABCx9pD3xa9XTPNJ32zg2hcB", "get_time", '{"zone": "CET"}'),
    ]
    again: list[ChatEvent] = list(events_of(answer))
    assert assemble(again) == answer
