"""Circuits: when they open, whom they let through, when they close."""

from typing import Any

import pytest

from model_service.gateway import health as module
from model_service.gateway.circuit import (
    COUNTED,
    FORGIVEN_AFTER,
    FORGOTTEN_AFTER,
    PAUSES,
    PROBE_SECONDS,
    STAGGER,
    STREAK,
    UNCALLED_AFTER,
    VOLUME,
)
from model_service.gateway.health import Circuit, Circuits, Parts
from model_service.kernel.types import Provider
from model_service.providers.condition import Change, Place, State
from model_service.providers.faults import FaultKind

PLACE = Place(Provider.OPENAI, "https://api.openai.com", "gpt-5.5")


class World:
    """Circuits of one process under a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[Change] = []
        # Chance in the middle: pauses are as they are written.
        self.circuits = Circuits(Parts(lambda: self.now, lambda: self.now + 5e8, lambda: 0.5))
        self.circuits.subscribe(self.told.append)
        self.circuit = self.circuits.of(*PLACE, "agent-model")

    def state(self) -> State:
        return self.circuit.state

    def fail(self, count: int = 1, kind: FaultKind = FaultKind.UPSTREAM, why: str = "") -> None:
        for _ in range(count):
            ticket = self.circuit.allow(self.now)
            assert ticket
            self.circuit.failed(ticket, kind, self.now, why)

    def succeed(self, count: int = 1) -> None:
        for _ in range(count):
            ticket = self.circuit.allow(self.now)
            assert ticket
            self.circuit.succeeded(ticket, 0.2)

    def opened(self) -> Circuit:
        self.fail(STREAK)
        assert self.state() is State.OPEN
        return self.circuit

    def found(self, state: State, **more: Any) -> Change:
        """What another process tells of the same place."""
        at = self.now + 5e8 + 0.001
        return Change(PLACE, state, at, at, **more)


@pytest.fixture
def world() -> World:
    return World()


def test_failures_one_after_the_other_open_it(world: World) -> None:
    world.fail(STREAK - 1)
    assert world.circuit.allow(world.now)
    world.fail()
    assert not world.circuit.allow(world.now)


def test_a_success_in_between_begins_the_count_anew(world: World) -> None:
    for _ in range(3):
        world.fail(STREAK - 1)
        world.succeed()
    assert world.state() is State.CLOSED


def test_silence_counts_twice(world: World) -> None:
    world.fail(2, FaultKind.TIMEOUT)
    assert world.state() is State.CLOSED
    world.fail(1, FaultKind.TIMEOUT)
    assert world.state() is State.OPEN


def test_half_of_many_calls_that_fail_open_it_though_never_in_a_row(world: World) -> None:
    world.now += 60
    world.circuits.tick()
    for _ in range(VOLUME // 2):
        world.succeed()
        if world.state() is State.CLOSED:
            world.fail()
    assert world.state() is State.OPEN


def test_few_calls_are_judged_by_rows_alone(world: World) -> None:
    for _ in range(50):
        world.succeed()
        world.fail()
        world.now += 5
    assert world.state() is State.CLOSED


@pytest.mark.parametrize("kind", sorted(set(FaultKind) - COUNTED))
def test_what_is_not_the_providers_failing_never_opens_it(world: World, kind: FaultKind) -> None:
    world.fail(100, kind)
    assert world.state() is State.CLOSED


@pytest.mark.parametrize("kind", sorted(COUNTED))
def test_what_is_the_providers_failing_opens_it(world: World, kind: FaultKind) -> None:
    for _ in range(STREAK):
        if world.circuit.allow(world.now):
            world.fail(1, kind)
    assert world.state() is State.OPEN


def test_after_the_pause_one_call_is_let_through(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0] - 0.01
    assert not circuit.allow(world.now)
    world.now += 0.02
    assert circuit.allow(world.now)
    assert [circuit.allow(world.now) for _ in range(3)] == [0, 0, 0]


def test_a_call_that_goes_well_closes_it(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    circuit.succeeded(circuit.allow(world.now), 0.1)
    assert world.state() is State.CLOSED
    assert circuit.allow(world.now)


def test_a_good_answer_closes_it_as_soon_as_it_has_begun(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    circuit.began(circuit.allow(world.now))
    assert world.state() is State.CLOSED


def test_an_answer_that_refuses_the_request_closes_it_too(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    circuit.failed(circuit.allow(world.now), FaultKind.INVALID_REQUEST, world.now)
    assert world.state() is State.CLOSED


def test_each_failure_makes_the_pause_longer_up_to_the_longest(world: World) -> None:
    circuit = world.opened()
    waited = []
    for _ in range(7):
        waited.append(circuit.retry_after(world.now))
        world.now += waited[-1]
        circuit.failed(circuit.allow(world.now), FaultKind.UPSTREAM, world.now)
    assert waited == pytest.approx([*PAUSES, PAUSES[-1], PAUSES[-1]])


def test_one_that_opens_again_soon_waits_longer_and_later_is_forgiven(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    world.succeed()
    world.opened()
    assert circuit.retry_after(world.now) == pytest.approx(PAUSES[1])
    world.now += PAUSES[1]
    world.succeed()
    world.now += FORGIVEN_AFTER
    world.opened()
    assert circuit.retry_after(world.now) == pytest.approx(PAUSES[0])


def test_calls_of_before_it_opened_have_no_say(world: World) -> None:
    early, late = world.circuit.allow(world.now), world.circuit.allow(world.now)
    circuit = world.opened()
    circuit.succeeded(early, 9.0)
    assert world.state() is State.OPEN
    world.now += PAUSES[0]
    assert circuit.allow(world.now)
    circuit.failed(late, FaultKind.UPSTREAM, world.now)
    assert world.state() is State.HALF_OPEN


def test_a_call_whose_caller_left_gives_its_turn_to_the_next(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    circuit.abandoned(circuit.allow(world.now))
    assert circuit.allow(world.now)


def test_a_call_that_hangs_keeps_the_turn_for_ten_seconds(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    hanging = circuit.allow(world.now)
    world.now += PROBE_SECONDS - 0.01
    assert not circuit.allow(world.now)
    world.now += 0.02
    assert circuit.allow(world.now)
    circuit.succeeded(hanging, 10.0)
    assert world.state() is State.CLOSED


def test_looking_takes_no_turn(world: World) -> None:
    circuit = world.opened()
    assert circuit.blocks(world.now)
    world.now += PAUSES[0]
    assert not circuit.blocks(world.now)
    assert circuit.allow(world.now)
    assert circuit.blocks(world.now)


def test_changes_are_told_with_what_was_wrong(world: World) -> None:
    world.fail(STREAK, FaultKind.OVERLOADED, "too much to do " * 40)
    world.now += PAUSES[0]
    world.succeed()
    down, up = world.told
    assert (down.state, down.error, down.names) == (State.OPEN, "overloaded", ("agent-model",))
    assert (down.at, down.since, down.retry_at) == (5e8 + 1000, 5e8 + 1000, 5e8 + 1001)
    assert down.why.startswith("too much to do")
    assert len(down.why) == 240
    assert (up.state, up.at, up.since, up.retry_at) == (State.CLOSED, 5e8 + 1001, 5e8 + 1001, None)


def test_that_it_stays_open_is_told_as_one_state(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0]
    circuit.failed(circuit.allow(world.now), FaultKind.UPSTREAM, world.now)
    first, second = world.told
    assert (second.state, second.since) == (State.OPEN, first.since)
    assert second.at > first.at


def test_one_that_nobody_calls_is_asked_and_closes_on_trial(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0] + UNCALLED_AFTER - 0.01
    assert world.circuits.uncalled() == []
    world.now += 0.02
    assert world.circuits.uncalled() == [circuit]
    circuit.probed(circuit.ask(world.now), is_alive=True, now=world.now)
    assert world.state() is State.CLOSED
    world.fail()
    assert world.state() is State.OPEN


def test_one_that_gives_no_sign_of_life_stays_open(world: World) -> None:
    circuit = world.opened()
    world.now += PAUSES[0] + UNCALLED_AFTER
    circuit.probed(circuit.ask(world.now), is_alive=False, now=world.now, why="silent")
    assert world.state() is State.OPEN
    assert circuit.retry_after(world.now) == pytest.approx(PAUSES[1])
    assert circuit.last_error_why == "silent"


def test_one_that_nobody_wants_is_forgotten(world: World) -> None:
    world.opened()
    world.now += FORGOTTEN_AFTER - 1
    world.circuits.tick()
    assert len(world.circuits) == 1
    world.now += 1
    world.circuits.tick()
    assert len(world.circuits) == 0


def test_what_another_process_found_is_taken_up_and_not_told_again(world: World) -> None:
    change = world.found(State.OPEN, retry_at=world.now + 5e8 + 4, error="timeout", why="silent")
    world.circuits.adopt(change)
    assert not world.circuit.allow(world.now)
    assert world.circuit.retry_after(world.now) == pytest.approx(4 + STAGGER, abs=0.01)
    assert (world.circuit.last_error, world.circuit.last_error_why) == (
        FaultKind.TIMEOUT,
        "silent",
    )
    world.now += 1
    world.circuits.adopt(world.found(State.CLOSED))
    assert world.circuit.allow(world.now)
    assert world.told == []


def test_who_is_served_does_not_believe_another_who_is_not(world: World) -> None:
    world.succeed(3)
    world.circuits.adopt(world.found(State.OPEN, retry_at=world.now + 5e8 + 4))
    assert world.circuit.allow(world.now)


def test_what_is_older_than_what_is_known_here_changes_nothing(world: World) -> None:
    old = world.found(State.CLOSED)
    world.now += 1
    world.opened()
    world.circuits.adopt(old)
    world.circuits.adopt(world.told[0])
    assert world.state() is State.OPEN
    assert world.circuit.retry_after(world.now) == pytest.approx(PAUSES[0])


def test_a_place_that_was_never_called_here_is_taken_up(world: World) -> None:
    place = Place(Provider.GOOGLE, "https://google", "gemini")
    world.circuits.adopt(Change(place, State.OPEN, 1.0, 1.0, world.now + 5e8 + 4, names=("g",)))
    circuit = world.circuits.find(*place)
    assert circuit is not None
    assert (circuit.state, circuit.names) == (State.OPEN, ("g",))


def test_memory_is_bounded_and_those_in_use_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    world.opened()
    for number in range(50):
        world.circuits.of(Provider.CUSTOM, "https://custom", f"model-{number}")
    assert len(world.circuits) <= 10
    assert world.circuits.of(*PLACE) is world.circuit


def test_numbers_are_of_the_last_five_minutes(world: World) -> None:
    for latency in range(1, 101):
        world.circuit.succeeded(world.circuit.allow(world.now), latency / 1000, 0.05)
        world.circuits.tick()
    world.fail(1, why="it broke")
    world.succeed()
    (numbers,) = world.circuits.numbers()
    assert (numbers.calls, numbers.failures, numbers.last_error) == (102, 1, "upstream_error")
    assert sum(numbers.first_tokens.values()) == 100
    world.now += 299
    assert world.circuits.numbers()[0].calls == 102
    world.now += 10
    (numbers,) = world.circuits.numbers()
    assert (numbers.calls, numbers.failures) == (0, 0)
    world.now += 60
    (numbers,) = world.circuits.numbers()
    assert (numbers.latencies, numbers.first_tokens) == ({}, {})
