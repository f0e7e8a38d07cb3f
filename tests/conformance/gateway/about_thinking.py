"""Thoughts, their signatures, and histories of other providers."""

from typing import Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import (
    TOOLS,
    Drive,
    Scenario,
    asks,
    calls_oslo,
    has_field,
    holds_text,
)
from tests.conformance.gateway.wishes import Answered, Result, Results, Told, User, Wish

THINKING = Wish([User("hello there")], thinking=True, shown=True)


def _thought(told: Told, cell: Cell) -> None:
    # Ollama counts thoughts as any other output.
    assert cell.billed.reasoning > 0 or told.thoughts
    assert told.text.startswith("You said")


def _thought_nothing(told: Told, cell: Cell) -> None:
    assert cell.billed.reasoning == 0
    assert not told.thoughts
    assert told.text.startswith("You said")


def _shows_thoughts(told: Told, cell: Cell) -> None:
    _thought(told, cell)
    assert told.thoughts.strip() == "The user wants this: hello there"


def _thinks_and_calls(*, stream: bool, streams: bool = True) -> Drive:
    """Two turns: what was thought goes back with the tool's result."""

    async def drive(cell: Cell) -> tuple[Told, Told]:
        wish = Wish(
            [User('think, then get_weather {"city": "Oslo"}')],
            tools=TOOLS,
            thinking=True,
            stream=stream,
        )
        first = await cell.ask("signs", wish, streams=streams)
        results = [Result(call, "sunny") for call in first.calls]
        wish = wish.then(Answered(first), Results(results))
        return first, await cell.ask("signs", wish, streams=streams)

    return drive


def _goes_on(answers: tuple[Told, Told], cell: Cell) -> None:
    first, second = answers
    calls_oslo(first, cell)
    assert "Results: sunny" in second.text
    assert second.finish == "stop"


def _goes_on_thinking(answers: tuple[Told, Told], cell: Cell) -> None:
    """The stand-ins look whether thoughts are theirs; that they come is looked at here."""
    _goes_on(answers, cell)
    sent = cell.last.json()
    assert has_field(sent, cell.upstream.sends_back)
    assert not holds_text(sent, "skip_thought_signature_validator")
    assert not holds_text(sent, "model-service:")


def _from_another(*, stream: bool) -> Drive:
    """A conversation that began with another provider's model, thoughts, calls and all."""

    async def drive(cell: Cell) -> tuple[Told, Told]:
        asked = User('think, then get_weather {"city": "Oslo"}')
        name = await cell.registered.name(cell.other, cell.other.signs)
        wish = Wish([asked], tools=TOOLS, thinking=True, stream=stream)
        first = await cell.door.ask(name, wish)
        results = [Result(call, "sunny") for call in first.calls]
        wish = Wish([asked, Answered(first), Results(results)], tools=TOOLS, stream=stream)
        return first, await cell.ask("talks", wish)

    return drive


SCENARIOS: Final = (
    Scenario(
        "thinking",
        "Thinking",
        asks(Wish([User("hello")], thinking=True), "thinks"),
        _thought,
        "reasoning",
    ),
    Scenario(
        "no-thinking",
        "Thinking switched off",
        asks(Wish([User("hello")], thinking=False), "thinks"),
        _thought_nothing,
        "reasoning",
    ),
    Scenario("thoughts", "Thoughts shown", asks(THINKING, "thinks"), _shows_thoughts, "reasoning"),
    Scenario(
        "thoughts-streamed",
        "Thoughts shown, streamed",
        asks(THINKING.streamed(), "thinks"),
        _shows_thoughts,
        "reasoning",
    ),
    Scenario(
        "signatures",
        "Thoughts and signatures sent back",
        _thinks_and_calls(stream=False),
        _goes_on_thinking,
        "reasoning",
    ),
    Scenario(
        "signatures-streamed",
        "Thoughts and signatures sent back, streamed",
        _thinks_and_calls(stream=True),
        _goes_on_thinking,
        "reasoning",
    ),
    Scenario(
        "signatures-unstreamed",
        "The same, streamed, with a model that does not stream",
        _thinks_and_calls(stream=True, streams=False),
        _goes_on_thinking,
        "reasoning",
    ),
    Scenario("handover", "History from another provider", _from_another(stream=False), _goes_on),
    Scenario(
        "handover-streamed",
        "History from another provider, streamed",
        _from_another(stream=True),
        _goes_on,
    ),
)
