"""How much one token may have under way."""

import asyncio

import pytest

from model_service.gateway import pipeline
from model_service.kernel.types import Provider
from tests.api.gateway.test_calls import CHAT, chat, name, ready
from tests.gateway_world import GatewayWorld


async def test_a_token_with_too_many_calls_under_way_waits_and_others_do_not(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_CALLS", 2)
    model, user, token = await ready(world)
    silent = name()
    await world.model(silent, Provider.OPENAI, modelId="fault-silent")
    async with world.client(token) as client, world.client(await world.token(user, label="b")) as b:
        stuck = [asyncio.create_task(client.post(CHAT, json=chat(silent))) for _ in range(2)]
        await world.sandbox.openai.arrived(2)
        refused = await client.post(CHAT, json=chat(model))
        other = await b.post(CHAT, json=chat(model))
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "too_many_calls"
    assert other.status_code == 200
    async with world.client(token) as client:
        async with asyncio.timeout(10):
            # The service hears that the others left when it hears it.
            while (await client.post(CHAT, json=chat(model))).status_code == 429:
                pass
