"""A model together with a user's key: for those alone who know the internal secret."""

from typing import Any

import httpx
import pytest

KEY = "sk-sandbox-9f8e7d6c5b4a3210"


async def prepared(client: httpx.AsyncClient, *, provider: str = "OPENAI") -> str:
    """The path of a new model of the provider, for which user `u` has a key."""
    model = {"name": f"m-{provider}", "provider": provider, "modelId": "m"}
    made = await client.post("/api/models", json=model)
    key = {"userId": "u", "provider": "OPENAI", "keyName": "k", "apiKey": KEY}
    stored = await client.post("/api/api-keys?validate=false", json=key)
    assert (made.status_code, stored.status_code) == (201, 201), stored.text
    return f"/api/models/{made.json()['id']}"


async def the_key(client: httpx.AsyncClient) -> dict[str, Any]:
    (key,) = (await client.get("/api/api-keys?userId=u")).json()
    found: dict[str, Any] = key
    return found


async def test_with_the_internal_secret_the_users_key_comes_along_and_is_counted(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    plain = (await client.get(path)).json()
    answer = await client.get(f"{path}?userId=u", headers=internal_headers)
    assert answer.status_code == 200
    assert answer.json() == plain | {"apiKey": KEY}
    assert answer.headers["cache-control"] == "no-store"
    key = await the_key(client)
    assert key["usageCount"] == 1
    assert key["lastUsedAt"] is not None


async def test_a_service_with_the_secret_alone_gets_the_key_too(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    answer = await anonymous.get(f"{path}?userId=u", headers=internal_headers)
    assert answer.json()["apiKey"] == KEY


async def test_without_the_secret_the_user_is_ignored(client: httpx.AsyncClient) -> None:
    path = await prepared(client)
    answer = await client.get(f"{path}?userId=u")
    assert answer.json() == (await client.get(path)).json()
    assert KEY not in answer.text
    assert (await the_key(client))["usageCount"] == 0


async def test_with_a_wrong_secret_nothing_is_given(client: httpx.AsyncClient) -> None:
    path = await prepared(client)
    answer = await client.get(f"{path}?userId=u", headers={"x-internal-secret": "wrong"})
    assert answer.status_code == 401
    assert (await the_key(client))["usageCount"] == 0


async def test_with_the_secret_but_without_a_user_there_is_no_key_field(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    assert "apiKey" not in (await client.get(path, headers=internal_headers)).json()


@pytest.mark.parametrize("user", ["nobody", "U", "u u"])
async def test_a_user_without_a_key_gets_null(
    client: httpx.AsyncClient, internal_headers: dict[str, str], user: str
) -> None:
    path = await prepared(client)
    answer = await client.get(path, params={"userId": user}, headers=internal_headers)
    assert (answer.status_code, answer.json()["apiKey"]) == (200, None)
    assert answer.headers["cache-control"] == "no-store"


async def test_a_name_with_blanks_around_it_is_nobodys(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    answer = await client.get(path, params={"userId": "u "}, headers=internal_headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "userId")
    assert KEY not in answer.text
    assert (await the_key(client))["usageCount"] == 0


async def test_a_key_for_another_provider_is_not_given(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client, provider="ANTHROPIC")
    answer = await client.get(f"{path}?userId=u", headers=internal_headers)
    assert answer.json()["apiKey"] is None


async def test_an_inactive_key_is_not_given(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    key = await the_key(client)
    await client.put(f"/api/api-keys/{key['id']}", json={"isActive": False})
    answer = await client.get(f"{path}?userId=u", headers=internal_headers)
    assert answer.json()["apiKey"] is None


async def test_of_an_unknown_model_nothing_is_revealed(
    client: httpx.AsyncClient, internal_headers: dict[str, str]
) -> None:
    path = await prepared(client)
    await client.delete(path)
    assert (await client.get(f"{path}?userId=u", headers=internal_headers)).status_code == 404
    assert (await the_key(client))["usageCount"] == 0
