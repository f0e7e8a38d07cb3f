"""GATEWAY.md, "Failing well": a provider that is down, and how little of it is repeated."""

import asyncio
import time
from typing import Any

from model_service.gateway.budget import FLOOR
from model_service.gateway.health import Circuit
from model_service.kernel.types import Provider
from model_service.providers.condition import State
from model_service.sandbox.faults import Fault
from tests.faults.failing_well import QUICK, TWELVE, Stage, came_from
from tests.faults.gateway_doors import OPENAI_CHAT, refusal

ONCE = {**QUICK, "retries": 0}


def circuit_of(stage: Stage, model: str) -> Circuit:
    (found,) = (one for one in stage.world.service.traffic.circuits if model in one.names)
    return found


async def well(stage: Stage, **more: Any) -> str:
    """A model of its own upstream name that is well, as long as its provider is."""
    return await stage.model(Fault.NO_DONE, policy=ONCE, **more)


async def opened(stage: Stage, model: str) -> None:
    """Calls fail until the circuit is open."""
    for _ in range(10):
        await stage.ask(model, fallback="off")
        if circuit_of(stage, model).state is State.OPEN:
            return
    raise AssertionError("the circuit stays closed")


async def due(stage: Stage, model: str) -> None:
    """Wait until the next call is let through."""
    await asyncio.sleep(circuit_of(stage, model).retry_after(time.monotonic()) + 0.01)


async def test_five_failures_open_the_circuit_and_the_provider_is_left_alone(
    stage: Stage,
) -> None:
    stage.world.sandbox.openai.down = True
    model = await well(stage)
    answers = [await stage.ask(model) for _ in range(8)]
    assert {answer.status for answer in answers} == {503}
    assert len(stage.calls(model)) == 5
    refused = answers[-1]
    assert "is tried again shortly" in refusal(OPENAI_CHAT, refused)[1]
    assert 1 <= int(refused.headers["retry-after"]) <= 2


async def test_while_it_is_open_the_fallback_serves_at_once_without_a_repeat(
    stage: Stage,
) -> None:
    stage.world.sandbox.openai.down = True
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await well(stage, fallbacks=[fallback])
    await opened(stage, model)
    asked = len(stage.calls(model))
    stage.world.service.traffic.budget.floor = -(10**6)  # nothing may be repeated
    for stream in (False, True):
        answer = await stage.ask(model, stream=stream)
        assert OPENAI_CHAT.text(answer) == TWELVE
        assert came_from(answer) == (fallback, "OLLAMA", 1)
    assert len(stage.calls(model)) == asked
    why = await stage.why(answer)
    assert [step["code"] for step in why["steps"] if "code" in step] == ["circuit_open"]


async def test_a_fallback_whose_circuit_is_open_is_passed_over(stage: Stage) -> None:
    stage.world.sandbox.openai.down = True
    failing = await well(stage)
    await opened(stage, failing)
    able = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.NOT_FOUND, Provider.ANTHROPIC, fallbacks=[failing, able])
    answer = await stage.ask(model)
    assert came_from(answer)[0] == able
    why = await stage.why(answer)
    (skip,) = (step for step in why["steps"] if "skipped" in step)
    assert skip["skipped"] == failing
    assert skip["reason"].startswith("its circuit is open")


async def test_one_call_alone_tries_again_and_the_others_are_served_by_the_fallback(
    stage: Stage,
) -> None:
    openai = stage.world.sandbox.openai
    openai.down = True
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await well(stage, fallbacks=[fallback])
    await opened(stage, model)
    await due(stage, model)
    before = len(stage.calls(model))
    answers = await asyncio.gather(*(stage.ask(model) for _ in range(20)))
    assert {OPENAI_CHAT.text(answer) for answer in answers} == {TWELVE}
    assert len(stage.calls(model)) == before + 1
    assert circuit_of(stage, model).state is State.OPEN


async def test_when_the_provider_is_back_the_next_calls_are_its_own_again(
    stage: Stage,
) -> None:
    """Within thirty seconds; here after one pause, as it was down for a moment only."""
    openai = stage.world.sandbox.openai
    openai.down = True
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await well(stage, fallbacks=[fallback])
    await opened(stage, model)
    openai.down = False
    began = time.monotonic()
    while True:
        answer = await stage.ask(model)
        assert answer.status == 200
        if came_from(answer)[0] == model:
            break
        await asyncio.sleep(0.05)
    assert time.monotonic() - began < 5
    assert circuit_of(stage, model).state is State.CLOSED
    answers = await asyncio.gather(*(stage.ask(model, stream=True) for _ in range(5)))
    assert {came_from(answer)[0] for answer in answers} == {model}


async def test_a_limited_or_refusing_provider_opens_no_circuit(own_stage: Stage) -> None:
    for fault in (Fault.LIMITED, Fault.UNAUTHENTICATED, Fault.CONTEXT, Fault.FILTER):
        model = await own_stage.model(fault, policy={**ONCE, "rateLimitedTries": 1})
        for _ in range(6):
            await own_stage.ask(model)
        assert circuit_of(own_stage, model).state is State.CLOSED


async def test_streams_that_break_open_the_circuit_too(stage: Stage) -> None:
    model = await stage.model(Fault.CUT, policy=ONCE)
    for _ in range(5):
        assert OPENAI_CHAT.errors(await stage.ask(model, stream=True))
    assert circuit_of(stage, model).state is State.OPEN


async def test_the_health_of_providers_says_what_happened(stage: Stage) -> None:
    stage.world.sandbox.openai.down = True
    model = await well(stage)
    await opened(stage, model)
    answer = await stage.world.admin.get("/api/providers/health")
    assert answer.status_code == 200, answer.text
    (place,) = (one for one in answer.json()["data"] if one["upstreamModel"].endswith(f".{model}"))
    assert place["state"] == "open"
    assert place["model"] == model
    assert place["lastError"] in ("unavailable", "overloaded", "upstream_error")
    assert "503" in place["why"]
    assert place["errorRate"] == 1.0


# How much may be repeated.


async def test_in_a_storm_of_failing_calls_a_fifth_is_repeated_and_no_more(
    stage: Stage,
) -> None:
    """A hundred calls of as many models, so that no circuit opens; each would repeat thrice."""
    world = stage.world
    policy = {**QUICK, "retries": 3}
    models = [await stage.model(Fault.UNAVAILABLE, policy=policy) for _ in range(100)]
    await _window_over(stage)
    world.service.traffic.budget.floor = FLOOR
    answers = await asyncio.gather(*map(stage.ask, models))
    assert {answer.status for answer in answers} == {503}
    sent = sum(map(len, map(stage.calls, models)))
    assert 100 + FLOOR <= sent <= 100 + FLOOR + 100 // 5
    rows = [row for answer in answers for row in await stage.kept(answer)]
    stopped = [row for row in rows if "too many calls are being repeated" in str(row.why)]
    assert len(rows) == 100
    assert len(stopped) >= 70, "each call says why it was not repeated"


async def test_in_a_storm_fallbacks_are_as_few(stage: Stage) -> None:
    world = stage.world
    fallback = await stage.model(provider=Provider.OLLAMA)
    models = [
        await stage.model(Fault.NOT_FOUND, fallbacks=[fallback]) for _ in range(4)
    ]  # no circuit opens because of a 404
    await _window_over(stage)
    world.service.traffic.budget.floor = FLOOR
    answers = await asyncio.gather(*(stage.ask(models[n % 4]) for n in range(100)))
    served = [answer for answer in answers if answer.status == 200]
    assert FLOOR <= len(served) <= FLOOR + 100 // 5
    assert len(stage.others(Provider.OLLAMA)) == len(served)
    assert {answer.status for answer in answers if answer not in served} == {404}


async def _window_over(stage: Stage) -> None:
    """Have the budget forget the repeats of earlier tests."""
    budget = stage.world.service.traffic.budget
    budget.tick(time.monotonic() + 11)
    budget._last = int(time.monotonic())
