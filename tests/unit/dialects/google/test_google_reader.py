"""What is read of Gemini's answers: whole, in streams, however they are cut."""

from dataclasses import replace
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
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.google.upstream import GoogleUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.signatures import mark
from model_service.providers.sse import MAX_EVENT

from .wire import (
    EARLY_USAGE,
    ERROR,
    RESPONSE_ID,
    USAGE,
    answered,
    assistant,
    candidate,
    event,
    events,
    fault_of,
    read,
    response,
    sent,
    user,
)

LOOK: dict[str, Any] = {
    "functionCall": {"id": "fc-1", "name": "look", "args": {"at": "it", "n": [1, 2]}},
    "thoughtSignature": "c2ln",
}
FIND: dict[str, Any] = {"functionCall": {"id": "fc-2", "name": "find", "args": {}}}

STREAM = events(
    response(candidate({"text": "They want", "thought": True}), usageMetadata=EARLY_USAGE),
    response(candidate({"text": " two things.", "thought": True}), usageMetadata=EARLY_USAGE),
    response(candidate({"text": "Let me "})),
    response(candidate({"text": "see. ☀"})),
    response(candidate(LOOK)),
    response(candidate(FIND)),
    response(candidate({"text": ""}, finishReason="STOP"), usageMetadata=USAGE),
)
TOTAL = Usage(input=44, cached_input=256, output=90, reasoning=70)


def texts(found: list[ChatEvent]) -> str:
    return "".join(event.text for event in found if isinstance(event, TextDelta))


def unmarked(found: list[ChatEvent]) -> list[ChatEvent]:
    """The same without ids that were made up."""
    return [
        replace(event, id="") if isinstance(event, Started | ToolCallStarted) else event
        for event in found
    ]


def test_a_stream_gives_thoughts_text_calls_and_usage_in_order() -> None:
    found, reader = read(STREAM)
    assert found == [
        Started(RESPONSE_ID),
        ReasoningDelta("They want"),
        UsageReported(Usage(input=44, cached_input=256, output=40, reasoning=40)),
        ReasoningDelta(" two things."),
        ReasoningEnded(),
        TextDelta("Let me "),
        TextDelta("see. ☀"),
        ToolCallStarted(0, "fc-1", "look", signature=mark("google", "c2ln")),
        ToolCallDelta(0, '{"at":"it","n":[1,2]}'),
        ToolCallStarted(1, "fc-2", "find"),
        ToolCallDelta(1, "{}"),
        Finished(FinishReason.TOOL_CALLS),
        UsageReported(TOTAL),
    ]
    assert (reader.complete, reader.failure) == (True, None)


def test_a_stream_that_is_put_together_is_the_whole_answer() -> None:
    whole = answered(
        response(
            candidate(
                {"text": "They want two things.", "thought": True},
                {"text": "Let me see. ☀"},
                LOOK,
                FIND,
                finishReason="STOP",
            ),
            usageMetadata=USAGE,
        )
    )
    assert assemble(read(STREAM)[0]) == whole
    assert whole == ChatAnswer(
        RESPONSE_ID,
        [
            Candidate(
                [
                    Reasoning("They want two things."),
                    Text("Let me see. ☀"),
                    ToolCall("fc-1", "look", '{"at":"it","n":[1,2]}', mark("google", "c2ln")),
                    ToolCall("fc-2", "find", "{}"),
                ],
                FinishReason.TOOL_CALLS,
            )
        ],
        TOTAL,
    )


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_gives_the_same_however_it_is_cut(cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(STREAM)})
    found, reader = read(*(STREAM[start:end] for start, end in pairwise(edges)))
    assert found == read(STREAM)[0]
    assert reader.complete


def test_a_stream_gives_the_same_byte_by_byte() -> None:
    found, _ = read(*(STREAM[index : index + 1] for index in range(len(STREAM))))
    assert found == read(STREAM)[0]


MIXED = b"".join(
    [
        event(response(candidate({"text": "Hi"}))),
        b": comment\r\n\r\n",
        event(b'{"candidates": [{'),
        event(response(candidate({"text": " you"}))),
        event(response(candidate(finishReason="STOP"))),
        orjson.dumps(ERROR, option=orjson.OPT_INDENT_2),
    ]
)


@given(
    st.integers(0, len(MIXED)),
    st.lists(st.integers(0, len(MIXED)), max_size=8),
)
def test_a_stream_that_ends_anywhere_ends_the_same_however_it_is_cut(
    end: int, cuts: list[int]
) -> None:
    stream = MIXED[:end]
    edges = sorted({0, *(cut for cut in cuts if cut < end), end})
    whole, reader = read(stream)
    pieces, other = read(*(stream[start:stop] for start, stop in pairwise(edges)))
    assert pieces == whole
    assert (reader.complete, str(reader.failure)) == (other.complete, str(other.failure))
    assert reader.complete == (reader.failure is None)


def test_without_a_finish_reason_a_stream_was_cut() -> None:
    found, reader = read(events(response(candidate({"text": "Hi"}), usageMetadata=USAGE)))
    assert texts(found) == "Hi"
    assert not reader.complete
    assert reader.failure is not None
    assert reader.failure.fault.code == "incomplete_answer"


def test_an_event_that_is_cut_was_cut() -> None:
    _, reader = read(STREAM[:-40])
    assert reader.failure is not None
    assert reader.failure.fault.code == "incomplete_answer"


def test_the_last_event_needs_no_blank_line() -> None:
    found, reader = read(STREAM.rstrip())
    assert found[-1] == UsageReported(TOTAL)
    assert reader.complete


def test_nothing_at_all_was_cut() -> None:
    assert read(b"")[1].failure is not None


def test_what_comes_behind_the_end_is_of_no_interest() -> None:
    found, reader = read(STREAM + event(ERROR) + b"x" * 100)
    assert found == read(STREAM)[0]
    assert reader.complete


def test_a_finish_without_usage_waits_for_it() -> None:
    stream = events(
        response(candidate({"text": "Hi"}, finishReason="STOP")), response(usageMetadata=USAGE)
    )
    found, reader = read(stream)
    assert found[-2:] == [Finished(FinishReason.STOP), UsageReported(TOTAL)]
    assert reader.complete


def test_a_finish_without_usage_is_one_at_the_end_of_the_stream() -> None:
    reader = GoogleUpstream().reader()
    reader.feed(events(response(candidate({"text": "Hi"}, finishReason="STOP"))))
    assert not reader.complete
    reader.end()
    assert (reader.complete, reader.failure) == (True, None)


def test_a_candidate_that_has_ended_says_no_more() -> None:
    stream = events(
        response(candidate({"text": "Hi"}, finishReason="STOP")),
        response(candidate({"text": "!"}, finishReason="STOP"), usageMetadata=USAGE),
    )
    found, reader = read(stream)
    assert texts(found) == "Hi"
    assert sum(isinstance(event, Finished) for event in found) == 1
    assert reader.complete


def test_usage_is_what_was_said_last_and_said_once() -> None:
    found, _ = read(
        events(
            response(candidate({"text": "a"}), usageMetadata=USAGE),
            response(candidate({"text": "b"}), usageMetadata=USAGE),
            response(candidate(finishReason="STOP"), usageMetadata=USAGE),
        )
    )
    assert [event for event in found if isinstance(event, UsageReported)] == [UsageReported(TOTAL)]
    assert assemble(found).usage == TOTAL


def test_what_built_in_tools_put_into_the_prompt_is_input() -> None:
    usage = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "totalTokenCount": 15}
    found = answered(response(candidate(finishReason="STOP"), usageMetadata=usage))
    assert found.usage == Usage(input=15)


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": "10", "candidatesTokenCount": None},
        {"promptTokenCount": -5, "cachedContentTokenCount": True},
        {},
    ],
)
def test_usage_that_is_none_counts_nothing(usage: dict[str, Any]) -> None:
    found = answered(response(candidate(finishReason="STOP"), usageMetadata=usage))
    assert found.usage == Usage()


def test_a_blocked_prompt_has_no_candidates_and_ends_so() -> None:
    blocked = response(
        promptFeedback={"blockReason": "PROHIBITED_CONTENT"},
        usageMetadata={"promptTokenCount": 12, "totalTokenCount": 12},
    )
    wanted = ChatAnswer(RESPONSE_ID, [Candidate([], FinishReason.CONTENT_FILTER)], Usage(input=12))
    assert answered(blocked) == wanted
    found, reader = read(event(blocked))
    assert assemble(found) == wanted
    assert reader.complete


def test_an_answer_may_be_empty() -> None:
    found = answered(response(candidate(finishReason="STOP"), usageMetadata={}))
    assert found.candidates == [Candidate([], FinishReason.STOP)]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("CONTINUATION", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("RECITATION", FinishReason.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", FinishReason.CONTENT_FILTER),
        ("BLOCKLIST", FinishReason.CONTENT_FILTER),
        ("SPII", FinishReason.CONTENT_FILTER),
        ("LANGUAGE", FinishReason.CONTENT_FILTER),
    ],
)
def test_every_reason_to_end_is_known(word: str, reason: FinishReason) -> None:
    found = answered(response(candidate({"text": "x"}, finishReason=word), usageMetadata=USAGE))
    assert found.candidates[0].finish is reason


def test_a_call_at_the_limit_is_no_call_to_be_answered() -> None:
    found = answered(response(candidate(LOOK, finishReason="MAX_TOKENS"), usageMetadata=USAGE))
    assert found.candidates[0].finish is FinishReason.LENGTH


@pytest.mark.parametrize(
    "word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "MALFORMED_RESPONSE"]
)
def test_an_answer_that_the_model_broke_off_is_a_failure(word: str) -> None:
    broken = response(
        candidate(finishReason=word, finishMessage="Malformed function call: look("),
        usageMetadata=USAGE,
    )
    with pytest.raises(CallFailed) as raised:
        answered(broken)
    assert raised.value.fault.kind is FaultKind.UPSTREAM
    assert raised.value.fault.code == word.lower()
    assert "Malformed function call: look(" in raised.value.fault.message
    found, reader = read(event(response(candidate({"text": "Hi"}))) + event(broken))
    assert texts(found) == "Hi"
    assert found[-1] == UsageReported(TOTAL)
    assert reader.failure is not None
    assert reader.failure.fault == raised.value.fault


@pytest.mark.parametrize(
    "tail",
    [event(ERROR), event([ERROR]), orjson.dumps(ERROR, option=orjson.OPT_INDENT_2)],
    ids=["event", "list", "bare"],
)
def test_an_error_in_a_stream_is_its_failure(tail: bytes) -> None:
    found, reader = read(event(response(candidate({"text": "Hi"}))) + tail)
    assert texts(found) == "Hi"
    assert reader.failure is not None
    fault = reader.failure.fault
    assert (fault.kind, fault.status) == (FaultKind.OVERLOADED, 503)
    assert fault.message.startswith("This model is currently experiencing high demand.")


def test_an_error_in_place_of_an_answer_is_a_failure() -> None:
    with pytest.raises(CallFailed) as raised:
        answered(ERROR)
    assert raised.value.fault.kind is FaultKind.OVERLOADED


@pytest.mark.parametrize(
    "bad",
    [b"{", b"5", b'["a"]', b'{"candidates": 5}', b'{"candidates": [5]}',
     b'{"candidates": [{"content": 5}]}', b'{"candidates": [{"content": {"parts": 5}}]}',
     b'{"candidates": [{"content": {"parts": [5]}}]}',
     b'{"candidates": [{"content": {"parts": [{"text": 5}]}}]}',
     b'{"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}}]}',
     b'{"candidates": [{"content": {"parts": [{"functionCall": {"name": "x", "args": 5}}]}}]}',
     b'{"candidates": [{"index": -1}]}', b'{"candidates": [{"index": true}]}',
     b'{"candidates": [{"content": {"parts": [{"text": "x", "thoughtSignature": 5}]}}]}'],
)  # fmt: skip
class TestAnUnsoundEvent:
    def test_is_skipped_when_a_sound_one_follows(self, bad: bytes) -> None:
        found, reader = read(event(bad) + STREAM)
        assert found == read(STREAM)[0]
        assert reader.complete

    def test_is_a_failure_when_nothing_follows(self, bad: bytes) -> None:
        found, reader = read(event(response(candidate({"text": "Hi"}))) + event(bad))
        assert texts(found) == "Hi"
        assert reader.failure is not None
        assert reader.failure.fault.code == "malformed_answer"


def test_of_an_unsound_event_nothing_has_happened() -> None:
    bad = response(candidate({"text": "Hi"}, finishReason="STOP"), {"index": 1, "content": 5})
    _, reader = read(event(bad))
    assert not reader.complete


def test_events_of_unknown_kinds_are_passed_over() -> None:
    found, reader = read(events({"modelStatus": {"modelStage": "STABLE"}}) + STREAM)
    assert found == read(STREAM)[0]
    assert reader.complete


def test_an_event_without_end_is_a_failure() -> None:
    _, reader = read(b"data: " + b"x" * (MAX_EVENT + 1))
    assert reader.failure is not None
    assert reader.failure.fault.kind is FaultKind.UPSTREAM


@pytest.mark.parametrize(
    "document",
    [{}, {"candidates": []}, {"candidates": [{}]}, {"candidates": 5}, response(),
     response(candidate({"text": "x"})), response(candidate({"text": "x"}), finishReason=None)],
)  # fmt: skip
def test_what_is_no_answer_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(CallFailed) as raised:
        answered(document)
    assert raised.value.fault.code == "malformed_answer"


@pytest.mark.parametrize(
    "part",
    [{"inlineData": {"mimeType": "image/png", "data": "QUJD"}}, {"executableCode": {"code": "1"}},
     {"codeExecutionResult": {}}, {"toolCall": {"id": "1"}}],
)  # fmt: skip
def test_what_has_no_translation_is_a_failure_and_not_left_out(part: dict[str, Any]) -> None:
    with pytest.raises(CallFailed) as raised:
        answered(response(candidate({"text": "x"}, part, finishReason="STOP")))
    assert raised.value.fault.code == "untranslated_answer"
    _, reader = read(event(response(candidate(part))) + STREAM)
    assert reader.failure is not None


def test_a_part_that_says_nothing_is_passed_over() -> None:
    parts: list[dict[str, Any]] = [{"partMetadata": {"a": 1}}, {"text": "Hi"}]
    found = answered(response(candidate(*parts, finishReason="STOP")))
    assert found.candidates[0].parts == [Text("Hi")]


def test_calls_without_ids_get_some_that_differ() -> None:
    parts: list[dict[str, Any]] = [
        {"functionCall": {"name": "a"}},
        {"functionCall": {"name": "a", "args": None}},
    ]
    found = answered(response(candidate(*parts, finishReason="STOP"))).candidates[0].parts
    first, second = found
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id.startswith("call_")
    assert first.id != second.id
    assert (first.arguments, second.arguments) == ("{}", "{}")


def test_an_answer_without_an_id_gets_one() -> None:
    found = answered({"candidates": [candidate({"text": "x"}, finishReason="STOP")]})
    assert len(found.id) == 24


def test_a_signed_thought_ends_with_its_signature() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Hi"},
    ]
    found = answered(response(candidate(*parts, finishReason="STOP")))
    assert found.candidates[0].parts == [Reasoning("Hm", mark("google", "c2ln")), Text("Hi")]


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "Hm", "thought": True}, {"text": "Hi", "thoughtSignature": "c2ln"}],
        [
            {"text": "Hm", "thought": True},
            {"text": "Hi"},
            {"text": "", "thoughtSignature": "c2ln"},
        ],
        [{"text": "Hm", "thought": True}, {"text": "Hi"}, {"thoughtSignature": "c2ln"}],
    ],
)
def test_a_signature_on_text_is_a_hidden_thought_behind_it(parts: list[dict[str, Any]]) -> None:
    found = answered(response(candidate(*parts, finishReason="STOP")))
    assert found.candidates[0].parts == [
        Reasoning("Hm"),
        Text("Hi"),
        Reasoning("", mark("google", "c2ln"), redacted=True),
    ]


def test_an_answer_goes_back_with_every_signature_where_it_was() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm", "thought": True, "thoughtSignature": "dA=="},
        {"text": "Hi", "thoughtSignature": "eA=="},
        LOOK,
        FIND,
    ]
    found = answered(response(candidate(*parts, finishReason="STOP")))
    body, _ = sent(user("x"), assistant(*found.candidates[0].parts))
    assert body["contents"][1]["parts"] == parts


def test_several_candidates_are_told_apart() -> None:
    stream = events(
        response(candidate({"text": "a"}), candidate({"text": "b"}, index=1)),
        response(candidate(FIND, index=1), usageMetadata=EARLY_USAGE),
        response(candidate({"text": "a"}, finishReason="STOP"), usageMetadata=EARLY_USAGE),
        response(candidate(index=1, finishReason="STOP"), usageMetadata=USAGE),
    )
    found, reader = read(stream)
    assert reader.complete
    answer = assemble(found)
    assert [part.finish for part in answer.candidates] == [
        FinishReason.STOP,
        FinishReason.TOOL_CALLS,
    ]
    assert answer.candidates[0].parts == [Text("aa")]
    assert answer.candidates[1].parts == [Text("b"), ToolCall("fc-2", "find", "{}")]


LOGPROBS: dict[str, Any] = {
    "chosenCandidates": [{"token": "H", "tokenId": 5, "logProbability": -0.5}],
    "topCandidates": [{"candidates": [{"token": "H", "logProbability": -0.5}, {"token": "ß"}, 5]}],
}
ENTRY: dict[str, Any] = {
    "token": "H",
    "logprob": -0.5,
    "bytes": [72],
    "top_logprobs": [
        {"token": "H", "logprob": -0.5, "bytes": [72]},
        {"token": "ß", "logprob": 0.0, "bytes": [195, 159]},
    ],
}


def test_log_probabilities_are_in_openais_form_and_add_up() -> None:
    stream = events(
        response(candidate({"text": "H"}, logprobsResult=LOGPROBS)),
        response(candidate(logprobsResult=LOGPROBS, finishReason="STOP"), usageMetadata=USAGE),
    )
    found = assemble(read(stream)[0]).candidates[0]
    assert found.parts == [Text("H")]
    assert found.logprobs == {"content": [ENTRY, ENTRY]}


@pytest.mark.parametrize("result", [5, {}, {"chosenCandidates": [5]}, {"chosenCandidates": []},
                                    {"chosenCandidates": [{"token": 5}]}])  # fmt: skip
def test_log_probabilities_that_are_none_are_left_out(result: Any) -> None:
    document = response(candidate({"text": "H"}, logprobsResult=result, finishReason="STOP"))
    assert answered(document).candidates[0].logprobs is None


@pytest.mark.parametrize(
    ("tier", "wanted"), [("standard", "default"), ("PRIORITY", "priority"), (5, None)]
)
def test_the_tier_that_served_is_told(tier: Any, wanted: str | None) -> None:
    document = response(
        candidate(finishReason="STOP"), usageMetadata={**USAGE, "serviceTier": tier}
    )
    assert answered(document).service_tier == wanted


NAMES = st.sampled_from(
    ["candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall",
     "name", "args", "id", "finishReason", "index", "usageMetadata", "promptTokenCount", "error",
     "promptFeedback", "blockReason", "logprobsResult", "chosenCandidates", "topCandidates",
     "responseId", "finishMessage", "inlineData"]
)  # fmt: skip
SHAPES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2**63)
    | st.sampled_from(["STOP", "SAFETY", "OTHER", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(NAMES, SHAPES, max_size=5))
def test_any_shape_is_an_answer_or_a_failure(document: dict[str, Any]) -> None:
    fault = fault_of(lambda: answered(document))
    assert fault is None or fault.kind in FaultKind


@given(st.lists(SHAPES | st.binary(max_size=20), max_size=4))
def test_any_stream_is_read_to_its_end(documents: list[Any]) -> None:
    stream = events(*documents)
    found, reader = read(stream)
    assert reader.complete == (reader.failure is None)
    again, _ = read(*(stream[index : index + 7] for index in range(0, len(stream), 7)))
    assert unmarked(again) == unmarked(found)


def test_arguments_that_cannot_be_written_are_unsound() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    part = {"functionCall": {"name": "x", "args": deep}}
    with pytest.raises(CallFailed) as raised:
        answered({"candidates": [candidate(part, finishReason="STOP")]})
    assert raised.value.fault.code == "malformed_answer"
