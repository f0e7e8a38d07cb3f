"""How models are asked to think, and with what they sample."""

from typing import Any

import pytest

from model_service.providers.chat import (
    ChatRequest,
    Effort,
    Message,
    ReasoningRequest,
    Role,
    Text,
)
from model_service.providers.dialects.anthropic.upstream import AnthropicUpstream
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes
from tests.unit.dialects.anthropic.wire_data import notes, target

BUDGETS = "claude-haiku-4-5"
BOTH = "claude-opus-4-6"
ADAPTIVE = "claude-opus-4-8"
THINKS = "claude-sonnet-5"
ALWAYS = "claude-opus-5-5"
BETWEEN = "claude-sonnet-5-5"
NEVER = "claude-3-5-haiku-20241022"


def sent(
    model: str,
    reasoning: ReasoningRequest | None = None,
    told: Notes | None = None,
    default: float | None = None,
    **fields: Any,
) -> dict[str, Any]:
    messages = [Message(Role.USER, [Text("Hello")])]
    request = ChatRequest("opus", messages, reasoning=reasoning, **fields)
    wanted = target(model, default_temperature=default)
    return AnthropicUpstream().request(request, wanted, told or notes()).body


def refused(model: str, reasoning: ReasoningRequest | None = None, **fields: Any) -> str | None:
    """The field that is refused; a lenient call drops it and goes on."""
    with pytest.raises(CallFailed) as failed:
        sent(model, reasoning, **fields)
    assert failed.value.fault.kind is FaultKind.UNSUPPORTED
    lenient = notes(lenient=True)
    body = sent(model, reasoning, lenient, **fields)
    assert lenient.dropped == [failed.value.fault.param]
    assert failed.value.fault.param not in body
    return failed.value.fault.param


def test_a_caller_that_does_not_say_leaves_it_to_the_model() -> None:
    assert "thinking" not in sent(ADAPTIVE)
    assert "output_config" not in sent(ADAPTIVE)


@pytest.mark.parametrize(
    ("effort", "level"),
    [
        (Effort.MINIMAL, "low"),
        (Effort.LOW, "low"),
        (Effort.MEDIUM, "medium"),
        (Effort.HIGH, "high"),
        (Effort.XHIGH, "xhigh"),
        (Effort.MAX, "max"),
    ],
)
def test_an_effort_is_one_for_models_that_decide_themselves(effort: Effort, level: str) -> None:
    body = sent(ADAPTIVE, ReasoningRequest(effort=effort))
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": level}


def test_an_effort_that_the_model_has_not_is_the_next_below() -> None:
    body = sent(BOTH, ReasoningRequest(effort=Effort.XHIGH))
    assert body["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("budget", "level"),
    [
        (1, "low"),
        (2048, "low"),
        (2049, "medium"),
        (8192, "medium"),
        (16_384, "high"),
        (32_768, "xhigh"),
        (32_769, "max"),
    ],
)
def test_a_budget_is_an_effort_for_models_that_take_none(budget: int, level: str) -> None:
    body = sent(ADAPTIVE, ReasoningRequest(budget=budget))
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": level}


@pytest.mark.parametrize("asked", [ReasoningRequest(adaptive=True), ReasoningRequest(budget=-1)])
def test_as_much_as_it_finds_right_has_no_effort(asked: ReasoningRequest) -> None:
    body = sent(ADAPTIVE, asked)
    assert body["thinking"] == {"type": "adaptive"}
    assert "output_config" not in body


@pytest.mark.parametrize("model", [BUDGETS, BOTH])
def test_a_budget_is_one_for_models_that_take_it(model: str) -> None:
    body = sent(model, ReasoningRequest(budget=2000))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["max_tokens"] == 4096


def test_a_budget_below_the_least_is_the_least() -> None:
    assert sent(BUDGETS, ReasoningRequest(budget=5))["thinking"]["budget_tokens"] == 1024


def test_a_budget_comes_on_top_of_the_tokens_of_a_silent_caller() -> None:
    body = sent(BUDGETS, ReasoningRequest(budget=10_000))
    assert body["max_tokens"] == 14_096


def test_a_budget_that_does_not_fit_is_refused() -> None:
    assert refused(BUDGETS, ReasoningRequest(budget=2000), max_tokens=2000) == "reasoning"


@pytest.mark.parametrize(
    ("asked", "budget"),
    [
        (ReasoningRequest(effort=Effort.MINIMAL), 1024),
        (ReasoningRequest(effort=Effort.LOW), 2048),
        (ReasoningRequest(effort=Effort.MEDIUM), 8192),
        (ReasoningRequest(effort=Effort.HIGH), 16_384),
        (ReasoningRequest(effort=Effort.XHIGH), 32_768),
        (ReasoningRequest(effort=Effort.MAX), 32_768),
        (ReasoningRequest(adaptive=True), 8192),
    ],
)
def test_an_effort_is_a_budget_for_models_that_take_no_other(
    asked: ReasoningRequest, budget: int
) -> None:
    body = sent(BUDGETS, asked)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] > budget
    assert "output_config" not in body


def test_a_budget_for_an_effort_leaves_half_of_the_tokens_for_the_answer() -> None:
    body = sent(BUDGETS, ReasoningRequest(effort=Effort.HIGH), max_tokens=6000)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (3000, 6000)


def test_too_few_tokens_for_any_thought_are_refused() -> None:
    assert refused(BUDGETS, ReasoningRequest(effort=Effort.LOW), max_tokens=1000) == "reasoning"


def test_a_model_that_does_not_think_refuses_to() -> None:
    assert refused(NEVER, ReasoningRequest(effort=Effort.LOW)) == "reasoning"


@pytest.mark.parametrize(
    "asked", [ReasoningRequest(effort=Effort.NONE), ReasoningRequest(budget=0)]
)
@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        (BUDGETS, {"type": "disabled"}),
        (ADAPTIVE, {"type": "disabled"}),
        (THINKS, {"type": "disabled"}),
        (BETWEEN, {"type": "between_tools"}),
        (NEVER, None),
    ],
)
def test_thinking_is_turned_off_as_the_model_knows_it(
    model: str, thinking: dict[str, Any] | None, asked: ReasoningRequest
) -> None:
    assert sent(model, asked).get("thinking") == thinking


def test_a_model_that_always_thinks_refuses_not_to() -> None:
    assert refused(ALWAYS, ReasoningRequest(effort=Effort.NONE)) == "reasoning"


@pytest.mark.parametrize(
    ("model", "visible", "display"),
    [
        (ADAPTIVE, True, "summarized"),
        (ADAPTIVE, False, None),
        (BOTH, True, None),
        (BOTH, False, "omitted"),
        (BUDGETS, False, "omitted"),
    ],
)
def test_thoughts_are_shown_or_hidden_where_it_is_not_the_models_way(
    model: str, visible: bool, display: str | None
) -> None:
    body = sent(model, ReasoningRequest(effort=Effort.LOW, visible=visible))
    assert body["thinking"].get("display") == display


def test_to_see_thoughts_does_not_turn_them_on() -> None:
    asked = ReasoningRequest(visible=True)
    assert "thinking" not in sent(ADAPTIVE, asked)
    assert sent(THINKS, asked)["thinking"] == {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(("detail", "dropped"), [("auto", []), ("concise", ["reasoning.detail"])])
def test_any_summary_is_the_one_that_there_is(detail: str, dropped: list[str]) -> None:
    told = notes()
    body = sent(ADAPTIVE, ReasoningRequest(effort=Effort.LOW, detail=detail), told)
    assert body["thinking"]["display"] == "summarized"
    assert told.dropped == dropped


# Sampling


def test_a_model_that_samples_takes_what_it_is_told() -> None:
    body = sent("claude-sonnet-4", temperature=0.2, top_p=0.9, top_k=5)
    assert (body["temperature"], body["top_p"], body["top_k"]) == (0.2, 0.9, 5)


def test_later_models_take_one_of_temperature_and_top_p() -> None:
    assert refused(BUDGETS, temperature=0.2, top_p=0.9) == "top_p"
    assert sent(BUDGETS, top_p=0.9)["top_p"] == 0.9


def test_a_temperature_above_one_is_refused() -> None:
    assert refused(BUDGETS, temperature=1.5) == "temperature"


@pytest.mark.parametrize(
    ("model", "default", "fields", "written"),
    [
        (BUDGETS, 0.3, {}, 0.3),
        (BUDGETS, 0.3, {"top_p": 0.9}, None),
        (BUDGETS, 0.3, {"top_p": 1}, 0.3),
        (BUDGETS, 1.5, {}, None),
        (BUDGETS, 0.3, {"reasoning": ReasoningRequest(budget=1024)}, None),
        (BUDGETS, 0.3, {"reasoning": ReasoningRequest(effort=Effort.NONE)}, 0.3),
        (ADAPTIVE, 0.3, {}, None),
        ("our-own", 0.3, {}, 0.3),
    ],
)
def test_a_registered_temperature_applies_where_it_would_not_be_refused(
    model: str, default: float, fields: dict[str, Any], written: float | None
) -> None:
    assert sent(model, default=default, **fields).get("temperature") == written


@pytest.mark.parametrize(("field", "value"), [("temperature", 0.5), ("top_k", 5), ("top_p", 0.5)])
@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (BUDGETS, ReasoningRequest(budget=1024)),
        (BOTH, ReasoningRequest(adaptive=True)),
        (ADAPTIVE, None),
        (ALWAYS, None),
    ],
)
def test_sampling_is_refused_where_the_api_refuses_it(
    model: str, asked: ReasoningRequest | None, field: str, value: Any
) -> None:
    assert refused(model, asked, **{field: value}) == field


def test_a_top_p_near_one_may_stand_beside_thinking() -> None:
    asked = ReasoningRequest(budget=1024)
    assert sent(BUDGETS, asked, top_p=0.95)["top_p"] == 0.95
    assert "top_p" not in sent(BUDGETS, asked, top_p=1.0, temperature=1)
