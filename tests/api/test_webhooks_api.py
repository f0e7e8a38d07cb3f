"""The routes of webhooks."""

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from model_service.db.tables import webhook_secrets
from model_service.db.uow import Database
from model_service.kernel.events import EventType
from model_service.kernel.redact import MASK, Redactor
from model_service.sandbox.keys import Behaviour
from model_service.sandbox.server import Sandbox
from model_service.service import Service

URL = "https://hooks.example.com/model-service?tenant=7"
MISSING = "/api/webhooks/018f3c5a-0000-7000-8000-000000000000"


async def create(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/webhooks", json={"url": URL} | changes)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def fields_refused(client: httpx.AsyncClient, **body: Any) -> list[str]:
    answer = await client.post("/api/webhooks", json=body)
    assert answer.status_code == 400, answer.text
    return [fault["field"] for fault in answer.json()["errors"]]


async def test_a_webhook_is_created_with_a_secret_that_is_shown_once(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/api/webhooks", json={"url": URL, "description": "ops"})
    assert answer.headers["cache-control"] == "no-store"
    created = answer.json()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", created.pop("secret"))
    assert created == {
        "id": created["id"],
        "url": URL,
        "events": None,
        "description": "ops",
        "isActive": True,
        "disabledReason": None,
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
    }
    shown = await client.get(f"/api/webhooks/{created['id']}")
    assert (shown.status_code, shown.json()) == (200, created)
    listed = await client.get("/api/webhooks")
    assert listed.json() == {"data": [created], "nextCursor": None}


async def test_the_secret_is_stored_sealed_and_masked_in_text(
    client: httpx.AsyncClient, database: Database, redactor: Redactor
) -> None:
    secret = (await create(client))["secret"]
    async with database.single() as connection:
        sealed = (await connection.execute(select(webhook_secrets.c.sealed))).scalar_one()
    assert secret.removeprefix("whsec_") not in sealed
    assert redactor(f"made {secret}") == f"made {MASK}"


async def test_events_wanted_are_kept_in_order_each_once(client: httpx.AsyncClient) -> None:
    created = await create(client, events=["key.rotated", "key.invalid", "key.rotated"])
    assert created["events"] == ["key.rotated", "key.invalid"]


@pytest.mark.parametrize("kind", list(EventType))
async def test_every_known_event_can_be_wanted(client: httpx.AsyncClient, kind: EventType) -> None:
    assert (await create(client, events=[kind.value]))["events"] == [kind.value]


@pytest.mark.parametrize("events", [["key.stolen"], ["KEY.ROTATED"], [""], [], "key.rotated", [1]])
async def test_unknown_events_are_refused(client: httpx.AsyncClient, events: Any) -> None:
    (field,) = await fields_refused(client, url=URL, events=events)
    assert field.startswith("events")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "http://hooks.example.com/",
        "https://user:made-up@hooks.example.com/",
        "https://hooks.example.com/#part",
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://[::ffff:169.254.169.254]/",
        "https://0x7f.1/",
        "https://hooks.example.com/" + "a" * 2048,
        7,
        None,
    ],
)
async def test_urls_that_events_may_not_go_to_are_refused(
    client: httpx.AsyncClient, url: Any
) -> None:
    answer = await client.post("/api/webhooks", json={"url": url})
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == ["url"]
    assert "made-up" not in answer.text


async def test_unknown_and_missing_fields_are_refused(client: httpx.AsyncClient) -> None:
    assert await fields_refused(client, url=URL, secret="whsec_mine") == ["secret"]
    assert await fields_refused(client, description="no url") == ["url"]


async def test_a_webhook_is_changed_field_by_field(client: httpx.AsyncClient) -> None:
    created = await create(client, events=["key.rotated"], description="ops")
    path = f"/api/webhooks/{created['id']}"
    moved = await client.put(path, json={"url": "https://other.example.com/"})
    assert moved.status_code == 200
    assert moved.json()["url"] == "https://other.example.com/"
    assert moved.json()["events"] == ["key.rotated"]
    assert "secret" not in moved.json()
    widened = await client.put(path, json={"events": None, "description": None, "isActive": False})
    assert [widened.json()[name] for name in ("events", "description", "isActive")] == [
        None,
        None,
        False,
    ]
    narrowed = await client.put(path, json={"events": ["token.created"]})
    assert narrowed.json()["events"] == ["token.created"]
    unchanged = await client.put(path, json={})
    assert unchanged.json() == narrowed.json()


@pytest.mark.parametrize(
    "body", [{"url": "https://10.0.0.1/"}, {"url": None}, {"isActive": None}, {"events": []}]
)
async def test_a_change_that_does_not_hold_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    created = await create(client)
    answer = await client.put(f"/api/webhooks/{created['id']}", json=body)
    assert answer.status_code == 400
    shown = await client.get(f"/api/webhooks/{created['id']}")
    assert shown.json()["url"] == URL


async def test_a_rotated_secret_is_a_new_one(client: httpx.AsyncClient) -> None:
    created = await create(client)
    answer = await client.post(f"/api/webhooks/{created['id']}/rotate-secret")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["secret"].startswith("whsec_")
    assert answer.json()["secret"] != created["secret"]


async def test_a_deleted_webhook_is_gone(client: httpx.AsyncClient) -> None:
    created = await create(client)
    path = f"/api/webhooks/{created['id']}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", MISSING, None),
        ("PUT", MISSING, {}),
        ("PUT", MISSING, {"isActive": True}),
        ("DELETE", MISSING, None),
        ("POST", f"{MISSING}/rotate-secret", None),
        ("POST", f"{MISSING}/test", None),
        ("GET", f"{MISSING}/deliveries", None),
    ],
)
async def test_a_webhook_that_does_not_exist_is_not_found(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_lists_come_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    made = [(await create(client))["id"] for _ in range(5)]
    seen: list[str] = []
    query = "?limit=2"
    for _ in range(3):
        page = (await client.get(f"/api/webhooks{query}")).json()
        seen += [webhook["id"] for webhook in page["data"]]
        query = f"?limit=2&cursor={page['nextCursor']}"
    assert seen == made[::-1]
    assert page["nextCursor"] is None


@pytest.mark.parametrize("query", ["cursor=x", "cursor=", "limit=0", "limit=501", "page=1"])
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"/api/webhooks?{query}")).status_code == 400


async def test_a_test_tells_what_came_of_it_and_is_logged(
    client: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    created = await create(client, url=f"{sandbox.azure.origin}/hook")
    answer = await client.post(f"/api/webhooks/{created['id']}/test")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["outcome"], told["status"]) == ("refused", 404)
    log = (await client.get(f"/api/webhooks/{created['id']}/deliveries")).json()
    (delivery,) = log["data"]
    assert log["nextCursor"] is None
    assert delivery["eventId"] == told["eventId"]
    assert (delivery["type"], delivery["state"]) == ("webhook.test", "failed")
    assert delivery["nextAttemptAt"] is None
    (attempt,) = delivery["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["status"]) == (1, "refused", 404)
    assert attempt["latencyMs"] == told["latencyMs"]


async def test_changes_of_webhooks_are_audited_without_path_or_query(
    client: httpx.AsyncClient, database: Database
) -> None:
    created = await create(client)
    path = f"/api/webhooks/{created['id']}"
    await client.put(path, json={"isActive": False})
    await client.post(f"{path}/rotate-secret")
    await client.delete(path)
    async with database.single() as connection:
        rows = await connection.execute(
            text("SELECT * FROM audit_records WHERE subject = :subject ORDER BY seq"),
            {"subject": f"webhook:{created['id']}"},
        )
        records = [dict(row._mapping) for row in rows]
    assert [record["type"] for record in records] == [
        "webhook.create",
        "webhook.update",
        "webhook.rotate_secret",
        "webhook.delete",
    ]
    assert records[0]["purpose"] == "https://hooks.example.com"
    assert "tenant" not in str(records)


async def test_a_key_that_its_provider_refuses_is_announced_once(
    client: httpx.AsyncClient, service: Service, sandbox: Sandbox
) -> None:
    webhook = await create(client, url=f"{sandbox.azure.origin}/hook", events=["key.invalid"])
    body = {
        "userId": "u1",
        "provider": "OPENAI",
        "keyName": "main",
        "apiKey": "sk-sandbox-0123456789abcdef",
    }
    key = (await client.post("/api/api-keys", json=body)).json()
    sandbox.openai.always = Behaviour.ECHO  # answers 401
    for _ in range(2):
        validated = await client.post(f"/api/api-keys/{key['id']}/validate")
        assert validated.json()["isValid"] is False
    await service.webhooks.deliverer.step()
    log = (await client.get(f"/api/webhooks/{webhook['id']}/deliveries")).json()
    assert [delivery["type"] for delivery in log["data"]] == ["key.invalid"]
    assert [attempt["status"] for attempt in log["data"][0]["attempts"]] == [404]
