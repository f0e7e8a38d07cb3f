"""Who may call the gateway: every credential at every door, in production and in development."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.db.migrate import migrate
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, SystemClock
from model_service.sandbox.server import Sandbox
from model_service.settings import Environment, Settings
from tests.conftest import ADMIN_TOKEN, INTERNAL_SECRET, _drop_database, _new_database
from tests.faults.gateway_doors import DOORS, Answer, Door, refusal
from tests.gateway_world import GatewayWorld, gateway_running

Headers = Mapping[str, str]

#: What each door calls a caller whom it does not know, and one who may not do this.
WORDS = {
    "openai": {401: "invalid_request_error", 403: "invalid_request_error"},
    "anthropic": {401: "authentication_error", 403: "permission_error"},
    "google": {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"},
}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def asked(world: GatewayWorld, door: Door, model: str, headers: Headers) -> Answer:
    async with httpx.AsyncClient(base_url=world.url) as client:
        return await door.ask(client, model, stream=False, headers=headers)


async def called(world: GatewayWorld) -> tuple[str, str]:
    """A new model, and a new user who has a key for it."""
    model, user = secrets.token_hex(6), secrets.token_hex(6)
    await world.model(model, Provider.OPENAI)
    await world.key(Provider.OPENAI, "sk-sandbox-" + secrets.token_hex(8), user=user)
    return model, user


async def principals(world: GatewayWorld, user: str) -> dict[str, tuple[int, dict[str, str]]]:
    """What everybody shows, and the status of the answer to it."""
    soon = (SystemClock().now() + timedelta(seconds=0.2)).isoformat()
    expired = await world.token(user, expiresAt=soon)
    unused = await world.token(secrets.token_hex(6))
    reading = {"routes": ["models:read", "keys:read"]}
    calling = {"routes": ["gateway:call"]}
    service = await world.token(role="service")
    named, internal = {"x-user-id": user}, {"x-internal-secret": INTERNAL_SECRET}
    while SystemClock().now().isoformat() < soon:
        pass
    return {
        "nobody": (401, {}),
        "nobody for a user": (401, named),
        "an empty token": (401, {"x-api-key": ""}),
        "no token of ours": (401, bearer("sk-ant-something")),
        "a wrong token": (401, bearer(f"msk_{'0' * 32}_{'0' * 64}")),
        "a cut token": (401, bearer(unused[:-1])),
        "another scheme": (401, {"authorization": f"Basic {unused}"}),
        "an expired token": (401, bearer(expired)),
        "a wrong internal secret": (401, {"x-internal-secret": "wrong" + INTERNAL_SECRET}),
        "a token and a wrong internal secret": (
            401,
            bearer(await world.token(user)) | {"x-internal-secret": "wrong"},
        ),
        "a user without a key": (403, bearer(unused)),
        "a user": (200, bearer(await world.token(user))),
        "a user for itself": (200, bearer(await world.token(user)) | named),
        "a user for another": (403, bearer(unused) | named),
        "a user who may not call": (403, bearer(await world.token(user, scopes=reading))),
        "a user who may only call": (200, bearer(await world.token(user, scopes=calling))),
        "a service": (403, bearer(service)),
        "a service for the user": (200, bearer(service) | named),
        "a service for nobody's id": (400, bearer(service) | {"x-user-id": "x" * 300}),
        "a service that may not call": (
            403,
            bearer(await world.token(role="service", scopes=reading)) | named,
        ),
        "an administrator": (403, bearer(ADMIN_TOKEN)),
        "an administrator for the user": (200, bearer(ADMIN_TOKEN) | named),
        "a token of an administrator for the user": (
            200,
            bearer(await world.token(role="admin")) | named,
        ),
        "the internal secret": (403, internal),
        "the internal secret for the user": (200, internal | named),
        "two tokens": (401, bearer(unused) | {"x-api-key": unused}),
    }


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_each_principal_may_do_what_the_table_says_at_every_door(
    world: GatewayWorld, door: Door
) -> None:
    model, user = await called(world)
    for who, (status, headers) in (await principals(world, user)).items():
        before = len(world.sandbox.openai.requests)
        answer = await asked(world, door, model, headers)
        assert answer.status == status, (who, answer.text)
        assert (len(world.sandbox.openai.requests) > before) is (status == 200), who
        if status != 200:
            kind, message = refusal(door, answer)
            assert message
            assert kind == WORDS[door.family].get(status, kind), who
        assert ("www-authenticate" in answer.headers) is (status == 401), who


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_every_door_takes_the_token_from_the_header_of_every_client(
    world: GatewayWorld, door: Door, name: str
) -> None:
    model, user = await called(world)
    token = await world.token(user)
    value = f"Bearer {token}" if name == "authorization" else token
    assert (await asked(world, door, model, {name: value})).status == 200


@pytest.mark.parametrize("second", ["x-api-key", "x-goog-api-key", "api-key", "authorization"])
async def test_two_credentials_are_refused_though_both_are_right(
    world: GatewayWorld, second: str
) -> None:
    model, user = await called(world)
    token = await world.token(user)
    headers = [
        ("authorization", f"Bearer {token}"),
        (second, f"Bearer {token}" if second == "authorization" else token),
    ]
    async with httpx.AsyncClient(base_url=world.url, headers=headers) as client:
        answer = await DOORS[0].ask(client, model, stream=False)
    assert answer.status == 401
    assert "twice" in refusal(DOORS[0], answer)[1]


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/x", "/v1beta/models", "/openai/models", "/v1/nothing"]
)
async def test_nothing_is_listed_for_nobody(world: GatewayWorld, path: str) -> None:
    async with httpx.AsyncClient(base_url=world.url) as client:
        assert (await client.get(path)).status_code == 401
        assert (await client.delete(path)).status_code == 401
        assert (await client.options(path)).status_code == 401


async def test_a_refusal_by_scope_is_on_record_with_who_it_was(world: GatewayWorld) -> None:
    model, user = await called(world)
    token = await world.token(user, scopes={"models": ["another"]})
    answer = await asked(world, DOORS[0], model, bearer(token))
    assert answer.status == 403
    trail = (await world.admin.get("/api/audit?type=auth.denied&limit=20")).json()["data"]
    told = [one for one in trail if one["requestId"] == answer.headers["x-request-id"]]
    assert [one["actor"] for one in told] == [f"user:{user}"]
    assert model in told[0]["reason"]


# A database and settings of their own.


@asynccontextmanager
async def running(
    settings: Settings, server: Secret[str], sandbox: Sandbox, **changed: Any
) -> AsyncIterator[GatewayWorld]:
    name, url = await _new_database(server)
    await migrate(url)
    async with gateway_running(settings.model_copy(update=changed), url, sandbox) as world:
        yield world
    await _drop_database(server, name)


@pytest_asyncio.fixture(scope="module")
async def shared_home(
    settings: Settings, server_url: Secret[str], shared_sandbox: Sandbox
) -> AsyncIterator[GatewayWorld]:
    at_home = {"environment": Environment.DEVELOPMENT}
    async with running(settings, server_url, shared_sandbox, **at_home) as world:
        yield world


@pytest.fixture
def home(shared_home: GatewayWorld, sandbox: Sandbox) -> GatewayWorld:
    """The service in development."""
    return shared_home


@pytest_asyncio.fixture
async def strict(
    settings: Settings, server_url: Secret[str], sandbox: Sandbox
) -> AsyncIterator[GatewayWorld]:
    """The service in production, with few attempts allowed."""
    async with running(settings, server_url, sandbox, auth_failures_per_minute=5) as world:
        yield world


async def test_in_development_a_loopback_caller_without_a_token_is_the_user_it_names(
    home: GatewayWorld,
) -> None:
    model, user = await called(home)
    local = await home.key(Provider.OPENAI, "sk-sandbox-local-0123", user="local")
    for door in DOORS:
        named = await asked(home, door, model, {"x-user-id": user})
        unnamed = await asked(home, door, model, {})
        assert (named.status, unnamed.status) == (200, 200)
        assert named.headers["x-model-service-key-id"] != local["id"]
        assert unnamed.headers["x-model-service-key-id"] == local["id"]

    # A token still says who it is.
    of_another = bearer(await home.token(secrets.token_hex(6)))
    assert (await asked(home, DOORS[0], model, of_another)).status == 403
    assert (await asked(home, DOORS[0], model, bearer("msk_wrong"))).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:80"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_in_development_no_web_page_gets_through(
    home: GatewayWorld, headers: dict[str, str]
) -> None:
    model, user = await called(home)
    for door in DOORS:
        answer = await asked(home, door, model, headers | {"x-user-id": user})
        assert answer.status == 403, answer.text
        assert refusal(door, answer)[0] == WORDS[door.family][403]
    assert not home.sandbox.openai.requests


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
async def test_in_development_what_was_forwarded_is_not_from_here(
    home: GatewayWorld, name: str
) -> None:
    model, user = await called(home)
    answer = await asked(home, DOORS[0], model, {name: "127.0.0.1", "x-user-id": user})
    assert answer.status == 401


async def test_failed_attempts_are_limited_and_the_right_token_is_not(strict: GatewayWorld) -> None:
    model, user = await called(strict)
    token = await strict.token(user)
    statuses = []
    for _ in range(10):
        answer = await asked(strict, DOORS[2], model, bearer(f"msk_{'0' * 32}_{'0' * 64}"))
        statuses.append(answer.status)
    assert statuses[:4] == [401] * 4
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert refusal(DOORS[2], answer)[0] == "rate_limit_error"
    assert (await asked(strict, DOORS[2], model, bearer(token))).status == 200
    async with strict.service.database.single() as connection:
        query = text("SELECT count(*) FROM audit_records WHERE type = 'auth.failure'")
        assert 1 <= (await connection.scalar(query) or 0) <= 10
