"""What a scenario is, and what all of them are made of."""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.gateway.cells import Cell
from tests.conformance.gateway.wishes import Media, Told, Tool, User, Wish

Drive = Callable[[Cell], Awaitable[Any]]
Check = Callable[[Any, Cell], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`drive` does it and gives what `check` then looks at.

    `field` is what a refusal names, by its name in the intermediate form. `fails` is which of
    the client's exceptions it is about, where it is about one. `azure`: Azure's paths are
    tried, too.
    """

    name: str
    title: str
    drive: Drive
    check: Check
    field: str | None = None
    fails: str | None = None
    azure: bool = False

    @property
    def doors(self) -> tuple[str, ...]:
        """Where it is tried."""
        doors = ("openai_chat", "openai_responses", "anthropic", "google")
        return (*doors, "azure_style") if self.azure else doors


def schema(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


WEATHER = Tool("get_weather", schema("city"))
TIME = Tool("get_time", schema("zone"))
TOOLS = (WEATHER, TIME)
PLAIN = Wish([User("hello there")])
COUNTING = Wish([User("count to 50")])
PNG: Final = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06"
).decode()
IMAGE = Media("image", "image/png", data=PNG)


def asks(wish: Wish, kind: str = "talks", *, streams: bool = True) -> Drive:
    """Ask that one thing; `streams` is whether the model is said to be able to."""

    async def drive(cell: Cell) -> Told:
        return await cell.ask(kind, wish, streams=streams)

    return drive


def faulty(fault: str, wish: Wish = PLAIN) -> Drive:
    """Ask a model that misbehaves."""

    async def drive(cell: Cell) -> Told:
        return await cell.ask_fault(fault, wish)

    return drive


def says(*texts: str) -> Check:
    """All these are in the text of a whole answer."""

    def check(told: Told, _: Cell) -> None:
        assert told.finish == "stop"
        assert not told.calls
        for text in texts:
            assert text in told.text

    return check


def calls(*names: str) -> Check:
    """Just these tools are called, each by an id of its own."""

    def check(told: Told, _: Cell) -> None:
        assert [call.name for call in told.calls] == list(names)
        assert len({call.id for call in told.calls}) == len(names)
        assert all(call.id for call in told.calls)
        assert told.finish == "tools"

    return check


def calls_oslo(told: Told, cell: Cell) -> None:
    calls("get_weather")(told, cell)
    assert told.calls[0].arguments == {"city": "Oslo"}


def holds_text(document: Any, text: str) -> bool:
    if isinstance(document, str):
        return text in document
    if isinstance(document, dict):
        return any(holds_text(inner, text) for inner in document.values())
    return isinstance(document, list) and any(holds_text(inner, text) for inner in document)


def holds(document: Any, value: Any) -> bool:
    if document == value:
        return True
    if isinstance(document, dict):
        return any(holds(inner, value) for inner in document.values())
    return isinstance(document, list) and any(holds(inner, value) for inner in document)


def has_field(document: Any, name: str) -> bool:
    if isinstance(document, dict):
        return name in document or any(has_field(inner, name) for inner in document.values())
    return isinstance(document, list) and any(has_field(inner, name) for inner in document)
