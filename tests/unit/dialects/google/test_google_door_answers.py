"""What Google's door answers, whole and in streams, as the official client reads it."""

import base64
from typing import Any

import orjson
import pytest
from google.genai import chats, errors, models, types

from model_service.providers.assembly import events_of
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    Finished,
    FinishReason,
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
from model_service.providers.dialects.google.door import GoogleDoor
from model_service.providers.faults import Fault, FaultKind
from model_service.providers.signatures import mark

from .wire import NAME, assistant, user

SHOWN = base64.b64encode(mark("anthropic", "abc=").encode()).decode()
USAGE = Usage(input=44, cached_input=256, output=90, reasoning=70)
LOGPROBS: dict[str, Any] = {
    "content": [
        {
            "token": "Hi",
            "logprob": -0.25,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105]}],
        }
    ]
}


def answer(*parts: Any, finish: FinishReason = FinishReason.STOP, **fields: Any) -> ChatAnswer:
    return ChatAnswer("r-1", [Candidate(list(parts), finish, **fields)], USAGE)


def document(given: ChatAnswer) -> dict[str, Any]:
    return GoogleDoor().answer(given, NAME)


def parsed(plain: dict[str, Any]) -> types.GenerateContentResponse:
    """What the official client makes of an answer; it refuses fields that it does not know."""
    types.GenerateContentResponse.model_validate(plain)
    converted = models._GenerateContentResponse_from_mldev(plain)
    return types.GenerateContentResponse._from_response(response=converted, kwargs={})


def written(*events: ChatEvent) -> list[dict[str, Any]]:
    """The documents of a stream."""
    writer = GoogleDoor().writer(ChatRequest(NAME, []), NAME)
    data = b"".join([*map(writer.write, events), writer.end()])
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b""
    assert all(block.startswith(b"data: ") for block in blocks)
    return [orjson.loads(block[6:]) for block in blocks]


def parts_of(plain: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plain["candidates"][0]["content"]["parts"]
    return found


def test_an_answer_has_candidates_usage_and_names() -> None:
    assert document(answer(Text("Hi!"))) == {
        "candidates": [
            {
                "content": {"parts": [{"text": "Hi!"}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 300,
            "cachedContentTokenCount": 256,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 70,
            "totalTokenCount": 390,
        },
        "modelVersion": NAME,
        "responseId": "r-1",
    }


def test_the_official_client_reads_text_thoughts_and_calls() -> None:
    found = parsed(
        document(
            answer(
                Reasoning("Hm.", mark("anthropic", "abc=")),
                Text("Look: "),
                ToolCall("toolu_1", "look", '{"at": "it"}'),
                ToolCall("toolu_2", "find", ""),
                finish=FinishReason.TOOL_CALLS,
            )
        )
    )
    assert found.candidates is not None
    content = found.candidates[0].content
    assert content is not None
    assert content.parts is not None
    thought, text, *_ = content.parts
    assert (thought.text, thought.thought) == ("Hm.", True)
    assert thought.thought_signature == mark("anthropic", "abc=").encode()
    assert text.text == "Look: "
    assert found.function_calls == [
        types.FunctionCall(id="toolu_1", name="look", args={"at": "it"}),
        types.FunctionCall(id="toolu_2", name="find", args={}),
    ]
    assert found.candidates[0].finish_reason is types.FinishReason.STOP
    assert found.usage_metadata is not None
    assert found.usage_metadata.thoughts_token_count == 70
    assert found.model_version == NAME


def test_what_the_client_sends_back_is_what_the_model_said() -> None:
    parts = [
        Reasoning("Hm.", mark("anthropic", "abc=")),
        Reasoning("", mark("anthropic", "hid+den/"), redacted=True),
        Text("Look: "),
        ToolCall("toolu_1", "look", '{"at":"it"}'),
    ]
    found = parsed(document(answer(*parts, finish=FinishReason.TOOL_CALLS)))
    assert found.candidates is not None
    assert found.candidates[0].content is not None
    sent = orjson.loads(found.candidates[0].content.model_dump_json(exclude_none=True))
    hello = {"role": "user", "parts": [{"text": "x"}]}
    request = GoogleDoor().read({"contents": [hello, sent]}, NAME, stream=False)
    first, call = request.messages[1].parts[:-1], request.messages[1].parts[-1]
    assert first == parts[:-1]
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.arguments) == ("toolu_1", "look", '{"at":"it"}')


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (FinishReason.STOP, "STOP"),
        (FinishReason.LENGTH, "MAX_TOKENS"),
        (FinishReason.TOOL_CALLS, "STOP"),
        (FinishReason.CONTENT_FILTER, "SAFETY"),
        (FinishReason.REFUSAL, "SAFETY"),
        (FinishReason.STOP_SEQUENCE, "STOP"),
        (FinishReason.PAUSE, "STOP"),
    ],
)
def test_every_reason_to_end_has_a_word(finish: FinishReason, word: str) -> None:
    assert document(answer(Text("x"), finish=finish))["candidates"][0]["finishReason"] == word
    assert written(Started("r"), Finished(finish))[-1]["candidates"][0]["finishReason"] == word


def test_googles_own_signature_is_shown_bare() -> None:
    found = document(answer(Reasoning("Hm", mark("google", "c2ln"))))
    assert parts_of(found) == [{"text": "Hm", "thought": True, "thoughtSignature": "c2ln"}]


def test_a_hidden_thought_is_a_signed_empty_text() -> None:
    found = document(answer(Text("Hi"), Reasoning("", mark("google", "c2ln"), redacted=True)))
    assert parts_of(found) == [{"text": "Hi"}, {"text": "", "thoughtSignature": "c2ln"}]


def test_the_first_call_of_another_model_is_marked_for_gemini() -> None:
    calls = [ToolCall("a", "x", "{}"), ToolCall("b", "y", "{}")]
    found = parts_of(document(answer(*calls, finish=FinishReason.TOOL_CALLS)))
    assert found[0]["thoughtSignature"] == "skip_thought_signature_validator"
    assert "thoughtSignature" not in found[1]


def test_the_signature_of_a_call_is_kept() -> None:
    call = ToolCall("a", "x", "{}", mark("google", "c2ln"))
    assert parts_of(document(answer(call)))[0]["thoughtSignature"] == "c2ln"


def test_arguments_that_are_no_object_are_not_lost() -> None:
    call = ToolCall("a", "x", '{"city": "Ber')
    found = parts_of(document(answer(call)))[0]["functionCall"]
    assert found == {"id": "a", "name": "x", "args": {"arguments": '{"city": "Ber'}}


def test_a_refusal_is_text() -> None:
    assert parts_of(document(answer(Refusal("No.")))) == [{"text": "No."}]


def test_an_answer_that_is_empty_has_an_empty_text() -> None:
    assert parts_of(document(answer())) == [{"text": ""}]


def test_a_blocked_answer_has_no_content() -> None:
    found = document(answer(finish=FinishReason.CONTENT_FILTER))
    assert found["candidates"] == [{"finishReason": "SAFETY", "index": 0}]
    assert parsed(found).text is None


def test_several_candidates_have_their_index() -> None:
    given = ChatAnswer(
        "r-1",
        [Candidate([Text("a")], FinishReason.STOP), Candidate([Text("b")], FinishReason.LENGTH)],
        Usage(),
    )
    assert [candidate["index"] for candidate in document(given)["candidates"]] == [0, 1]


def test_log_probabilities_are_in_googles_form() -> None:
    found = parsed(document(answer(Text("Hi"), logprobs=LOGPROBS)))
    assert found.candidates is not None
    result = found.candidates[0].logprobs_result
    assert result is not None
    assert result.chosen_candidates == [
        types.LogprobsResultCandidate(token="Hi", log_probability=-0.25)
    ]
    assert result.top_candidates is not None
    assert result.top_candidates[0].candidates == result.chosen_candidates


STREAM: tuple[ChatEvent, ...] = (
    Started("r-1"),
    ReasoningDelta("They "),
    ReasoningDelta("greet."),
    ReasoningEnded(mark("anthropic", "abc=")),
    TextDelta("Good "),
    TextDelta('"day" ☀'),
    ToolCallStarted(0, "c-0", "look"),
    ToolCallDelta(0, '{"at"'),
    ToolCallStarted(1, "c-1", "find"),
    ToolCallDelta(0, ': "it"}'),
    Finished(FinishReason.TOOL_CALLS),
    UsageReported(USAGE),
)


def test_a_stream_has_an_event_for_each_piece_and_whole_calls_at_the_end() -> None:
    documents = written(*STREAM)
    assert [parts_of(found) for found in documents] == [
        [{"text": "They ", "thought": True}],
        [{"text": "greet.", "thought": True}],
        [{"text": "", "thought": True, "thoughtSignature": SHOWN}],
        [{"text": "Good "}],
        [{"text": '"day" ☀'}],
        [
            {
                "functionCall": {"id": "c-0", "name": "look", "args": {"at": "it"}},
                "thoughtSignature": "skip_thought_signature_validator",
            },
            {"functionCall": {"id": "c-1", "name": "find", "args": {}}},
        ],
    ]  # fmt: skip
    assert {found["responseId"] for found in documents} == {"r-1"}
    assert {found["modelVersion"] for found in documents} == {NAME}
    assert ["usageMetadata" in found for found in documents] == [False] * 5 + [True]


def test_the_official_client_takes_every_event_for_a_sound_one() -> None:
    for found in written(*STREAM):
        assert chats._validate_response(parsed(found))


def test_a_stream_for_a_whole_answer_says_the_same() -> None:
    given = answer(Reasoning("Hm"), Text("Hi"), ToolCall("a", "x", '{"n":1}'),
                   finish=FinishReason.TOOL_CALLS)  # fmt: skip
    documents = written(*events_of(given))
    streamed = [part for found in documents for part in parts_of(found)]
    assert streamed == parts_of(document(given))
    assert documents[-1]["usageMetadata"] == document(given)["usageMetadata"]


def test_what_the_client_keeps_of_a_stream_comes_back_as_it_was_said() -> None:
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "x"}]}]
    for found in written(*STREAM):
        read = parsed(found)
        assert read.candidates is not None
        assert read.candidates[0].content is not None
        contents.append(orjson.loads(read.candidates[0].content.model_dump_json(exclude_none=True)))
    request = GoogleDoor().read({"contents": contents}, NAME, stream=True)
    assert request.messages == [
        user("x"),
        assistant(
            Reasoning("They greet.", mark("anthropic", "abc=")),
            'Good "day" ☀',
            ToolCall(
                "c-0", "look", '{"at":"it"}', mark("google", "skip_thought_signature_validator")
            ),
            ToolCall("c-1", "find", "{}"),
        ),
    ]


def test_text_behind_a_whole_call_stays_behind_it() -> None:
    documents = written(
        Started("r"), ToolCallStarted(0, "a", "x"), ToolCallDelta(0, "{}"), TextDelta("So."),
        ToolCallDelta(0, ""), Finished(FinishReason.STOP),
    )  # fmt: skip
    assert [part.get("text") for part in parts_of(documents[0])] == [None, "So."]


def test_text_within_a_call_goes_before_it() -> None:
    documents = written(
        Started("r"), ToolCallStarted(0, "a", "x"), ToolCallDelta(0, '{"n":'), TextDelta("So."),
        ToolCallDelta(0, "1}"), Finished(FinishReason.STOP),
    )  # fmt: skip
    assert parts_of(documents[0]) == [{"text": "So."}]
    assert parts_of(documents[1])[0]["functionCall"]["args"] == {"n": 1}


def test_a_refusal_streams_as_text() -> None:
    assert parts_of(written(Started("r"), RefusalDelta("No."))[0]) == [{"text": "No."}]


def test_log_probabilities_go_with_their_text() -> None:
    found = written(Started("r"), TextDelta("Hi", logprobs=LOGPROBS))[0]["candidates"][0]
    assert found["logprobsResult"]["chosenCandidates"] == [{"token": "Hi", "logProbability": -0.25}]


def test_a_blocked_stream_ends_without_content() -> None:
    documents = written(Started("r"), Finished(FinishReason.CONTENT_FILTER))
    assert documents[-1]["candidates"] == [{"finishReason": "SAFETY", "index": 0}]


def test_candidates_of_a_stream_end_together() -> None:
    documents = written(
        Started("r"), TextDelta("a", 0), TextDelta("b", 1), Finished(FinishReason.STOP, 0),
        TextDelta("b", 1), Finished(FinishReason.LENGTH, 1),
    )  # fmt: skip
    assert [found["candidates"][0]["index"] for found in documents[:3]] == [0, 1, 1]
    last = documents[-1]["candidates"]
    assert [(found["index"], found["finishReason"]) for found in last] == [
        (0, "STOP"),
        (1, "MAX_TOKENS"),
    ]


def test_an_error_in_a_stream_is_raised_by_the_official_client() -> None:
    writer = GoogleDoor().writer(ChatRequest(NAME, []), NAME)
    data = writer.fail(Fault(FaultKind.OVERLOADED, "Too busy", status=503))
    chunk = orjson.loads(data.removeprefix(b"data: "))
    # As the client looks for errors among the events: by how the JSON begins.
    assert data.startswith(b'data: {"error":')
    with pytest.raises(errors.ServerError) as raised:
        errors.APIError.raise_error(chunk["error"]["code"], chunk, None)
    assert (raised.value.code, raised.value.status) == (503, "UNAVAILABLE")
