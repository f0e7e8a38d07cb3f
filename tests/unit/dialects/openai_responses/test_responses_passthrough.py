"""Calls that pass through: named edits, and all else as it came."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIError, OpenAI

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.openai_responses.passthrough import ResponsesPassthrough
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.sse import EventParser
from model_service.providers.translation import StreamRelay
from tests.unit.dialects.openai_responses.wire import (
    CALL,
    MESSAGE,
    TARGET,
    THOUGHT,
    begun,
    events_of,
    response,
    sse,
    stream_of,
)

Json = dict[str, Any]
ERROR = {"code": "rate_limit_exceeded", "message": "Too fast", "param": None}
USED = Usage(input=10, cached_input=60, cache_write=30, output=50, reasoning=20)


def sent(body: Json, **changed: Any) -> Json:
    outgoing = ResponsesPassthrough().request(body, replace(TARGET, **changed), stream=False)
    assert outgoing.path == "/responses"
    return outgoing.body


def relayed(*pieces: bytes) -> tuple[bytes, StreamRelay]:
    relay = ResponsesPassthrough().relay({}, "fast")
    passed = b""
    for piece in pieces:
        passed += relay.feed(piece)
    if not relay.complete and relay.failure is None:
        passed += relay.end()
    return passed, relay


def parsed(stream: bytes) -> list[Json]:
    return [orjson.loads(data) for _, data in EventParser().feed(stream)]


def renamed(events: list[Json]) -> list[Json]:
    """What a caller has to get for these events."""
    return [
        {**event, "response": {**event["response"], "model": "fast"}}
        if "response" in event
        else event
        for event in events
    ]


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


# Requests.


def test_the_model_is_the_providers() -> None:
    assert sent({"model": "fast", "input": "Hi"})["model"] == "gpt-5.6-sol"


def test_unknown_fields_pass() -> None:
    body = {"input": "Hi", "tomorrow": {"a": [1]}, "previous_response_id": "resp_1"}
    assert sent({**body}) == {
        **body,
        "model": "gpt-5.6-sol",
        "max_output_tokens": 4096,
    }


@pytest.mark.parametrize("silent", [{}, {"temperature": None, "max_output_tokens": None}])
def test_registered_defaults_apply_where_the_caller_is_silent(silent: Json) -> None:
    plain = {"default_temperature": 0.3, "upstream_model": "gpt-4.1"}
    body = sent({"input": "Hi", **silent}, **plain)
    assert (body["temperature"], body["max_output_tokens"]) == (0.3, 4096)
    assert sent({"input": "Hi", **silent}, default_temperature=0.3).get("temperature") is None


def test_the_callers_own_values_stay() -> None:
    body = sent({"input": "Hi", "temperature": 0, "max_output_tokens": 99}, default_temperature=0.3)
    assert (body["temperature"], body["max_output_tokens"]) == (0, 99)


@pytest.mark.parametrize(
    ("reasoning", "applies"),
    [
        ({"effort": "low"}, False),
        ({"effort": "none"}, True),
        ({"effort": None}, True),
        ("low", True),
    ],
)
def test_beside_thinking_there_is_no_default_temperature(reasoning: Any, applies: bool) -> None:
    asked = {"input": "Hi", "reasoning": reasoning}
    body = sent(asked, default_temperature=0.3, upstream_model="gpt-5.4")
    assert ("temperature" in body) is applies


def test_a_stream_is_asked_for_as_one() -> None:
    outgoing = ResponsesPassthrough().request({"input": "Hi"}, TARGET, stream=True)
    assert outgoing.body["stream"] is True


def test_thoughts_of_other_providers_are_left_out() -> None:
    foreign = {**THOUGHT, "encrypted_content": "model-service:anthropic:EqQB"}
    unsealed = {"type": "reasoning", "id": "rs_ms_0a", "summary": []}
    items = [foreign, THOUGHT, unsealed, MESSAGE, "odd"]
    assert sent({"input": items})["input"] == [THOUGHT, MESSAGE, "odd"]


# Whole answers.


def test_a_whole_answer_has_the_registered_name() -> None:
    answer = response(MESSAGE, tomorrow=[1])
    body, usage = ResponsesPassthrough().answer(orjson.dumps(answer), "fast")
    assert orjson.loads(body) == {**answer, "model": "fast"}
    assert usage == USED


def test_a_response_in_the_background_is_an_answer() -> None:
    answer = orjson.dumps(response(status="queued", usage=None))
    assert ResponsesPassthrough().answer(answer, "fast")[1] is None


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": ERROR}, FaultKind.RATE_LIMITED),
        (response(status="failed", error=ERROR), FaultKind.RATE_LIMITED),
        (response(status="failed"), FaultKind.UPSTREAM),
        (response(status="cancelled"), FaultKind.UPSTREAM),
    ],
)
def test_an_error_within_an_answer_is_one(document: Json, kind: FaultKind) -> None:
    with pytest.raises(CallFailed) as raised:
        ResponsesPassthrough().answer(orjson.dumps(document), "fast")
    assert raised.value.fault.kind is kind


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"output":{}}',
        b'{"output":[' + b"[" * 900 + b"]" * 900 + b"]}",
        b"[" * 2000,
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(CallFailed) as raised:
        ResponsesPassthrough().answer(body, "fast")
    assert raised.value.fault.code == "malformed_answer"


# Streams.


def test_a_stream_has_the_registered_name_and_nothing_else_changed() -> None:
    events = events_of(THOUGHT, MESSAGE, CALL)
    passed, relay = relayed(sse(*events))
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    assert parsed(passed) == renamed(numbered)
    assert (relay.complete, relay.failure) == (True, None)


def test_deltas_pass_as_they_came() -> None:
    delta = (
        b"id: 7\nevent: response.output_text.delta\n"
        b'data: {"type": "response.output_text.delta",  "delta":"\\u0049t" }\n\n'
    )
    relay = ResponsesPassthrough().relay({}, "fast")
    assert relay.feed(delta) == delta


def test_the_bytes_around_the_name_pass_as_they_came() -> None:
    stream = stream_of(MESSAGE)
    passed, _ = relayed(stream)
    assert passed == stream.replace(b'"model":"gpt-5.6-sol-2026-09-01"', b'"model":"fast"')


@pytest.mark.parametrize(
    "written",
    [
        b'{"type": "response.created", "response": {"model": "gpt", "output": []}}',
        b'{"type":"response.created","response":{"model":"gp\\u0074","output":[]}}',
        b'{"type":"response.created","response":{"metadata":{"model":"gpt"},"model":"gpt"}}',
        b'{"type":"response.created","response":{"model":null}}',
        b'{"type":"response.created","response":{}}',
        b'{"type":"response.created",\ndata: "response":{"model":"gp\\u0074"}}',
    ],
)
def test_the_name_is_edited_however_it_is_written(written: bytes) -> None:
    relay = ResponsesPassthrough().relay({}, "fast")
    [event] = parsed(relay.feed(b"event: response.created\ndata: " + written + b"\n\n"))
    assert event["response"]["model"] == "fast"


def test_the_same_name_elsewhere_is_not_edited() -> None:
    metadata = {"model": "gpt-5.6-sol-2026-09-01"}
    passed, _ = relayed(stream_of(MESSAGE, metadata=metadata))
    last = parsed(passed)[-1]["response"]
    assert (last["model"], last["metadata"]) == ("fast", metadata)


def test_a_sign_of_life_passes() -> None:
    relay = ResponsesPassthrough().relay({}, "fast")
    assert relay.feed(b": still there\n\n") == b": still there\n\n"


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (stream_of(MESSAGE), FinishReason.STOP),
        (stream_of(MESSAGE, CALL), FinishReason.TOOL_CALLS),
        (
            stream_of(
                MESSAGE,
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
            FinishReason.LENGTH,
        ),
        (
            stream_of(
                MESSAGE, status="incomplete", incomplete_details={"reason": "content_filter"}
            ),
            FinishReason.CONTENT_FILTER,
        ),
    ],
)
def test_usage_and_reason_are_read_off_the_last_event(stream: bytes, reason: FinishReason) -> None:
    _, relay = relayed(stream)
    assert (relay.finish, relay.usage) == (reason, USED)


def test_what_follows_the_last_event_is_of_no_interest() -> None:
    stream = stream_of(MESSAGE)
    passed, _ = relayed(stream + b"data: [DONE]\n\n" + stream_of(CALL))
    assert parsed(passed) == parsed(relayed(stream)[0])


def test_the_last_event_need_not_be_closed() -> None:
    stream = stream_of(MESSAGE)
    assert relayed(stream[:-2])[0] == relayed(stream)[0]


# Streams that fail.


@pytest.mark.parametrize("count", range(9))
def test_a_stream_without_its_last_event_was_cut(count: int) -> None:
    stream = sse(*events_of(MESSAGE)[:count])
    passed, relay = relayed(stream)
    assert relay.failure is not None
    assert relay.failure.fault.code == "incomplete_answer"
    assert len(parsed(passed)) == count


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "error": ERROR},
        {"type": "error", **ERROR},
        {"error": ERROR},
        {"type": "response.failed", "response": begun(status="failed", error=ERROR)},
    ],
)
def test_an_error_is_a_failure_and_does_not_pass(error: Json) -> None:
    before = events_of(MESSAGE)[:5]
    passed, relay = relayed(sse(*before, error))
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.RATE_LIMITED
    assert len(parsed(passed)) == len(before)


def test_an_error_after_a_failure_without_a_reason_gives_the_reason() -> None:
    silent = {"type": "response.failed", "response": begun(status="failed")}
    filtered = {"type": "error", "error": {"code": "content_policy_violation", "message": "No"}}
    _, relay = relayed(sse(*events_of()[:2], silent, filtered))
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.CONTENT_FILTER


def test_a_failure_without_a_reason_is_one_at_the_end() -> None:
    silent = {"type": "response.failed", "response": begun(status="failed")}
    _, relay = relayed(sse(*events_of()[:2], silent))
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.UPSTREAM


def test_a_failed_response_tells_its_usage() -> None:
    failed = {"type": "response.failed", "response": response(status="failed", error=ERROR)}
    _, relay = relayed(sse(failed))
    assert relay.usage == USED


def test_an_error_as_a_plain_body_is_a_failure() -> None:
    _, relay = relayed(orjson.dumps({"error": ERROR}))
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.RATE_LIMITED


WRONG = [
    b"data: {not json}\n\n",
    b"data: []\n\n",
    b'data: {"delta":"x"}\n\n',
    b'data: {"type":5}\n\n',
    b'data: {"type":"response.completed","response":null}\n\n',
    b'data: {"type":"response.created","response":{"x":' + b"[" * 400 + b"]" * 400 + b"}}\n\n",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_event_is_left_out_when_sound_ones_follow(wrong: bytes) -> None:
    events = events_of(MESSAGE)
    stream = sse(*events)
    middle = len(sse(*events[:3]))
    passed, relay = relayed(stream[:middle] + wrong + stream[middle:])
    assert relay.complete
    assert passed == relayed(stream)[0]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_event_at_the_end_is_a_failure(wrong: bytes) -> None:
    _, relay = relayed(sse(*events_of(MESSAGE)[:5]) + wrong)
    assert relay.failure is not None
    assert relay.failure.fault.code == "malformed_answer"


def test_lines_that_are_no_events_do_not_pass() -> None:
    passed, relay = relayed(b"<html>\n\nnot found\n\n")
    assert passed == b""
    assert relay.failure is not None


def test_an_event_without_end_is_a_failure() -> None:
    relay = ResponsesPassthrough().relay({}, "fast")
    for _ in range(5):
        assert relay.feed(b"x" * (8 * 1024 * 1024)) == b""
    assert relay.failure is not None
    assert relay.end() == b""


CUT = Fault(FaultKind.UPSTREAM, "It was cut off")


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_failure_goes_on_from_what_passed(count: int) -> None:
    _, relay = relayed(sse(*events_of(MESSAGE)[:count]))
    error, failed = parsed(relay.fail(CUT))
    assert (error["type"], error["message"]) == ("error", "It was cut off")
    assert [error["sequence_number"], failed["sequence_number"]] == [count, count + 1]
    assert (failed["response"]["model"], failed["response"]["status"]) == ("fast", "failed")
    if count:
        assert failed["response"]["id"] == "resp_0a1b"


@pytest.mark.parametrize("number", [None, "7", True, -1, 2**60])
def test_a_failure_is_numbered_although_the_provider_is_odd(number: Any) -> None:
    relay = ResponsesPassthrough().relay({}, "fast")
    event = {"type": "keepalive", "sequence_number": number}
    relay.feed(b"data: " + orjson.dumps(event) + b"\n\n")
    assert [event["sequence_number"] for event in parsed(relay.fail(CUT))] == [0, 1]


def test_a_failure_is_told_although_the_response_is_nested_too_deeply() -> None:
    relay = ResponsesPassthrough().relay({}, "fast")
    deep = b"[" * 400 + b"]" * 400
    relay.feed(
        b'data: {"type":"response.created","response":{"model":"gpt","x":' + deep + b"}}\n\n"
    )
    assert [event["type"] for event in parsed(relay.fail(CUT))] == ["error"]


def test_the_official_client_raises_a_failure() -> None:
    passed, relay = relayed(sse(*events_of(MESSAGE)[:5]))
    answer = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=passed + relay.fail(CUT),
    )
    client = OpenAI(
        api_key="msk_test",
        base_url="http://gateway.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)),
    )
    stream = client.responses.create(model="fast", input="Hi", stream=True)
    with pytest.raises(APIError, match="It was cut off"):
        list(stream)


# However it is cut, and whatever it is.

_outputs = st.sampled_from([(), (MESSAGE,), (THOUGHT, MESSAGE, CALL)])
_cuts = st.lists(st.integers(min_value=0), max_size=30)
_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(_outputs, _cuts, _line_ends)
def test_any_cut_of_the_bytes_passes_the_same(
    output: tuple[Json, ...], cuts: list[int], end: bytes
) -> None:
    stream = stream_of(*output)
    passed, relay = relayed(*cut(stream.replace(b"\n", end), cuts))
    assert passed == relayed(stream)[0]
    assert (relay.complete, relay.usage) == (True, USED)


@given(st.binary(max_size=300), _cuts)
def test_any_bytes_fail(data: bytes, cuts: list[int]) -> None:
    _, relay = relayed(*cut(data, cuts))
    assert relay.failure is not None
    assert parsed(relay.fail(CUT))[0]["type"] == "error"


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
_fields = st.dictionaries(
    st.sampled_from(
        ["response", "error", "status", "usage", "output", "model", "id", "sequence_number",
         "incomplete_details", "message", "code", "input_tokens"]
    ),
    _json,
)  # fmt: skip
_event = st.builds(
    lambda kind, fields, answer: {**fields, "type": kind, "response": answer},
    st.sampled_from([event["type"] for event in events_of(MESSAGE)] + ["error", "response.failed"]),
    _fields,
    _fields | _json,
)


@given(st.lists(_event | _json, max_size=6))
def test_any_stream_passes_or_fails(events: list[Any]) -> None:
    stream = b"".join(b"data: %s\n\n" % orjson.dumps(event) for event in events)
    passed, relay = relayed(stream)
    assert relay.complete is (relay.failure is None)
    for event in parsed(passed):
        assert event["type"] != "error"
    assert parsed(relay.fail(CUT))[0]["type"] == "error"


@given(_fields)
def test_any_answer_passes_or_fails(document: Json) -> None:
    try:
        body, _ = ResponsesPassthrough().answer(orjson.dumps(document), "fast")
    except CallFailed:
        body = b'{"model":"fast"}'
    assert orjson.loads(body)["model"] == "fast"


@given(st.dictionaries(st.sampled_from(["input", "reasoning", "temperature", "model"]), _json))
def test_any_request_passes(body: Json) -> None:
    assert sent(body)["model"] == "gpt-5.6-sol"
