"""What is taken away is gone at the gateway within a second, with calls under way."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import httpx
import orjson
import pytest
from sqlalchemy import select, text

from model_service.db.tables import webhook_events
from model_service.gateway import call as calls
from model_service.kernel.types import Provider, SystemClock
from model_service.sandbox.stand_in import KeyedStandIn
from tests.faults.gateway_doors import ANTHROPIC, GOOGLE, OPENAI_CHAT, Door
from tests.faults.hostile import Wire, serve
from tests.faults.test_gateway_clients import EVENTS, Dial, dial, framed, request
from tests.gateway_world import GatewayWorld

#: Callers that keep calling while something is taken away.
CALLERS = 4
#: Seconds within which the gateway obeys.
BOUND = 1.0


@dataclass
class Scene:
    """A model, a key shared by its owner with a user, and the user's token."""

    world: GatewayWorld
    model: dict[str, Any]
    key: dict[str, Any]
    share: dict[str, Any]
    token: dict[str, Any]

    @property
    def name(self) -> str:
        name: str = self.model["name"]
        return name

    async def sql(self, statement: str, **values: Any) -> None:
        async with self.world.service.database.transaction() as connection:
            await connection.execute(text(statement), values)

    async def api(self, method: str, path: str, body: object = None) -> None:
        answer = await self.world.admin.request(method, path, json=body)
        assert answer.is_success, answer.text


async def new_scene(world: GatewayWorld, **of_the_token: Any) -> Scene:
    user = secrets.token_hex(6)
    model = await world.model(secrets.token_hex(6), Provider.OPENAI)
    value = "sk-sandbox-" + secrets.token_hex(8)
    key = await world.key(Provider.OPENAI, value, user=secrets.token_hex(6))
    shares = f"/api/api-keys/{key['id']}/shares"
    share = (await world.admin.post(shares, json={"granteeUserId": user})).json()
    made = await world.admin.post(
        "/api/tokens", json={"role": "user", "userId": user, **of_the_token}
    )
    return Scene(world, model, key, share, made.json())


Change = Callable[[Scene], Awaitable[None]]

GONE: dict[str, tuple[int, str | None, Callable[[Scene], Awaitable[object]]]] = {
    "the token in the database": (
        401,
        None,
        lambda s: s.sql("DELETE FROM access_tokens WHERE id = :id", id=s.token["id"]),
    ),
    "the token's time in the database": (
        401,
        None,
        lambda s: s.sql(
            "UPDATE access_tokens SET expires_at = now() WHERE id = :id", id=s.token["id"]
        ),
    ),
    "the token by the API": (
        401,
        None,
        lambda s: s.api("DELETE", f"/api/tokens/{s.token['id']}"),
    ),
    "the grant by the API": (
        403,
        "no_provider_key",
        lambda s: s.api("DELETE", f"/api/api-keys/{s.key['id']}/shares/{s.share['id']}"),
    ),
    "the grant in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql("DELETE FROM key_shares WHERE id = :id", id=s.share["id"]),
    ),
    "the time of the grant in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql(
            "UPDATE key_shares SET expires_at = now(), created_at = now() - interval '1 day'"
            " WHERE id = :id",
            id=s.share["id"],
        ),
    ),
    "the key by the API": (
        403,
        "no_provider_key",
        lambda s: s.api("DELETE", f"/api/api-keys/{s.key['id']}"),
    ),
    "the key in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql("DELETE FROM api_keys WHERE id = :id", id=s.key["id"]),
    ),
    "all keys of the owner in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql("DELETE FROM api_keys WHERE user_id = :id", id=s.key["userId"]),
    ),
    "the key's being active by the API": (
        403,
        "no_provider_key",
        lambda s: s.api("PUT", f"/api/api-keys/{s.key['id']}", {"isActive": False}),
    ),
    "the key's being active in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql("UPDATE api_keys SET is_active = false WHERE id = :id", id=s.key["id"]),
    ),
    "the key's time in the database": (
        403,
        "no_provider_key",
        lambda s: s.sql("UPDATE api_keys SET expires_at = now() WHERE id = :id", id=s.key["id"]),
    ),
    "the model by the API": (
        404,
        "model_not_found",
        lambda s: s.api("DELETE", f"/api/models/{s.model['id']}"),
    ),
    "the model in the database": (
        404,
        "model_not_found",
        lambda s: s.sql("DELETE FROM models WHERE id = :id", id=s.model["id"]),
    ),
    "the model's being active by the API": (
        404,
        "model_inactive",
        lambda s: s.api("PUT", f"/api/models/{s.model['id']}", {"isActive": False}),
    ),
    "the model's being active in the database": (
        404,
        "model_inactive",
        lambda s: s.sql("UPDATE models SET is_active = false WHERE id = :id", id=s.model["id"]),
    ),
    "the model's name by the API": (
        404,
        "model_not_found",
        lambda s: s.api("PUT", f"/api/models/{s.model['id']}", {"name": secrets.token_hex(6)}),
    ),
    "the model's name in the database": (
        404,
        "model_not_found",
        lambda s: s.sql(
            "UPDATE models SET name = :name WHERE id = :id",
            id=s.model["id"],
            name=secrets.token_hex(6),
        ),
    ),
}


@pytest.mark.parametrize("what", GONE)
async def test_within_a_second_nobody_calls_with_what_was_taken_away(
    world: GatewayWorld, what: str
) -> None:
    status, code, take_away = GONE[what]
    scene = await new_scene(world)
    refused = asyncio.Event()
    answers: list[int] = []

    async def calling(client: httpx.AsyncClient) -> None:
        is_over = False
        while not refused.is_set():
            answer = await client.post(OPENAI_CHAT.path("", False), json=body)
            answers.append(answer.status_code)
            if answer.status_code == 200:
                assert not is_over, "what was obeyed once stays so"
                continue
            is_over = True
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code or ANY)
            refused.set()

    body = OPENAI_CHAT.body(scene.name, "hello", False)
    async with world.client(scene.token["token"]) as client:
        assert (await client.post(OPENAI_CHAT.path("", False), json=body)).status_code == 200
        burst = asyncio.gather(*(calling(client) for _ in range(CALLERS)))
        await asyncio.sleep(0)
        await take_away(scene)
        async with asyncio.timeout(BOUND):
            await burst
        after = await asyncio.gather(
            *(client.post(OPENAI_CHAT.path("", False), json=body) for _ in range(CALLERS))
        )
    assert {answer.status_code for answer in after} == {status}


async def test_a_token_ends_at_its_time(world: GatewayWorld) -> None:
    end = SystemClock().now() + timedelta(seconds=0.6)
    scene = await new_scene(world, expiresAt=end.isoformat())
    async with world.client(scene.token["token"]) as client:
        body = OPENAI_CHAT.body(scene.name, "hello", False)
        while (answer := await client.post(OPENAI_CHAT.path("", False), json=body)).is_success:
            assert SystemClock().now() < end + timedelta(seconds=0.2)
    assert answer.status_code == 401


async def test_a_rotated_key_is_called_with_its_new_value_at_once(world: GatewayWorld) -> None:
    scene = await new_scene(world)
    body = OPENAI_CHAT.body(scene.name, "hello", False)
    async with world.client(scene.token["token"]) as client:
        assert (await client.post(OPENAI_CHAT.path("", False), json=body)).is_success
        value = "sk-sandbox-" + secrets.token_hex(8)
        await scene.api("POST", f"/api/api-keys/{scene.key['id']}/rotate", {"apiKey": value})
        started = time.monotonic()
        while True:
            assert (await client.post(OPENAI_CHAT.path("", False), json=body)).is_success
            used = world.sandbox.openai.requests[-1].credential
            assert used is not None
            if used.value == value:
                break
            assert time.monotonic() - started < BOUND


async def test_a_call_under_way_is_finished_with_what_it_had(
    world: GatewayWorld, dial: Dial
) -> None:
    go_on = asyncio.Event()
    chunk = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
        b'[{"index":0,"delta":{"content":"hi"},"finish_reason":%b}]}\n\n'
    )

    async def slow(connection: Wire) -> None:
        await connection.request()
        await connection.send(EVENTS + framed(chunk % b"null"))
        await go_on.wait()
        end = framed(chunk % b'"stop"' + b"data: [DONE]\n\n")
        await connection.send(end + b"0\r\n\r\n")
        await connection.gone()

    async with serve(slow) as server:
        scene = await of_a_server(world, server.port)
        caller = await dial()
        body = OPENAI_CHAT.body(scene.name, "hello", True)
        caller.writer.write(request(scene.token["token"], orjson.dumps(body)))
        await caller.reader.readuntil(b"hi")
        await scene.api("DELETE", f"/api/tokens/{scene.token['id']}")
        await scene.api("DELETE", f"/api/api-keys/{scene.key['id']}")
        await scene.api("DELETE", f"/api/models/{scene.model['id']}")
        await world.until(
            lambda: world.service.calling.registered.current().find(scene.name) is None
        )
        go_on.set()
        assert b"[DONE]" in await caller.reader.readuntil(b"0\r\n\r\n")


async def of_a_server(world: GatewayWorld, port: int) -> Scene:
    scene = await new_scene(world)
    model = await world.model(
        secrets.token_hex(6),
        Provider.CUSTOM,
        providerSettings={"baseUrl": f"http://127.0.0.1:{port}", "policy": {"retries": 0}},
    )
    key = await world.key(
        Provider.CUSTOM, "sk-sandbox-" + secrets.token_hex(8), user=scene.token["userId"]
    )
    return Scene(world, model, key, scene.share, scene.token)


async def test_a_body_that_comes_slowly_is_not_taken_with_a_token_revoked_meanwhile(
    world: GatewayWorld, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BELIEVED_SECONDS", 0.0)
    scene = await new_scene(world)
    body = OPENAI_CHAT.body(scene.name, "hello", False)
    async with world.client(scene.token["token"]) as client:  # the key is in memory then
        assert (await client.post(OPENAI_CHAT.path("", False), json=body)).is_success
    world.sandbox.openai.requests.clear()
    call = request(scene.token["token"], orjson.dumps(body))
    caller = await dial()
    caller.writer.write(call[:-5])
    await caller.writer.drain()
    await revoked(scene)
    caller.writer.write(call[-5:])
    assert b" 401 " in await caller.head()
    assert not world.sandbox.openai.requests


async def test_a_call_that_waits_behind_another_is_not_made_with_a_token_revoked_meanwhile(
    world: GatewayWorld, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BELIEVED_SECONDS", 0.0)
    go_on = asyncio.Event()

    async def waiting(connection: Wire) -> None:
        await connection.request()
        await go_on.wait()
        while True:
            await connection.send(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            await connection.request()

    async with serve(waiting) as server:
        scene = await of_a_server(world, server.port)
        call = request(
            scene.token["token"], orjson.dumps(OPENAI_CHAT.body(scene.name, "hello", False))
        )
        caller = await dial()
        caller.writer.write(call + call)
        await server.client_came()
        await revoked(scene)
        go_on.set()
        first = await caller.head()
        assert b" 500 " in first
        length = int(first.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await caller.reader.readexactly(length)
        assert b" 401 " in await caller.head()
        assert len(server.requests) == 1


async def revoked(scene: Scene) -> None:
    """The token is revoked, and whoever looks knows it."""
    directory = scene.world.service.access.directory
    token = scene.token["token"].encode()
    assert directory.find(token) is not None
    await scene.api("DELETE", f"/api/tokens/{scene.token['id']}")
    assert directory.find(token) is None


# Values replaced.

ROTATING = {
    Provider.OPENAI: OPENAI_CHAT,
    Provider.ANTHROPIC: ANTHROPIC,
    Provider.GOOGLE: GOOGLE,
}


@dataclass
class Rotated:
    """A key within the grace of its first value."""

    world: GatewayWorld
    stand_in: KeyedStandIn
    model: str
    key_id: str
    first: str
    second: str
    client: httpx.AsyncClient
    door: Door

    async def ask(self, *, stream: bool = False) -> int:
        """The status of a call."""
        return (await self.door.ask(self.client, self.model, stream=stream)).status

    def sent(self) -> list[str]:
        """The values that calls were made with, and forget them."""
        credentials = [one.credential for one in self.stand_in.requests]
        self.stand_in.requests.clear()
        return [one.value for one in credentials if one]

    async def alerts(self) -> list[dict[str, Any]]:
        query = select(webhook_events.c.body).where(webhook_events.c.type == "key.invalid")
        async with self.world.service.database.single() as connection:
            told = [orjson.loads(body) for body in (await connection.execute(query)).scalars()]
        return [one["data"] for one in told if one["data"]["keyId"] == self.key_id]


@asynccontextmanager
async def rotated(
    world: GatewayWorld, provider: Provider, grace: int = 3600
) -> AsyncIterator[Rotated]:
    hook = f"{world.sandbox.azure.origin}/hook"
    webhook = (await world.admin.post("/api/webhooks", json={"url": hook})).json()["id"]
    user = secrets.token_hex(6)
    stand_in = next(one for one in world.sandbox.everything if one.provider is provider)
    assert isinstance(stand_in, KeyedStandIn)
    first, second = (f"sk-sandbox-{secrets.token_hex(8)}" for _ in range(2))
    model = await world.model(secrets.token_hex(6), provider)
    key = await world.key(provider, first, user=user)
    async with world.client(await world.token(user)) as client:
        made = Rotated(
            world, stand_in, model["name"], key["id"], first, second, client, ROTATING[provider]
        )
        assert await made.ask() == 200
        answer = await world.admin.post(
            f"/api/api-keys/{key['id']}/rotate", json={"apiKey": second, "graceSeconds": grace}
        )
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(BOUND):
            while True:  # until the gateway calls with the new value
                made.sent()
                assert await made.ask() == 200
                if made.sent() == [second]:
                    break
        yield made
    await world.admin.delete(f"/api/webhooks/{webhook}")


@pytest.mark.parametrize("provider", ROTATING)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_value_before_a_refused_one_is_used_and_somebody_told_once(
    world: GatewayWorld, provider: Provider, stream: bool
) -> None:
    async with rotated(world, provider) as case:
        case.stand_in.revoked.add(case.second)
        answer = await case.door.ask(case.client, case.model, stream=stream)
        assert answer.status == 200, answer.text
        assert answer.headers["x-model-service-attempts"] == "2"
        assert case.sent() == [case.second, case.first]
        assert [await case.ask(stream=stream) for _ in range(3)] == [200] * 3
        assert case.sent() == [case.first] * 3, "the refused value is not tried again"
        (alert,) = await case.alerts()
        assert (alert["reason"], alert["fallback"]) == ("refused", True)


@pytest.mark.parametrize("provider", ROTATING)
async def test_a_burst_of_calls_raises_one_alert_and_all_are_answered(
    world: GatewayWorld, provider: Provider
) -> None:
    async with rotated(world, provider) as case:
        case.stand_in.revoked.add(case.second)
        answers = await asyncio.gather(*(case.ask() for _ in range(10)))
        assert answers == [200] * 10
        assert len(await case.alerts()) == 1


@pytest.mark.parametrize("provider", ROTATING)
async def test_when_both_values_are_refused_each_is_tried_once_and_the_caller_told(
    world: GatewayWorld, provider: Provider
) -> None:
    async with rotated(world, provider) as case:
        case.stand_in.revoked.update((case.first, case.second))
        assert await case.ask() == 401
        assert case.sent() == [case.second, case.first]
        assert await case.ask() == 401
        assert case.sent() == [case.first], "what was refused is not tried twice in one call"
        assert len(await case.alerts()) == 1


@pytest.mark.parametrize("provider", ROTATING)
async def test_without_grace_the_refusal_is_the_answer(
    world: GatewayWorld, provider: Provider
) -> None:
    async with rotated(world, provider, grace=0) as case:
        case.stand_in.revoked.add(case.second)
        assert await case.ask() == 401
        assert case.sent() == [case.second]
        (alert,) = await case.alerts()
        assert alert["fallback"] is False


@pytest.mark.parametrize("provider", ROTATING)
async def test_each_use_of_the_value_before_is_in_the_audit_trail(
    world: GatewayWorld, provider: Provider
) -> None:
    async with rotated(world, provider) as case:
        case.stand_in.revoked.add(case.second)
        assert await case.ask() == 200
        trail = (await world.admin.get(f"/api/api-keys/{case.key_id}/audit")).json()["data"]
        told = [(event["type"], event["purpose"], event["reason"]) for event in trail]
        assert ("key.lease", "lease", "fallback to version 1") in told


__all__ = ["dial"]
