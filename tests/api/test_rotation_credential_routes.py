"""The routes of administrative credentials: they take a secret and never give it back."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from model_service.sandbox.openai_admin import PROJECT

SECRET = "sk-admin-sandbox-0123456789"
PATH = "/api/provider-admin-credentials"


def new(**changes: Any) -> dict[str, Any]:
    body = {"provider": "OPENAI", "secret": SECRET, "settings": {"projectId": PROJECT}}
    return body | changes


async def test_a_credential_is_stored_listed_and_forgotten_without_its_secret(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post(PATH, json=new(label="production"))
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body.keys() == {"id", "provider", "label", "settings", "createdAt"}
    assert (body["provider"], body["label"]) == ("OPENAI", "production")
    listed = await client.get(PATH)
    assert listed.json() == [body]
    assert SECRET not in answer.text + listed.text
    assert (await client.delete(f"{PATH}/{body['id']}")).status_code == 204
    assert (await client.get(PATH)).json() == []
    assert (await client.delete(f"{PATH}/{body['id']}")).status_code == 404


async def test_no_route_gives_one_credential_back(client: httpx.AsyncClient) -> None:
    created = (await client.post(PATH, json=new())).json()["id"]
    for path in (f"{PATH}/{created}", f"{PATH}/{created}/decrypt"):
        assert (await client.get(path)).status_code in (404, 405)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"provider": "ANTHROPIC"}, "provider"),
        ({"provider": None}, "provider"),
        ({"secret": "short"}, "secret"),
        ({"secret": 7}, "secret"),
        ({"settings": None}, "settings"),
        ({"settings": {"projectId": 7}}, "settings.projectId"),
        ({"settings": {"projectId": "a b"}}, "settings.projectId"),
        ({"settings": {"projectId": PROJECT, "host": "evil"}}, "settings.host"),
        ({"settings": {f"a{n}": "b" for n in range(17)}}, "settings"),
        ({"label": ""}, "label"),
        ({"origin": "https://evil.example"}, "origin"),
    ],
)
async def test_bad_input_is_named(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    answer = await client.post(PATH, json=new(**changes))
    assert answer.status_code == 400, answer.text
    assert field in {fault["field"] for fault in answer.json()["errors"]}


async def test_a_credential_the_provider_refuses_is_400(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json=new(secret="sk-admin-of-somebody-else"))
    assert answer.status_code == 400
    assert "sk-admin" not in answer.text


async def test_a_credential_that_is_not_there_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.delete(f"{PATH}/{uuid4()}")).status_code == 404
