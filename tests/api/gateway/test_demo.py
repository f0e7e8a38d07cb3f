"""The demo's models: each can be called, or misbehaves as the documents say."""

from typing import Any

import pytest

from model_service.cli.demo import KEY, MODELS
from model_service.kernel.types import Provider
from tests.gateway_world import GatewayWorld

USER = "visitor-of-the-demo"


@pytest.mark.parametrize("shown", MODELS, ids=lambda shown: shown["name"])
async def test_every_model_of_the_demo_answers_as_it_should(
    world: GatewayWorld, shown: dict[str, Any]
) -> None:
    provider, model = Provider(shown["provider"]), f"demo-{shown['name']}"
    await world.model(model, provider, modelId=shown["modelId"])
    await world.key(provider, KEY, user=USER)
    path, asked = "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}
    if shown["name"] == "embeddings":
        path, asked = "/v1/embeddings", {"input": "Hello"}  # type: ignore[dict-item]
    async with world.client(await world.token(USER)) as client:
        answer = await client.post(path, json={"model": model, **asked})
    assert answer.status_code == (502 if shown["name"] == "cut-short" else 200), answer.text
