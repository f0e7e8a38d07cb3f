"""Answers and streams that callers get: the official client reads both, and finds the same."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from model_service.providers.assembly import events_of
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
    Message,
    Part,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    Refusal,
    Role,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.openai_chat.door import ChatDoor
from model_service.providers.faults import Fault, FaultKind

from .official import client, streaming
from .wire import DONE, events_in

DOOR = ChatDoor()
USED = Usage(input=5, cached_input=3, cache_write=2, cache_write_1h=1, output=7, reasoning=4)
LOGPROBS = {
    "content": [{"token": "Hi", "bytes": [72, 105], "logprob": -0.1, "top_logprobs": []}],
    "refusal": None,
}


def answered(*parts: Part, finish: FinishReason = FinishReason.STOP, **more: Any) -> ChatAnswer:
    return ChatAnswer("msg_1", [Candidate(list(parts), finish, **more)], USED, created=1795000000)


def written(answer: ChatAnswer) -> Any:
    return DOOR.answer(answer, "my-model")


def message_of(*parts: Part) -> Any:
    return written(answered(*parts))["choices"][0]["message"]


def streamed(events: list[ChatEvent], *, include_usage: bool = True) -> bytes:
    request = ChatRequest("my-model", [], stream=True, include_usage=include_usage)
    writer = DOOR.writer(request, "my-model")
    return b"".join(map(writer.write, events)) + writer.end()


def put_together(stream: bytes) -> Any:
    """What a caller has after a stream, by the rules of OpenAI's and OpenRouter's clients."""
    choices: dict[int, Any] = {}
    for event in events_in(stream):
        for choice in event["choices"]:
            index = choice["index"]
            message = choices.setdefault(index, {"index": index, "message": {}, "logprobs": None})
            _add(message["message"], choice["delta"])
            if choice["logprobs"] is not None:
                assert message["logprobs"] is None
                message["logprobs"] = choice["logprobs"]
            if choice["finish_reason"] is not None:
                assert "finish_reason" not in message
                message["finish_reason"] = choice["finish_reason"]
    return [choices[index] for index in sorted(choices)]


def _add(message: Any, delta: Any) -> None:
    for name, value in delta.items():
        before = message.get(name)
        if name == "tool_calls":
            calls = message.setdefault(name, [])
            for call in value:
                if call["index"] == len(calls):
                    calls.append({key: call[key] for key in call if key != "index"})
                else:
                    assert "id" not in call
                    calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        elif name == "role":
            assert before is None
            message[name] = value
        elif before is None:
            message[name] = value
        elif value is not None:
            message[name] = before + value


# --- whole answers


def test_a_text_is_a_completion() -> None:
    document = written(answered(Text("Hi"), Text(" there")))
    assert document == {
        "id": "chatcmpl-msg_1",
        "object": "chat.completion",
        "created": 1795000000,
        "model": "my-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi there", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    }


def test_an_id_of_this_kind_is_kept() -> None:
    answer = answered(Text("Hi"))
    answer.id = "chatcmpl-abc"
    assert written(answer)["id"] == "chatcmpl-abc"


def test_an_answer_without_an_id_gets_one() -> None:
    answer = answered(Text("Hi"))
    answer.id = ""
    assert len(written(answer)["id"]) > len("chatcmpl-")


def test_the_tier_is_told_where_it_is_known() -> None:
    answer = answered(Text("Hi"))
    answer.service_tier = "flex"
    assert written(answer)["service_tier"] == "flex"


def test_calls_have_text_beside_them_or_null() -> None:
    call = ToolCall("call_1", "f", '{"a": 1}')
    assert message_of(call)["content"] is None
    assert message_of(Text("Wait."), call) == {
        "role": "assistant",
        "content": "Wait.",
        "refusal": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a": 1}'},
            }
        ],
    }


def test_empty_arguments_are_an_empty_object() -> None:
    assert message_of(ToolCall("c", "f", ""))["tool_calls"][0]["function"]["arguments"] == "{}"


def test_an_answer_of_thoughts_alone_has_an_empty_text() -> None:
    assert message_of(Reasoning("hm"))["content"] == ""


def test_thoughts_are_shown_as_text_and_for_the_way_back() -> None:
    message = message_of(
        Reasoning("first", "model-service:anthropic:EqQB"),
        Text("So: "),
        Reasoning("then"),
        Reasoning("", "model-service:anthropic:hidden", redacted=True),
        Text("four."),
    )
    assert message["content"] == "So: four."
    assert message["reasoning_content"] == "first\n\nthen"
    assert message["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "first",
            "signature": "model-service:anthropic:EqQB",
            "format": "model-service",
            "index": 0,
        },
        {"type": "reasoning.text", "text": "then", "format": "model-service", "index": 2},
        {
            "type": "reasoning.encrypted",
            "data": "model-service:anthropic:hidden",
            "format": "model-service",
            "index": 3,
        },
    ]


def test_a_hidden_thought_with_a_summary_shows_both_and_its_id() -> None:
    thought = Reasoning("sum", "model-service:openai_responses:enc", redacted=True, id="rs_1")
    (entry,) = message_of(thought)["reasoning_details"]
    assert entry == {
        "type": "reasoning.encrypted",
        "data": "model-service:openai_responses:enc",
        "text": "sum",
        "id": "rs_1",
        "format": "model-service",
        "index": 0,
    }


@pytest.mark.parametrize(
    ("signature", "shown"),
    [
        ("model-service:google:CuMB", "CuMB"),
        ("model-service:openai_chat:CuMB", "model-service:openai_chat:CuMB"),
    ],
)
def test_what_gemini_wants_back_with_a_call_is_where_its_own_api_has_it(
    signature: str, shown: str
) -> None:
    (call,) = message_of(ToolCall("c", "f", "{}", signature))["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": shown}}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.TOOL_CALLS, "tool_calls"),
        (FinishReason.CONTENT_FILTER, "content_filter"),
        (FinishReason.REFUSAL, "content_filter"),
        (FinishReason.STOP_SEQUENCE, "stop"),
        (FinishReason.PAUSE, "length"),
    ],
)
def test_every_end_has_a_word(reason: FinishReason, word: str) -> None:
    assert written(answered(Text("x"), finish=reason))["choices"][0]["finish_reason"] == word


def test_a_refusal_in_words_ends_as_openais_do() -> None:
    (choice,) = written(answered(Refusal("No."), finish=FinishReason.REFUSAL))["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "No."}


def test_several_candidates_are_numbered() -> None:
    answer = answered(Text("a"))
    answer.candidates.append(Candidate([Text("b")], FinishReason.LENGTH))
    choices = written(answer)["choices"]
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [
        (0, "a"),
        (1, "b"),
    ]


def test_the_official_client_reads_a_whole_answer() -> None:
    answer = answered(
        Reasoning("hm", "model-service:anthropic:x"),
        Text("Hi"),
        ToolCall("call_1", "f", '{"a": 1}', "model-service:google:s"),
        finish=FinishReason.TOOL_CALLS,
        logprobs=LOGPROBS,
    )
    body = orjson.dumps(written(answer))
    completion = client(body).chat.completions.create(model="m", messages=[])
    (choice,) = completion.choices
    assert choice.message.content == "Hi"
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].id == "call_1"
    assert choice.finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 11
    ChatCompletion.model_validate(written(answer), strict=True)


# --- streams


def test_a_text_is_streamed_role_first_and_usage_last() -> None:
    events: list[ChatEvent] = [
        Started("msg_1", 1795000000, "default"),
        TextDelta("Hel"),
        TextDelta("lo"),
        Finished(FinishReason.STOP),
        UsageReported(USED),
    ]
    stream = streamed(events)
    assert stream.endswith(DONE)
    chunks = events_in(stream)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [
        None,
        None,
        None,
        "stop",
    ]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 18
    for chunk in chunks:
        assert chunk["id"] == "chatcmpl-msg_1"
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["created"] == 1795000000
        assert chunk["model"] == "my-model"
        assert chunk["service_tier"] == "default"


def test_usage_that_nobody_asked_for_is_not_mentioned() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        TextDelta("Hi"),
        Finished(FinishReason.STOP),
        UsageReported(USED),
    ]
    assert b"usage" not in streamed(events, include_usage=False)


def test_only_the_last_usage_counts() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        UsageReported(Usage(input=11)),
        TextDelta("Hi"),
        Finished(FinishReason.STOP),
        UsageReported(Usage(input=11, output=2)),
    ]
    assert [event["usage"] for event in events_in(streamed(events)) if event["usage"]] == [
        {
            "prompt_tokens": 11,
            "completion_tokens": 2,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
    ]


def test_a_usage_that_nobody_knows_is_not_made_up() -> None:
    events: list[ChatEvent] = [Started("msg_1"), TextDelta("Hi"), Finished(FinishReason.STOP)]
    assert all(event["usage"] is None for event in events_in(streamed(events)))


def test_a_calls_id_and_name_come_once_and_then_pieces_by_index() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        ToolCallStarted(0, "call_a", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallStarted(1, "call_b", "g", signature="model-service:google:sig"),
        ToolCallDelta(0, ": 1}"),
        ToolCallDelta(1, "[]"),
        Finished(FinishReason.TOOL_CALLS),
    ]
    deltas = [chunk["choices"][0]["delta"] for chunk in events_in(streamed(events))]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": None}
    assert [delta["tool_calls"][0] for delta in deltas[1:-1]] == [
        {
            "index": 0,
            "id": "call_a",
            "type": "function",
            "function": {"name": "f", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": '{"a"'}},
        {
            "index": 1,
            "id": "call_b",
            "type": "function",
            "function": {"name": "g", "arguments": ""},
            "extra_content": {"google": {"thought_signature": "sig"}},
        },
        {"index": 0, "function": {"arguments": ": 1}"}},
        {"index": 1, "function": {"arguments": "[]"}},
    ]


def test_calls_without_arguments_get_an_empty_object_at_the_end() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        ToolCallStarted(0, "call_a", "f"),
        ToolCallStarted(1, "call_b", "g"),
        ToolCallDelta(1, ""),
        Finished(FinishReason.TOOL_CALLS),
    ]
    (choice,) = put_together(streamed(events))
    calls = choice["message"]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ["{}", "{}"]


def test_a_thought_that_is_never_said_to_end_ends_with_what_follows() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        ReasoningDelta("h"),
        ReasoningDelta("m", id="r1"),
        TextDelta("Hi"),
        Finished(FinishReason.STOP),
    ]
    (choice,) = put_together(streamed(events))
    assert choice["message"]["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "hm",
            "id": "r1",
            "format": "model-service",
            "index": 0,
        }
    ]


def test_a_stream_that_nobody_began_still_has_an_id() -> None:
    (first, _) = events_in(streamed([TextDelta("Hi")]))
    assert first["id"].startswith("chatcmpl-")
    assert first["created"] == 0


def test_log_probabilities_may_come_without_a_text() -> None:
    events: list[ChatEvent] = [Started("m"), TextDelta("", logprobs=LOGPROBS)]
    chunks = events_in(streamed(events))
    assert chunks[-1]["choices"][0]["logprobs"] == LOGPROBS


def test_an_error_takes_the_place_of_the_end() -> None:
    request = ChatRequest("my-model", [], stream=True)
    writer = DOOR.writer(request, "my-model")
    writer.write(TextDelta("Hi"))
    error = writer.fail(Fault(FaultKind.UPSTREAM, "cut off", code="incomplete_answer"))
    assert events_in(error) == [
        {
            "error": {
                "message": "cut off",
                "type": "server_error",
                "param": None,
                "code": "incomplete_answer",
            }
        }
    ]
    assert DONE not in error


# --- both are the same

_texts = st.text(max_size=6)
_some = st.text(min_size=1, max_size=6)
_parts = st.lists(
    st.one_of(
        st.builds(Text, _some),
        st.builds(Refusal, _some),
        st.builds(
            Reasoning,
            _texts,
            st.none() | st.just("model-service:anthropic:x"),
            st.booleans(),
            st.none() | st.just("r1"),
        ),
        st.builds(
            ToolCall, _some, _some, st.sampled_from(("", '{"a": 1}')), st.none() | st.just("s")
        ),
    ),
    max_size=6,
)
_candidates = st.lists(
    st.builds(
        Candidate, _parts, st.sampled_from(FinishReason), logprobs=st.none() | st.just(LOGPROBS)
    ),
    min_size=1,
    max_size=3,
)


@given(_candidates)
def test_a_stream_put_together_is_the_whole_answer(candidates: list[Candidate]) -> None:
    answer = ChatAnswer("msg_1", _settled(candidates), USED, 1795000000)
    stream = streamed(list(events_of(answer)))
    whole = written(answer)["choices"]
    for one, other in zip(put_together(stream), whole, strict=True):
        # An answer that says nothing has an empty text either way.
        one["message"]["content"] = one["message"].get("content") or None
        other["message"]["content"] = other["message"].get("content") or None
        assert one == other


def _settled(candidates: list[Candidate]) -> list[Candidate]:
    """The same without parts that no stream can tell apart: texts that follow one another."""
    for candidate in candidates:
        kept: list[Part] = []
        for part in candidate.parts:
            last = kept[-1] if kept else None
            if isinstance(part, Text | Refusal) and type(last) is type(part):
                continue
            kept.append(part)
        candidate.parts = kept
    return candidates


@given(_candidates)
def test_the_official_client_reads_every_stream(candidates: list[Candidate]) -> None:
    answer = ChatAnswer("msg_1", candidates, USED, 1795000000)
    stream = streamed(list(events_of(answer)))
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events_in(stream)]
    assert chunks[-1].usage is not None


def test_the_official_client_puts_a_stream_together() -> None:
    answer = answered(
        Text("Hi"),
        ToolCall("call_1", "f", '{"a": 1}'),
        ToolCall("call_2", "g", ""),
        finish=FinishReason.TOOL_CALLS,
    )
    body = streamed(list(events_of(answer)))
    with streaming(body).chat.completions.stream(model="m", messages=[]) as stream:
        completion = stream.get_final_completion()
    (choice,) = completion.choices
    assert choice.message.content == "Hi"
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert calls is not None
    assert [(call.id, call.function.arguments) for call in calls] == [
        ("call_1", '{"a": 1}'),
        ("call_2", "{}"),
    ]
    assert completion.usage is not None
    assert completion.usage.total_tokens == 18


# --- and come back

_said = st.lists(
    st.one_of(
        st.builds(
            Reasoning,
            _some,
            st.none() | st.sampled_from(("model-service:anthropic:x", "model-service:google:y")),
            st.just(False),
            st.none() | st.just("r1"),
        ),
        st.just(Reasoning("", "model-service:anthropic:z", redacted=True)),
    ),
    max_size=3,
)


@given(_said, st.booleans(), st.lists(_said, max_size=3))
def test_an_answer_that_is_sent_back_has_its_thoughts_in_their_places(
    before: list[Part], speaks: bool, between: list[list[Part]]
) -> None:
    parts = [*before, *([Text("So.")] if speaks else [])]
    for number, thoughts in enumerate(between):
        parts += [*thoughts, ToolCall(f"call_{number}", "f", "{}", "model-service:google:s")]
    message = message_of(*parts)
    request = DOOR.read({"messages": [message]}, "m", stream=False)
    assert request.messages == [Message(Role.ASSISTANT, parts)]


def test_a_streamed_answer_that_is_sent_back_has_its_thoughts_in_their_places() -> None:
    events: list[ChatEvent] = [
        Started("msg_1"),
        ReasoningDelta("one"),
        ReasoningEnded("model-service:anthropic:x"),
        ToolCallStarted(0, "call_0", "f"),
        ReasoningEnded("model-service:anthropic:z", redacted=True),
        ToolCallStarted(1, "call_1", "f"),
        Finished(FinishReason.TOOL_CALLS),
    ]
    (choice,) = put_together(streamed(events))
    request = DOOR.read({"messages": [choice["message"]]}, "m", stream=False)
    assert request.messages[0].parts == [
        Reasoning("one", "model-service:anthropic:x"),
        ToolCall("call_0", "f", "{}"),
        Reasoning("", "model-service:anthropic:z", redacted=True),
        ToolCall("call_1", "f", "{}"),
    ]
