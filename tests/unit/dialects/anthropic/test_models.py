"""What the models take, after the tables of Anthropic's documents of November 2026."""

import pytest

from model_service.providers.chat import Effort
from model_service.providers.dialects.anthropic.models import Traits, traits


def thinks(model: str) -> tuple[bool, bool, str | None, bool]:
    known = traits(model)
    return known.budget, known.adaptive, known.off, known.thinks


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-5-haiku-20241022", (False, False, "disabled", False)),
        ("claude-3-7-sonnet-20250219", (True, False, "disabled", False)),
        ("claude-opus-4-20250514", (True, False, "disabled", False)),
        ("claude-sonnet-4-5-20250929", (True, False, "disabled", False)),
        ("claude-haiku-4-5", (True, False, "disabled", False)),
        ("claude-haiku-4-5@20251001", (True, False, "disabled", False)),
        ("claude-opus-4-5", (True, False, "disabled", False)),
        ("claude-opus-4-6", (True, True, "disabled", False)),
        ("anthropic.claude-sonnet-4-6-v1:0", (True, True, "disabled", False)),
        ("claude-opus-4-7", (False, True, "disabled", False)),
        ("claude-opus-4-8-20260528", (False, True, "disabled", False)),
        ("claude-mythos-preview", (True, True, None, True)),
        ("claude-sonnet-5", (False, True, "disabled", True)),
        ("claude-opus-5", (False, True, "disabled", True)),
        ("claude-fable-5", (False, True, None, True)),
        ("claude-haiku-5-5", (False, True, "disabled", True)),
        ("claude-sonnet-5-5", (False, True, "between_tools", True)),
        ("claude-opus-5-5", (False, True, None, True)),
        ("claude-opus-6", (False, True, None, True)),
    ],
)
def test_a_model_is_asked_to_think_in_its_own_way(
    model: str, expected: tuple[bool, bool, str | None, bool]
) -> None:
    assert thinks(model) == expected


@pytest.mark.parametrize(
    ("model", "sampling"),
    [
        ("claude-haiku-4-5", True),
        ("claude-opus-4-6", True),
        ("claude-opus-4-7", False),
        ("claude-sonnet-5", False),
        ("claude-haiku-5-5", False),
        ("claude-mythos-preview", False),
        ("claude-fable-5-1", False),
    ],
)
def test_models_from_4_7_on_take_no_sampling_parameters(model: str, *, sampling: bool) -> None:
    assert traits(model).sampling is sampling


@pytest.mark.parametrize(
    ("model", "forced"),
    [
        ("claude-sonnet-5", True),
        ("claude-haiku-5-5", True),
        ("claude-fable-5", True),
        ("claude-fable-5-1", False),
        ("claude-mythos-5-2", False),
        ("claude-opus-5-5", False),
        ("claude-sonnet-5-5", False),
    ],
)
def test_some_of_the_latest_cannot_be_made_to_call_a_tool(model: str, *, forced: bool) -> None:
    assert traits(model).forced_tools is forced


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("claude-opus-4-7", False),
        ("claude-opus-4-8", True),
        ("claude-sonnet-5", False),
        ("claude-sonnet-5-5", True),
        ("claude-fable-5", True),
        ("claude-mythos-preview", False),
    ],
)
def test_some_models_take_instructions_in_mid_conversation(model: str, *, taken: bool) -> None:
    assert traits(model).system_turns is taken


@pytest.mark.parametrize(
    ("model", "structured"), [("claude-opus-4-1", False), ("claude-haiku-4-5", True)]
)
def test_models_from_4_5_on_can_be_held_to_a_schema(model: str, *, structured: bool) -> None:
    assert traits(model).structured is structured


@pytest.mark.parametrize("model", ["", "claude", "claude-instant", "gpt-6", "our-own-finetune"])
def test_of_a_name_that_tells_nothing_nothing_is_assumed_that_would_be_refused(model: str) -> None:
    assert traits(model) == Traits()


@pytest.mark.parametrize(
    ("model", "asked", "level"),
    [
        ("claude-opus-4-6", Effort.XHIGH, Effort.HIGH),
        ("claude-opus-4-6", Effort.MAX, Effort.MAX),
        ("claude-opus-5-5", Effort.XHIGH, Effort.XHIGH),
        ("claude-opus-5-5", Effort.MINIMAL, Effort.LOW),
    ],
)
def test_an_effort_that_a_model_has_not_becomes_the_next_below(
    model: str, asked: Effort, level: Effort
) -> None:
    assert traits(model).effort(asked) is level
