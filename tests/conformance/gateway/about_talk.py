"""Conversations, and how answers end."""

from typing import Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.doors import Problem
from tests.conformance.gateway.scenario import COUNTING, PLAIN, Scenario, asks, holds_text, says
from tests.conformance.gateway.wishes import Instruction, Said, Told, User, Wish


def _is_streamed(told: Told, _: Cell) -> None:
    assert told.text == "You said: hello there"
    assert told.finish == "stop"
    assert told.deltas > 1


def _is_whole(told: Told, _: Cell) -> None:
    assert (told.text, told.finish) == ("You said: hello there", "stop")


def _says_nothing(told: Told, _: Cell) -> None:
    assert (told.text, told.finish, told.calls) == ("", "stop", [])


def _heeds(told: Told, cell: Cell) -> None:
    """It is an instruction, or, where none may stand there, a text in its place."""
    assert told.text.startswith("You said: what now?") or "Be brief." in told.text
    assert holds_text(cell.last.json(), "Be brief.")


def _stops(told: Told, _: Cell) -> None:
    assert told.text.split() == ["1", "2", "3", "4"]
    assert told.finish == "stop"
    assert told.stop_sequence in (None, "5")


def _is_cut(told: Told, _: Cell) -> None:
    assert told.finish == "length"
    assert told.text.split() == [str(number + 1) for number in range(len(told.text.split()))]
    assert 0 < len(told.text.split()) < 50


def _refuses(told: Told, _: Cell) -> None:
    assert told.refused


def _is_filtered(told: Told, _: Cell) -> None:
    assert told.finish == "filter"
    assert told.refused
    assert told.text.startswith("You said")


async def _asks_the_filter(cell: Cell) -> Told | Problem:
    """Some providers say so in an error, others in the answer."""
    try:
        return await cell.ask_fault("filter", PLAIN)
    except cell.door.failures.bad_request as error:
        return cell.door.problem(error)


def _was_filtered(outcome: Told | Problem, _: Cell) -> None:
    if isinstance(outcome, Told):
        assert outcome.refused
        return
    assert outcome.status == 400
    assert "filter" in outcome.message or "Invalid prompt" in outcome.message


SCENARIOS: Final = (
    Scenario("text", "Text", asks(PLAIN), _is_whole, azure=True),
    Scenario("text-streamed", "Text, streamed", asks(PLAIN.streamed()), _is_streamed, azure=True),
    Scenario(
        "unstreamed",
        "Text, streamed, of a model that does not stream",
        asks(PLAIN.streamed(), streams=False),
        _is_whole,
    ),
    Scenario(
        "silence", "An answer without words", asks(Wish([User("say nothing")])), _says_nothing
    ),
    Scenario(
        "silence-streamed",
        "An answer without words, streamed",
        asks(Wish([User("say nothing")], stream=True)),
        _says_nothing,
    ),
    Scenario(
        "system",
        "System prompt",
        asks(Wish([User("hello")], system=["Be brief."])),
        says("My orders: Be brief."),
        "system",
    ),
    Scenario(
        "systems",
        "Several system prompts",
        asks(Wish([User("hello")], system=["Be brief.", "Be kind."])),
        says("Be brief.", "Be kind."),
        "system",
    ),
    Scenario(
        "turns",
        "Several turns",
        asks(Wish([User("hello"), Said("hi"), User("what now?")])),
        says("You said: what now?", "Turns: 3"),
    ),
    Scenario(
        "late-instruction",
        "Instruction in mid-conversation",
        asks(
            Wish(
                [User("hello"), Said("hi"), User("what now?"), Instruction("Be brief.")],
            )
        ),
        _heeds,
        "messages",
    ),
    Scenario(
        "stop",
        "Stop sequence",
        asks(Wish(COUNTING.turns, stop=["5"]), "samples"),
        _stops,
        "stop",
    ),
    Scenario(
        "stop-streamed",
        "Stop sequence, streamed",
        asks(Wish(COUNTING.turns, stop=["5"], stream=True), "samples"),
        _stops,
        "stop",
    ),
    Scenario(
        "length",
        "Limit of tokens",
        asks(Wish(COUNTING.turns, max_tokens=20)),
        _is_cut,
        "max_tokens",
    ),
    Scenario(
        "length-streamed",
        "Limit of tokens, streamed",
        asks(Wish(COUNTING.turns, max_tokens=20, stream=True)),
        _is_cut,
        "max_tokens",
    ),
    Scenario("refusal", "Refusal", asks(Wish([User("refuse")])), _refuses),
    Scenario(
        "refusal-streamed", "Refusal, streamed", asks(Wish([User("refuse")], stream=True)), _refuses
    ),
    Scenario(
        "cut-by-filter",
        "Answer cut off by a filter",
        asks(Wish([User("filtered, recite")])),
        _is_filtered,
    ),
    Scenario(
        "cut-by-filter-streamed",
        "Answer cut off by a filter, streamed",
        asks(Wish([User("filtered, recite")], stream=True)),
        _is_filtered,
    ),
    Scenario("filter", "Prompt refused by a filter", _asks_the_filter, _was_filtered),
)
