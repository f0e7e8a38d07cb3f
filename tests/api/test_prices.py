"""`GET /api/prices`: what models cost, and who says so."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.service import Service

DEC = "2026-12-01T00:00:00.000Z"


@pytest_asyncio.fixture(autouse=True)
async def no_editions(service: Service) -> AsyncIterator[None]:
    yield
    async with service.database.transaction() as connection:
        await connection.execute(text("TRUNCATE price_editions"))
    await service.pricing.service.load()


async def registered(client: httpx.AsyncClient, **values: Any) -> None:
    given = {"name": "chat", "provider": "OPENAI", "modelId": "gpt-4o"} | values
    answer = await client.post("/api/models", json=given)
    assert answer.status_code == 201, answer.text


async def one_price(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.get("/api/prices", params=query)
    assert answer.status_code == 200, answer.text
    (price,) = answer.json()["data"]
    return dict(price)


async def test_a_registered_model_shows_the_rates_of_the_book(client: httpx.AsyncClient) -> None:
    await registered(client)
    price = await one_price(client, model="chat", at=DEC)
    assert price["version"].startswith("genai-prices ")
    assert price["rates"] == {
        "input": 2.5,
        "cachedInput": 1.25,
        "cacheWrite": None,
        "cacheWrite1h": None,
        "output": 10.0,
        "perImage": None,
        "perCall": None,
    }


async def test_a_models_own_costs_come_first(client: httpx.AsyncClient) -> None:
    await registered(client, inputCostPer1kTokens=0.001, outputCostPer1kTokens=0.002)
    price = await one_price(client, model="chat")
    assert (price["rates"]["input"], price["rates"]["output"]) == (1, 2)
    assert price["version"].startswith("own@")


async def test_a_model_is_found_by_its_providers_id_too(client: httpx.AsyncClient) -> None:
    await registered(client)
    assert (await one_price(client, provider="OPENAI", model="gpt-4o"))["model"] == "chat"


async def test_a_model_that_is_not_registered_is_looked_up_in_the_book(
    client: httpx.AsyncClient,
) -> None:
    price = await one_price(client, provider="ANTHROPIC", model="claude-sonnet-4-5", at=DEC)
    assert price["model"] is None
    assert price["rates"]["cacheWrite1h"] == 6
    (long,) = price["longContext"]
    assert (long["above"], long["input"]) == (200_000, 6)
    assert price["tiers"]["batch"]["rates"]["input"] == 1.5


async def test_a_model_that_nobody_knows_the_price_of_has_none(client: httpx.AsyncClient) -> None:
    price = await one_price(client, provider="OPENAI", model="of-my-own")
    assert (price["version"], price["rates"]) == (None, None)


async def test_an_unknown_name_without_a_provider_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/prices", params={"model": "nobody"})
    assert answer.status_code == 404


async def test_prices_of_the_past_are_those_of_then(client: httpx.AsyncClient) -> None:
    before = await one_price(client, provider="OPENAI", model="o3", at="2025-06-09T23:59:59Z")
    after = await one_price(client, provider="OPENAI", model="o3", at="2025-06-10T00:00:00Z")
    assert (before["rates"]["input"], after["rates"]["input"]) == (10, 2)


async def test_without_a_name_all_registered_models_are_shown(client: httpx.AsyncClient) -> None:
    await registered(client)
    await registered(client, name="local", provider="OLLAMA", modelId="llama")
    answer = await client.get("/api/prices")
    versions = {price["model"]: price["version"] for price in answer.json()["data"]}
    assert versions.keys() == {"chat", "local"}
    assert versions["local"] == "local"


async def test_a_token_sees_the_prices_of_its_models_alone(client: httpx.AsyncClient) -> None:
    await registered(client)
    await registered(client, name="other")
    body = {"role": "service", "scopes": {"models": ["other"]}}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    answer = await client.get("/api/prices", headers={"authorization": f"Bearer {token}"})
    assert [price["model"] for price in answer.json()["data"]] == ["other"]


@pytest.mark.parametrize("field", ["provider", "at", "unknown"])
async def test_bad_questions_are_refused_by_the_fields_name(
    client: httpx.AsyncClient, field: str
) -> None:
    answer = await client.get("/api/prices", params={field: "nonsense"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


async def test_editions_are_listed_with_the_bundled_one(
    client: httpx.AsyncClient, service: Service
) -> None:
    document = {
        "format": "model-service-prices/1",
        "edition": "house",
        "effectiveFrom": "2199-01-01T00:00:00Z",
        "models": [{"provider": "OPENAI", "model": "x", "prices": [{"input": 1}]}],
    }
    await service.pricing.service.bring_in(json.dumps(document).encode(), "op")
    answer = (await client.get("/api/prices/editions")).json()
    assert answer["bundled"].startswith("genai-prices ")
    (edition,) = answer["data"]
    assert (edition["name"], edition["effectiveFrom"]) == ("house", "2199-01-01T00:00:00.000Z")


async def test_prices_need_a_credential(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/api/prices")).status_code == 401
