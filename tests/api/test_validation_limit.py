"""Having keys checked over HTTP: on record before the provider is asked, limited, and that too."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.http.abuse import SINGLY_BY_PRINCIPAL
from model_service.kernel.rate import RateLimits
from model_service.sandbox.server import Sandbox
from model_service.service import Service
from tests.access_tokens import SetClock
from tests.audit_trails import empty_trail
from tests.sharing import VALUE, Headers, stored
from tests.sharing import service as service_token

ALLOWED = 3

Trail = Callable[[], Awaitable[list[tuple[str | None, ...]]]]


@pytest.fixture
def limited(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service with room for three checks a minute."""
    limits = RateLimits(ALLOWED, now=SetClock().monotonic)
    monkeypatch.setattr(service.keys._limit, "_limits", limits)
    return service


@pytest_asyncio.fixture
async def trail(service: Service, database: Database, client: httpx.AsyncClient) -> Trail:
    """What an empty trail's records of keys say, oldest first."""
    await service.app.state.authenticator._refusals.step()  # a new minute: recorded one by one
    await empty_trail(database)

    async def read() -> list[tuple[str | None, ...]]:
        found: list[dict[str, Any]] = (await client.get("/api/audit?limit=500")).json()["data"]
        return [
            tuple(record[name] for name in ("type", "phase", "decision", "subject", "reason"))
            for record in reversed(found)
            if record["type"].startswith("key.")
        ]

    return read


async def create(
    client: httpx.AsyncClient, headers: Headers | None = None, **changes: Any
) -> httpx.Response:
    body = {"userId": "u1", "provider": "OPENAI", "keyName": "main", "apiKey": VALUE}
    return await client.post("/api/api-keys", json=body | changes, headers=headers)


async def test_a_service_has_no_more_keys_checked_by_naming_ever_other_users(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, limited: Service, sandbox: Sandbox
) -> None:
    caller = await service_token(client)
    statuses = [
        (await create(anonymous, {**caller, "x-user-id": f"u{n}"}, userId=f"u{n}")).status_code
        for n in range(ALLOWED + 2)
    ]
    assert statuses == [201] * ALLOWED + [429] * 2
    assert len(sandbox.openai.requests) == ALLOWED


async def test_a_key_that_is_not_checked_for_the_limit_s_sake_is_on_record_as_refused(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, limited: Service, trail: Trail
) -> None:
    caller = await service_token(client, acts_for="u1")
    for _ in range(ALLOWED):
        await create(anonymous, caller, apiKey="sk-refused-0123456789")
    before = await trail()
    assert (await create(anonymous, caller)).status_code == 429
    assert (await trail())[len(before) :] == [
        ("key.create", "result", "deny", "user:u1", "rate_limited")
    ]


async def test_a_stored_key_that_is_not_checked_for_the_limit_s_sake_is_on_record_as_refused(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, limited: Service, trail: Trail
) -> None:
    key = (await stored(client, userId="u1"))["id"]
    caller = await service_token(client, acts_for="u1")
    path = f"/api/api-keys/{key}/validate"
    while (await anonymous.post(path, headers=caller)).status_code == 200:
        pass
    assert (await trail())[-2:] == [
        ("key.validate", "result", "allow", f"key:{key}", "valid"),
        ("key.validate", "result", "deny", f"key:{key}", "rate_limited"),
    ]


async def test_who_goes_on_beyond_the_limit_does_not_fill_the_trail(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, limited: Service, trail: Trail
) -> None:
    caller = await service_token(client, acts_for="u1")
    for _ in range(ALLOWED + SINGLY_BY_PRINCIPAL + 10):
        await create(anonymous, caller, apiKey="sk-refused-0123456789")
    assert len(await trail()) == 2 * ALLOWED + SINGLY_BY_PRINCIPAL


async def test_that_a_provider_is_asked_about_a_new_key_is_recorded_before_what_came_of_it(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    key = (await create(client)).json()["id"]
    intent = ("key.create", "intent", "allow", "user:u1", None)
    assert await trail() == [intent, ("key.create", "result", "allow", f"key:{key}", "validated")]


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        ("sk-refused-0123456789", 400, "invalid"),
        ("sk-sandbox-broken-0123456789", 503, "provider_unreachable"),
    ],
)
async def test_a_verdict_that_keeps_a_key_out_is_recorded_after_the_question(
    client: httpx.AsyncClient, trail: Trail, value: str, status: int, reason: str
) -> None:
    assert (await create(client, apiKey=value)).status_code == status
    assert await trail() == [
        ("key.create", "intent", "allow", "user:u1", None),
        ("key.create", "result", "deny", "user:u1", reason),
    ]


async def test_a_name_that_was_taken_while_the_provider_was_asked_is_recorded_too(
    client: httpx.AsyncClient, service: Service, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await create(client)).json()["id"]

    async def not_yet(*_: object) -> bool:
        return False

    monkeypatch.setattr(service.keys._store, "name_taken", not_yet)
    assert (await create(client)).status_code == 409
    assert (await trail())[1:] == [
        ("key.create", "result", "allow", f"key:{key}", "validated"),
        ("key.create", "intent", "allow", "user:u1", None),
        ("key.create", "result", "deny", "user:u1", "name_taken"),
    ]


async def test_where_no_provider_is_asked_nothing_is_announced(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    unasked = await client.post(
        "/api/api-keys?validate=false",
        json={"userId": "u1", "provider": "OPENAI", "keyName": "a", "apiKey": VALUE},
    )
    unchecked = await create(client, provider="OLLAMA", keyName="b")
    assert (unasked.status_code, unchecked.status_code) == (201, 201)
    assert [record[1:3] for record in await trail()] == [("result", "allow")] * 2
