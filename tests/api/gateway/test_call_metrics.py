"""What the metrics say of calls: cost, repeats, fallbacks, refusals, circuits, the journal."""

import secrets

import pytest

from model_service.kernel.types import Provider
from tests.api.gateway.usage_events import Caller
from tests.faults.gateway_doors import OPENAI_CHAT
from tests.gateway_world import GatewayWorld


async def value(world: GatewayWorld, name: str, *labels: str) -> float:
    """A meter's value; of one that was never used 0. `labels` are such as `a="b"`."""
    for line in (await world.admin.get("/metrics")).text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in labels):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


async def test_cost_is_counted_by_provider(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.ANTHROPIC)
    labels = ("model_service_cost_usd_total", 'gen_ai_provider_name="ANTHROPIC"')
    before = await value(world, *labels)
    _, event = await caller.ask(OPENAI_CHAT)
    assert event.cost is not None
    assert await value(world, *labels) - before == pytest.approx(float(event.cost))


async def test_repeated_attempts_are_counted(world: GatewayWorld) -> None:
    caller = await Caller.new(
        world, Provider.OPENAI, modelId=f"fault-500-once.{secrets.token_hex(3)}"
    )
    labels = ("model_service_call_retries_total", 'gen_ai_provider_name="OPENAI"')
    before = await value(world, *labels)
    answer, _ = await caller.ask(OPENAI_CHAT)
    assert answer.status == 200
    assert await value(world, *labels) - before == 1


async def test_a_fallback_is_counted_for_the_provider_that_took_over(world: GatewayWorld) -> None:
    other = await Caller.new(world, Provider.ANTHROPIC)
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-context.{secrets.token_hex(3)}",
        fallbacks=[other.model],
        contextWindow=1000,
    )
    await world.key(Provider.ANTHROPIC, "sk-sandbox-" + secrets.token_hex(8), user=caller.user)
    labels = ("model_service_call_fallbacks_total", 'gen_ai_provider_name="ANTHROPIC"')
    before = await value(world, *labels)
    answer, event = await caller.ask(OPENAI_CHAT)
    assert (answer.status, event.model) == (200, other.model)
    assert await value(world, *labels) - before == 1


async def test_refusals_by_our_own_limits_are_counted_and_by_providers_are_not(
    world: GatewayWorld,
) -> None:
    labels = ("model_service_limit_refusals_total", 'error_type="rate_limited"')
    before = await value(world, *labels)
    theirs = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-429.{secrets.token_hex(3)}",
        providerSettings={"policy": {"retries": 0}},
    )
    assert (await theirs.ask(OPENAI_CHAT))[0].status == 429
    assert await value(world, *labels) == before
    ours = await Caller.new(world, Provider.OPENAI, rateLimitPerMinute=1)
    statuses = [(await ours.ask(OPENAI_CHAT))[0].status for _ in range(3)]
    assert await value(world, *labels) - before == statuses.count(429) > 0


async def test_an_open_circuit_is_shown(world: GatewayWorld) -> None:
    upstream = f"fault-503.{secrets.token_hex(3)}"
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=upstream,
        providerSettings={"policy": {"retries": 0}},
    )
    labels = ("model_service_circuit_state", f'gen_ai_request_model="{upstream}"')
    for _ in range(6):
        await caller.ask(OPENAI_CHAT)
    assert await value(world, *labels) > 0
    lines = (await world.admin.get("/metrics")).text
    assert f'server_address="{world.sandbox.openai.origin}"' in lines


async def test_the_journal_is_shown(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.OPENAI)
    await caller.ask(OPENAI_CHAT)
    assert await value(world, "model_service_usage_journal_full") == 0
    assert await value(world, "model_service_usage_undrained_events") == 0
    assert await value(world, "model_service_usage_oldest_undrained_seconds") == 0
