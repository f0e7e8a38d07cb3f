"""What vendors do in their own ways: thoughts, calls, usage, errors."""

from typing import Any

import pytest

from model_service.providers.assembly import assemble
from model_service.providers.chat import (
    Candidate,
    ChatEvent,
    FinishReason,
    Reasoning,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
)
from model_service.providers.dialects.openai_chat.upstream import ChatUpstream
from model_service.providers.dialects.openai_chat.usage import read_usage
from model_service.providers.faults import CallFailed, FaultKind

from .wire import (
    CHUNK,
    DEEPSEEK_STREAM,
    OPENROUTER_STREAM,
    chunk,
    failed,
    openrouter,
    read_whole,
    sse,
)

UPSTREAM = ChatUpstream("max_tokens")


def candidate(*deltas: Any, finish: str = "stop") -> Candidate:
    stream = sse(*(chunk(delta) for delta in deltas), chunk(finish=finish))
    (made,) = assemble(read_whole(stream)).candidates
    return made


def whole(message: Any, finish: str = "stop") -> Candidate:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    (made,) = UPSTREAM.answer({**CHUNK, "choices": [choice]}).candidates
    return made


def calls(*items: Any, finish: str = "tool_calls") -> list[ChatEvent]:
    """The events of a stream with these entries of `tool_calls`, one in each chunk."""
    stream = sse(*(chunk({"tool_calls": [item]}) for item in items), chunk(finish=finish))
    return read_whole(stream)[1:-1]


# --- thoughts


def test_deepseeks_thoughts_are_read_and_know_where_they_go_back_to() -> None:
    answer = assemble(read_whole(DEEPSEEK_STREAM))
    thought = Reasoning("Two plus two.", "model-service:openai_chat:reasoning_content")
    assert answer.candidates == [Candidate([thought, Text("Four")], FinishReason.STOP)]
    assert answer.usage == Usage(input=20, cached_input=10, output=12, reasoning=8)
    assert whole({"reasoning_content": "Two plus two.", "content": "Four"}) == answer.candidates[0]


def test_groqs_and_vllms_thoughts_are_read() -> None:
    thought = Reasoning("hm", "model-service:openai_chat:reasoning")
    expected = Candidate([thought, Text("Four")], FinishReason.STOP)
    assert candidate({"reasoning": "h"}, {"reasoning": "m"}, {"content": "Four"}) == expected
    assert whole({"reasoning": "hm", "content": "Four"}) == expected


def test_openrouters_signed_thoughts_are_read_once_with_all_that_goes_back() -> None:
    (made,) = assemble(read_whole(OPENROUTER_STREAM)).candidates
    kept = '{"type":"reasoning.text","format":"anthropic-claude-v1","index":0}'
    signed = kept[:-1] + ',"signature":"EqQBCgIYAhIM"}'
    thought = Reasoning("Let me see.", f"model-service:openai_chat:{signed}")
    assert made == Candidate([thought, Text("Four")], FinishReason.STOP)


def test_openrouters_whole_answer_is_the_same() -> None:
    entry = {
        "type": "reasoning.text",
        "text": "Let me see.",
        "format": "anthropic-claude-v1",
        "index": 0,
        "signature": "EqQBCgIYAhIM",
    }
    message = {"content": "Four", "reasoning": "Let me see.", "reasoning_details": [entry]}
    assert [whole(message)] == assemble(read_whole(OPENROUTER_STREAM)).candidates


def test_hidden_thoughts_and_summaries_are_apart() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "sums", "id": "rs_1", "index": 0},
        {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 1},
        {"type": "reasoning.video", "data": "x", "index": 2},
        "nothing",
    ]
    made = whole({"content": "Four", "reasoning": "sums", "reasoning_details": details})
    assert made.parts == [
        Reasoning(
            "sums",
            'model-service:openai_chat:{"type":"reasoning.summary","id":"rs_1","index":0}',
            id="rs_1",
        ),
        Reasoning(
            "",
            'model-service:openai_chat:{"type":"reasoning.encrypted","id":"rs_1","index":1,'
            '"data":"gAAA"}',
            redacted=True,
            id="rs_1",
        ),
        Text("Four"),
    ]


def test_thoughts_with_other_indexes_are_others() -> None:
    one = {"type": "reasoning.text", "text": "a", "index": 0}
    other = {"type": "reasoning.text", "text": "b", "index": 1}
    made = candidate({"reasoning_details": [one]}, {"reasoning_details": [other]})
    assert [part.text for part in made.parts if isinstance(part, Reasoning)] == ["a", "b"]


def test_mistrals_thoughts_stand_among_the_content() -> None:
    def thinking(text: str) -> Any:
        return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}

    expected = Candidate([Reasoning("hm"), Text("Four")], FinishReason.STOP)
    text = {"type": "text", "text": "Four"}
    assert (
        candidate({"content": [thinking("h")]}, {"content": [thinking("m")]}, {"content": [text]})
        == expected
    )
    assert whole({"content": [thinking("hm"), {"type": "reference"}, text]}) == expected
    assert whole({"content": [{"type": "thinking", "thinking": "hm"}, text]}) == expected


def test_a_thought_ends_where_a_call_begins() -> None:
    made = candidate(
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        finish="tool_calls",
    )
    assert [type(part) for part in made.parts] == [Reasoning, ToolCall]


# --- calls


def test_a_call_may_come_with_all_its_arguments() -> None:
    item = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert calls(item) == [ToolCallStarted(0, "c", "f"), ToolCallDelta(0, '{"a": 1}')]


def test_a_call_may_have_no_arguments() -> None:
    item = {"index": 0, "id": "c", "function": {"name": "f"}}
    assert calls(item, {"index": 0, "function": {"arguments": ""}}) == [
        ToolCallStarted(0, "c", "f")
    ]


def test_arguments_may_be_an_object() -> None:
    item = {"index": 0, "id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    assert calls(item)[1] == ToolCallDelta(0, '{"a":1}')


def test_geminis_calls_have_no_index_and_their_signature_beside_them() -> None:
    first = {
        "id": "call_297140",
        "type": "function",
        "function": {"name": "read", "arguments": '{"offset":'},
        "extra_content": {"google": {"thought_signature": "CuMB"}},
    }
    second = {"id": "call_297141", "function": {"name": "list", "arguments": "{}"}}
    assert calls(first, {"function": {"arguments": "1}"}}, second, finish="stop") == [
        ToolCallStarted(0, "call_297140", "read", signature="model-service:openai_chat:CuMB"),
        ToolCallDelta(0, '{"offset":'),
        ToolCallDelta(0, "1}"),
        ToolCallStarted(1, "call_297141", "list"),
        ToolCallDelta(1, "{}"),
    ]


def test_calls_of_the_same_index_are_told_apart_by_their_ids() -> None:
    items = [
        {"index": 0, "id": name, "function": {"name": "f", "arguments": f'"{name}"'}}
        for name in ("a", "b")
    ]
    assert calls(*items) == [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, '"a"'),
        ToolCallStarted(1, "b", "f"),
        ToolCallDelta(1, '"b"'),
    ]


def test_an_id_and_a_name_that_are_repeated_are_told_once() -> None:
    pieces = [
        {"index": 0, "id": "c", "function": {"name": "f", "arguments": piece}}
        for piece in ("{", "}")
    ]
    assert calls(*pieces) == [
        ToolCallStarted(0, "c", "f"),
        ToolCallDelta(0, "{"),
        ToolCallDelta(0, "}"),
    ]


def test_ids_that_are_made_up_for_every_piece_are_of_one_call() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}
    assert len(calls(first, {"index": 0, "id": "b", "function": {"arguments": "}"}})) == 3


def test_pieces_without_index_find_their_call_by_its_id() -> None:
    items = [
        {"id": "a", "function": {"name": "f"}},
        {"id": "b", "function": {"name": "g"}},
        {"id": "a", "function": {"arguments": "{}"}},
    ]
    assert calls(*items)[-1] == ToolCallDelta(0, "{}")


def test_a_name_may_come_after_the_id_and_the_first_arguments() -> None:
    items = [
        {"index": 0, "id": "c", "function": {"arguments": "{"}},
        {"index": 0, "function": {"name": "f", "arguments": "}"}},
    ]
    assert calls(*items) == [ToolCallStarted(0, "c", "f"), ToolCallDelta(0, "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    (started,) = calls({"index": 0, "function": {"name": "f"}})
    assert isinstance(started, ToolCallStarted)
    assert started.id.startswith("call_")
    assert len(started.id) > 20


def test_calls_without_ids_and_indexes_are_told_apart_by_their_names() -> None:
    items = [{"function": {"name": name, "arguments": "{}"}} for name in ("f", "g")]
    assert [event.name for event in calls(*items) if isinstance(event, ToolCallStarted)] == [
        "f",
        "g",
    ]


def test_a_call_without_a_name_is_malformed() -> None:
    stream = sse(
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"arguments": "{}"}}]}),
        chunk(finish="tool_calls"),
    )
    assert failed(stream).code == "malformed_answer"


def test_an_entry_that_says_nothing_is_no_call() -> None:
    empty = {"index": 1, "function": {"arguments": ""}}
    item = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    assert len(calls(item, empty)) == 2


def test_the_old_function_call_is_a_call() -> None:
    made = candidate(
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ": 1}"}},
        finish="function_call",
    )
    (call,) = made.parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("f", '{"a": 1}')
    assert made.finish is FinishReason.TOOL_CALLS


# --- usage


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        # xAI: thoughts beside the output
        (
            {
                "prompt_tokens": 10120,
                "completion_tokens": 1499,
                "total_tokens": 14428,
                "prompt_tokens_details": {"cached_tokens": 128},
                "completion_tokens_details": {"reasoning_tokens": 2809},
            },
            Usage(input=9992, cached_input=128, output=4308, reasoning=2809),
        ),
        # Gemini's compatible API: thoughts in the total alone
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115},
            Usage(input=10, output=105, reasoning=100),
        ),
        # a total that nobody can explain
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 99,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input=10, output=5, reasoning=3),
        ),
        # Moonshot
        ({"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 4}, Usage(6, 4, output=5)),
        # a cache that is counted beside the prompt
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 90}},
            Usage(input=10, cached_input=90),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10},
            Usage(input=10),
        ),
        ({"prompt_tokens": 10.0, "completion_tokens": 5.0}, Usage(input=10, output=5)),
        (
            {
                "prompt_tokens": "10",
                "completion_tokens": -5,
                "total_tokens": True,
                "prompt_tokens_details": [],
                "completion_tokens_details": {"reasoning_tokens": 10**15},
            },
            Usage(),
        ),
    ],
)
def test_usage_is_read_in_disjoint_classes(document: Any, usage: Usage) -> None:
    assert read_usage(document) == usage


def test_groqs_own_place_for_the_usage_is_read() -> None:
    stream = sse(
        chunk({"content": "x"}),
        chunk(finish="stop", x_groq={"usage": {"prompt_tokens": 5, "completion_tokens": 1}}),
    )
    assert assemble(read_whole(stream)).usage == Usage(input=5, output=1)


# --- errors


def test_openrouters_error_in_mid_stream_is_read() -> None:
    ended = openrouter({"content": ""}, finish="error")
    error = {"code": 502, "message": "Provider disconnected"}
    fault = failed(sse(openrouter({"content": "x"}), {**ended, "error": error}))
    assert (fault.kind, fault.message, fault.status) == (
        FaultKind.UPSTREAM,
        "Provider disconnected",
        502,
    )


def test_an_error_in_a_choice_is_read() -> None:
    choice = {"message": {}, "finish_reason": "error", "error": {"code": 429, "message": "Slow"}}
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.answer({"choices": [choice]})
    assert caught.value.fault.kind is FaultKind.RATE_LIMITED
