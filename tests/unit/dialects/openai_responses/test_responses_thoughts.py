"""Thoughts and signatures make their way through the door, to the provider they came from."""

from typing import Any

import pytest

from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    FinishReason,
    Part,
    Reasoning,
    Role,
    ToolCall,
    Usage,
)
from model_service.providers.dialects.openai_responses.door import ResponsesDoor
from model_service.providers.dialects.openai_responses.thoughts import is_foreign
from model_service.providers.signatures import mark
from tests.unit.dialects.openai_responses.wire import THOUGHT


def shown(*parts: Part) -> list[dict[str, Any]]:
    """The items that a caller gets for what a model said."""
    answer = ChatAnswer("x", [Candidate([*parts], FinishReason.STOP)], Usage())
    output: list[dict[str, Any]] = ResponsesDoor().answer(answer, "fast")["output"]
    return output


def returned(*items: dict[str, Any]) -> list[Part]:
    """What the door reads when a caller sends items back."""
    read = ResponsesDoor().read({"input": list(items)}, "fast", stream=False)
    assert [message.role for message in read.messages] == [Role.ASSISTANT]
    return read.messages[0].parts


def unnamed(parts: list[Part]) -> list[Part]:
    """The same without the ids of thoughts, which are the items'."""
    for part in parts:
        if isinstance(part, Reasoning):
            part.id = None
    return parts


@pytest.mark.parametrize(
    "thought",
    [
        Reasoning("It rains.", mark("anthropic", "EqQB")),
        Reasoning("", mark("anthropic", "EqQB")),
        Reasoning("", mark("anthropic", "hidden"), redacted=True),
        Reasoning("It rains.", mark("google", "CiQ")),
        Reasoning("It rains."),
    ],
)
def test_a_thought_of_another_provider_comes_back_as_it_was(thought: Reasoning) -> None:
    assert unnamed(returned(*shown(thought))) == [thought]


def test_a_signature_of_a_call_comes_back_with_its_call() -> None:
    said: list[Part] = [
        Reasoning("Two.", mark("google", "first")),
        ToolCall("a", "f", "{}", mark("google", "second")),
        ToolCall("b", "g", '{"x":1}'),
    ]
    assert unnamed(returned(*shown(*said))) == said


def test_openais_own_thought_is_shown_bare() -> None:
    [item] = shown(Reasoning("Hm.", mark("openai_responses", "rs_01:gAAA"), id="rs_01"))
    assert (item["id"], item["encrypted_content"]) == ("rs_01", "gAAA")


def test_openais_own_thought_comes_back_with_its_id() -> None:
    assert returned(THOUGHT) == [
        Reasoning(
            "Where is it?\n\nIn Bern.",
            mark("openai_responses", "rs_01:gAAAAAB-sealed"),
            id="rs_01",
        )
    ]


def test_openais_own_thought_without_a_summary_is_hidden() -> None:
    [thought] = returned({**THOUGHT, "summary": []})
    assert isinstance(thought, Reasoning)
    assert thought.redacted


def test_a_thought_of_openais_that_is_not_sealed_says_nothing() -> None:
    read = ResponsesDoor().read(
        {"input": [{"type": "reasoning", "id": "rs_01", "summary": []}]}, "fast", stream=False
    )
    assert read.messages == []


def test_a_text_of_a_thought_may_stand_in_its_content() -> None:
    item = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]}
    assert returned(item) == [Reasoning("Hm.")]


@pytest.mark.parametrize(
    "said",
    [
        Reasoning("It rains.", mark("anthropic", "EqQB")),
        Reasoning("", mark("anthropic", "hidden"), redacted=True),
        Reasoning("It rains."),
        ToolCall("a", "f", "{}", mark("google", "second")),
    ],
)
def test_a_thought_of_another_provider_is_known_as_such(said: Reasoning | ToolCall) -> None:
    assert is_foreign(shown(said)[0])


@pytest.mark.parametrize(
    "item",
    [
        THOUGHT,
        {**THOUGHT, "encrypted_content": None},
        {"type": "message", "role": "user", "content": "model-service:"},
        {"type": "reasoning"},
        {"type": ["reasoning"]},
        {"type": "reasoning", "id": 5, "encrypted_content": ["x"]},
        "model-service:",
        None,
    ],
)
def test_nothing_else_is_taken_for_one(item: Any) -> None:
    assert not is_foreign(item)
