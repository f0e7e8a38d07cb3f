"""`GET /api/usage/what-if`."""

from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.service import Service
from tests.usage_events import NOON, event, without_usage

JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}


@pytest_asyncio.fixture(autouse=True)
async def used(service: Service) -> None:
    await without_usage(service.database)
    tokens = {
        "input_tokens": 1_000_000,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 100_000,
    }
    await service.traffic.usage.sink.keep(
        [
            event(time=NOON, user_id="ada", cost=Decimal(9), **tokens),
            event(time=NOON, user_id="bob", cost=Decimal(1), **tokens),
        ]
    )


async def asked(client: httpx.AsyncClient, model: str, **query: str) -> dict[str, Any]:
    answer = await client.get("/api/usage/what-if", params=JANUARY | {"model": model} | query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_month_at_the_prices_of_a_model_of_the_book(client: httpx.AsyncClient) -> None:
    # gpt-4o: 2.50 and 10 dollars a million, twice.
    outcome = await asked(client, "OPENAI/gpt-4o")
    assert outcome["costUsd"] == 10
    assert outcome["whatIfCostUsd"] == 7
    assert outcome["differenceUsd"] == -3


async def test_a_month_at_the_prices_of_a_registered_model(client: httpx.AsyncClient) -> None:
    body = {
        "name": "mine",
        "provider": "CUSTOM",
        "modelId": "m",
        "providerSettings": {"baseUrl": "https://models.example.com/v1"},
        "inputCostPer1kTokens": 0.001,
        "outputCostPer1kTokens": 0.01,
    }
    assert (await client.post("/api/models", json=body)).status_code == 201
    outcome = await asked(client, "mine")
    assert outcome["whatIfCostUsd"] == 4
    assert outcome["priceVersions"][0].startswith("own@")


async def test_one_users_month(client: httpx.AsyncClient) -> None:
    outcome = await asked(client, "OPENAI/gpt-4o", userId="bob")
    assert (outcome["requests"], outcome["whatIfCostUsd"]) == (1, 3.5)


async def test_a_user_reckons_the_own_calls_alone(client: httpx.AsyncClient) -> None:
    made = await client.post("/api/tokens", json={"role": "user", "userId": "ada"})
    headers = {"authorization": f"Bearer {made.json()['token']}"}
    answer = await client.get(
        "/api/usage/what-if", params=JANUARY | {"model": "OPENAI/gpt-4o"}, headers=headers
    )
    assert answer.json()["costUsd"] == 9


async def test_a_model_without_a_price_leaves_all_calls_unpriced(
    client: httpx.AsyncClient,
) -> None:
    outcome = await asked(client, "OPENAI/of-nobody")
    assert (outcome["whatIfUnpriced"], outcome["whatIfCostUsd"]) == (2, 0)
    assert outcome["priceVersions"] == []


@pytest.mark.parametrize("model", ["nobody", "NOBODY/gpt-4o", "OPENAI/"])
async def test_a_model_that_is_not_registered_is_not_found(
    client: httpx.AsyncClient, model: str
) -> None:
    answer = await client.get("/api/usage/what-if", params=JANUARY | {"model": model})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"model": None}, "model"),
        ({"from": None}, "from"),
        ({"from": "2026-01-31"}, "from"),
        ({"from": "2026-02-02T00:00:00Z"}, "to"),
        ({"userId": ""}, "userId"),
        ({"per": "user"}, "per"),
    ],
)
async def test_bad_questions_are_refused_by_the_fields_name(
    client: httpx.AsyncClient, query: dict[str, str | None], field: str
) -> None:
    params = {**JANUARY, "model": "OPENAI/gpt-4o", **query}
    given = {name: value for name, value in params.items() if value is not None}
    answer = await client.get("/api/usage/what-if", params=given)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
