"""Registering, reading, changing and removing models."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MINIMAL = {"name": "chat", "provider": "OPENAI", "modelId": "some-model"}

FULL: dict[str, Any] = {
    "name": "Ünïcode 模型 🚀",
    "provider": "CUSTOM",
    "modelId": "vendor/model:latest",
    "description": "",
    "maxTokens": 2147483647,
    "supportsStreaming": False,
    "defaultTemperature": 0.7,
    "rateLimitPerMinute": 0,
    "rateLimitPerHour": 1000,
    "rateLimitPerDay": 2147483647,
    "inputCostPer1kTokens": 0.00015,
    "outputCostPer1kTokens": 0.0006,
    "cachedInputCostPer1kTokens": 0,
    "cacheWriteCostPer1kTokens": 1e-9,
    "providerSettings": {"baseUrl": "https://models.example.com/v1", "extra": {"a": [1, None]}},
    "isActive": False,
    "isDefault": True,
    "metadata": {"tags": ["a", "ß"], "deep": {"er": {"still": 1.5}}, "": None},
    "contextWindow": 200000,
    "capabilities": {"tools": True, "vision": False, "reasoning": None, "audioInput": True},
    "fallbacks": ["other", "third"],
}

OPTIONAL = sorted(
    FULL.keys()
    - {"name", "provider", "modelId", "maxTokens", "supportsStreaming", "isActive", "isDefault"}
)


async def create(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/models", json=MINIMAL | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_minimal_model_gets_the_defaults(client: httpx.AsyncClient) -> None:
    made = await create(client)
    assert made == MINIMAL | {
        "id": made["id"],
        "description": None,
        "maxTokens": 4096,
        "supportsStreaming": True,
        "defaultTemperature": None,
        "rateLimitPerMinute": None,
        "rateLimitPerHour": None,
        "rateLimitPerDay": None,
        "inputCostPer1kTokens": None,
        "outputCostPer1kTokens": None,
        "cachedInputCostPer1kTokens": None,
        "cacheWriteCostPer1kTokens": None,
        "providerSettings": None,
        "isActive": True,
        "isDefault": False,
        "metadata": None,
        "contextWindow": None,
        "capabilities": None,
        "fallbacks": None,
        "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"],
    }
    assert uuid.UUID(made["id"]).version == 7
    assert made["createdAt"].endswith("Z")
    assert len(made["createdAt"]) == len("2026-01-31T12:00:00.000Z")


async def test_every_field_comes_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    made = await create(client, **FULL)
    assert {name: made[name] for name in FULL} == FULL
    answer = await client.get(f"/api/models/{made['id']}")
    assert (answer.status_code, answer.json()) == (200, made)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 2))
async def test_numbers_come_back_to_the_last_digit(
    client: httpx.AsyncClient, cost: float, other: float, temperature: float
) -> None:
    sent = {
        "inputCostPer1kTokens": cost,
        "outputCostPer1kTokens": other,
        "defaultTemperature": temperature,
    }
    made = await create(client, **sent)
    assert {name: made[name] for name in sent} == sent
    assert (await client.delete(f"/api/models/{made['id']}")).status_code == 204


async def test_a_name_is_taken_once_and_the_error_names_it_without_sql(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    answer = await client.post("/api/models", json=MINIMAL)
    assert answer.status_code == 409
    body = answer.json()
    assert body["code"] == "already_exists"
    assert body["message"] == "A model with the name 'chat' exists already"


async def test_of_simultaneous_creates_of_one_name_one_is_answered_201(
    client: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*(client.post("/api/models", json=MINIMAL) for _ in range(20)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(201), statuses.count(409)) == (1, 19)


async def test_what_is_publicly_known_fills_in_what_is_not_given(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client, modelId="gpt-4o")
    assert made["contextWindow"] == 128000
    assert made["capabilities"]["tools"] is True
    assert made["capabilities"].keys() == {
        "streaming", "tools", "parallelTools", "vision", "structuredOutput", "reasoning",
        "embeddings",
    }  # fmt: skip
    assert made["inputCostPer1kTokens"] is None  # prices are looked up when a call is priced
    own = await create(
        client, name="own", modelId="gpt-4o", contextWindow=5, capabilities={"tools": False}
    )
    assert (own["contextWindow"], own["capabilities"]) == (5, {"tools": False})


async def test_with_another_model_behind_the_name_the_known_facts_follow(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client, modelId="gpt-4o")
    path = f"/api/models/{made['id']}"
    changed = (await client.put(path, json={"modelId": "o3-mini"})).json()
    assert (changed["contextWindow"], changed["capabilities"]["vision"]) == (200000, False)
    changed = (await client.put(path, json={"modelId": "not-known"})).json()
    assert (changed["contextWindow"], changed["capabilities"]) == (None, None)


async def test_with_another_model_behind_the_name_what_a_person_wrote_stays(
    client: httpx.AsyncClient,
) -> None:
    made = await create(client, modelId="gpt-4o", contextWindow=5)
    path = f"/api/models/{made['id']}"
    await client.put(path, json={"capabilities": None})
    changed = (await client.put(path, json={"modelId": "o3-mini"})).json()
    assert (changed["contextWindow"], changed["capabilities"]) == (5, None)


async def test_a_change_sets_what_it_names_and_nothing_else(client: httpx.AsyncClient) -> None:
    made = await create(client, **FULL)
    changes = {"name": "renamed", "maxTokens": 1, "metadata": {"new": True}, "fallbacks": []}
    answer = await client.put(f"/api/models/{made['id']}", json=changes)
    assert answer.status_code == 200
    changed = answer.json()
    assert changed == made | changes | {"updatedAt": changed["updatedAt"]}
    assert changed["updatedAt"] >= made["updatedAt"]
    assert (await client.get(f"/api/models/{made['id']}")).json() == changed


@pytest.mark.parametrize("field", OPTIONAL)
async def test_null_clears_an_optional_field(client: httpx.AsyncClient, field: str) -> None:
    made = await create(client, **FULL)
    answer = await client.put(f"/api/models/{made['id']}", json={field: None})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed == made | {field: None, "updatedAt": changed["updatedAt"]}


async def test_null_at_creation_is_as_good_as_nothing(client: httpx.AsyncClient) -> None:
    made = await create(client, **dict.fromkeys(OPTIONAL))
    assert all(made[field] is None for field in OPTIONAL)


async def test_an_empty_change_changes_nothing(client: httpx.AsyncClient) -> None:
    made = await create(client, **FULL)
    answer = await client.put(f"/api/models/{made['id']}", json={})
    assert (answer.status_code, answer.json()) == (200, made)


async def test_a_change_to_a_taken_name_is_refused_and_to_the_own_name_is_not(
    client: httpx.AsyncClient,
) -> None:
    await create(client)
    other = await create(client, name="other")
    path = f"/api/models/{other['id']}"
    answer = await client.put(path, json={"name": "chat", "maxTokens": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert (await client.get(path)).json() == other
    assert (await client.put(path, json={"name": "other"})).status_code == 200


async def test_simultaneous_changes_do_not_undo_each_other(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path = f"/api/models/{made['id']}"
    changes = {
        "description": "d", "maxTokens": 9, "isActive": False, "rateLimitPerDay": 3,
        "metadata": {"a": 1}, "fallbacks": ["x"], "inputCostPer1kTokens": 0.5, "isDefault": True,
    }  # fmt: skip
    answers = await asyncio.gather(
        *(client.put(path, json={name: value}) for name, value in changes.items())
    )
    assert {answer.status_code for answer in answers} == {200}
    found = (await client.get(path)).json()
    assert {name: found[name] for name in changes} == changes


async def test_fallbacks_keep_their_order_and_need_not_exist(client: httpx.AsyncClient) -> None:
    names = [f"model-{number}" for number in range(20, 0, -1)]
    assert (await create(client, fallbacks=names))["fallbacks"] == names


async def test_a_removed_model_is_gone_and_its_name_free(client: httpx.AsyncClient) -> None:
    made = await create(client)
    path = f"/api/models/{made['id']}"
    answer = await client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for again in (client.get(path), client.delete(path), client.put(path, json={"maxTokens": 1})):
        answer = await again
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    await create(client)


async def test_an_unknown_model_is_not_found_whatever_is_asked_of_it(
    client: httpx.AsyncClient,
) -> None:
    path = f"/api/models/{uuid.uuid4()}"
    for request in (client.get(path), client.delete(path), client.put(path, json={})):
        answer = await request
        assert (answer.status_code, answer.json()["message"]) == (404, "No such model")
