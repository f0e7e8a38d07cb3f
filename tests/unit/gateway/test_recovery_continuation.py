"""Which models go on from the beginning of an answer, and how they are given it."""

from dataclasses import replace
from typing import Any

import pytest

from model_service.gateway.continuation import continuation
from model_service.gateway.plans import upstream_of
from model_service.gateway.routes import Operation, Route
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatRequest,
    Choice,
    Effort,
    Message,
    OutputFormat,
    ReasoningRequest,
    Role,
    Text,
    ToolChoice,
)
from tests.unit.gateway.recovery_streams import PREFILLS, PROVIDERS, begin, registered

CHAT = Route("openai_chat", "openai", Operation.CHAT)
ASKED = ChatRequest("first", [Message(Role.USER, [Text("Where is it?")])])
BEGUN = "The capital of France is"
THINK = ReasoningRequest(effort=Effort.HIGH)


def continued(
    model: SnapshotModel, text: str = BEGUN, request: ChatRequest = ASKED, **fields: Any
) -> ChatRequest | None:
    upstream = upstream_of(CHAT, model, {}, stream=True)
    return continuation(replace(request, **fields), text, upstream, model)


def named(provider: Provider, upstream: str) -> SnapshotModel:
    model = registered("openai")
    target = replace(model.target, provider=provider, upstream_model=upstream)
    return replace(model, target=target)


@pytest.mark.parametrize("place", PROVIDERS)
def test_models_that_take_a_beginning_are_given_it_without_blanks(place: str) -> None:
    asked = continued(registered(place), BEGUN + " \n")
    if place not in PREFILLS:
        assert asked is None
        return
    assert asked is not None
    assert asked.messages[-1] == Message(Role.ASSISTANT, [Text(BEGUN)])


@pytest.mark.parametrize(
    ("upstream", "takes"),
    [
        ("claude-3-7-sonnet-20250219", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-opus-4-5", True),
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-5", False),
        ("a-name-that-tells-nothing", False),
    ],
)
def test_claude_takes_a_beginning_up_to_4_5(upstream: str, takes: bool) -> None:
    assert (continued(named(Provider.ANTHROPIC, upstream)) is not None) is takes


@pytest.mark.parametrize(
    ("upstream", "takes"),
    [
        ("gemini-2.5-pro", True),
        ("gemini-3.5-flash-lite", True),
        ("gemini-3.6-flash", False),
        ("gemini-4-argon", False),
        ("a-name-that-tells-nothing", False),
    ],
)
def test_gemini_takes_a_beginning_up_to_3_5(upstream: str, takes: bool) -> None:
    assert (continued(named(Provider.GOOGLE, upstream)) is not None) is takes


@pytest.mark.parametrize("place", ["anthropic-old", "ollama"])
def test_a_model_that_is_to_think_begins_anew(place: str) -> None:
    assert continued(registered(place), reasoning=THINK) is None
    assert continued(registered(place), reasoning=ReasoningRequest(effort=Effort.NONE)) is not None


@pytest.mark.parametrize("place", sorted(PREFILLS))
def test_an_answer_in_a_form_begins_anew(place: str) -> None:
    assert continued(registered(place), output=OutputFormat()) is None


@pytest.mark.parametrize("kind", [Choice.REQUIRED, Choice.NAMED])
def test_an_answer_that_has_to_call_a_tool_begins_anew(kind: Choice) -> None:
    assert continued(registered("ollama"), tool_choice=ToolChoice(kind, "weather")) is None


def test_little_text_is_not_worth_going_on_from() -> None:
    assert continued(registered("ollama"), "The capital ") is None


def test_the_settings_of_a_model_have_the_last_word() -> None:
    custom = named(Provider.CUSTOM, "llama")
    assert continued(custom) is None
    told = replace(custom, target=replace(custom.target, settings={"prefill": True}))
    assert continued(told) is not None
    assert continued(registered("ollama", settings={"prefill": False})) is None


def test_the_most_tokens_are_less_by_what_the_caller_has() -> None:
    asked = continued(registered("ollama"), max_tokens=100)
    assert asked is not None
    assert asked.max_tokens == 100 - len(BEGUN) // 4


def test_at_least_one_token_is_left() -> None:
    asked = continued(registered("ollama"), max_tokens=3)
    assert asked is not None
    assert asked.max_tokens == 1


def test_a_beginning_of_the_callers_own_comes_first() -> None:
    own = [*ASKED.messages, Message(Role.ASSISTANT, [Text("So: ")])]
    asked = continued(registered("ollama"), messages=own)
    assert asked is not None
    assert asked.messages[-1] == Message(Role.ASSISTANT, [Text("So: " + BEGUN)])
    assert own[-1] == Message(Role.ASSISTANT, [Text("So: ")])


def test_mistral_is_told_that_the_last_message_is_a_beginning() -> None:
    stream = begin("openai_chat", "openai")
    stream.feed(
        b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (BEGUN.encode())
    )
    stream.end()
    stream.lost(stream.failure.fault)  # type: ignore[union-attr]

    body = stream.resumption(registered("mistral")).outgoing.body

    assert body["messages"][-1] == {"role": "assistant", "content": BEGUN, "prefix": True}
    assert "stream_options" not in body
