"""The routes of rotation: what they take, what they answer, and that no value is in it."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from model_service.sandbox.server import Sandbox

FIRST = "sk-sandbox-first-value-1"
SECOND = "sk-sandbox-second-value-2"


async def created(client: httpx.AsyncClient, **changes: Any) -> str:
    body = {"userId": "user-1", "provider": "OPENAI", "keyName": "main", "apiKey": FIRST}
    answer = await client.post("/api/api-keys", json=body | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_rotated_key_decrypts_to_its_new_value(
    client: httpx.AsyncClient, internal_headers: dict[str, str], sandbox: Sandbox
) -> None:
    key = await created(client)
    answer = await client.post(f"/api/api-keys/{key}/rotate", json={"apiKey": SECOND})
    assert answer.status_code == 200, answer.text
    assert answer.json()["keyPrefix"] == "sk-sand...ue-2"
    assert answer.json()["isValid"] is True
    assert SECOND not in answer.text
    decrypted = await client.get(f"/api/api-keys/{key}/decrypt", headers=internal_headers)
    assert decrypted.json() == {"key": SECOND}
    asked = [request.credential for request in sandbox.openai.requests]
    assert [credential.value for credential in asked if credential] == [FIRST, SECOND]


async def test_the_history_shows_every_step_and_no_value(client: httpx.AsyncClient) -> None:
    key = await created(client)
    await client.post(f"/api/api-keys/{key}/rotate", json={"apiKey": SECOND, "graceSeconds": 60})
    answer = await client.get(f"/api/api-keys/{key}/rotation")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["keyId"], body["keyVersion"], body["state"]) == (key, 2, "retiring")
    assert body["retiring"]["keyVersion"] == 1
    assert body["retiring"]["keyPrefix"] == "sk-sand...ue-1"
    assert body["policy"] is None
    history = [(step["keyVersion"], step["state"]) for step in body["history"]]
    assert history == [(1, "retiring"), (2, "active"), (2, "pending")]
    assert len({step["rotationId"] for step in body["history"]}) == 1
    assert FIRST not in answer.text
    assert SECOND not in answer.text


async def test_a_value_the_provider_refuses_is_400(client: httpx.AsyncClient) -> None:
    key = await created(client)
    refused = "wrong-key-0123456789abcdef"
    answer = await client.post(f"/api/api-keys/{key}/rotate", json={"apiKey": refused})
    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid API key for provider 'OPENAI'"
    assert refused not in answer.text


async def test_a_provider_that_cannot_be_asked_is_503(client: httpx.AsyncClient) -> None:
    key = await created(client)
    answer = await client.post(
        f"/api/api-keys/{key}/rotate", json={"apiKey": "sk-sandbox-limited-0123"}
    )
    assert answer.status_code == 503
    assert answer.json()["code"] == "provider_unreachable"
    assert int(answer.headers["retry-after"]) >= 1
    assert (await client.get(f"/api/api-keys/{key}")).json()["keyPrefix"] == "sk-sand...ue-1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "apiKey"),
        ({"apiKey": None}, "apiKey"),
        ({"apiKey": "short"}, "apiKey"),
        ({"apiKey": "has a space in it"}, "apiKey"),
        ({"apiKey": FIRST}, "apiKey"),
        ({"apiKey": SECOND, "graceSeconds": -1}, "graceSeconds"),
        ({"apiKey": SECOND, "graceSeconds": 2_592_001}, "graceSeconds"),
        ({"apiKey": SECOND, "graceSeconds": 1.5}, "graceSeconds"),
        ({"apiKey": SECOND, "graceSeconds": "60"}, "graceSeconds"),
        ({"apiKey": SECOND, "keyName": "x"}, "keyName"),
        ({"apiKey": SECOND, "expiresAt": "tomorrow"}, "expiresAt"),
        ({"apiKey": SECOND, "expiresAt": "2031-01-01T00:00:00"}, "expiresAt"),
    ],
)
async def test_bad_input_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    key = await created(client)
    answer = await client.post(f"/api/api-keys/{key}/rotate", json=body)
    assert answer.status_code == 400, answer.text
    assert field in {fault["field"] for fault in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ({}, "2031-01-01T00:00:00.000Z"),
        ({"expiresAt": None}, None),
        ({"expiresAt": "2032-05-01T02:00:00+02:00"}, "2032-05-01T00:00:00.000Z"),
    ],
)
async def test_a_rotation_may_say_when_the_key_expires_from_then_on(
    client: httpx.AsyncClient, changes: dict[str, Any], then: str | None
) -> None:
    key = await created(client, expiresAt="2031-01-01T00:00:00Z")
    answer = await client.post(f"/api/api-keys/{key}/rotate", json={"apiKey": SECOND} | changes)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expiresAt"] == then


async def test_a_policy_is_set_shown_and_replaced_whole(client: httpx.AsyncClient) -> None:
    key = await created(client)
    answer = await client.put(
        f"/api/api-keys/{key}/rotation-policy",
        json={"everyDays": 90, "mode": "remind", "graceSeconds": 3600},
    )
    assert answer.status_code == 200, answer.text
    policy = answer.json()["policy"]
    assert (policy["mode"], policy["everyDays"], policy["graceSeconds"]) == ("remind", 90, 3600)
    assert policy["dueAt"] is not None
    assert (await client.get(f"/api/api-keys/{key}/rotation")).json()["policy"] == policy
    answer = await client.put(f"/api/api-keys/{key}/rotation-policy", json={"mode": "remind"})
    policy = answer.json()["policy"]
    assert (policy["everyDays"], policy["graceSeconds"], policy["dueAt"]) == (None, None, None)


async def test_automatic_rotation_of_a_google_key_is_manual_and_says_why(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    key = await created(client, provider="GOOGLE", apiKey=sandbox.google.sample_key())
    answer = await client.put(
        f"/api/api-keys/{key}/rotation-policy", json={"everyDays": 90, "mode": "automatic"}
    )
    assert answer.json()["state"] == "manual"
    assert "GOOGLE" in answer.json()["reason"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "sometimes"},
        {"mode": "remind", "everyDays": 0},
        {"mode": "remind", "everyDays": 3651},
        {"mode": "remind", "everyDays": "90"},
        {"mode": "remind", "graceSeconds": 2_592_001},
        {"mode": "remind", "credentialId": "x"},
        {"mode": "remind", "every": 90},
    ],
)
async def test_a_policy_that_makes_no_sense_is_400(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    key = await created(client)
    answer = await client.put(f"/api/api-keys/{key}/rotation-policy", json=body)
    assert answer.status_code == 400, answer.text


async def test_a_key_that_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    path = f"/api/api-keys/{uuid4()}"
    answers = [
        await client.post(f"{path}/rotate", json={"apiKey": SECOND}),
        await client.get(f"{path}/rotation"),
        await client.put(f"{path}/rotation-policy", json={"mode": "remind"}),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
