"""A rotated key whose new value its provider refuses: the old one is used, and somebody told."""

from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import select

from model_service.db.tables import webhook_events
from model_service.db.uow import Database
from model_service.sandbox import Sandbox

FIRST = "sk-sandbox-first-value-1"
SECOND = "sk-sandbox-second-value-2"
LISTING = "/api/models/providers/OPENAI/available-models?userId=user-1"


async def rotated(client: httpx.AsyncClient, sandbox: Sandbox, grace: int = 3600) -> str:
    """A key within the grace of its first value, of which the provider hears nothing yet."""
    await client.post("/api/webhooks", json={"url": "https://hooks.example.com/all"})
    body = {"userId": "user-1", "provider": "OPENAI", "keyName": "main", "apiKey": FIRST}
    key = (await client.post("/api/api-keys", json=body)).json()["id"]
    answer = await client.post(
        f"/api/api-keys/{key}/rotate", json={"apiKey": SECOND, "graceSeconds": grace}
    )
    assert answer.status_code == 200, answer.text
    sandbox.openai.requests.clear()
    return str(key)


def sent(sandbox: Sandbox) -> list[str]:
    credentials = [request.credential for request in sandbox.openai.requests]
    return [credential.value for credential in credentials if credential]


async def alerts(database: Database) -> list[dict[str, Any]]:
    query = select(webhook_events.c.body).where(webhook_events.c.type == "key.invalid")
    async with database.single() as connection:
        return [orjson.loads(body)["data"] for body in (await connection.execute(query)).scalars()]


async def test_models_are_listed_with_the_old_value_when_the_new_one_is_refused(
    client: httpx.AsyncClient, sandbox: Sandbox, database: Database
) -> None:
    key = await rotated(client, sandbox)
    sandbox.openai.revoked.add(SECOND)
    answer = await client.get(LISTING)
    assert answer.status_code == 200, answer.text
    assert sent(sandbox) == [SECOND, FIRST]
    assert (await client.get(f"/api/api-keys/{key}")).json()["isValid"] is False
    (alert,) = await alerts(database)
    assert (alert["keyId"], alert["reason"], alert["fallback"]) == (key, "refused", True)


async def test_from_then_on_the_refused_value_is_not_tried_again(
    client: httpx.AsyncClient, sandbox: Sandbox, database: Database
) -> None:
    await rotated(client, sandbox)
    sandbox.openai.revoked.add(SECOND)
    answers = [(await client.get(LISTING)).status_code for _ in range(3)]
    assert answers == [200, 200, 200]
    assert sent(sandbox) == [SECOND, FIRST, FIRST], "the third answer was remembered"
    assert len(await alerts(database)) == 1


async def test_each_use_of_the_old_value_is_in_the_audit_trail(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    key = await rotated(client, sandbox)
    sandbox.openai.revoked.add(SECOND)
    await client.get(LISTING)
    trail = (await client.get(f"/api/api-keys/{key}/audit")).json()["data"]
    told = [(event["type"], event["decision"], event["reason"]) for event in trail]
    assert ("key.reveal", "allow", "fallback to version 1") in told
    assert ("key.validate", "deny", "refused by the provider; the value before it is used") in told


@pytest.mark.parametrize("revoked", [(SECOND,), (FIRST, SECOND)])
async def test_without_a_fallback_that_works_the_refusal_is_the_answer(
    client: httpx.AsyncClient, sandbox: Sandbox, database: Database, revoked: tuple[str, ...]
) -> None:
    await rotated(client, sandbox, grace=0 if len(revoked) == 1 else 3600)
    sandbox.openai.revoked.update(revoked)
    answer = await client.get(LISTING)
    assert (answer.status_code, answer.json()["code"]) == (409, "key_refused")
    assert sorted(sent(sandbox)) == sorted(revoked)
    (alert,) = await alerts(database)
    assert alert["fallback"] is (len(revoked) == 2)


@pytest.mark.parametrize(("grace", "fallback"), [(0, False), (3600, True)])
async def test_validation_says_truthfully_whether_there_is_a_fallback(
    client: httpx.AsyncClient, sandbox: Sandbox, database: Database, grace: int, fallback: bool
) -> None:
    key = await rotated(client, sandbox, grace)
    sandbox.openai.revoked.add(SECOND)
    answer = await client.post(f"/api/api-keys/{key}/validate")
    assert answer.json()["isValid"] is False
    (alert,) = await alerts(database)
    assert alert["fallback"] is fallback
