"""Fields that change an answer or annotate a request, and what is counted."""

from typing import Any, Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.scenario import Scenario, asks, has_field, holds
from tests.conformance.gateway.wishes import Told, User, Wish


def _was_cached(told: Told, cell: Cell) -> None:
    assert cell.billed.cached_input > 0
    assert told.usage is not None
    assert told.usage.cached == cell.billed.cached_input


def _marks_counted(told: Told, cell: Cell) -> None:
    marks = ("cache_control", "prompt_cache_breakpoint")
    assert any(has_field(cell.last.json(), mark) for mark in marks), "no mark got there"
    _was_cached(told, cell)


async def _asks_twice(cell: Cell) -> Told:
    wish = Wish([User("cached " + "word " * 1500)])
    await cell.ask("talks", wish)
    return await cell.ask("talks", wish)


async def _asks_twice_marked(cell: Cell) -> Told:
    wish = Wish([User("hello")], system=["A long order. " * 400], cache=True)
    await cell.ask("talks", wish)
    return await cell.ask("talks", wish)


def sampled(field: str, value: Any, said: Any = None) -> Scenario:
    """A field that has to reach the provider with its value."""

    def check(told: Told, cell: Cell) -> None:
        assert told.text
        assert holds(cell.last.json(), value if said is None else said), "it did not get there"

    wish = Wish([User("hello there")], sampling={field: value})
    name = field.replace("_", "-")
    return Scenario(name, f"`{field}`", asks(wish, "samples"), check, field)


def _gives_two(told: Told, _: Cell) -> None:
    assert told.candidates == ["You said: hello there"] * 2


def _tells_logprobs(told: Told, _: Cell) -> None:
    assert told.logprobs


def _arrived_where_it_can(error: Any, cell: Cell) -> None:
    """The provider sees it, and refuses it itself, where its own dialect is spoken."""
    assert bool(cell.stand_in.requests) is cell.passes
    if cell.passes:
        assert holds(cell.last.json(), {"x": 1})


SCENARIOS: Final = (
    sampled("temperature", 0.35),
    sampled("top_p", 0.85),
    sampled("top_k", 17),
    sampled("seed", 4711),
    sampled("presence_penalty", 0.45),
    sampled("frequency_penalty", 0.55),
    sampled("logit_bias", {"1734": 5}),
    Scenario(
        "logprobs",
        "`logprobs`",
        asks(Wish([User("hello")], sampling={"logprobs": True}), "samples"),
        _tells_logprobs,
        "logprobs",
    ),
    Scenario(
        "n",
        "`n`",
        asks(Wish([User("hello there")], sampling={"n": 2}), "samples"),
        _gives_two,
        "n",
    ),
    sampled("user", "somebody-7"),
    sampled("metadata", {"run": "seven"}),
    sampled("service_tier", "flex"),
    Scenario("cache", "Cached tokens told", _asks_twice, _was_cached),
    Scenario(
        "cache-marks", "Marks for the cache", _asks_twice_marked, _marks_counted, "cache_control"
    ),
    Scenario(
        "unknown-field",
        "A field that nobody knows",
        asks(Wish([User("hello")], more={"a_field_of_tomorrow": {"x": 1}})),
        _arrived_where_it_can,
        "a_field_of_tomorrow",
        fails="bad_request",
    ),
)
