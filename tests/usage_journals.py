"""Journals for tests: payloads of made-up calls, and sinks that remember or refuse."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import orjson

from model_service.kernel.errors import DatabaseUnavailable
from model_service.usage.domain import UsageEvent
from model_service.usage.records import begun_payload, event_payload, origin, parse_event

#: A small segment: it holds about a dozen promises, and some hundred calls.
SEGMENT = 96 << 10
TIME_MS = 1_760_000_000_123


def event_id(number: int) -> UUID:
    """The id of the made-up call of that number."""
    return UUID(int=0x0199_0000_0000_7000_8000_0000_0000_0000 + number)


def _origin(model: str) -> orjson.Fragment:
    return origin("user", None, model, "OPENAI", "upstream", None, "openai", "chat", False)


def begun(number: int, model: str = "m") -> bytes:
    return begun_payload(str(event_id(number)), TIME_MS, f"req-{number}", _origin(model), 7)


def event(number: int, output_tokens: int = 11, model: str = "m") -> bytes:
    return event_payload(
        str(event_id(number)),
        TIME_MS,
        f"req-{number}",
        _origin(model),
        200,
        7,
        0,
        0,
        0,
        output_tokens,
        0,
        "0.000123",
        "2026-01",
        12.5,
        None,
        1,
    )


class MemorySink:
    """`UsageSink` in memory. `available` False: it is away; `poison` are ids it never takes."""

    def __init__(self) -> None:
        self.told: Counter[UUID] = Counter()
        self.events: dict[UUID, UsageEvent] = {}
        self.available = True
        self.poison: set[UUID] = set()
        self.largest = 0
        self.batches = 0

    async def keep(self, events: Sequence[UsageEvent]) -> None:
        if not self.available:
            raise DatabaseUnavailable
        if any(event.id in self.poison for event in events):
            raise ArithmeticError("out of range")
        self.largest = max(self.largest, len(events))
        self.batches += 1
        for event in events:
            self.told[event.id] += 1
            self.events.setdefault(event.id, event)

    async def keep_payloads(self, payloads: Sequence[bytes]) -> None:
        await self.keep([parse_event(payload) for payload in payloads])
