"""Calls through the gateway: who may, which model, whose key, and what is said about it."""

import secrets
from typing import Any

import httpx
import pytest

from model_service.kernel.types import Provider
from tests.gateway_world import GatewayWorld

CHAT = "/v1/chat/completions"


def chat(model: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}]} | more


def name(kind: str = "model") -> str:
    return f"{kind}-{secrets.token_hex(4)}"


async def ready(world: GatewayWorld, provider: Provider = Provider.OPENAI) -> tuple[str, str, str]:
    """A new model, and a new user's token and key for it."""
    model, user = name(), name("user")
    await world.model(model, provider)
    await world.key(provider, "sk-sandbox-" + secrets.token_hex(8), user=user)
    return model, user, await world.token(user)


async def test_a_call_is_answered_under_the_registered_name(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["model"] == model
    assert document["choices"][0]["message"]["content"]
    assert answer.headers["x-model-service-model"] == model
    assert answer.headers["x-model-service-provider"] == "OPENAI"
    assert answer.headers["x-model-service-upstream-model"] == "gpt-5.5"
    assert answer.headers["x-model-service-attempts"] == "1"
    assert answer.headers["x-request-id"]


async def test_the_provider_gets_the_users_key_and_never_the_token(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 200
    sent = world.sandbox.openai.requests[-1]
    assert sent.credential is not None
    assert sent.credential.value.startswith("sk-sandbox-")
    assert token not in str(sent.headers.raw)
    assert sent.json()["model"] == "gpt-5.5"  # type: ignore[index]


async def test_fields_that_nobody_knows_yet_reach_the_provider(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model, a_field_of_tomorrow={"x": 1}))
    assert answer.status_code == 400  # the stand-in knows none, and says so itself
    assert "a_field_of_tomorrow" in answer.json()["error"]["message"]
    assert world.sandbox.openai.requests[-1].json()["a_field_of_tomorrow"] == {"x": 1}  # type: ignore[index]


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
async def test_a_token_comes_in_the_header_of_any_client(world: GatewayWorld, header: str) -> None:
    model, _, token = await ready(world)
    value = f"Bearer {token}" if header == "authorization" else token
    async with httpx.AsyncClient(base_url=world.url, headers={header: value}) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (CHAT, "openai"),
        ("/v1/responses", "openai"),
        ("/v1/embeddings", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1beta/models/m:generateContent", "google"),
        ("/openai/deployments/m/chat/completions?api-version=2024-10-21", "openai"),
        ("/v1/no-such-route", "openai"),
    ],
)
async def test_without_a_token_every_door_answers_401_in_its_own_shape(
    world: GatewayWorld, path: str, shape: str
) -> None:
    async with world.client() as client:
        answer = await client.post(path, json=chat("m"))
    assert answer.status_code == 401
    error = answer.json()["error"]
    kind = {"openai": error.get("type"), "anthropic": error.get("type")}.get(shape)
    assert (kind or error["status"]) in (
        "invalid_request_error", "authentication_error", "UNAUTHENTICATED",
    )  # fmt: skip
    assert answer.headers["www-authenticate"] == "Bearer"
    assert world.sandbox.openai.requests == type(world.sandbox.openai.requests)()


async def test_a_wrong_token_is_refused_and_on_record(world: GatewayWorld) -> None:
    token = "msk_" + "0" * 32 + "_" + "0" * 64
    # From an address of its own: of one that fails too often not each failure is written down.
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.77")
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=world.url, headers=headers, transport=elsewhere
    ) as client:
        answer = await client.post(CHAT, json=chat("m"))
    assert answer.status_code == 401
    trail = await world.admin.get("/api/audit?type=auth.failure&limit=5")
    assert any(one["requestId"] == answer.headers["x-request-id"] for one in trail.json()["data"])


async def test_a_token_that_may_not_call_is_refused(world: GatewayWorld) -> None:
    token = await world.token(name("user"), scopes={"routes": ["models:read"]})
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat("m"))
    assert answer.status_code == 403


async def test_a_token_for_other_models_is_refused_and_sees_them_alone(
    world: GatewayWorld,
) -> None:
    model, user, _ = await ready(world)
    other = name()
    await world.model(other, Provider.OPENAI)
    token = await world.token(user, scopes={"models": [other]})
    async with world.client(token) as client:
        refused = await client.post(CHAT, json=chat(model))
        listed = await client.get("/v1/models")
        hidden = await client.get(f"/v1/models/{model}")
        shown = await client.get(f"/v1/models/{other}")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "model_not_allowed"
    assert [one["id"] for one in listed.json()["data"]] == [other]
    assert (hidden.status_code, shown.status_code) == (404, 200)


async def test_an_unknown_model_is_not_found(world: GatewayWorld) -> None:
    async with world.client(await world.token()) as client:
        answer = await client.post(CHAT, json=chat("no-such-model"))
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_an_inactive_model_is_not_called(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    models = (await world.admin.get("/api/models?limit=200")).json()["data"]
    model_id = next(one["id"] for one in models if one["name"] == model)
    await world.admin.put(f"/api/models/{model_id}", json={"isActive": False})
    registered = world.service.calling.registered
    await world.until(lambda: not registered.current().by_name[model].is_active)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model))
        listed = await client.get("/v1/models")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_inactive"
    assert model not in [one["id"] for one in listed.json()["data"]]


async def test_default_names_the_default_model(world: GatewayWorld) -> None:
    model, user = name(), name("user")
    await world.model(model, Provider.OPENAI, isDefault=True)
    await world.key(Provider.OPENAI, "sk-sandbox-default-0001", user=user)
    async with world.client(await world.token(user)) as client:
        answer = await client.post(CHAT, json=chat("default"))
    assert answer.status_code == 200
    assert answer.json()["model"] == model


async def test_a_user_without_a_key_is_told_so(world: GatewayWorld) -> None:
    model = name()
    await world.model(model, Provider.OPENAI)
    async with world.client(await world.token(name("user"))) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "no_provider_key"
    assert not world.sandbox.openai.requests


async def test_a_service_names_the_user_whose_key_pays(world: GatewayWorld) -> None:
    model, user, _ = await ready(world)
    token = await world.token(role="service")
    async with world.client(token) as client:
        unnamed = await client.post(CHAT, json=chat(model))
        named = await client.post(CHAT, json=chat(model), headers={"x-user-id": user})
    assert unnamed.status_code == 403
    assert "x-user-id" in unnamed.json()["error"]["message"]
    assert named.status_code == 200
    assert named.headers["x-model-service-key-id"]


async def test_a_users_token_acts_for_nobody_else(world: GatewayWorld) -> None:
    model, user, _ = await ready(world)
    async with world.client(await world.token(name("user"))) as client:
        answer = await client.post(CHAT, json=chat(model), headers={"x-user-id": user})
    assert answer.status_code == 403


async def test_a_shared_key_pays_until_the_grant_is_taken_back(world: GatewayWorld) -> None:
    model, user = name(), name("user")
    owner = name("owner")
    await world.model(model, Provider.OPENAI)
    key = await world.key(Provider.OPENAI, "sk-sandbox-shared-0001", user=owner)
    shares = f"/api/api-keys/{key['id']}/shares"
    share = (await world.admin.post(shares, json={"granteeUserId": user})).json()
    async with world.client(await world.token(user)) as client:
        answer = await client.post(CHAT, json=chat(model))
        assert answer.status_code == 200
        assert answer.headers["x-model-service-key-id"] == key["id"]
        await world.admin.delete(f"{shares}/{share['id']}")
        lent = world.service.calling.leases
        held = world.service.calling.registered.current().by_name[model]
        await world.until(lambda: lent.find(user, held) is None)
        refused = await client.post(CHAT, json=chat(model))
    assert refused.status_code == 403


async def test_the_models_own_key_pays_for_whoever_has_none(world: GatewayWorld) -> None:
    model = name()
    key = await world.key(Provider.OPENAI, "sk-sandbox-common-0001", user=name("company"))
    await world.model(model, Provider.OPENAI, providerSettings={"apiKeyId": key["id"]})
    async with world.client(await world.token(name("user"))) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 200
    assert answer.headers["x-model-service-key-id"] == key["id"]


async def test_a_lease_is_on_record_for_whom_it_was_made(world: GatewayWorld) -> None:
    model, user, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model))
        again = await client.post(CHAT, json=chat(model))
    assert again.status_code == 200
    key_id = answer.headers["x-model-service-key-id"]
    records = (await world.admin.get(f"/api/api-keys/{key_id}/audit")).json()["data"]
    leases = [one for one in records if one["type"] == "key.lease"]
    assert [(one["actor"], one["purpose"]) for one in leases] == [(f"user:{user}", "lease")]


async def test_a_deleted_key_is_not_used_any_more(world: GatewayWorld) -> None:
    model, user, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model))
        await world.admin.delete(f"/api/api-keys/{answer.headers['x-model-service-key-id']}")
        held = world.service.calling.registered.current().by_name[model]
        await world.until(lambda: world.service.calling.leases.find(user, held) is None)
        refused = await client.post(CHAT, json=chat(model))
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'"model"', "object"),
        (b"{}", "model"),
        (b'{"model": 3}', "model"),
        (b'{"model": ""}', "model"),
        (b'{"model": null}', "model"),
        (b'{"model": "x", "n": NaN}', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"model": "\xff"}', "JSON"),
    ],
)
async def test_a_body_that_is_none_is_a_clear_400(
    world: GatewayWorld, body: bytes, word: str
) -> None:
    async with world.client(await world.token()) as client:
        answer = await client.post(CHAT, content=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


async def test_a_stream_flag_that_is_none_is_refused(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model, stream="yes"))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "stream"


async def test_a_wrong_method_is_405_with_what_is_allowed(world: GatewayWorld) -> None:
    async with world.client(await world.token()) as client:
        answer = await client.get(CHAT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_the_callers_request_id_comes_back(world: GatewayWorld) -> None:
    async with world.client(await world.token()) as client:
        kept = await client.get("/v1/models", headers={"x-request-id": "mine-1"})
        made = await client.get("/v1/models", headers={"x-request-id": "a b"})
    assert kept.headers["x-request-id"] == "mine-1"
    assert made.headers["x-request-id"] != "a b"


async def test_head_has_no_body(world: GatewayWorld) -> None:
    async with world.client(await world.token()) as client:
        answer = await client.head("/v1/models")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 2


async def test_a_providers_error_is_the_doors_own_with_its_message(world: GatewayWorld) -> None:
    model, _, token = await ready(world)
    async with world.client(token) as client:
        answer = await client.post(CHAT, json=chat(model, temperature="hot"))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert "temperature" in answer.json()["error"]["message"]


async def test_a_refused_key_is_told_from_a_refused_token(world: GatewayWorld) -> None:
    model, user = name(), name("user")
    await world.model(model, Provider.OPENAI)
    await world.key(Provider.OPENAI, "sk-not-known-there-0123", user=user)
    async with world.client(await world.token(user)) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 401
    assert "www-authenticate" not in answer.headers
    assert "key" in answer.json()["error"]["message"]
    assert "sk-not-known-there-0123" not in answer.text


async def test_ollama_needs_no_key(world: GatewayWorld) -> None:
    model = name()
    await world.model(model, Provider.OLLAMA)
    async with world.client(await world.token(name("user"))) as client:
        answer = await client.post(CHAT, json=chat(model))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model-service-provider"] == "OLLAMA"
    assert "x-model-service-key-id" not in answer.headers
