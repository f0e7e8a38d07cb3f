"""Streams that pass through: the provider's bytes with the model's name edited."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.openai_chat.passthrough import ChatPassthrough
from model_service.providers.dialects.openai_chat.relay import ChatRelay
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.sse import MAX_EVENT, EventParser

from .official import streaming
from .wire import (
    AZURE_STREAM,
    CALLS_STREAM,
    CHUNK,
    DEEPSEEK_STREAM,
    DONE,
    OPENROUTER_STREAM,
    TEXT_STREAM,
    USAGE,
    chunk,
    cut_up,
    events_in,
    sse,
    usage_chunk,
)

STREAMS = (TEXT_STREAM, CALLS_STREAM, AZURE_STREAM, DEEPSEEK_STREAM, OPENROUTER_STREAM)
UPSTREAM: bytes = CHUNK["model"].encode()
USED = Usage(input=40, cached_input=64, cache_write=16, output=60, reasoning=40)

_cuts = st.lists(st.integers(0, 10_000), max_size=40)


def relay(model: str = "my-model", *, usage: bool = True, n: Any = None) -> ChatRelay:
    body = {"stream_options": {"include_usage": usage}, "n": n}
    return ChatPassthrough().relay(body, model)


def passed(made: ChatRelay, *pieces: bytes) -> bytes:
    return b"".join(map(made.feed, pieces)) + made.end()


def whole(*pieces: bytes, usage: bool = True) -> bytes:
    """What a sound stream becomes."""
    made = relay(usage=usage)
    out = passed(made, *pieces)
    assert made.failure is None
    assert made.complete
    return out


def failure_of(made: ChatRelay) -> Fault:
    assert made.failure is not None
    assert not made.complete
    return made.failure.fault


def test_nothing_but_the_models_name_changes() -> None:
    made = relay()
    assert made.feed(TEXT_STREAM) == TEXT_STREAM.replace(UPSTREAM, b"my-model")
    assert made.complete
    assert made.usage == USED
    assert made.finish is FinishReason.STOP


def test_spaces_after_the_colon_are_kept() -> None:
    spaced = b'data: {"id": "x", "model": "a/b", "choices": [{"delta": {"content": "x"}}]}\n\n'
    assert relay().feed(spaced) == spaced.replace(b"a/b", b"my-model")


def test_a_model_whose_name_is_the_same_needs_no_edit() -> None:
    made = relay(CHUNK["model"])
    assert made.feed(TEXT_STREAM) == TEXT_STREAM


def test_a_text_that_looks_like_the_edit_is_left_alone() -> None:
    text = f'"model":"{CHUNK["model"]}","usage":null'
    stream = sse(chunk({"content": text}, usage=None), chunk(finish="stop", usage=None))
    for usage in (True, False):
        (first, _) = events_in(whole(stream, usage=usage))
        assert first["choices"][0]["delta"]["content"] == text
        assert first["model"] == "my-model"


def test_a_name_that_stands_elsewhere_in_an_event_is_left_alone() -> None:
    event = chunk({"content": "x"}, finish="stop", trace={"model": CHUNK["model"]})
    (passed_on,) = events_in(whole(sse(event)))
    assert passed_on == {**event, "model": "my-model"}


def test_azures_empty_model_is_edited_too() -> None:
    events = events_in(whole(AZURE_STREAM))
    assert {event["model"] for event in events} == {"my-model"}
    assert events[0]["prompt_filter_results"]


def test_a_model_that_is_written_in_another_way_is_edited_by_writing_anew() -> None:
    odd = b'data: {"model" : "a\\/b", "choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
    assert events_in(whole(odd + DONE)) == [
        {"model": "my-model", "choices": [{"delta": {}, "finish_reason": "stop"}]}
    ]


def test_events_without_a_model_pass() -> None:
    stream = sse({"choices": [{"delta": {}, "finish_reason": "stop"}], "model": None})
    assert whole(stream) == stream


# --- usage


def test_usage_that_the_caller_did_not_ask_for_is_stripped() -> None:
    made = relay(usage=False)
    out = passed(made, TEXT_STREAM)
    assert b"usage" not in out
    assert made.usage == USED
    expected = [
        {key: value for key, value in event.items() if key != "usage"} | {"model": "my-model"}
        for event in events_in(TEXT_STREAM)[:-1]
    ]
    assert events_in(out) == expected
    assert out.endswith(DONE)


def test_a_usage_of_null_is_stripped_where_spaces_are_written() -> None:
    spaced = b'data: {"model": "a", "choices": [{"delta": {"content": "x"}}], "usage": null}\n\n'
    assert relay(usage=False).feed(spaced) == (
        b'data: {"model": "my-model", "choices": [{"delta": {"content": "x"}}]}\n\n'
    )


def test_a_usage_of_null_that_comes_first_is_stripped() -> None:
    first = b'data: {"usage":null,"choices":[]}\n\n'
    assert relay(usage=False).feed(first) == b'data: {"choices":[]}\n\n'


def test_a_usage_within_a_chunk_of_text_is_the_vendors_way_and_stays() -> None:
    stream = sse(chunk({"content": "x"}, finish="stop", usage=USAGE))
    made = relay(usage=False)
    assert events_in(passed(made, stream))[0]["usage"] == USAGE
    assert made.usage == USED


def test_groqs_own_usage_is_read() -> None:
    made = relay(usage=False)
    passed(made, sse(chunk(finish="stop", x_groq={"usage": USAGE})))
    assert made.usage == USED


def test_the_last_usage_counts() -> None:
    made = relay()
    passed(
        made,
        sse(
            chunk({"content": "x"}, usage={"prompt_tokens": 1}),
            chunk(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        ),
    )
    assert made.usage == Usage(input=1, output=1)


# --- events that are known by their form


def texts(stream: bytes) -> list[str]:
    payloads = [payload for _, payload in EventParser().feed(stream) if payload != b"[DONE]"]
    choices = [orjson.loads(payload)["choices"][0] for payload in payloads]
    return [choice["delta"].get("content", "") for choice in choices]


def test_events_that_bring_nothing_but_text_are_edited_as_all_others() -> None:
    stream = sse(
        *(chunk({"content": text}, usage=None) for text in ("one", "two", "three")),
        chunk(finish="stop", usage=None),
    )
    for usage in (True, False):
        out = whole(stream, usage=usage)
        assert {event["model"] for event in events_in(out)} == {"my-model"}
        assert (b"usage" in out) is usage
        assert texts(out) == ["one", "two", "three", ""]


def test_an_event_of_a_known_form_is_written_anew_where_it_has_to_be() -> None:
    # The second names its model in two places, so that nothing can be replaced in all of them.
    stream = sse(
        chunk({"content": "one"}),
        chunk({"content": "two"}),
        chunk({"content": "three"}, trace={"model": CHUNK["model"]}),
        chunk(finish="stop"),
    )
    out = whole(stream)
    assert texts(out) == ["one", "two", "three", ""]
    assert {event["model"] for event in events_in(out)} == {"my-model"}


@pytest.mark.parametrize("start", [b"data:", b"data:  ", b"id: 7\ndata: "])
def test_events_that_begin_in_other_ways_pass(start: bytes) -> None:
    events = [chunk({"content": text}) for text in ("one", "two", "three")]
    stream = b"".join(start + orjson.dumps(event) + b"\n\n" for event in events)
    made = relay()
    assert made.feed(stream).count(b"my-model") == 3
    # The same with a malformed event after them.
    made = relay()
    out = made.feed(stream + b"data: {\n\n" + sse(chunk(finish="stop")))
    assert texts(out) == ["one", "two", "three", ""]
    assert made.complete


def test_an_event_that_differs_in_more_than_its_text_is_looked_at() -> None:
    stream = sse(
        chunk({"content": "one"}),
        chunk({"content": "two"}, finish="length"),
        chunk({"content": "three"}, usage=USAGE),
    )
    made = relay()
    passed(made, stream)
    assert made.finish is FinishReason.LENGTH
    assert made.usage == USED


def test_a_text_with_an_escape_is_looked_at() -> None:
    bad = b'data: {"choices":[{"delta":{"content":"x\\q"}}]}\n\n'
    good = b'data: {"choices":[{"delta":{"content":"xy"}}]}\n\n'
    made = relay()
    assert made.feed(good + good + bad + good) == good * 3


# --- however it is cut


@given(st.sampled_from(STREAMS), _cuts, st.booleans())
def test_any_cut_of_the_bytes_gives_the_same_bytes(
    stream: bytes, cuts: list[int], usage: bool
) -> None:
    assert whole(*cut_up(stream, cuts), usage=usage) == whole(stream, usage=usage)


@given(st.sampled_from(STREAMS), _cuts, st.sampled_from((b"\r\n", b"\r")), st.booleans())
def test_any_end_of_lines_gives_the_same_bytes(
    stream: bytes, cuts: list[int], end: bytes, usage: bool
) -> None:
    pieces = cut_up(stream.replace(b"\n", end), cuts)
    assert whole(*pieces, usage=usage) == whole(stream, usage=usage)


@given(st.sampled_from(STREAMS), st.integers(0, 5_000), _cuts, st.booleans())
def test_a_stream_that_is_cut_off_anywhere_never_ends_well_before_its_reason(
    stream: bytes, length: int, cuts: list[int], usage: bool
) -> None:
    part = stream[: length % len(stream)]
    one, other = relay(usage=usage), relay(usage=usage)
    assert passed(one, part) == passed(other, *cut_up(part, cuts))
    assert one.complete is other.complete
    if one.complete:
        assert one.finish is not None
    else:
        assert failure_of(one).code == "incomplete_answer"
        assert one.finish is None


@given(st.sampled_from(STREAMS), st.booleans())
def test_every_event_and_comment_goes_on_but_for_the_usage(stream: bytes, usage: bool) -> None:
    out = whole(stream, usage=usage)
    blocks = [block for block in out.split(b"\n\n") if block]
    lost = 0 if usage or stream is DEEPSEEK_STREAM or stream is OPENROUTER_STREAM else 1
    assert len(blocks) == len([block for block in stream.split(b"\n\n") if block]) - lost
    for block in blocks[:-1]:
        assert block.startswith(b": ") or orjson.loads(block[6:])["model"] == "my-model"


# --- ends


def test_a_finished_stream_without_its_closing_mark_gets_one() -> None:
    assert whole(TEXT_STREAM.removesuffix(DONE)) == whole(TEXT_STREAM)


def test_a_stream_without_its_last_blank_line_is_complete() -> None:
    assert whole(TEXT_STREAM.rstrip(b"\n")) == whole(TEXT_STREAM)


def test_several_choices_have_to_end_all_unless_the_provider_says_it_is_done() -> None:
    ended = sse(chunk({"content": "x"}, finish="stop"), done=False)
    made = relay(n=2)
    passed(made, ended)
    assert failure_of(made).code == "incomplete_answer"
    made = relay(n=2)
    passed(made, ended + sse(chunk({}, finish="length", index=1), done=False))
    assert made.complete
    assert made.finish is FinishReason.STOP
    made = relay(n=2)
    passed(made, ended + DONE)
    assert made.complete


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        DONE,
        sse(chunk({"content": "x"}), done=False),
        sse(chunk({"content": "x"})),
        sse(chunk({"content": "x"}), done=False) + b'data: {"id":"chatc',
    ],
)
def test_a_stream_without_a_reason_is_cut_and_gets_no_closing_mark(stream: bytes) -> None:
    made = relay()
    out = passed(made, stream)
    assert failure_of(made).code == "incomplete_answer"
    assert DONE not in out
    assert len(events_in(out)) == stream.count(b'"content"')


def test_nothing_goes_on_after_the_closing_mark() -> None:
    made = relay()
    assert made.feed(TEXT_STREAM + sse(chunk({"content": "more"}))).endswith(DONE)
    assert made.feed(sse(chunk({"content": "more"}))) == b""
    assert made.end() == b""


def test_comments_go_on_for_they_keep_the_connection() -> None:
    assert relay().feed(b": keep-alive\n\n") == b": keep-alive\n\n"


def test_what_means_nothing_does_not_go_on() -> None:
    assert relay().feed(b"retry: 5\n\n") == b""


# --- faults


def test_a_malformed_event_is_taken_out_when_what_follows_is_sound() -> None:
    good = sse(chunk({"content": "a"}), done=False), sse(chunk(finish="stop"))
    bad = b'data: {"id": "chatcm\n\ndata: 5\n\n'
    assert whole(good[0] + bad + good[1]) == whole(*good)
    assert whole(good[0], bad, good[1]) == whole(*good)


@pytest.mark.parametrize("tail", [b"", DONE])
def test_a_malformed_event_with_nothing_sound_after_it_is_a_failure(tail: bytes) -> None:
    made = relay()
    out = passed(made, sse(chunk({"content": "a"}), done=False) + b"data: {\n\n" + tail)
    assert len(events_in(out)) == 1
    assert failure_of(made).code == "malformed_answer"


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n',
        b'event: error\ndata: {"message": "The server had an error"}\n\n',
        b'data: {"object": "error", "message": "The server had an error"}\n\n',
        sse(
            {
                **chunk({}, finish="error"),
                "error": {"code": 502, "message": "The server had an error"},
            },
            done=False,
        ),
        sse(
            {
                "object": "chat.completion.chunk",
                "choices": [{"error": {"code": 502, "message": "The server had an error"}}],
            },
            done=False,
        ),
    ],
)
def test_an_error_is_kept_for_the_gateway_and_what_came_before_goes_on(event: bytes) -> None:
    made = relay()
    out = made.feed(sse(chunk({"content": "a"}), done=False) + event + DONE)
    assert [item["choices"][0]["delta"] for item in events_in(out)] == [{"content": "a"}]
    fault = failure_of(made)
    assert (fault.kind, fault.message) == (FaultKind.UPSTREAM, "The server had an error")
    assert made.feed(DONE) == b""
    assert made.end() == b""


def test_an_end_that_is_a_failure_is_one() -> None:
    made = relay()
    made.feed(sse(chunk({"content": "a"}), chunk(finish="insufficient_system_resource")))
    assert failure_of(made).code == "incomplete_answer"


def test_an_error_that_came_without_a_stream_is_read() -> None:
    made = relay()
    passed(made, b'{"error": {"message": "Slow down", "code": 429}}')
    assert failure_of(made).kind is FaultKind.RATE_LIMITED


@pytest.mark.parametrize("body", [b'{"choices": []}', b"<html>\n\n</html>", b"{nothing"])
def test_what_is_no_stream_is_a_failure(body: bytes) -> None:
    made = relay()
    assert passed(made, body) == b""
    assert failure_of(made).kind is FaultKind.UPSTREAM


def test_an_event_without_end_is_a_failure() -> None:
    made = relay()
    made.feed(b"data: " + b"x" * MAX_EVENT)
    assert failure_of(made).code == "malformed_answer"


def test_an_event_that_cannot_be_written_again_is_a_failure() -> None:
    deep = b'{"model" : "x", "choices": [], "deep": ' + b"[" * 400 + b"]" * 400 + b"}"
    made = relay()
    passed(made, b"data: " + deep + b"\n\n" + DONE)
    assert failure_of(made).code in ("malformed_answer", "incomplete_answer")


def test_a_fault_is_written_as_the_door_does_and_nothing_follows() -> None:
    out = relay().fail(Fault(FaultKind.TIMEOUT, "too slow"))
    (event,) = events_in(out)
    assert event["error"]["message"] == "too slow"
    assert DONE not in out


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(("", "stop", "x")),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ("choices", "usage", "model", "error", "index", "finish_reason", "delta", "x_groq")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.lists(_json, max_size=4), _cuts, st.booleans())
def test_any_events_end_well_or_in_a_failure(
    events: list[Any], cuts: list[int], usage: bool
) -> None:
    stream = sse(*events)
    made, other = relay(usage=usage), relay(usage=usage)
    out = passed(made, stream)
    assert out == passed(other, *cut_up(stream, cuts))
    assert made.complete is (made.failure is None)
    for event in events_in(out):
        assert isinstance(event, dict)
        assert (
            event.get("model") is None
            or not isinstance(event["model"], str)
            or (event["model"] == "my-model")
        )


@given(st.binary(max_size=60), _cuts)
def test_any_bytes_end_well_or_in_a_failure(data: bytes, cuts: list[int]) -> None:
    made = relay()
    passed(made, *cut_up(data, cuts))
    assert made.complete is (made.failure is None)


@pytest.mark.parametrize("usage", [True, False])
def test_the_official_client_reads_what_passes(usage: bool) -> None:
    out = whole(CALLS_STREAM, usage=usage)
    with streaming(out).chat.completions.stream(model="m", messages=[]) as stream:
        completion = stream.get_final_completion()
    assert completion.model == "my-model"
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.arguments for call in calls] == ['{"city": "Ulm"}', '{"zone": "CET"}']
    assert (completion.usage is not None) is usage


def test_the_usage_of_an_answer_without_text_is_not_lost() -> None:
    made = relay(usage=False)
    out = passed(made, sse(chunk(finish="length"), usage_chunk(orjson.loads(orjson.dumps(USAGE)))))
    assert made.usage == USED
    assert len(events_in(out)) == 1
