"""What a token is limited to: models, routes, and what it may hand on."""

from typing import Any

import httpx
import pytest

from model_service.kernel.principal import Permission
from model_service.kernel.types import uuid7
from tests.sharing import INTERNAL, stored, token, user

PATH = "/api/tokens"
LATER = "2099-01-01T00:00:00.000Z"


async def with_models(client: httpx.AsyncClient) -> dict[str, str]:
    """Two models and their paths; the one out of scope is the default."""
    paths = {}
    for name, is_default in (("granted", False), ("hidden", True)):
        body = {"name": name, "provider": "OPENAI", "modelId": name, "isDefault": is_default}
        paths[name] = f"/api/models/{(await client.post('/api/models', json=body)).json()['id']}"
    return paths


@pytest.mark.parametrize("role", ["admin", "service", "user"])
async def test_a_token_limited_to_models_sees_no_others(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, role: str
) -> None:
    paths = await with_models(client)
    body = {"role": role} | ({"userId": "ada"} if role == "user" else {})
    limited = await token(client, **body, scopes={"models": ["granted", "unknown"]})
    for query in ("", "/provider/OPENAI", "?isActive=true"):
        answer = await anonymous.get(f"/api/models{query}", headers=limited)
        assert [model["name"] for model in answer.json()] == ["granted"]
    page = (await anonymous.get("/api/models?limit=10", headers=limited)).json()
    assert (page["total"], [model["name"] for model in page["data"]]) == (1, ["granted"])
    statistics = await anonymous.get("/api/models/stats", headers=limited)
    assert statistics.json()["total"] == 1
    assert "hidden" not in statistics.text
    assert (await anonymous.get("/api/models/default", headers=limited)).status_code == 404
    assert (await anonymous.get(paths["granted"], headers=limited)).status_code == 200
    unseen = await anonymous.get(paths["hidden"], headers=limited)
    unknown = await anonymous.get(f"/api/models/{uuid7()}", headers=limited)
    said = {(answer.status_code, answer.json()["message"]) for answer in (unseen, unknown)}
    assert said == {(404, "No such model")}


async def test_a_key_comes_with_no_model_out_of_scope(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await stored(client)
    paths = await with_models(client)
    limited = await token(client, role="service", scopes={"models": ["granted"]})
    answers = {
        name: await anonymous.get(f"{path}?userId=owner", headers=limited | INTERNAL)
        for name, path in paths.items()
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "granted": 200,
        "hidden": 404,
    }


@pytest.mark.parametrize(
    ("name", "method", "body", "status"),
    [
        ("granted", "PUT", {"description": "changed"}, 200),
        ("granted", "PUT", {"name": "also granted"}, 200),
        ("granted", "PUT", {"name": "escaped"}, 403),
        ("granted", "DELETE", None, 204),
        ("hidden", "PUT", {"description": "changed"}, 404),
        ("hidden", "PUT", {"name": "also granted"}, 404),
        ("hidden", "DELETE", None, 404),
        ("also granted", "POST", {}, 201),
        ("escaped", "POST", {}, 403),
    ],
)
async def test_an_administrators_token_limited_to_models_makes_and_changes_no_others(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    name: str,
    method: str,
    body: dict[str, Any] | None,
    status: int,
) -> None:
    paths = await with_models(client)
    limited = await token(client, role="admin", scopes={"models": ["granted", "also granted"]})
    if method == "POST":
        body = {"name": name, "provider": "OPENAI", "modelId": "m"}
    before = (await client.get("/api/models")).json()
    path = paths.get(name, "/api/models")
    answer = await anonymous.request(method, path, json=body, headers=limited)
    assert answer.status_code == status, answer.text
    changed = (await client.get("/api/models")).json() != before
    assert changed is (status < 400)


async def test_a_token_limited_to_routes_does_nothing_else(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await stored(client, userId="ada")
    scopes = {"routes": ["keys:read"]}
    limited = await token(client, role="user", userId="ada", scopes=scopes)
    path = f"/api/api-keys/{key['id']}"
    assert (await anonymous.get(path, headers=limited)).status_code == 200
    for method, other in (("DELETE", path), ("GET", "/api/models"), ("GET", PATH)):
        answer = await anonymous.request(method, other, headers=limited)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get(path)).status_code == 200


async def test_the_auditors_scope_lets_a_user_read_the_trail_and_nothing_more(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    plain = await user(client, "ada")
    auditor = await token(client, role="user", userId="ada", scopes={"routes": ["auditor"]})
    statuses = [
        (await anonymous.get(path, headers=headers)).status_code
        for headers in (plain, auditor)
        for path in ("/api/audit", "/api/models")
    ]
    assert statuses == [403, 200, 200, 403]


MAKING = {"routes": ["tokens:write", "keys:read"], "models": ["a", "b"]}


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"role": "admin"}, 403), ({"role": "service"}, 403),
        ({"role": "user", "userId": "ada"}, 403),
        ({"role": "service", "scopes": {"routes": ["keys:read"]}}, 403),
        ({"role": "service", "scopes": {"models": ["a"]}}, 403),
        ({"role": "service", "scopes": {"models": ["a", "c"], "routes": ["keys:read"]}}, 403),
        ({"role": "service", "scopes": {"models": ["a"], "routes": ["keys:write"]}}, 403),
        ({"role": "user", "userId": "ada",
          "scopes": {"models": ["a"], "routes": ["keys:read", "auditor"]}}, 403),
        ({"role": "service", "scopes": {"models": ["b"], "routes": ["keys:read"]}}, 201),
        ({"role": "admin", "scopes": MAKING}, 201),
    ],
)  # fmt: skip
async def test_a_limited_token_makes_no_wider_one(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, wanted: dict[str, Any], status: int
) -> None:
    limited = await token(client, role="admin", scopes=MAKING)
    answer = await anonymous.post(PATH, json=wanted, headers=limited)
    assert answer.status_code == status, answer.text
    count = len((await client.get(PATH)).json()["data"])
    assert count == (2 if status == 201 else 1)


@pytest.mark.parametrize(
    ("expires_at", "status"),
    [(None, 403), ("2099-01-01T00:00:00.001Z", 403), (LATER, 201), ("2098-01-01T00:00:00Z", 201)],
)
async def test_a_token_makes_none_that_outlives_it(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, expires_at: str | None, status: int
) -> None:
    mortal = await token(client, role="admin", expiresAt=LATER)
    wanted = {"role": "service", "expiresAt": expires_at}
    assert (await anonymous.post(PATH, json=wanted, headers=mortal)).status_code == status


@pytest.mark.parametrize("permission", Permission)
async def test_every_permission_can_be_granted(
    client: httpx.AsyncClient, permission: Permission
) -> None:
    wanted = {"role": "service", "scopes": {"routes": [permission.value]}}
    answer = await client.post(PATH, json=wanted)
    assert answer.json()["scopes"] == {"models": None, "routes": [permission.value]}


async def test_a_token_limited_to_models_is_offered_what_is_behind_these_alone(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await stored(client)
    path = "/api/models/providers/OPENAI/available-models?userId=owner"
    everything = [offer["id"] for offer in (await client.get(path)).json()]
    model = {"name": "granted", "provider": "OPENAI", "modelId": everything[0]}
    await client.post("/api/models", json=model)
    limited = await token(
        client, role="user", userId="owner", scopes={"models": ["granted", "unknown"]}
    )
    offered = (await anonymous.get(path, headers=limited)).json()
    assert [offer["id"] for offer in offered] == everything[:1]
    assert len(everything) > 1
