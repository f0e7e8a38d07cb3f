"""A call in another service tier costs what that tier costs, as the provider's answer names it."""

import pytest

from model_service.kernel.types import Provider
from tests.api.gateway.usage_events import Caller, kept, tokens_billed
from tests.faults.gateway_doors import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES, Door
from tests.gateway_world import GatewayWorld

#: The book knows the tiers of this one.
PRICED = {"inputCostPer1kTokens": None, "outputCostPer1kTokens": None, "modelId": "gpt-5.4-mini"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("door", [OPENAI_CHAT, OPENAI_RESPONSES], ids=lambda door: door.name)
async def test_the_tier_that_answered_is_the_one_that_is_paid_for(
    world: GatewayWorld, door: Door, stream: bool
) -> None:
    caller = await Caller.new(world, Provider.OPENAI, **PRICED)
    costs = {}
    for tier in ("default", "flex", "priority"):
        body = door.body(caller.model, "count to 12", stream) | {"service_tier": tier}
        async with world.client(caller.token) as client:
            answer = await door.send(client, caller.model, body, stream=stream)
        assert answer.status == 200, answer.text
        event = await kept(world, answer.headers["x-request-id"])
        assert event.price_version is not None
        assert event.price_version.endswith(f"#{tier}") is (tier != "default")
        assert event.input_tokens + event.output_tokens == sum(tokens_billed(caller.billed)[:5])
        assert event.cost is not None
        costs[tier] = event.cost
    assert costs["flex"] < costs["default"] < costs["priority"]


async def test_the_usual_tier_of_another_provider_is_no_tier(world: GatewayWorld) -> None:
    caller = await Caller.new(
        world,
        Provider.ANTHROPIC,
        inputCostPer1kTokens=None,
        outputCostPer1kTokens=None,
    )
    _, event = await caller.ask(ANTHROPIC)
    assert event.price_version is not None
    assert "#" not in event.price_version
