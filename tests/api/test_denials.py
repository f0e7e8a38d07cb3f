"""What is hidden from somebody is on record as a denial, whether it exists or not."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from model_service.service import Service
from tests.audit_trails import empty_trail
from tests.sharing import INTERNAL, token

Denials = Callable[[], Awaitable[list[tuple[str | None, ...]]]]


@pytest_asyncio.fixture
async def denials(service: Service, database: Database, client: httpx.AsyncClient) -> Denials:
    """What an empty trail's denials say, oldest first."""
    await service.app.state.authenticator._refusals.step()  # a new minute: recorded one by one
    await empty_trail(database)

    async def read() -> list[tuple[str | None, ...]]:
        answer = await client.get("/api/audit?type=auth.denied")
        found: list[dict[str, Any]] = answer.json()["data"]
        names = ("actor", "onBehalfOf", "decision", "subject", "purpose", "reason")
        return [tuple(record[name] for name in names) for record in reversed(found)]

    return read


async def made_token(client: httpx.AsyncClient, user: str) -> dict[str, Any]:
    answer = await client.post("/api/tokens", json={"role": "user", "userId": user})
    document: dict[str, Any] = answer.json()
    return document


async def test_revoking_another_s_token_and_an_unknown_one_leave_the_same_record(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, denials: Denials
) -> None:
    ids = [(await made_token(client, "bob"))["id"], str(uuid7())]
    ada = await token(client, role="user", userId="ada")
    for one in ids:
        assert (await anonymous.delete(f"/api/tokens/{one}", headers=ada)).status_code == 404
    reason = "no_such_token_for_them"
    assert await denials() == [
        ("user:ada", None, "deny", f"token:{one}", "revoke", reason) for one in ids
    ]


async def test_a_service_that_revokes_another_s_token_than_its_user_s_is_on_record(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, denials: Denials
) -> None:
    other = (await made_token(client, "bob"))["id"]
    naming = INTERNAL | {"x-user-id": "ada"}
    assert (await anonymous.delete(f"/api/tokens/{other}", headers=naming)).status_code == 404
    assert [record[:4] for record in await denials()] == [
        ("internal", "ada", "deny", f"token:{other}")
    ]


async def test_an_administrator_who_finds_no_token_was_denied_nothing(
    client: httpx.AsyncClient, denials: Denials
) -> None:
    assert (await client.delete(f"/api/tokens/{uuid7()}")).status_code == 404
    assert await denials() == []


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PUT", {"description": "x"}), ("DELETE", None)]
)
async def test_a_model_out_of_a_token_s_scope_and_an_unknown_one_leave_the_same_record(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    denials: Denials,
    method: str,
    body: dict[str, str] | None,
) -> None:
    model = {"name": "hidden", "provider": "OPENAI", "modelId": "m"}
    ids = [(await client.post("/api/models", json=model)).json()["id"], str(uuid7())]
    limited = await token(client, role="admin", scopes={"models": ["granted"]})
    for one in ids:
        path = f"/api/models/{one}"
        answer = await anonymous.request(method, path, json=body, headers=limited)
        assert answer.status_code == 404
    assert [record[2:] for record in await denials()] == [
        ("deny", f"model:{one}", None, "no_such_model_for_them") for one in ids
    ]


async def test_a_default_model_out_of_a_token_s_scope_is_on_record(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, denials: Denials
) -> None:
    model = {"name": "hidden", "provider": "OPENAI", "modelId": "m", "isDefault": True}
    hidden = (await client.post("/api/models", json=model)).json()["id"]
    limited = await token(client, role="user", userId="ada", scopes={"models": ["granted"]})
    answer = await anonymous.get("/api/models/default", headers=limited)
    assert answer.status_code == 404
    assert [record[3] for record in await denials()] == [f"model:{hidden}"]


async def test_who_is_not_limited_to_models_and_finds_none_was_denied_nothing(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, denials: Denials
) -> None:
    ada = await token(client, role="user", userId="ada")
    assert (await anonymous.get(f"/api/models/{uuid7()}", headers=ada)).status_code == 404
    assert await denials() == []
