"""A stream of events and a whole answer are two forms of one thing."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.assembly import Assembler, assemble, events_of
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Finished,
    FinishReason,
    Media,
    Part,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
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

_text = st.text(max_size=8)
_maybe = st.none() | st.text(max_size=4)
_part: st.SearchStrategy[Part] = st.one_of(
    _text.map(Text),
    st.builds(Reasoning, text=_text, signature=_maybe, redacted=st.booleans(), id=_maybe),
    _text.map(Refusal),
    st.builds(ToolCall, id=_text, name=_text, arguments=_text, signature=_maybe),
)


def _distinct(parts: list[Part]) -> list[Part]:
    """Without neighbours that a stream cannot tell from one part."""
    kept: list[Part] = []
    for part in parts:
        if not (isinstance(part, Text | Refusal) and kept and type(kept[-1]) is type(part)):
            kept.append(part)
    return kept


_token = st.fixed_dictionaries({"token": _text, "logprob": st.floats(-9, 0)})
_logprobs = st.fixed_dictionaries(
    {"content": st.none() | st.lists(_token, max_size=3), "refusal": st.none()}
)
_candidate = st.builds(
    Candidate,
    parts=st.lists(_part, max_size=6).map(_distinct),
    finish=st.sampled_from(FinishReason),
    stop_sequence=_maybe,
    logprobs=st.none() | _logprobs,
)
_count = st.integers(0, 10**6)
_answers = st.builds(
    ChatAnswer,
    id=_text,
    candidates=st.lists(_candidate, max_size=3),
    usage=st.builds(
        Usage,
        input=_count,
        cached_input=_count,
        cache_write=_count,
        cache_write_1h=_count,
        output=_count,
        reasoning=_count,
    ),
    created=st.none() | _count,
    service_tier=_maybe,
)


def answer_of(*parts: Part, **fields: Any) -> ChatAnswer:
    return ChatAnswer("a", [Candidate(list(parts), FinishReason.STOP, **fields)], Usage())


def parts_of(*events: ChatEvent) -> list[Part]:
    return assemble(events).candidates[0].parts


def in_pieces(events: list[ChatEvent]) -> list[ChatEvent]:
    """The same events, each delta of more than one character cut in two."""
    cut: list[ChatEvent] = []
    for event in events:
        match event:
            case TextDelta(text=text) if len(text) > 1:
                cut += [
                    TextDelta(text[:1], event.candidate, event.logprobs),
                    TextDelta(text[1:], event.candidate),
                ]
            case ReasoningDelta(text=text) if len(text) > 1:
                cut += [
                    ReasoningDelta(text[:1], event.candidate, event.id),
                    ReasoningDelta(text[1:], event.candidate),
                ]
            case RefusalDelta(text=text) if len(text) > 1:
                cut += [
                    RefusalDelta(text[:1], event.candidate),
                    RefusalDelta(text[1:], event.candidate),
                ]
            case ToolCallDelta(arguments=text) if len(text) > 1:
                cut += [
                    ToolCallDelta(event.index, text[:1], event.candidate),
                    ToolCallDelta(event.index, text[1:], event.candidate),
                ]
            case _:
                cut.append(event)
    return cut


@given(_answers)
def test_an_answer_made_a_stream_and_put_together_is_the_same_answer(answer: ChatAnswer) -> None:
    assert assemble(events_of(answer)) == answer


@given(_answers)
def test_deltas_may_be_cut_anywhere(answer: ChatAnswer) -> None:
    assert assemble(in_pieces(list(events_of(answer)))) == answer


@given(_answers)
def test_candidates_may_come_in_turns(answer: ChatAnswer) -> None:
    started, *events, usage = events_of(answer)
    turns: dict[int, list[ChatEvent]] = {}
    for event in events:
        assert not isinstance(event, Started | UsageReported)
        turns.setdefault(event.candidate, []).append(event)
    woven: list[ChatEvent] = [started]
    while any(turns.values()):
        woven += [left.pop(0) for left in turns.values() if left]
    assert assemble([*woven, usage]) == answer


@given(_answers)
def test_a_stream_starts_once_reports_usage_last_and_finishes_each_candidate(
    answer: ChatAnswer,
) -> None:
    events = list(events_of(answer))
    assert events[0] == Started(answer.id, answer.created, answer.service_tier)
    assert events[-1] == UsageReported(answer.usage)
    finished = [event.candidate for event in events if isinstance(event, Finished)]
    assert finished == list(range(len(answer.candidates)))
    for index in finished:
        own = [event for event in events[1:-1] if getattr(event, "candidate", None) == index]
        assert isinstance(own[-1], Finished)


@given(_answers)
def test_calls_are_counted_from_zero_for_each_candidate(answer: ChatAnswer) -> None:
    events = list(events_of(answer))
    for index, candidate in enumerate(answer.candidates):
        starts = [
            event
            for event in events
            if isinstance(event, ToolCallStarted) and event.candidate == index
        ]
        calls = [part for part in candidate.parts if isinstance(part, ToolCall)]
        assert [start.index for start in starts] == list(range(len(calls)))
        assert [start.id for start in starts] == [call.id for call in calls]


def test_fragments_of_parallel_calls_go_to_their_own_call() -> None:
    parts = parts_of(
        ToolCallStarted(0, "a", "first"),
        ToolCallStarted(1, "b", "second"),
        ToolCallDelta(1, '{"y"'),
        ToolCallDelta(0, '{"x"'),
        ToolCallDelta(1, ":2}"),
        ToolCallDelta(0, ":1}"),
    )
    assert parts == [ToolCall("a", "first", '{"x":1}'), ToolCall("b", "second", '{"y":2}')]


def test_a_call_without_arguments_has_none() -> None:
    assert parts_of(ToolCallStarted(0, "a", "now")) == [ToolCall("a", "now", "")]


def test_text_around_a_call_stays_two_texts() -> None:
    parts = parts_of(TextDelta("before"), ToolCallStarted(0, "a", "now"), TextDelta("after"))
    assert parts == [Text("before"), ToolCall("a", "now", ""), Text("after")]


def test_a_thought_that_is_signed_is_complete() -> None:
    parts = parts_of(
        ReasoningDelta("one"), ReasoningEnded("signed"), ReasoningDelta("two"), ReasoningEnded()
    )
    assert parts == [Reasoning("one", "signed"), Reasoning("two")]


def test_a_thought_without_an_end_ends_with_what_comes_next() -> None:
    parts = parts_of(ReasoningDelta("one"), TextDelta("so"), ReasoningDelta("two"))
    assert parts == [Reasoning("one"), Text("so"), Reasoning("two")]


def test_a_thought_may_be_hidden_in_its_signature() -> None:
    parts = parts_of(ReasoningEnded("hidden", redacted=True), TextDelta("so"))
    assert parts == [Reasoning("", "hidden", redacted=True), Text("so")]


def test_a_thought_may_get_its_id_at_its_end() -> None:
    assert parts_of(ReasoningDelta("one"), ReasoningEnded(id="rs_1")) == [
        Reasoning("one", id="rs_1")
    ]


def test_usage_is_replaced_and_never_added_up() -> None:
    answer = assemble(
        [UsageReported(Usage(input=9, output=1)), UsageReported(Usage(input=9, output=4))]
    )
    assert answer.usage == Usage(input=9, output=4)


def test_log_probabilities_come_together_in_their_order() -> None:
    candidate = assemble(
        [
            TextDelta("a", logprobs={"content": [{"token": "a"}], "refusal": None}),
            TextDelta("b", logprobs={"content": [{"token": "b"}], "refusal": None}),
            TextDelta("c"),
        ]
    ).candidates[0]
    assert candidate.logprobs == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_log_probabilities_of_the_other_kind_may_come_later() -> None:
    candidate = assemble(
        [
            TextDelta("a", logprobs={"content": [{"token": "a"}], "refusal": None}),
            TextDelta("", logprobs={"content": None, "refusal": [{"token": "no"}]}),
        ]
    ).candidates[0]
    assert candidate.logprobs == {"content": [{"token": "a"}], "refusal": [{"token": "no"}]}


def test_log_probabilities_survive_an_answer_without_text() -> None:
    answer = answer_of(ToolCall("a", "now", ""), logprobs={"content": [{"token": "{}"}]})
    assert assemble(events_of(answer)) == answer


@pytest.mark.parametrize("value", [5, "text", {"a": 1}, [1]])
def test_log_probabilities_of_another_form_do_not_break_the_answer(value: object) -> None:
    events = [TextDelta("a", logprobs={"content": value})] * 2
    assert assemble(events).candidates[0].parts == [Text("aa")]


def test_the_providers_lists_of_log_probabilities_stay_as_they_are() -> None:
    first = {"content": [{"token": "a"}]}
    assemble([TextDelta("a", logprobs=first), TextDelta("b", logprobs={"content": [{}]})])
    assert first == {"content": [{"token": "a"}]}


def test_an_answer_may_be_asked_for_before_its_end_and_again() -> None:
    assembler = Assembler()
    assembler.add(TextDelta("one ", logprobs={"content": [1]}))
    before = assembler.answer()
    assembler.add(TextDelta("two", logprobs={"content": [2]}))
    assert before.candidates[0] == Candidate(
        [Text("one ")], FinishReason.STOP, None, {"content": [1]}
    )
    assert assembler.answer().candidates[0].parts == [Text("one two")]
    assert assembler.answer().candidates[0].logprobs == {"content": [1, 2]}


def test_candidates_are_in_the_order_of_their_numbers() -> None:
    answer = assemble([TextDelta("second", 1), TextDelta("first", 0)])
    assert [candidate.parts for candidate in answer.candidates] == [
        [Text("first")],
        [Text("second")],
    ]


def test_nothing_at_all_is_an_empty_answer() -> None:
    assert assemble([]) == ChatAnswer("", [], Usage())


def test_what_no_model_says_is_no_event() -> None:
    events = list(events_of(answer_of(Media("image", url="https://example.com/a.png"))))
    assert events == [Started("a"), Finished(FinishReason.STOP), UsageReported(Usage())]


def test_long_text_is_not_copied_for_each_delta() -> None:
    assembler, delta = Assembler(), ToolCallDelta(0, "x" * 1000)
    assembler.add(ToolCallStarted(0, "a", "write"))
    for _ in range(5_000):
        assembler.add(delta)
    tracemalloc.start()
    try:
        for _ in range(5_000):
            assembler.add(delta)
        # One that joined what it has with each delta would have held it, or more.
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert len(assembler.answer().candidates[0].parts) == 1
