"""Whole answers are complete `response` objects, as the official client reads them."""

from typing import Any

import pytest
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseOutputMessage

from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    Choice,
    Effort,
    FinishReason,
    OutputFormat,
    Part,
    Reasoning,
    ReasoningRequest,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.signatures import mark
from tests.unit.dialects.openai_responses.wire import question

PARTS: list[Part] = [
    Reasoning("Hm.", mark("anthropic", "EqQB")),
    Text("It rains."),
    Refusal("I say no more."),
    ToolCall("call_a", "weather", '{"city":"Bern"}'),
    ToolCall("call_b", "now", ""),
]


def written(
    *parts: Part, finish: FinishReason = FinishReason.STOP, **changed: Any
) -> dict[str, Any]:
    answer = ChatAnswer("msg_9", [Candidate([*parts], finish)], Usage(), **changed)
    return ResponsesDoor().answer(answer, "fast")


def test_the_official_client_reads_every_part() -> None:
    response = Response.model_validate(written(*PARTS))
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert response.output_text == "It rains."


def test_texts_and_refusals_in_a_row_are_one_message() -> None:
    message = Response.model_validate(written(*PARTS)).output[1]
    assert isinstance(message, ResponseOutputMessage)
    assert [part.type for part in message.content] == ["output_text", "refusal"]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    call = Response.model_validate(written(ToolCall("a", "now", " "))).output[0]
    assert isinstance(call, ResponseFunctionToolCall)
    assert call.arguments == "{}"


def test_empty_texts_make_no_message() -> None:
    assert written(Text(""), ToolCall("a", "now", "{}"))["output"][0]["type"] == "function_call"


def test_items_have_ids_of_their_kind() -> None:
    ids = [item["id"] for item in written(*PARTS)["output"]]
    assert [item_id.split("_")[0] for item_id in ids] == ["rs", "msg", "fc", "fc"]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(("given", "shown"), [("resp_1", "resp_1"), ("msg_9", "resp_msg_9")])
def test_the_providers_id_is_kept(given: str, shown: str) -> None:
    answer = ChatAnswer(given, [], Usage())
    assert ResponsesDoor().answer(answer, "fast")["id"] == shown


def test_an_answer_without_an_id_gets_one() -> None:
    first, second = (ResponsesDoor().answer(ChatAnswer("", [], Usage()), "fast") for _ in "ab")
    assert first["id"].startswith("resp_")
    assert first["id"] != second["id"]


def test_the_model_is_the_registered_one() -> None:
    assert written()["model"] == "fast"


@pytest.mark.parametrize(
    ("finish", "status", "details"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.TOOL_CALLS, "completed", None),
        (FinishReason.STOP_SEQUENCE, "completed", None),
        (FinishReason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (FinishReason.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
        (FinishReason.PAUSE, "incomplete", {"reason": None}),
        # A refusal without words would otherwise look like an answer.
        (FinishReason.REFUSAL, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_why_it_ended_is_its_status(
    finish: FinishReason, status: str, details: dict[str, Any] | None
) -> None:
    answer = written(Text("It r"), finish=finish)
    assert (answer["status"], answer["incomplete_details"]) == (status, details)
    assert answer["output"][-1]["status"] == status


def test_a_refusal_in_words_is_a_complete_answer() -> None:
    answer = written(Refusal("No."), finish=FinishReason.REFUSAL)
    assert answer["status"] == "completed"


def test_a_thought_is_complete_although_the_answer_was_cut() -> None:
    answer = written(Reasoning("Hm.", mark("anthropic", "x")), finish=FinishReason.LENGTH)
    assert (answer["status"], answer["output"][0]["status"]) == ("incomplete", "completed")


def test_tokens_of_the_cache_are_part_of_the_input() -> None:
    usage = Usage(
        input=10, cached_input=60, cache_write=20, cache_write_1h=5, output=50, reasoning=20
    )
    document = ResponsesDoor().answer(ChatAnswer("x", [], usage), "fast")["usage"]
    assert document == {
        "input_tokens": 95,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 25},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 145,
    }


@pytest.mark.parametrize(
    ("given", "shown"),
    [("priority", "priority"), ("standard", "default"), ("batch", None), (None, None)],
)
def test_the_tier_is_told_in_this_apis_words(given: str | None, shown: str | None) -> None:
    assert written(service_tier=given)["service_tier"] == shown


def test_log_probabilities_stand_with_the_text() -> None:
    token = {"token": "é", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "e"}]}
    wrong = [5, {"token": 5, "logprob": 1}, {"token": "x", "logprob": "high"}]
    candidate = Candidate(
        [Text("é")], FinishReason.STOP, logprobs={"content": [token, *wrong], "refusal": None}
    )
    document = ResponsesDoor().answer(ChatAnswer("x", [candidate], Usage()), "fast")
    Response.model_validate(document)
    assert document["output"][0]["content"][0]["logprobs"] == [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}
    ]


def test_the_request_is_repeated() -> None:
    tools = [Tool("weather", "the weather", {"type": "object"}, True), Tool("now")]
    request = question(
        system=[Text("Be brief."), Text("Be kind.")],
        max_tokens=99,
        temperature=0.5,
        top_p=0.9,
        tools=tools,
        tool_choice=ToolChoice(Choice.AUTO, allowed=["now"]),
        parallel_tool_calls=False,
        output=OutputFormat({"type": "object"}, "place", "where", True),
        verbosity="low",
        reasoning=ReasoningRequest(Effort.LOW, visible=True, detail="concise"),
        metadata={"team": "a"},
        user="u-1",
    )
    response = Response.model_validate(written(request=request))
    assert (response.instructions, response.max_output_tokens) == ("Be brief.\n\nBe kind.", 99)
    assert (response.temperature, response.top_p) == (0.5, 0.9)
    assert [tool.type for tool in response.tools] == ["function", "function"]
    assert response.parallel_tool_calls is False
    assert response.metadata == {"team": "a"}
    assert response.reasoning is not None
    assert (response.reasoning.effort, response.reasoning.summary) == ("low", "concise")
    document = written(request=request)
    assert document["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "now"}],
    }
    assert document["text"]["format"]["name"] == "place"
    assert document["text"]["verbosity"] == "low"


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (None, "auto"),
        (ToolChoice(Choice.REQUIRED), "required"),
        (ToolChoice(Choice.NONE), "none"),
        (ToolChoice(Choice.NAMED, "now"), {"type": "function", "name": "now"}),
    ],
)
def test_the_choice_of_tools_is_repeated(choice: ToolChoice | None, shown: Any) -> None:
    request = question(tool_choice=choice, output=OutputFormat())
    document = written(request=request)
    Response.model_validate(document)
    assert document["tool_choice"] == shown
    assert document["text"] == {"format": {"type": "json_object"}}
