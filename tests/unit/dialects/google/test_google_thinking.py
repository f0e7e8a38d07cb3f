"""How each family of models is asked to think."""

from typing import Any

import pytest

from model_service.providers.chat import Effort, ReasoningRequest
from model_service.providers.dialects.google.thinking import family_of
from model_service.providers.faults import CallFailed, FaultKind

from .wire import configured, sent


def thinking(model: str, **fields: Any) -> dict[str, Any] | None:
    config: dict[str, Any] | None = configured(model, reasoning=ReasoningRequest(**fields)).get(
        "thinkingConfig"
    )
    return config


@pytest.mark.parametrize(
    ("model", "effort", "wanted"),
    [
        ("gemini-4-argon", Effort.MINIMAL, "LOW"),
        ("gemini-4-argon", Effort.LOW, "LOW"),
        ("gemini-4-argon", Effort.MEDIUM, "MEDIUM"),
        ("gemini-4-argon", Effort.HIGH, "HIGH"),
        ("gemini-4-argon", Effort.XHIGH, "HIGH"),
        ("gemini-4-argon", Effort.MAX, "HIGH"),
        ("gemini-3.8-flash", Effort.MINIMAL, "LOW"),
        ("gemini-3.6-flash", Effort.MINIMAL, "MINIMAL"),
        ("gemini-3.6-flash", Effort.NONE, "MINIMAL"),
        ("gemini-3-flash-preview", Effort.MEDIUM, "MEDIUM"),
        ("gemini-3.5-flash-lite", Effort.NONE, "MINIMAL"),
        ("gemini-3-pro-preview", Effort.MEDIUM, "HIGH"),
        ("gemini-3.1-pro-preview", Effort.MEDIUM, "MEDIUM"),
        ("gemini-flash-latest", Effort.LOW, "LOW"),
        ("tunedModels/something", Effort.LOW, "LOW"),
    ],
)
def test_from_gemini_3_on_an_effort_is_a_level(model: str, effort: Effort, wanted: str) -> None:
    assert thinking(model, effort=effort) == {"thinkingLevel": wanted}


@pytest.mark.parametrize(
    ("model", "effort", "wanted"),
    [
        ("gemini-2.5-flash", Effort.NONE, 0),
        ("gemini-2.5-flash", Effort.MINIMAL, 1024),
        ("gemini-2.5-flash", Effort.LOW, 1024),
        ("gemini-2.5-flash", Effort.MEDIUM, 8192),
        ("gemini-2.5-flash", Effort.HIGH, 24576),
        ("gemini-2.5-flash", Effort.MAX, 24576),
        ("models/gemini-2.5-pro", Effort.MAX, 32768),
        ("gemini-2.5-flash-lite", Effort.NONE, 0),
    ],
)
def test_for_gemini_2_5_it_is_a_budget(model: str, effort: Effort, wanted: int) -> None:
    assert thinking(model, effort=effort) == {"thinkingBudget": wanted}


@pytest.mark.parametrize(
    ("model", "budget", "wanted"),
    [
        ("gemini-2.5-flash", 5000, {"thinkingBudget": 5000}),
        ("gemini-2.5-flash", 100_000, {"thinkingBudget": 24576}),
        ("gemini-2.5-flash-lite", 5, {"thinkingBudget": 512}),
        ("gemini-2.5-pro", 5, {"thinkingBudget": 128}),
        ("gemini-2.5-flash", 0, {"thinkingBudget": 0}),
        ("gemini-3.1-pro-preview", 100_000, {"thinkingBudget": 100_000}),
        ("gemini-4-argon", 1024, {"thinkingLevel": "LOW"}),
        ("gemini-4-argon", 10_000, {"thinkingLevel": "MEDIUM"}),
        ("gemini-4-argon", 32_000, {"thinkingLevel": "HIGH"}),
    ],
)
def test_a_budget_is_sent_within_what_the_model_takes(
    model: str, budget: int, wanted: dict[str, Any]
) -> None:
    assert thinking(model, budget=budget) == wanted


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-3.1-pro-preview", "gemini-4-argon"])
def test_a_model_that_always_thinks_is_not_kept_from_it(model: str) -> None:
    with pytest.raises(CallFailed) as raised:
        thinking(model, effort=Effort.NONE)
    assert (raised.value.fault.kind, raised.value.fault.param) == (
        FaultKind.UNSUPPORTED,
        "reasoning",
    )


def test_a_lenient_call_lets_it_think() -> None:
    body, dropped = sent(
        model="gemini-4-argon", lenient=True, reasoning=ReasoningRequest(Effort.NONE)
    )
    assert "thinkingConfig" not in body["generationConfig"]
    assert dropped == ["reasoning"]


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("gemini-2.5-pro", {"thinkingBudget": -1}), ("gemini-3.8-flash", None)],
)
def test_as_much_as_it_finds_right_is_what_newer_models_do_anyway(
    model: str, wanted: dict[str, Any] | None
) -> None:
    assert thinking(model, adaptive=True) == wanted


@pytest.mark.parametrize("visible", [True, False])
def test_thoughts_are_shown_or_not(visible: bool) -> None:
    assert thinking("gemini-3.8-flash", visible=visible) == {"includeThoughts": visible}


def test_who_wants_a_summary_wants_to_see_it() -> None:
    wanted = {"thinkingLevel": "LOW", "includeThoughts": True}
    assert thinking("gemini-3.8-flash", effort=Effort.LOW, detail="auto") == wanted


def test_the_kind_of_summary_is_dropped_and_named() -> None:
    reasoning = ReasoningRequest(Effort.LOW, detail="detailed")
    assert sent(reasoning=reasoning)[1] == ["reasoning.detail"]


def test_who_wants_no_thoughts_is_not_shown_any() -> None:
    assert thinking("gemini-2.5-flash", effort=Effort.NONE, visible=True) == {"thinkingBudget": 0}


def test_a_model_that_does_not_think_refuses_to() -> None:
    with pytest.raises(CallFailed) as raised:
        thinking("gemini-2.0-flash", effort=Effort.LOW)
    assert raised.value.fault.param == "reasoning"


def test_a_model_that_does_not_think_need_not_be_kept_from_it() -> None:
    assert thinking("gemini-2.0-flash", effort=Effort.NONE) is None


@pytest.mark.parametrize(
    ("model", "version"),
    [("gemini-2.5-pro", (2, 5)), ("gemini-3-flash", (3, 0)), ("gemini-3.10-pro", (3, 10)),
     ("gemini-exp-1206", (99, 0)), ("gemini-3.x-pro", (3, 0)), ("nano", (99, 0)),
     ("gemini-99999-x", (99, 0))],
)  # fmt: skip
def test_the_version_is_read_off_the_name(model: str, version: tuple[int, int]) -> None:
    assert family_of(model).version == version
