"""Asking providers that nobody calls, at no cost in tokens."""

import asyncio

import pytest

from model_service.gateway.budget import RetryBudget
from model_service.gateway.circuit import STREAK
from model_service.gateway.health import Circuit, Circuits, Parts
from model_service.gateway.upkeep import Upkeep
from model_service.kernel.types import Provider
from model_service.providers.condition import State
from model_service.providers.faults import FaultKind

ORIGIN = "https://api.openai.com"


class World:
    """An upkeep whose provider says what a test wants, once it may."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[tuple[Provider, str]] = []
        self.reason: str | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.circuits = Circuits(Parts(lambda: self.now, lambda: self.now, lambda: 0.5))
        self.upkeep = Upkeep(self.circuits, RetryBudget(self.now), self.ask, lambda: self.now)

    async def ask(self, provider: Provider, origin: str) -> str | None:
        self.asked.append((provider, origin))
        await self.may_answer.wait()
        return self.reason

    def opened(self, model: str = "m", origin: str = ORIGIN) -> Circuit:
        circuit = self.circuits.of(Provider.OPENAI, origin, model)
        ticket = circuit.allow(self.now)
        for _ in range(STREAK):
            circuit.failed(ticket, FaultKind.UPSTREAM, self.now)
        return circuit

    async def step(self, seconds: float) -> None:
        self.now += seconds
        self.upkeep.step()
        await self.upkeep.asked()


async def test_one_that_is_called_in_its_turn_is_not_asked() -> None:
    world = World()
    circuit = world.opened()
    for _ in range(20):
        await world.step(1)
        if ticket := circuit.allow(world.now):
            circuit.failed(ticket, FaultKind.UPSTREAM, world.now)
    assert world.asked == []


@pytest.mark.parametrize(("reason", "state"), [(None, State.CLOSED), ("silent", State.OPEN)])
async def test_one_that_nobody_calls_is_asked(reason: str | None, state: State) -> None:
    world = World()
    world.reason = reason
    circuit = world.opened()
    await world.step(4)
    assert world.asked == [(Provider.OPENAI, ORIGIN)]
    assert circuit.state is state


async def test_all_models_of_a_place_need_one_question() -> None:
    world = World()
    circuits = [world.opened(f"m{number}") for number in range(5)]
    await world.step(4)
    assert len(world.asked) == 1
    assert {circuit.state for circuit in circuits} == {State.CLOSED}


async def test_a_place_is_not_asked_again_before_it_has_answered() -> None:
    world = World()
    world.may_answer.clear()
    world.opened()
    for _ in range(30):
        world.now += 1
        world.upkeep.step()
        await asyncio.sleep(0)
    assert len(world.asked) == 1
    world.may_answer.set()
    await world.upkeep.asked()


async def test_one_place_that_hangs_holds_no_other_up() -> None:
    world = World()
    world.may_answer.clear()
    for number in range(3):
        world.opened(origin=f"https://{number}.example.com")
    world.now += 4
    world.upkeep.step()
    await asyncio.sleep(0)
    assert len(world.asked) == 3
    world.may_answer.set()
    await world.upkeep.asked()
