"""Making, listing and revoking tokens over HTTP, and what a token is then good for."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select

from model_service.db.tables import access_tokens, webhook_deliveries, webhook_events
from model_service.db.uow import Database
from model_service.kernel.errors import AuditUnavailable
from model_service.kernel.types import uuid7
from model_service.service import Service
from tests.access_tokens import SetClock
from tests.audit_trails import empty_trail
from tests.sharing import INTERNAL
from tests.sharing import service as service_headers

PATH = "/api/tokens"
LATER = "2099-01-01T00:00:00.000Z"


async def made(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A new token, as the answer that shows it has it."""
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def bearing(document: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {document['token']}"}


async def listed(client: httpx.AsyncClient, query: str = "", **headers: str) -> list[Any]:
    answer = await client.get(f"{PATH}{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]
    return found


async def stored_tokens(database: Database) -> int:
    async with database.single() as connection:
        return int(await connection.scalar(select(func.count()).select_from(access_tokens)) or 0)


async def test_a_token_is_shown_once_and_listed_without_its_text(
    client: httpx.AsyncClient, database: Database
) -> None:
    asked = {
        "role": "user", "userId": "ada", "label": "laptop",
        "scopes": {"models": ["b", "a", "b"], "routes": ["models:read", "keys:read"]},
        "expiresAt": "2099-01-01T01:00:00+01:00",
    }  # fmt: skip
    answer = await client.post(PATH, json=asked)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    text = document.pop("token")
    assert re.fullmatch(rf"msk_{UUID(document['id']).hex}_[0-9a-f]{{64}}", text)
    assert document == {
        "id": document["id"],
        "role": "user",
        "userId": "ada",
        "label": "laptop",
        "scopes": {"models": ["a", "b"], "routes": ["keys:read", "models:read"]},
        "expiresAt": LATER,
        "createdAt": document["createdAt"],
    }
    shown = await client.get(PATH)
    assert shown.json() == {"data": [document | {"lastUsedAt": None}], "nextCursor": None}
    async with database.single() as connection:
        (row,) = (await connection.execute(select(access_tokens))).mappings()
    secret = text.rpartition("_")[2]
    assert secret not in shown.text + str(dict(row))
    assert bytes.fromhex(secret) not in row["digest"]


@pytest.mark.parametrize("role", ["admin", "service"])
async def test_a_token_says_only_what_was_asked_for(client: httpx.AsyncClient, role: str) -> None:
    document = await made(client, role=role)
    nothing = dict.fromkeys(("userId", "label", "scopes", "expiresAt"))
    assert document == {name: document[name] for name in ("id", "token", "createdAt")} | {
        "role": role,
        **nothing,
    }
    no_scopes = await made(client, role=role, scopes={"models": None})
    assert no_scopes["scopes"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "role"), ({"role": None}, "role"), ({"role": "root"}, "role"), ({"role": 1}, "role"),
        ({"role": "administrator"}, "role"), ({"role": "ADMIN"}, "role"),
        ({"role": "user"}, "userId"), ({"role": "user", "userId": None}, "userId"),
        ({"role": "user", "userId": ""}, "userId"), ({"role": "user", "userId": 7}, "userId"),
        ({"role": "user", "userId": "x" * 256}, "userId"),
        ({"role": "user", "userId": "a\x00"}, "userId"),
        ({"role": "service", "userId": "ada"}, "userId"),
        ({"role": "admin", "userId": "ada"}, "userId"),
        ({"role": "service", "label": ""}, "label"), ({"role": "service", "label": 1}, "label"),
        ({"role": "service", "label": "x" * 256}, "label"),
        ({"role": "service", "scopes": []}, "scopes"),
        ({"role": "service", "scopes": {"keys": ["a"]}}, "scopes.keys"),
        ({"role": "service", "scopes": {"models": []}}, "scopes.models"),
        ({"role": "service", "scopes": {"models": [""]}}, "scopes.models.0"),
        ({"role": "service", "scopes": {"models": "m"}}, "scopes.models"),
        ({"role": "service", "scopes": {"models": ["m"] * 201}}, "scopes.models"),
        ({"role": "service", "scopes": {"routes": []}}, "scopes.routes"),
        ({"role": "service", "scopes": {"routes": ["keys:steal"]}}, "scopes.routes.0"),
        ({"role": "service", "scopes": {"routes": ["keys:read", None]}}, "scopes.routes.1"),
        ({"role": "service", "scopes": {"routes": ["/api/models"]}}, "scopes.routes.0"),
        ({"role": "service", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"role": "service", "expiresAt": "2099-01-01T00:00:00"}, "expiresAt"),
        ({"role": "service", "expiresAt": "soon"}, "expiresAt"),
        ({"role": "service", "expiresAt": 4_070_908_800}, "expiresAt"),
        ({"role": "service", "token": "msk_of-my-own"}, "token"),
        ({"role": "service", "id": "018f3c5a-0000-7000-8000-000000000000"}, "id"),
        ({"role": "service", "lastUsedAt": None}, "lastUsedAt"),
    ],
)  # fmt: skip
async def test_what_is_no_token_is_refused_by_the_name_of_the_field(
    client: httpx.AsyncClient, database: Database, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(PATH, json=body)
    assert answer.status_code == 400, answer.text
    document = answer.json()
    assert document["code"] == "validation_failed"
    assert field in [fault["field"] for fault in document["errors"]]
    assert all(fault["message"] for fault in document["errors"])
    assert await stored_tokens(database) == 0


@pytest.mark.parametrize("body", [b"[]", b"null", b'"service"', b"{", b""])
async def test_a_body_that_is_no_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert (await client.post(PATH, content=body, headers=headers)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{PATH}?limit=0"), ("GET", f"{PATH}?limit=501"), ("GET", f"{PATH}?limit=1.0"),
        ("GET", f"{PATH}?limit=-1"), ("GET", f"{PATH}?limit="), ("GET", f"{PATH}?cursor=x"),
        ("GET", f"{PATH}?cursor="), ("GET", f"{PATH}?userId="), ("GET", f"{PATH}?page=1"),
        ("GET", f"{PATH}?role=admin"), ("POST", f"{PATH}?dryRun=true"),
        ("DELETE", f"{PATH}/not-an-id"), ("DELETE", f"{PATH}/msk_0"),
        ("DELETE", f"{PATH}/018f3c5a-0000-7000-8000-000000000000?force=true"),
    ],
)  # fmt: skip
async def test_what_no_route_knows_is_400(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    body = {"role": "service"} if method == "POST" else None
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"]


async def test_lists_come_newest_first_in_pages_that_neither_repeat_nor_leave_out(
    client: httpx.AsyncClient,
) -> None:
    ids = [(await made(client, role="service", label=str(n)))["id"] for n in range(5)][::-1]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        page = (await client.get(PATH + query)).json()
        assert len(page["data"]) <= 2
        seen += [one["id"] for one in page["data"]]
        if len(seen) == 2:  # made meanwhile: newer than what was seen, so on no later page
            await made(client, role="service", label="meanwhile")
        cursor = page["nextCursor"]
    assert seen == ids
    assert len((await client.get(f"{PATH}?limit=500")).json()["data"]) == 6
    exactly = (await client.get(f"{PATH}?limit=6")).json()
    assert (len(exactly["data"]), exactly["nextCursor"]) == (6, None)
    after_an_unknown = (await client.get(f"{PATH}?cursor={UUID(int=0)}")).json()
    assert after_an_unknown == {"data": [], "nextCursor": None}


async def test_last_use_is_noted_and_listed(client: httpx.AsyncClient, service: Service) -> None:
    used, unused = await made(client, role="service"), await made(client, role="service")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert (await client.get("/api/models", headers=bearing(used))).status_code == 200
    await service.access.last_use.step()
    by_id = {one["id"]: one["lastUsedAt"] for one in await listed(client)}
    assert by_id[unused["id"]] is None
    assert before <= datetime.fromisoformat(by_id[used["id"]]) <= datetime.now(UTC)


STYLES = {
    "OpenAI's": ("authorization", "Bearer "),
    "Anthropic's": ("x-api-key", ""),
    "Google's": ("x-goog-api-key", ""),
    "Azure's": ("api-key", ""),
}


@pytest.mark.parametrize("style", STYLES)
async def test_a_token_is_taken_from_the_header_of_each_provider_until_it_is_revoked(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, style: str
) -> None:
    name, prefix = STYLES[style]
    document = await made(client, role="user", userId="ada")
    headers = {name: prefix + document["token"]}
    assert [one["id"] for one in await listed(anonymous, **headers)] == [document["id"]]
    assert (await client.delete(f"{PATH}/{document['id']}")).status_code == 204
    assert (await anonymous.get(PATH, headers=headers)).status_code == 401


async def test_a_user_sees_and_revokes_its_own_tokens_alone(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    mine, other, nobodys = [
        await made(client, **body)
        for body in (
            {"role": "user", "userId": "ada"},
            {"role": "user", "userId": "bob"},
            {"role": "service"},
        )
    ]
    second = await made(client, role="user", userId="ada")
    ada = bearing(mine)
    own = [second["id"], mine["id"]]
    assert [one["id"] for one in await listed(anonymous, **ada)] == own
    assert [one["id"] for one in await listed(anonymous, "?userId=ada", **ada)] == own
    assert (await anonymous.get(f"{PATH}?userId=bob", headers=ada)).status_code == 403
    assert (await anonymous.post(PATH, json={"role": "service"}, headers=ada)).status_code == 403
    hidden = [
        await anonymous.delete(f"{PATH}/{one}", headers=ada)
        for one in (other["id"], nobodys["id"], str(uuid7()))
    ]
    said = {(answer.status_code, answer.json()["message"]) for answer in hidden}
    assert said == {(404, "No such token")}, "what is another's is as unknown as what is not"
    for revoked in (second["id"], mine["id"]):
        assert (await anonymous.delete(f"{PATH}/{revoked}", headers=ada)).status_code == 204
    assert (await anonymous.get(PATH, headers=ada)).status_code == 401, "it revoked itself"
    left = {one["id"] for one in await listed(client)}
    assert left == {other["id"], nobodys["id"]}


async def test_a_service_sees_and_revokes_tokens_of_the_user_it_names(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    ada, bob = [await made(client, role="user", userId=name) for name in ("ada", "bob")]
    plain = await service_headers(client)
    for headers in (plain, INTERNAL):
        assert (await anonymous.get(PATH, headers=headers)).status_code == 400
        by_query = await listed(anonymous, "?userId=ada", **headers)
        by_header = await listed(anonymous, **headers, **{"x-user-id": "ada"})
        assert [one["id"] for one in by_query] == [one["id"] for one in by_header] == [ada["id"]]
        path = f"{PATH}/{bob['id']}"
        assert (await anonymous.delete(path, headers=headers)).status_code == 404
        naming_ada = {**headers, "x-user-id": "ada"}
        assert (await anonymous.delete(path, headers=naming_ada)).status_code == 404
    for document, headers in ((ada, plain), (bob, INTERNAL)):
        naming = {**headers, "x-user-id": document["userId"]}
        answer = await anonymous.delete(f"{PATH}/{document['id']}", headers=naming)
        assert answer.status_code == 204


async def test_revoking_a_second_time_is_404(client: httpx.AsyncClient) -> None:
    path = f"{PATH}/{(await made(client, role='service'))['id']}"
    statuses = [(await client.delete(path)).status_code for _ in range(3)]
    assert statuses == [204, 404, 404]


async def test_the_same_wish_twice_makes_two_tokens(client: httpx.AsyncClient) -> None:
    first, second = [await made(client, role="user", userId="ada", label="x") for _ in range(2)]
    assert first["id"] != second["id"]
    assert first["token"] != second["token"]
    await client.delete(f"{PATH}/{first['id']}")
    assert (await client.get("/api/models", headers=bearing(second))).status_code == 200


async def test_an_expired_token_is_refused_and_still_listed(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = await made(client, role="service", expiresAt=LATER)
    clock = SetClock()
    clock.moment = datetime.fromisoformat(LATER) - timedelta(milliseconds=1)
    monkeypatch.setattr(service.access.directory, "_clock", clock)
    assert (await anonymous.get("/api/models", headers=bearing(document))).status_code == 200
    clock.advance(0.001)
    assert (await anonymous.get("/api/models", headers=bearing(document))).status_code == 401
    assert [one["expiresAt"] for one in await listed(client)] == [LATER]
    assert (await client.delete(f"{PATH}/{document['id']}")).status_code == 204


async def test_unknown_wrong_revoked_and_expired_tokens_are_answered_alike(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = (await made(client, role="service"))["token"]
    revoked = await made(client, role="service")
    await client.delete(f"{PATH}/{revoked['id']}")
    expired = await made(client, role="service", expiresAt=LATER)
    clock = SetClock()
    clock.moment = datetime.fromisoformat(LATER)
    monkeypatch.setattr(service.access.directory, "_clock", clock)
    shown = {
        "wrong secret": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "unknown id": good.replace(good[4:36], uuid7().hex),
        "another's secret": f"{revoked['token'][:37]}{good[37:]}",
        "revoked": revoked["token"],
        "expired": expired["token"],
        "no token at all": "sk-something-else",
        "longer": f"{good}0",
    }
    answers = {
        name: await anonymous.get("/api/models", headers={"x-request-id": "r", "api-key": text})
        for name, text in shown.items()
    }
    assert {answer.status_code for answer in answers.values()} == {401}
    stamp = re.compile(rb'"timestamp":"[^"]+"')
    assert len({stamp.sub(b"", answer.content) for answer in answers.values()}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers.values()}) == 1


async def test_making_and_revoking_are_audited_with_who_did_it(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database
) -> None:
    await empty_trail(database)
    first = await made(client, role="admin")
    wanted = {"role": "user", "userId": "ada"}
    second = (await anonymous.post(PATH, json=wanted, headers=bearing(first))).json()
    await anonymous.delete(f"{PATH}/{second['id']}", headers=bearing(second))
    await client.delete(f"{PATH}/{first['id']}")
    await client.delete(f"{PATH}/{first['id']}")
    records = (await client.get("/api/audit")).json()["data"][::-1]
    told_of = [
        (one["type"], one["actor"], one["subject"], one["reason"], one["decision"])
        for one in records
        if one["type"].startswith("token.")
    ]
    one, two = f"token:{first['id']}", f"token:{second['id']}"
    assert told_of == [
        ("token.create", "administrator", one, "administrator", "allow"),
        ("token.create", f"administrator:{first['id']}", two, "user ada", "allow"),
        ("token.revoke", "user:ada", two, "user ada", "allow"),
        ("token.revoke", "administrator", one, "administrator", "allow"),
    ]
    assert all(document["token"] not in str(records) for document in (first, second))


async def test_a_new_token_is_announced_without_its_text(
    client: httpx.AsyncClient, database: Database
) -> None:
    hook = {"url": "https://hooks.example.com/", "events": ["token.created"]}
    webhook = (await client.post("/api/webhooks", json=hook)).json()
    document = await made(client, role="user", userId="ada", label="laptop")
    await client.post(PATH, json={"role": "user"})  # refused, so nothing to tell
    async with database.single() as connection:
        (event,) = (await connection.execute(select(webhook_events))).all()
        (delivery,) = (await connection.execute(select(webhook_deliveries))).all()
    assert (event.type, str(delivery.webhook_id)) == ("token.created", webhook["id"])
    assert delivery.event_id == event.id
    for part in (document["id"], '"user"', '"ada"', '"laptop"'):
        assert part in event.body
    assert document["token"].rpartition("_")[2] not in event.body


async def test_without_a_trail_no_token_is_made_and_none_revoked(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    service: Service,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await made(client, role="service")

    async def unwritable(*_: object) -> None:
        raise AuditUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(service.trail, "record", unwritable)
        refused = await client.post(PATH, json={"role": "service"})
        kept = await client.delete(f"{PATH}/{before['id']}")
    for answer in (refused, kept):
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert answer.headers["retry-after"]
    assert await stored_tokens(database) == 1
    assert (await anonymous.get("/api/models", headers=bearing(before))).status_code == 200
