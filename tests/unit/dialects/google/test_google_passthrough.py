"""From Google's door to Gemini: everything as it is, but for the names of the model."""

import base64
from itertools import pairwise
from typing import Any

import orjson
import pytest
from google.genai import models, types
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.dialects.google.array import ArrayRelay
from model_service.providers.dialects.google.passthrough import GooglePassthrough, GoogleRelay
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.sse import MAX_EVENT

from .wire import ERROR, NAME, USAGE, VERSION, candidate, event, events, response, spaced, target

TOTAL = Usage(input=44, cached_input=256, output=90, reasoning=70)
CALL: dict[str, Any] = {"functionCall": {"name": "look", "args": {"modelVersion": "x"}}}
STREAM = events(
    response(candidate({"text": "Hm", "thought": True}), usageMetadata={"promptTokenCount": 5}),
    response(candidate({"text": f'He said: "modelVersion": "{VERSION}"\n☀'}), unheardOf={"a": 1}),
    response(candidate({"text": "!"}, finishReason="STOP"), usageMetadata=USAGE),
)


def request(body: dict[str, Any], *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    return GooglePassthrough().request(body, target(**fields), stream=stream).body


def relayed(*pieces: bytes, body: dict[str, Any] | None = None) -> tuple[bytes, GoogleRelay]:
    relay = GooglePassthrough().relay(body or {}, NAME)
    data = b"".join(map(relay.feed, pieces))
    return data + relay.end(), relay


def documents(data: bytes) -> list[dict[str, Any]]:
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    return [orjson.loads(block[6:]) for block in blocks]


@pytest.mark.parametrize(
    ("stream", "method"),
    [(False, "generateContent"), (True, "streamGenerateContent?alt=sse")],
)
def test_the_path_has_the_providers_name(stream: bool, method: str) -> None:
    outgoing = GooglePassthrough().request({}, target("gemini-4-argon"), stream=stream)
    assert outgoing.path == f"/v1beta/models/gemini-4-argon:{method}"


def test_unknown_fields_survive() -> None:
    body = {"contents": [], "unheardOf": {"a": [1]}, "generationConfig": {"newThing": True}}
    sent = request(body)
    assert sent["unheardOf"] == {"a": [1]}
    assert sent["generationConfig"]["newThing"] is True


def test_a_name_of_the_model_in_the_body_is_the_providers() -> None:
    assert request({"model": f"models/{NAME}"})["model"] == f"models/{VERSION}"
    assert "model" not in request({})


def test_registered_defaults_apply_where_the_caller_is_silent() -> None:
    sent = request({"contents": []}, max_tokens=77, default_temperature=0.3)
    assert sent["generationConfig"] == {"maxOutputTokens": 77, "temperature": 0.3}


@pytest.mark.parametrize(
    "body",
    [
        {"generationConfig": {"maxOutputTokens": 5, "temperature": 0}},
        {"generation_config": {"max_output_tokens": 5, "temperature": 0}},
    ],
)
def test_they_do_not_where_it_is_not(body: dict[str, Any]) -> None:
    wanted = {name: dict(config) for name, config in body.items()}
    assert request(body, max_tokens=77, default_temperature=0.3) == wanted


def test_a_configuration_that_is_none_is_the_providers_to_refuse() -> None:
    assert request({"generationConfig": 5}) == {"generationConfig": 5}


def shown(signature: str) -> str:
    return base64.b64encode(signature.encode()).decode()


def test_signatures_of_other_models_are_taken_out() -> None:
    foreign = shown(mark("anthropic", "abc"))
    contents = [
        {"role": "user", "parts": [{"text": "x"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Hm", "thought": True, "thoughtSignature": foreign},
                {"text": "", "thought_signature": foreign},
                {"text": "Hi", "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "x"}, "thoughtSignature": foreign},
            ],
        },
        {"role": "model", "parts": [{"text": "", "thoughtSignature": foreign}]},
    ]
    assert request({"contents": contents})["contents"] == [
        {"role": "user", "parts": [{"text": "x"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Hm", "thought": True},
                {"text": "Hi", "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "x"}},
            ],
        },
        {"role": "model", "parts": [{"text": ""}]},
    ]


@pytest.mark.parametrize(
    "contents", [5, [5], [{"parts": 5}], [{"parts": [5, {"thoughtSignature": 5}]}], {"parts": []}]
)
def test_contents_of_any_shape_go_as_they_are(contents: Any) -> None:
    assert request({"contents": contents})["contents"] == contents


@pytest.mark.parametrize("dump", [orjson.dumps, spaced])
def test_an_answer_has_the_registered_name_and_else_its_own_bytes(dump: Any) -> None:
    body = dump(response(candidate({"text": "Hi"}, finishReason="STOP"), usageMetadata=USAGE))
    data, usage = GooglePassthrough().answer(body, NAME)
    assert data == body.replace(VERSION.encode(), NAME.encode())
    assert usage == TOTAL


def test_an_answer_of_several_lines_is_renamed() -> None:
    document = response(candidate({"text": "Hi"}, finishReason="STOP"))
    body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    data, _ = GooglePassthrough().answer(body, NAME)
    assert orjson.loads(data) == {**document, "modelVersion": NAME}


def test_only_the_name_of_the_answer_itself_is_changed() -> None:
    document = response(candidate(CALL, finishReason="STOP"))
    data, _ = GooglePassthrough().answer(orjson.dumps(document), NAME)
    assert orjson.loads(data) == {**document, "modelVersion": NAME}


def test_an_answer_without_a_name_gets_none() -> None:
    body = orjson.dumps({"promptFeedback": {"blockReason": "SAFETY"}})
    assert GooglePassthrough().answer(body, NAME) == (body, None)


def test_the_official_client_reads_the_answer() -> None:
    body = orjson.dumps(response(candidate({"text": "Hi"}, finishReason="STOP")))
    data, _ = GooglePassthrough().answer(body, NAME)
    converted = models._GenerateContentResponse_from_mldev(orjson.loads(data))
    found = types.GenerateContentResponse._from_response(response=converted, kwargs={})
    assert (found.text, found.model_version) == ("Hi", NAME)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (orjson.dumps(ERROR), FaultKind.OVERLOADED),
        (orjson.dumps([ERROR]), FaultKind.OVERLOADED),
        (b"<html>", FaultKind.UPSTREAM),
        (b"5", FaultKind.UPSTREAM),
        (b"{}", FaultKind.UPSTREAM),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, kind: FaultKind) -> None:
    with pytest.raises(CallFailed) as raised:
        GooglePassthrough().answer(body, NAME)
    assert raised.value.fault.kind is kind


def test_a_stream_has_the_registered_name_and_else_its_own_bytes() -> None:
    data, relay = relayed(STREAM)
    ours, theirs = (b'"modelVersion": "%b"' % name.encode() for name in (NAME, VERSION))
    assert data == STREAM.replace(b"\r\n", b"\n").replace(theirs, ours)
    assert documents(data)[1]["unheardOf"] == {"a": 1}
    assert (relay.usage, relay.finish) == (TOTAL, FinishReason.STOP)
    assert (relay.complete, relay.failure) == (True, None)


def test_an_event_of_several_lines_becomes_one_line() -> None:
    document = response(candidate({"text": "a\nb"}, finishReason="STOP"), usageMetadata=USAGE)
    lines = orjson.dumps(document, option=orjson.OPT_INDENT_2).split(b"\n")
    data, relay = relayed(b"".join(b"data: " + line + b"\r\n" for line in lines) + b"\r\n")
    assert documents(data) == [{**document, "modelVersion": NAME}]
    assert relay.complete


def test_only_the_name_of_the_event_itself_is_changed() -> None:
    found = documents(relayed(events(response(candidate(CALL, finishReason="STOP"))))[0])
    assert found[0]["modelVersion"] == NAME
    assert found[0]["candidates"][0]["content"]["parts"] == [CALL]


def test_a_provider_may_change_its_version_within_a_stream() -> None:
    other = {**response(candidate(finishReason="STOP")), "modelVersion": "gemini-4"}
    data, _ = relayed(events(response(candidate({"text": "a"})), other))
    assert [document["modelVersion"] for document in documents(data)] == [NAME, NAME]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_goes_on_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(STREAM)})
    data, relay = relayed(*(STREAM[start:end] for start, end in pairwise(edges)))
    assert data == relayed(STREAM)[0]
    assert relay.complete


def test_calls_are_why_an_answer_ended() -> None:
    stream = events(
        response(candidate(CALL)), response(candidate(finishReason="STOP"), usageMetadata=USAGE)
    )
    assert relayed(stream)[1].finish is FinishReason.TOOL_CALLS


def test_a_blocked_prompt_is_a_complete_answer() -> None:
    blocked = response(promptFeedback={"blockReason": "SAFETY"}, usageMetadata=USAGE)
    _, relay = relayed(event(blocked))
    assert (relay.finish, relay.complete) == (FinishReason.CONTENT_FILTER, True)


def test_a_failure_of_the_models_own_is_the_callers_to_see() -> None:
    broken = response(candidate(finishReason="MALFORMED_FUNCTION_CALL"), usageMetadata=USAGE)
    data, relay = relayed(event(broken))
    assert documents(data)[0]["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert (relay.finish, relay.complete) == (FinishReason.STOP, True)


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    data, relay = relayed(event(response(candidate({"text": "Hi"}))))
    assert len(documents(data)) == 1
    assert relay.failure is not None
    assert relay.failure.fault.code == "incomplete_answer"
    assert not relay.complete


@pytest.mark.parametrize("tail", [event(ERROR), orjson.dumps(ERROR, option=orjson.OPT_INDENT_2)])
def test_an_error_is_the_failure_and_not_sent_on(tail: bytes) -> None:
    data, relay = relayed(event(response(candidate({"text": "Hi"}))) + tail)
    assert len(documents(data)) == 1
    assert relay.failure is not None
    assert relay.failure.fault.kind is FaultKind.OVERLOADED


def test_what_clients_would_break_at_is_left_out() -> None:
    data, relay = relayed(b": ping\r\n\r\n" + event(b"{") + b"data:5\r\n\r\n" + STREAM)
    assert data == relayed(STREAM)[0]
    assert relay.complete


def test_unsound_events_with_nothing_behind_them_are_a_failure() -> None:
    _, relay = relayed(event(b"{"))
    assert relay.failure is not None
    assert relay.failure.fault.code == "malformed_answer"


def test_an_event_without_end_is_a_failure() -> None:
    assert relayed(b"x" * (MAX_EVENT + 1))[1].failure is not None


def test_nothing_is_read_behind_the_end() -> None:
    data, relay = relayed(STREAM, event(ERROR))
    assert data == relayed(STREAM)[0]
    assert relay.failure is None


def test_of_several_candidates_the_first_to_end_is_not_the_last() -> None:
    stream = events(
        response(candidate({"text": "a"}, finishReason="STOP"), usageMetadata=USAGE),
        response(candidate({"text": "b"}, index=1), usageMetadata=USAGE),
        response(candidate(index=1, finishReason="MAX_TOKENS"), usageMetadata=USAGE),
    )
    data, relay = relayed(stream, body={"generationConfig": {"candidateCount": 2}})
    assert len(documents(data)) == 3
    assert (relay.finish, relay.complete) == (FinishReason.STOP, True)


@pytest.mark.parametrize("first", [0, 1])
def test_a_candidate_without_an_end_was_cut(first: int) -> None:
    ended = candidate({"text": "a"}, index=first, finishReason="STOP")
    stream = events(
        response(ended, usageMetadata=USAGE),
        response(candidate({"text": "b"}, index=1 - first), usageMetadata=USAGE),
    )
    _, relay = relayed(stream, body={"generation_config": {"candidate_count": 2}})
    assert relay.failure is not None


def test_an_error_of_ours_is_an_event() -> None:
    relay = GooglePassthrough().relay({}, NAME)
    found = documents(relay.fail(Fault(FaultKind.TIMEOUT, "Too slow")))
    assert (found[0]["error"]["code"], found[0]["error"]["status"]) == (504, "DEADLINE_EXCEEDED")


SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from(["STOP", "x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["candidates", "content", "parts", "finishReason", "index", "usageMetadata",
             "modelVersion", "error", "promptFeedback", "blockReason", "functionCall"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(SHAPES | st.binary(max_size=20), max_size=4))
def test_any_stream_is_relayed_to_its_end(shapes: list[Any]) -> None:
    stream = events(*shapes)
    data, relay = relayed(stream)
    assert relay.complete == (relay.failure is None)
    pieces, _ = relayed(*(stream[index : index + 5] for index in range(0, len(stream), 5)))
    assert pieces == data


def test_an_event_that_cannot_be_written_anew_goes_as_it_came() -> None:
    deep: Any = {"modelVersion": "x"}
    for _ in range(300):
        deep = {"a": deep}
    plain = orjson.dumps(response(candidate({"text": "Hi"})))
    text: Any = 1
    for _ in range(300):
        text = b'{"modelVersion":%b}' % (text if isinstance(text, bytes) else b"1")
    data, relay = relayed(event(plain[:-1] + b',"deep":' + text + b"}"))
    assert len(data) > 300
    assert relay.failure is not None
    assert relay.failure.fault.code == "incomplete_answer"


class TestAnArray:
    def test_has_the_events_as_elements(self) -> None:
        relay = ArrayRelay(GooglePassthrough().relay({}, NAME))
        data = b"".join(relay.feed(STREAM[i : i + 9]) for i in range(0, len(STREAM), 9))
        assert orjson.loads(data) == documents(relayed(STREAM)[0])
        assert (relay.usage, relay.finish, relay.complete) == (TOTAL, FinishReason.STOP, True)
        assert relay.end() == b""

    def test_gives_every_element_as_it_is_known(self) -> None:
        relay = ArrayRelay(GooglePassthrough().relay({}, NAME))
        first = event(response(candidate({"text": "a"})))
        assert relay.feed(first).startswith(b'[{"candidates"')
        assert relay.feed(first).startswith(b',\r\n{"candidates"')

    def test_closes_when_the_provider_has(self) -> None:
        relay = ArrayRelay(GooglePassthrough().relay({}, NAME))
        data = relay.feed(event(response(candidate({"text": "a"}, finishReason="STOP"))))
        assert not relay.complete
        assert orjson.loads(data + relay.end())[0]["modelVersion"] == NAME
        assert relay.complete

    def test_ends_with_the_error_that_ended_it(self) -> None:
        relay = ArrayRelay(GooglePassthrough().relay({}, NAME))
        data = relay.feed(event(response(candidate({"text": "a"}))) + event(ERROR))
        assert relay.failure is not None
        found = orjson.loads(data + relay.fail(relay.failure.fault))
        assert found[1]["error"]["status"] == "UNAVAILABLE"

    def test_may_hold_nothing_but_an_error(self) -> None:
        relay = ArrayRelay(GooglePassthrough().relay({}, NAME))
        found = orjson.loads(relay.fail(Fault(FaultKind.TIMEOUT, "Too slow")))
        assert found[0]["error"]["code"] == 504
