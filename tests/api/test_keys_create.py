"""POST /api/api-keys: validated first, then stored, or nothing at all."""

import asyncio
import base64
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.sandbox.server import Sandbox

GOOD = "sk-sandbox-0123456789abcdef"


def new_key(**changes: Any) -> dict[str, Any]:
    return {
        "userId": "user-1",
        "provider": "OPENAI",
        "keyName": "main",
        "apiKey": GOOD,
    } | changes


async def stored(database: Database) -> list[Any]:
    async with database.single() as connection:
        return list(await connection.execute(select(api_keys)))


async def test_a_key_the_provider_takes_is_stored_and_its_value_not_shown(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    answer = await client.post(
        "/api/api-keys",
        json=new_key(metadata={"team": "a"}, expiresAt="2099-01-31T12:00:00+01:00"),
    )
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert GOOD not in answer.text
    assert body.keys() == {
        "id", "userId", "provider", "keyName", "keyPrefix", "lastUsedAt", "usageCount", "isActive",
        "isValid", "metadata", "createdAt", "updatedAt", "expiresAt", "validatedAt",
    }  # fmt: skip
    assert uuid.UUID(body["id"]).version == 7
    assert body["keyPrefix"] == "sk-sand...cdef"
    assert (body["usageCount"], body["lastUsedAt"]) == (0, None)
    assert body["isActive"] is True
    assert body["isValid"] is True
    assert body["expiresAt"] == "2099-01-31T11:00:00.000Z"
    assert body["validatedAt"] == body["createdAt"] == body["updatedAt"]
    assert [request.path for request in sandbox.openai.requests] == ["/v1/models"]
    assert (await client.get(f"/api/api-keys/{body['id']}")).json() == body


async def test_the_stored_record_has_the_documented_layout(
    client: httpx.AsyncClient, database: Database
) -> None:
    await client.post("/api/api-keys", json=new_key())
    (row,) = await stored(database)
    record = base64.b64decode(row.encrypted_key, validate=True)
    assert record[:2] == b"\x01\x01"
    assert len(record) == 1 + 1 + 4 + 16 + 12 + 32 + len(GOOD) + 16
    assert GOOD.encode() not in record


async def test_two_records_of_one_value_have_nothing_in_common(
    client: httpx.AsyncClient, database: Database
) -> None:
    for name in ("one", "two"):
        await client.post("/api/api-keys", json=new_key(keyName=name))
    first, second = (base64.b64decode(row.encrypted_key)[6:] for row in await stored(database))
    assert first[:16] != second[:16]
    assert first[16:28] != second[16:28]
    assert first[28:60] != second[28:60]


@pytest.mark.parametrize("provider", ["OPENAI", "ANTHROPIC", "GOOGLE"])
async def test_a_key_the_provider_refuses_is_not_stored(
    client: httpx.AsyncClient, database: Database, provider: str
) -> None:
    refused = "wrong-key-0123456789abcdef"
    answer = await client.post("/api/api-keys", json=new_key(provider=provider, apiKey=refused))
    assert answer.status_code == 400
    assert answer.json()["message"] == f"Invalid API key for provider '{provider}'"
    assert refused not in answer.text
    assert await stored(database) == []


@pytest.mark.parametrize("behaviour", ["limited", "broken", "html", "redirect"])
async def test_a_provider_that_could_not_be_asked_decides_nothing(
    client: httpx.AsyncClient, database: Database, behaviour: str
) -> None:
    answer = await client.post(
        "/api/api-keys", json=new_key(apiKey=f"sk-sandbox-{behaviour}-0123456789")
    )
    assert answer.status_code == 503
    assert answer.json()["code"] == "provider_unreachable"
    assert "OPENAI" in answer.json()["message"]
    assert int(answer.headers["retry-after"]) >= 1
    assert await stored(database) == []


async def test_an_administrator_may_store_a_key_unvalidated(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    answer = await client.post(
        "/api/api-keys?validate=false", json=new_key(apiKey="unknown-key-0123456789")
    )
    assert answer.status_code == 201
    assert answer.json()["isValid"] is False
    assert answer.json()["validatedAt"] is None
    assert not sandbox.openai.requests


@pytest.mark.parametrize("provider", ["OLLAMA", "CUSTOM"])
async def test_unchecked_providers_take_any_key(client: httpx.AsyncClient, provider: str) -> None:
    answer = await client.post("/api/api-keys", json=new_key(provider=provider, apiKey="*"))
    assert answer.status_code == 201
    assert answer.json()["isValid"] is True
    assert answer.json()["keyPrefix"] == "***"


async def test_a_name_is_taken_once_per_user_and_provider(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    assert (await client.post("/api/api-keys", json=new_key())).status_code == 201
    sandbox.clear()
    again = await client.post("/api/api-keys", json=new_key())
    assert again.status_code == 409
    assert again.json()["code"] == "already_exists"
    assert not sandbox.openai.requests, "the provider need not be asked about a lost cause"
    for other in ({"userId": "user-2"}, {"keyName": "second"}, {"provider": "ANTHROPIC"}):
        answer = await client.post("/api/api-keys", json=new_key(**other))
        assert answer.status_code == 201, other


async def test_of_simultaneous_creates_of_one_name_one_wins(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(client.post("/api/api-keys", json=new_key()) for _ in range(12))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11


async def test_an_azure_key_is_asked_about_at_its_own_endpoint(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    endpoint = sandbox.azure.origin
    answer = await client.post(
        "/api/api-keys",
        json=new_key(
            provider="AZURE",
            apiKey=sandbox.azure.sample_key(),
            metadata={"endpoint": endpoint + "/", "note": "x"},
        ),
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["metadata"] == {"endpoint": endpoint, "note": "x"}
    assert [request.path for request in sandbox.azure.requests] == ["/openai/v1/models"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example",
        "https://res.openai.azure.com.evil.example",
        "http://res.openai.azure.com",
        "https://user:pw@res.openai.azure.com",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "",
        7,
    ],
)
async def test_an_azure_key_goes_nowhere_but_to_azure(
    client: httpx.AsyncClient, database: Database, endpoint: object
) -> None:
    answer = await client.post(
        "/api/api-keys",
        json=new_key(provider="AZURE", apiKey="a" * 84, metadata={"endpoint": endpoint}),
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == "metadata.endpoint"
    assert await stored(database) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"userId": ""}, "userId"),
        ({"userId": None}, "userId"),
        ({"userId": 7}, "userId"),
        ({"userId": "x" * 256}, "userId"),
        ({"userId": "nul\x00"}, "userId"),
        ({"provider": "openai"}, "provider"),
        ({"provider": "MISTRAL"}, "provider"),
        ({"provider": None}, "provider"),
        ({"keyName": ""}, "keyName"),
        ({"keyName": "x" * 256}, "keyName"),
        ({"keyName": ["a"]}, "keyName"),
        ({"apiKey": "short"}, "apiKey"),
        ({"apiKey": "x" * 513}, "apiKey"),
        ({"apiKey": "has a space in it"}, "apiKey"),
        ({"apiKey": "evil\r\nx-admin: 1"}, "apiKey"),
        ({"apiKey": "nul\x00-inside-the-key"}, "apiKey"),
        ({"apiKey": 12345678}, "apiKey"),
        ({"apiKey": None}, "apiKey"),
        ({"metadata": []}, "metadata"),
        ({"metadata": "x"}, "metadata"),
        ({"metadata": {"a": "\x00"}}, "metadata"),
        ({"metadata": {"a": "x" * 70_000}}, "metadata"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"expiresAt": 1_900_000_000}, "expiresAt"),
        ({"expiresAt": "1900000000"}, "expiresAt"),
        ({"expiresAt": "1.5"}, "expiresAt"),
        ({"expiresAt": "-62135596800"}, "expiresAt"),
        ({"expiresAt": "0001-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59Z"}, "expiresAt"),
        ({"expiresAt": "9998-12-31T23:59:59-23:59"}, "expiresAt"),
        ({"expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
        ({"unknown": 1}, "unknown"),
        ({"isValid": True}, "isValid"),
    ],
)
async def test_bad_input_is_named_and_nothing_is_stored_or_asked(
    client: httpx.AsyncClient,
    database: Database,
    sandbox: Sandbox,
    change: dict[str, Any],
    field: str,
) -> None:
    answer = await client.post("/api/api-keys", json=new_key(**change))
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["code"] == "validation_failed"
    assert field in {fault["field"].partition(".")[0] for fault in body["errors"]}
    assert await stored(database) == []
    assert not sandbox.openai.requests


@pytest.mark.parametrize("missing", ["userId", "provider", "keyName", "apiKey"])
async def test_required_fields_are_required(client: httpx.AsyncClient, missing: str) -> None:
    body = new_key()
    del body[missing]
    answer = await client.post("/api/api-keys", json=body)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [missing]
