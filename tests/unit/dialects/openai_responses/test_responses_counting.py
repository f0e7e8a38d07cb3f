"""Counting the tokens of a request by OpenAI's own count."""

from typing import Any

import pytest
from openai.types.responses import InputTokenCountResponse
from openai.types.responses.input_token_count_params import InputTokenCountParams

from model_service.providers.chat import Effort, OutputFormat, ReasoningRequest, Text, Tool
from model_service.providers.dialects.openai_responses.counting import ResponsesCount
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes
from tests.unit.dialects.openai_responses.wire import TARGET, question


def test_what_makes_the_prompt_is_sent() -> None:
    request = question(
        "Hello",
        system=[Text("Be brief.")],
        tools=[Tool("now")],
        output=OutputFormat(),
        reasoning=ReasoningRequest(Effort.LOW),
    )
    outgoing = ResponsesCount().count_request(request, TARGET, Notes({}))
    assert outgoing.path == "/responses/input_tokens"
    assert set(outgoing.body) == {
        "model", "input", "instructions", "tools", "text", "reasoning"
    }  # fmt: skip
    assert set(outgoing.body) <= set(InputTokenCountParams.__annotations__)


def test_what_is_no_part_of_the_prompt_is_not_refused() -> None:
    request = question(stop=["END"], seed=1, max_tokens=1, temperature=0.5)
    sent = ResponsesCount().count_request(request, TARGET, Notes({})).body
    assert set(sent) == {"model", "input"}


def test_the_count_is_read() -> None:
    answer = InputTokenCountResponse(object="response.input_tokens", input_tokens=123)
    assert ResponsesCount().count_answer(answer.to_dict()) == 123


@pytest.mark.parametrize(
    "document", [{}, {"input_tokens": "5"}, {"input_tokens": -1}, {"input_tokens": True}]
)
def test_an_answer_without_a_count_is_malformed(document: dict[str, Any]) -> None:
    with pytest.raises(CallFailed) as raised:
        ResponsesCount().count_answer(document)
    assert raised.value.fault.code == "malformed_answer"


def test_an_error_within_the_answer_is_one() -> None:
    error = {"error": {"message": "Too fast", "code": "rate_limit_exceeded"}}
    with pytest.raises(CallFailed) as raised:
        ResponsesCount().count_answer(error)
    assert raised.value.fault.kind is FaultKind.RATE_LIMITED
