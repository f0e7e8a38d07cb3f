"""What the gateway does beside the calls: letting go of the old, and asking whom nobody calls.

A place whose circuit is open and that nobody calls would stay open for ever. So it is asked, at
no cost in tokens, when its turn has come and no call took it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from model_service.gateway.budget import RetryBudget
from model_service.gateway.health import Circuit, Circuits
from model_service.kernel.types import Provider
from model_service.providers.condition import State

log = structlog.get_logger("model_service.gateway")

#: Seconds between two looks.
INTERVAL: Final = 1.0
#: Places that are asked at the same time.
MOST_ASKED: Final = 16

Ask = Callable[[Provider, str], Awaitable[str | None]]
"""Asks the provider at an origin for a sign of life: None, or why there is none. Never raises."""


class Upkeep:
    """Keeps circuits and budget current. A job: see `background`."""

    def __init__(
        self, circuits: Circuits, budget: RetryBudget, ask: Ask, now: Callable[[], float]
    ) -> None:
        self._circuits = circuits
        self._budget = budget
        self._ask = ask
        self._now = now
        self._asking: dict[tuple[Provider, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Look every second until cancelled."""
        try:
            while True:
                self.step()
                await asyncio.sleep(INTERVAL)
        finally:
            for task in self._asking.values():
                task.cancel()

    def step(self) -> None:
        """Let go of what is old, and begin to ask whom nobody calls."""
        self._circuits.tick()
        self._budget.tick(self._now())
        places: dict[tuple[Provider, str], list[Circuit]] = defaultdict(list)
        for circuit in self._circuits.uncalled():
            places[circuit.place.provider, circuit.place.endpoint].append(circuit)
        for place, circuits in places.items():
            if place not in self._asking and len(self._asking) < MOST_ASKED:
                task = asyncio.create_task(self._asked(place, circuits))
                self._asking[place] = task
                task.add_done_callback(lambda _, place=place: self._asking.pop(place))  # type: ignore[misc]

    async def asked(self) -> None:
        """Wait until everybody who is being asked has answered."""
        await asyncio.gather(*self._asking.values())

    async def _asked(self, place: tuple[Provider, str], circuits: list[Circuit]) -> None:
        """Ask once for all circuits of a place."""
        tickets = [(circuit, circuit.ask(self._now())) for circuit in circuits]
        reason = await self._ask(*place)
        for circuit, ticket in tickets:
            circuit.probed(ticket, is_alive=reason is None, now=self._now(), why=reason or "")
            if circuit.state is State.CLOSED:
                log.info("an uncalled provider answers again", provider=place[0].value)
