"""What becomes of a stream that is cut or stalls while another model may go on with it."""

import orjson
import pytest

from model_service.gateway import recovery
from model_service.gateway.recovery import RecoverableStream, recoverable
from model_service.gateway.resumption import Mode
from model_service.gateway.routes import Operation, Route
from model_service.providers.chat import (
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from model_service.providers.dialects.google.array import ArrayRelay
from model_service.providers.faults import Fault, FaultKind
from tests.unit.gateway.recovery_streams import (
    BODIES,
    DOORS,
    FAULT,
    answer,
    begin,
    parsed,
    registered,
    sent,
)

CHAT = Route("openai_chat", "openai", Operation.CHAT)
BEGUN = "The capital of France is"
FILTERED = Fault(FaultKind.CONTENT_FILTER, "No")
LATER = Fault(FaultKind.UNAVAILABLE, "The second is down as well")


def cut(stream: RecoverableStream, place: str, *events: object, door: str = "openai_chat") -> bytes:
    """Have the first provider say this, and nothing more."""
    said = sent(place, door, [Started("a1", 77), *events])  # type: ignore[list-item]
    out = b"".join(stream.feed(piece) for piece in said[:-1])  # the last one ends the stream
    return out + stream.end()


def go_on(stream: RecoverableStream, place: str, text: str, door: str = "openai_chat") -> bytes:
    """Have another provider answer, if it is asked as it should be."""
    stream.resume(stream.resumption(registered(place, "second")))
    return b"".join(map(stream.feed, sent(place, door, answer([text])))) + stream.end()


@pytest.mark.parametrize("door", DOORS)
def test_the_caller_is_told_the_first_fault_if_recovery_fails_too(door: str) -> None:
    stream = begin(door, "openai")
    cut(stream, "openai", TextDelta(BEGUN), door=door)
    stream.lost(FAULT)
    stream.resume(stream.resumption(registered("anthropic")))
    stream.end()
    stream.lost(LATER)

    told = stream.fail(LATER)

    assert FAULT.message.encode() in told
    assert LATER.message.encode() not in told


def test_a_fault_of_a_second_attempt_leaves_the_way_open_for_a_third() -> None:
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta("The capital"))
    stream.lost(FAULT)
    stream.resume(stream.resumption(registered("anthropic", "second")))
    for piece in sent("anthropic", "openai_chat", [TextDelta("The capital of")])[:-1]:
        out += stream.feed(piece)
    out += stream.end()
    assert stream.lost(LATER)
    out += go_on(stream, "google", "The capital of France.")

    got = parsed("openai_chat", out)

    assert got.printed == got.text == "The capital of France."
    assert [(note["attempt"], note["text_offset"]) for note in got.marks] == [(2, 11), (3, 14)]


def test_what_the_model_refused_is_not_routed_around() -> None:
    stream = begin("openai_chat", "openai")
    cut(stream, "openai", RefusalDelta("I will not"))
    assert not stream.lost(FAULT)


def test_what_a_filter_stopped_is_not_routed_around() -> None:
    stream = begin("openai_chat", "openai")
    cut(stream, "openai", TextDelta(BEGUN))
    assert not stream.lost(FILTERED)


@pytest.mark.parametrize(
    "wanted",
    [{"n": 2}, {"logprobs": True}, {"tomorrows_parameter": 1}],
    ids=["several answers", "log probabilities", "what is not known"],
)
def test_such_requests_are_not_recovered(wanted: dict[str, object]) -> None:
    body = {**BODIES["openai_chat"], **wanted}
    assert recoverable(CHAT, registered("openai"), body, now=0) is None


def test_a_model_that_does_not_stream_needs_no_recovery() -> None:
    whole = registered("openai", supports_streaming=False)
    assert recoverable(CHAT, whole, BODIES["openai_chat"], now=0) is None


@pytest.mark.parametrize("door", DOORS)
def test_a_call_is_held_back_until_the_answer_has_ended(door: str) -> None:
    stream = begin(door, "anthropic")
    call = ToolCallStarted(0, "call_1", "weather"), ToolCallDelta(0, '{"city":"Bern"}')
    out = cut(stream, "anthropic", TextDelta(BEGUN), *call, TextDelta("and then"), door=door)

    assert b"weather" not in out
    assert b"and then" not in out


def test_an_answer_of_which_all_is_held_back_has_begun() -> None:
    stream = begin("openai_chat", "openai")
    assert not stream.began
    assert cut(stream, "openai", ToolCallStarted(0, "call_1", "weather"), TextDelta("x")) == b""
    assert stream.began


def test_half_a_call_is_forgotten_with_the_attempt_that_made_it() -> None:
    stream = begin("openai_chat", "openai")
    half = ToolCallStarted(0, "call_1", "weather"), ToolCallDelta(0, '{"ci')
    out = cut(stream, "openai", TextDelta(BEGUN), *half)
    stream.lost(FAULT)
    out += go_on(stream, "ollama", " Paris.")

    got = parsed("openai_chat", out)

    assert got.calls == []
    assert got.text == "The capital of France is Paris."


@pytest.mark.parametrize("door", ["openai_chat", "openai_responses", "anthropic"])
def test_a_thought_that_was_cut_ends_before_the_mark(door: str) -> None:
    stream = begin(door, "ollama")
    out = cut(stream, "ollama", ReasoningDelta("They want"), ReasoningDelta("lost"), door=door)
    stream.lost(FAULT)
    before, mark, after = (out + go_on(stream, "openai", "Paris.", door)).partition(
        b'"x_model_service":{'
    )

    ends = {
        "openai_chat": b"reasoning_details",
        "openai_responses": b"response.output_item.done",
        "anthropic": b"content_block_stop",
    }
    assert ends[door] in before
    assert mark
    assert b"Paris." in after


def test_new_thoughts_are_shown_while_the_text_is_still_compared() -> None:
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta("The capital"))
    stream.lost(FAULT)
    stream.resume(stream.resumption(registered("anthropic", "second")))
    events = answer(["The city"], thought="Anew.")
    said = sent("anthropic", "openai_chat", events)
    out += b"".join(map(stream.feed, said)) + stream.end()

    got = parsed("openai_chat", out)

    assert got.thoughts == "Anew."
    assert got.text == "The city"
    assert [note["type"] for note in got.marks] == ["recovered", "rewind"]


def test_a_shorter_answer_takes_back_what_it_does_not_have() -> None:
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta("The capital is"))
    stream.lost(FAULT)
    out += go_on(stream, "anthropic", "The capital")

    got = parsed("openai_chat", out)

    assert got.text == "The capital"
    assert got.marks[-1] == {"type": "rewind", "text_offset": 11}


def test_nothing_is_marked_where_nothing_had_been_sent() -> None:
    stream = begin("openai_chat", "openai")
    assert cut(stream, "openai") == b""
    assert not stream.began
    stream.lost(FAULT)

    got = parsed("openai_chat", go_on(stream, "anthropic", "Paris."))

    assert got.text == "Paris."
    assert got.marks == []


@pytest.mark.parametrize("door", DOORS)
def test_an_answer_whose_end_has_come_is_whole_although_the_stream_is_cut_then(door: str) -> None:
    stream = begin(door, "openai")
    out = cut(stream, "openai", TextDelta("Paris."), Finished(FinishReason.STOP), door=door)
    if not stream.complete:  # the Responses API tells the end with the last event alone
        assert door == "openai_responses"
        return
    got = parsed(door, out)
    assert got.text == "Paris."
    assert len(got.ends) == 1


def test_what_a_failed_attempt_took_is_kept_apart_and_estimated() -> None:
    stream = begin("openai_chat", "anthropic")
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 50}}}
    stream.feed(b"data: " + orjson.dumps(start) + b"\n\n")
    for piece in sent("anthropic", "openai_chat", [Started("a1"), TextDelta("x" * 41)])[1:-1]:
        stream.feed(piece)
    stream.end()
    stream.lost(FAULT)
    go_on(stream, "google", "Paris.")

    assert [spent.usage for spent in stream.spent] == [Usage(input=50, output=11)]
    assert stream.usage == Usage(input=9, output=7)


def test_the_mark_says_how_and_why_the_answer_goes_on() -> None:
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta(BEGUN))
    stream.lost(FAULT)
    out += go_on(stream, "ollama", " Paris.")

    assert parsed("openai_chat", out).marks == [
        {
            "type": "recovered",
            "mode": "prefill",
            "model": "second",
            "attempt": 2,
            "reason": "timeout",
            "text_offset": 24,
            "lost_output_tokens": 6,
        }
    ]


def test_a_model_that_refuses_the_beginning_is_asked_anew() -> None:
    stream = begin("openai_chat", "openai")
    cut(stream, "openai", TextDelta(BEGUN))
    stream.lost(FAULT)
    second = registered("anthropic-old")
    attempt = stream.resumption(second)
    assert attempt.mode is Mode.PREFILL
    assert attempt.is_refused(Fault(FaultKind.INVALID_REQUEST, "no prefill"))

    anew = stream.resumption(second, prefill=False)

    assert anew.mode is Mode.RESTART
    assert [turn["role"] for turn in anew.outgoing.body["messages"]] == ["user"]
    assert not anew.is_refused(Fault(FaultKind.INVALID_REQUEST, "no prefill"))


def test_a_model_that_does_not_stream_may_go_on_with_a_stream() -> None:
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta(BEGUN))
    stream.lost(FAULT)
    attempt = stream.resumption(registered("google", "second", supports_streaming=False))
    assert attempt.outgoing.path.endswith(":generateContent")
    stream.resume(attempt)
    content = {"parts": [{"text": BEGUN + " Paris."}], "role": "model"}
    data = orjson.dumps({"candidates": [{"content": content, "finishReason": "STOP"}]})
    out += stream.feed(data[:20]) + stream.feed(data[20:]) + stream.end()

    assert parsed("openai_chat", out).printed == BEGUN + " Paris."


def test_a_restart_passes_on_what_only_its_own_dialect_knows_of_the_request() -> None:
    stream = begin("anthropic", "openai", top_k=5)
    cut(stream, "openai", TextDelta("The"), door="anthropic")
    stream.lost(FAULT)

    body = stream.resumption(registered("anthropic")).outgoing.body

    assert body["top_k"] == 5
    assert body["model"] == "claude-opus-4-8"


def test_an_answer_that_is_too_long_to_remember_goes_on_but_is_not_recovered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "MOST_CHARACTERS", 10)
    stream = begin("openai_chat", "openai")
    out = cut(stream, "openai", TextDelta("0123456789"), TextDelta("more"))

    assert b"more" in out
    assert not stream.lost(FAULT)


def test_calls_that_are_too_long_to_hold_back_go_on_but_are_not_recovered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recovery, "MOST_CHARACTERS", 10)
    stream = begin("openai_chat", "openai")
    call = ToolCallStarted(0, "call_1", "weather"), ToolCallDelta(0, '{"city":"Bern"')
    out = cut(stream, "openai", *call, ToolCallDelta(0, "}"), Finished(FinishReason.TOOL_CALLS))

    assert parsed("openai_chat", out).calls == [("call_1", "weather", {"city": "Bern"})]
    assert not stream.can_resume


def test_a_stream_that_is_an_array_is_recovered_as_others_are() -> None:
    stream = begin("google", "openai")
    array = ArrayRelay(stream)
    said = sent("openai", "google", [Started("a1", 77), TextDelta(BEGUN)])
    out = b"".join(array.feed(piece) for piece in said[:-1]) + array.end()
    assert array.failure is not None
    stream.lost(FAULT)
    stream.resume(stream.resumption(registered("ollama", "second")))
    assert array.failure is None
    for piece in sent("ollama", "google", answer([" Paris."])):
        out += array.feed(piece)

    documents = orjson.loads(out)
    parts = [document["candidates"][0]["content"]["parts"][0] for document in documents]
    assert "".join(part["text"] for part in parts) == BEGUN + " Paris."
    assert documents[1]["x_model_service"]["mode"] == "prefill"
