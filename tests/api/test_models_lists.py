"""Lists of models, their order and pages, the default and the counts."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from model_service.db.uow import Database


async def create(client: httpx.AsyncClient, name: str, **changes: Any) -> dict[str, Any]:
    body = {"name": name, "provider": "OPENAI", "modelId": "m"} | changes
    answer = await client.post("/api/models", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    answer = await client.get(f"/api/models{query}")
    assert answer.status_code == 200, answer.text
    return [model["name"] for model in answer.json()]


async def test_an_empty_registry_is_an_empty_array(client: httpx.AsyncClient) -> None:
    assert await names(client) == []
    page = (await client.get("/api/models?page=1")).json()
    assert page == {"data": [], "total": 0, "page": 1, "limit": 50}


async def test_the_default_comes_first_then_the_newest(client: httpx.AsyncClient) -> None:
    for name in ("first", "second", "third"):
        await create(client, name, isDefault=name == "first")
    assert await names(client) == ["first", "third", "second"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?provider=OPENAI", ["silent", "off", "on"]),
        ("?provider=OLLAMA", ["local"]),
        ("?provider=AZURE", []),
        ("?isActive=true", ["local", "silent", "on"]),
        ("?isActive=false", ["off"]),
        ("?supportsStreaming=false", ["silent"]),
        ("?provider=OPENAI&isActive=true&supportsStreaming=true", ["on"]),
        ("/provider/OPENAI", ["silent", "off", "on"]),
        ("/provider/CUSTOM", []),
    ],
)
async def test_lists_are_filtered(
    client: httpx.AsyncClient, query: str, expected: list[str]
) -> None:
    await create(client, "on")
    await create(client, "off", isActive=False)
    await create(client, "silent", supportsStreaming=False)
    await create(client, "local", provider="OLLAMA")
    assert await names(client, query) == expected


@pytest.mark.parametrize(
    ("query", "page", "limit", "expected"),
    [
        ("page=1&limit=2", 1, 2, ["m5", "m4"]),
        ("page=2&limit=2", 2, 2, ["m3", "m2"]),
        ("page=3&limit=2", 3, 2, ["m1"]),
        ("page=4&limit=2", 4, 2, []),
        ("page=2147483647&limit=200", 2147483647, 200, []),
        ("page=2&pageSize=3", 2, 3, ["m2", "m1"]),
        ("limit=1", 1, 1, ["m5"]),
        ("pageSize=4", 1, 4, ["m5", "m4", "m3", "m2"]),
        ("page=1", 1, 50, ["m5", "m4", "m3", "m2", "m1"]),
    ],
)
async def test_any_paging_parameter_makes_it_a_page(
    client: httpx.AsyncClient, query: str, page: int, limit: int, expected: list[str]
) -> None:
    for number in range(1, 6):
        await create(client, f"m{number}")
    await create(client, "local", provider="OLLAMA")
    answer = await client.get(f"/api/models?provider=OPENAI&{query}")
    assert answer.status_code == 200
    body = answer.json()
    assert [model["name"] for model in body.pop("data")] == expected
    assert body == {"total": 5, "page": page, "limit": limit}


async def test_a_list_too_long_to_give_at_once_says_to_page(
    client: httpx.AsyncClient, database: Database
) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text(
                "INSERT INTO models (id, name, provider, model_id, max_tokens, supports_streaming,"
                " is_active, is_default, created_at, updated_at)"
                " SELECT gen_random_uuid(), 'm' || n, 'OPENAI', 'm', 1, true, true, false, now(),"
                " now() FROM generate_series(1, 10001) AS n"
            )
        )
    for path in ("/api/models", "/api/models/provider/OPENAI"):
        answer = await client.get(path)
        assert answer.status_code == 400
        assert "page" in answer.json()["message"]
    page = (await client.get("/api/models?page=51&limit=200")).json()
    assert (page["total"], len(page["data"])) == (10001, 1)
    assert (await client.get("/api/models/provider/OLLAMA")).json() == []


async def test_there_is_no_default_until_one_is_set(client: httpx.AsyncClient) -> None:
    await create(client, "ordinary")
    answer = await client.get("/api/models/default")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    made = await create(client, "default", isDefault=True)
    assert (await client.get("/api/models/default")).json() == made


async def test_an_inactive_default_counts_as_none(client: httpx.AsyncClient) -> None:
    made = await create(client, "default", isDefault=True)
    await client.put(f"/api/models/{made['id']}", json={"isActive": False})
    assert (await client.get("/api/models/default")).status_code == 404


async def test_setting_a_default_clears_the_one_before(client: httpx.AsyncClient) -> None:
    one = await create(client, "one", isDefault=True)
    two = await create(client, "two", isDefault=True)
    assert (await client.get(f"/api/models/{one['id']}")).json()["isDefault"] is False
    answer = await client.put(f"/api/models/{one['id']}", json={"isDefault": True})
    assert answer.json()["isDefault"] is True
    assert (await client.get(f"/api/models/{two['id']}")).json()["isDefault"] is False
    await client.put(f"/api/models/{one['id']}", json={"isDefault": False})
    assert (await client.get("/api/models/default")).status_code == 404


async def test_fifty_simultaneous_switches_leave_exactly_one_default(
    client: httpx.AsyncClient,
) -> None:
    made = [await create(client, f"m{number}") for number in range(5)]
    answers = await asyncio.gather(
        *(
            client.put(f"/api/models/{made[number % 5]['id']}", json={"isDefault": True})
            for number in range(50)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    models = (await client.get("/api/models")).json()
    assert [model["isDefault"] for model in models] == [True, False, False, False, False]


async def test_the_statistics_count_models_and_name_the_default(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/api/models/stats")).json() == {
        "total": 0,
        "active": 0,
        "byProvider": {},
        "defaultModel": None,
    }
    await create(client, "a")
    await create(client, "b", isActive=False)
    await create(client, "c", provider="OLLAMA", isDefault=True)
    assert (await client.get("/api/models/stats")).json() == {
        "total": 3,
        "active": 2,
        "byProvider": {"OPENAI": 2, "OLLAMA": 1},
        "defaultModel": "c",
    }
