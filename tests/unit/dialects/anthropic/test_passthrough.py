"""Calls whose door and provider both speak the Messages API."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.anthropic.passthrough import (
    AnthropicPassthrough,
    AnthropicRelay,
)
from model_service.providers.faults import CallFailed, Fault, FaultKind
from tests.unit.dialects.anthropic.wire_data import (
    CONTENTS,
    MESSAGE_STOP,
    SEARCH_STREAM,
    STREAMS,
    TEXT_STREAM,
    answer,
    as_client_sees,
    message_delta,
    message_start,
    sse,
    target,
)

PASS = AnthropicPassthrough()
HELLO = [{"role": "user", "content": "Hello"}]
OLD = "claude-haiku-4-5"


def sent(model: str = "claude-opus-4-8", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    body = {"model": "opus", "messages": HELLO, **fields}
    wanted = target(model, default_temperature=0.3)
    return PASS.request(body, wanted, stream=stream).body


def history(*blocks: dict[str, Any]) -> Any:
    """What is sent of an assistant's turn with these blocks."""
    said = {"role": "assistant", "content": list(blocks)}
    return sent(max_tokens=1, messages=[*HELLO, said, *HELLO])["messages"]


def relayed(*pieces: bytes) -> tuple[AnthropicRelay, bytes]:
    relay = PASS.relay({}, "opus")
    return relay, b"".join([*map(relay.feed, pieces), relay.end()])


# Requests


def test_a_request_passes_with_the_providers_name_for_the_model() -> None:
    body = {"model": "opus", "max_tokens": 5, "messages": HELLO, "container": "c", "to_come": 1}
    outgoing = PASS.request(dict(body), target(), stream=False)
    assert outgoing.path == "/v1/messages"
    assert outgoing.headers == (("anthropic-version", "2023-06-01"),)
    assert outgoing.body == {**body, "model": "claude-opus-4-8"}


def test_a_silent_caller_gets_the_registered_number_of_tokens() -> None:
    assert sent()["max_tokens"] == 4096
    assert sent(max_tokens=0)["max_tokens"] == 0


@pytest.mark.parametrize(("budget", "tokens"), [(1024, 4096), (4096, 8192), ("x", 4096)])
def test_the_registered_number_is_above_a_budget_for_thinking(budget: Any, tokens: int) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    assert sent(OLD, thinking=thinking)["max_tokens"] == tokens


@pytest.mark.parametrize(
    ("model", "fields", "temperature"),
    [
        (OLD, {}, 0.3),
        (OLD, {"thinking": {"type": "disabled"}}, 0.3),
        (OLD, {"temperature": 0.9}, 0.9),
        (OLD, {"top_p": 0.9}, None),
        (OLD, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        ("claude-opus-4-8", {}, None),
    ],
)
def test_a_registered_temperature_applies_where_it_would_not_be_refused(
    model: str, fields: dict[str, Any], temperature: float | None
) -> None:
    assert sent(model, **fields).get("temperature") == temperature


def test_a_stream_is_asked_for_when_the_caller_gets_one() -> None:
    assert sent(stream=True)["stream"] is True
    assert "stream" not in sent()


CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {}}


@pytest.mark.parametrize(
    "thought",
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "model-service:google:abc"},
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "redacted_thinking", "data": "model-service:openai_responses:abc"},
    ],
)
def test_thoughts_that_anthropic_did_not_sign_are_left_out(thought: dict[str, Any]) -> None:
    assert history(thought, CALL)[1]["content"] == [CALL]
    assert history(thought) == [*HELLO, *HELLO]


def test_thoughts_of_anthropics_stay_and_lose_marks() -> None:
    own = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    marked = {"type": "redacted_thinking", "data": "model-service:anthropic:hidden"}
    assert history(own, marked)[1]["content"] == [
        own,
        {"type": "redacted_thinking", "data": "hidden"},
    ]


@pytest.mark.parametrize(
    "messages", [None, "x", [7], [{"role": "assistant"}], [{"role": "assistant", "content": [7]}]]
)
def test_what_is_wrong_with_messages_is_the_providers_to_say(messages: Any) -> None:
    assert sent(max_tokens=1, messages=messages)["messages"] == messages


def test_an_odd_thought_is_the_providers_to_refuse() -> None:
    odd = {"type": "thinking", "thinking": "Hm.", "signature": 7}
    assert history(odd, {"type": ["thinking"]})[1]["content"] == [odd, {"type": ["thinking"]}]


# Whole answers


def test_an_answer_passes_under_the_registered_name() -> None:
    document = answer([{"type": "text", "text": "Hello!"}], to_come={"a": 1.50})
    data = orjson.dumps(document)
    passed, usage = PASS.answer(data, "opus")
    assert passed == data.replace(b"claude-opus-4-8", b"opus")
    assert usage == Usage(input=25, output=15)


@pytest.mark.parametrize("indent", [orjson.OPT_INDENT_2, 0])
def test_a_name_is_replaced_however_it_is_written(indent: int) -> None:
    document = answer([{"type": "text", "text": '"model":"claude-opus-4-8"'}])
    passed, _ = PASS.answer(orjson.dumps(document, option=indent), "opus")
    assert orjson.loads(passed) == {**document, "model": "opus"}


def test_arguments_that_name_the_model_stay() -> None:
    call = {**CALL, "input": {"model": "claude-opus-4-8"}}
    document = answer([call])
    passed, _ = PASS.answer(orjson.dumps(document), "opus")
    assert orjson.loads(passed) == {**document, "model": "opus"}


def test_an_answer_of_that_name_is_not_touched() -> None:
    data = orjson.dumps(answer([]))
    assert PASS.answer(data, "claude-opus-4-8")[0] is data


def test_an_answer_without_a_name_or_usage_gets_the_name() -> None:
    passed, usage = PASS.answer(b'{"content":[]}', "opus")
    assert orjson.loads(passed) == {"content": [], "model": "opus"}
    assert usage is None


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"content":7}'])
def test_what_is_no_answer_is_malformed(data: bytes) -> None:
    with pytest.raises(CallFailed) as failed:
        PASS.answer(data, "opus")
    assert failed.value.fault.code == "malformed_answer"


def test_an_answer_too_deep_to_be_written_anew_is_malformed() -> None:
    deep = b'{"a":' * 300 + b"{}" + b"}" * 300
    with pytest.raises(CallFailed) as failed:
        PASS.answer(b'{"model":7,"content":[' + deep + b"]}", "opus")
    assert failed.value.fault.code == "malformed_answer"


def test_an_error_in_place_of_an_answer_is_one() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "No."}}
    with pytest.raises(CallFailed) as failed:
        PASS.answer(orjson.dumps(error), "opus")
    assert failed.value.fault.kind is FaultKind.OVERLOADED


# Streams


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_passes_as_it_came_save_for_the_name(stream: tuple[dict[str, Any], ...]) -> None:
    relay, passed = relayed(sse(*stream))
    assert passed == sse(*stream).replace(b"claude-opus-4-8", b"opus")
    assert relay.complete
    assert relay.failure is None


@pytest.mark.parametrize("stream", STREAMS)
@given(data=st.data())
def test_a_stream_passes_the_same_however_it_is_cut(
    stream: tuple[dict[str, Any], ...], data: st.DataObject
) -> None:
    text = sse(*stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    relay, passed = relayed(*pieces)
    whole, expected = relayed(text)
    assert passed == expected
    assert (relay.usage, relay.finish) == (whole.usage, whole.finish)


def test_lines_may_end_as_they_like() -> None:
    _, passed = relayed(sse(*TEXT_STREAM).replace(b"\n", b"\r\n"))
    assert passed == sse(*TEXT_STREAM).replace(b"claude-opus-4-8", b"opus")


def test_the_client_reads_what_passes() -> None:
    _, passed = relayed(sse(*SEARCH_STREAM))
    message = as_client_sees(passed, "text/event-stream")
    assert message.model == "opus"
    assert [block.type for block in message.content] == [
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]


def test_usage_and_ending_are_read_on_the_way() -> None:
    relay, _ = relayed(sse(*SEARCH_STREAM))
    assert relay.usage == Usage(input=2679, output=510)
    assert relay.finish is FinishReason.STOP


def test_usage_is_known_before_the_end() -> None:
    relay = PASS.relay({}, "opus")
    relay.feed(sse(message_start(input_tokens=25, output_tokens=1)))
    assert relay.usage == Usage(input=25, output=1)
    assert relay.finish is None


def test_a_beginning_that_names_the_model_twice_is_written_anew() -> None:
    start = message_start()
    start["message"]["container"] = {"model": "claude-opus-4-8"}
    _, passed = relayed(sse(start, message_delta("end_turn"), MESSAGE_STOP))
    start["message"]["model"] = "opus"
    assert passed == sse(start, message_delta("end_turn"), MESSAGE_STOP)


def test_a_stream_that_is_cut_fails() -> None:
    relay, passed = relayed(sse(*TEXT_STREAM[:4]))
    assert passed == sse(*TEXT_STREAM[:4]).replace(b"claude-opus-4-8", b"opus")
    assert relay.failure is not None
    assert relay.failure.fault.code == "incomplete_answer"
    assert not relay.complete


def test_a_stream_that_says_why_it_ended_gets_its_closing_mark() -> None:
    relay, passed = relayed(sse(*TEXT_STREAM[:-1]))
    assert passed == sse(*TEXT_STREAM).replace(b"claude-opus-4-8", b"opus")
    assert relay.complete
    assert relay.failure is None


def test_a_closing_mark_without_a_reason_is_a_cut_stream() -> None:
    relay, passed = relayed(sse(message_start(), MESSAGE_STOP))
    assert b"message_stop" not in passed
    assert relay.failure is not None


def test_an_error_event_is_the_failure_and_does_not_pass() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    relay, passed = relayed(sse(*TEXT_STREAM[:4], error, *TEXT_STREAM[4:]))
    assert passed == sse(*TEXT_STREAM[:4]).replace(b"claude-opus-4-8", b"opus")
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.OVERLOADED


def test_a_malformed_event_is_left_out_when_sound_ones_follow() -> None:
    bad = b"event: content_block_delta\ndata: {\n\n"
    relay, passed = relayed(sse(*TEXT_STREAM[:4]) + bad + sse(*TEXT_STREAM[4:]))
    assert passed == sse(*TEXT_STREAM).replace(b"claude-opus-4-8", b"opus")
    assert relay.complete


@pytest.mark.parametrize(
    "bad", [b"data: {\n\n", b"data: []\n\n", b'data: {"type":"message_start"}\n\n']
)
def test_a_malformed_event_at_the_end_is_the_failure(bad: bytes) -> None:
    relay, _ = relayed(sse(*TEXT_STREAM[:4]), bad)
    assert relay.failure is not None
    assert relay.failure.fault.code == "malformed_answer"


def test_comments_and_events_to_come_pass() -> None:
    more = b": still here\n\n" + sse({"type": "an_event_to_come", "a": 1})
    _, passed = relayed(sse(TEXT_STREAM[0]), more, sse(*TEXT_STREAM[1:]))
    assert more in passed


def test_nothing_passes_after_the_end() -> None:
    relay, passed = relayed(sse(*TEXT_STREAM) + sse(*TEXT_STREAM))
    assert passed == sse(*TEXT_STREAM).replace(b"claude-opus-4-8", b"opus")
    assert relay.feed(sse(*TEXT_STREAM)) == b""


def test_an_event_without_end_is_the_failure() -> None:
    relay = PASS.relay({}, "opus")
    for _ in range(34):
        relay.feed(b"x" * 1024 * 1024)
    assert relay.failure is not None
    assert relay.end() == b""


def test_a_failure_is_written_as_an_error_event() -> None:
    fault = Fault(FaultKind.UPSTREAM, "Cut off.")
    event = {"type": "error", "error": {"type": "api_error", "message": "Cut off."}}
    assert PASS.relay({}, "opus").fail(fault) == sse(event)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["end_turn", "opus"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["message", "model", "usage", "delta", "stop_reason", "error"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["message_start", "message_delta", "message_stop", "x"])},
            optional={"message": _values, "delta": _values, "usage": _values, "error": _values},
        ),
        max_size=6,
    )
)
def test_whatever_a_provider_streams_comes_to_an_end(events: list[dict[str, Any]]) -> None:
    relay, _ = relayed(sse(*events))
    assert relay.complete is (relay.failure is None)


def test_what_a_whole_answer_holds_passes_in_any_case() -> None:
    for content in CONTENTS:
        passed, _ = PASS.answer(orjson.dumps(answer(content)), "opus")
        assert orjson.loads(passed)["content"] == content
