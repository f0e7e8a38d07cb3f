"""Listing, reading, changing, re-validating and deleting keys."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from model_service.sandbox.keys import Behaviour
from model_service.sandbox.server import Sandbox

GOOD = "sk-sandbox-0123456789abcdef"

Create = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


@pytest_asyncio.fixture
async def create(client: httpx.AsyncClient) -> AsyncIterator[Create]:
    """Stores a key and gives what the API says of it."""

    async def create(**changes: Any) -> dict[str, Any]:
        body = {"userId": "u1", "provider": "OPENAI", "keyName": "main", "apiKey": GOOD} | changes
        answer = await client.post("/api/api-keys", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    yield create


async def test_lists_are_newest_first_and_filtered(
    client: httpx.AsyncClient, create: Create
) -> None:
    first = await create()
    second = await create(keyName="second")
    other_provider = await create(provider="OLLAMA", apiKey="*")
    other_user = await create(userId="u2")
    await client.put(f"/api/api-keys/{second['id']}", json={"isActive": False})

    async def ids(query: str) -> list[str]:
        answer = await client.get(f"/api/api-keys{query}")
        assert answer.status_code == 200, answer.text
        return [key["id"] for key in answer.json()]

    assert await ids("?userId=u1") == [other_provider["id"], second["id"], first["id"]]
    assert await ids("?userId=u1&provider=OPENAI") == [second["id"], first["id"]]
    assert await ids("?userId=u1&isActive=true") == [other_provider["id"], first["id"]]
    assert await ids("?userId=u1&isValid=false") == []
    assert await ids("") == [other_user["id"], other_provider["id"], second["id"], first["id"]]
    assert await ids("/provider/OPENAI?userId=u1") == [second["id"], first["id"]]
    assert await ids("?userId=nobody") == []


async def test_lists_come_in_pages_when_asked(client: httpx.AsyncClient, create: Create) -> None:
    made = [await create(keyName=f"k{index}") for index in range(5)]
    newest_first = [key["id"] for key in reversed(made)]
    page = (await client.get("/api/api-keys?userId=u1&page=2&limit=2")).json()
    assert page.keys() == {"data", "total", "page", "limit"}
    assert (page["total"], page["page"], page["limit"]) == (5, 2, 2)
    assert [key["id"] for key in page["data"]] == newest_first[2:4]
    assert (await client.get("/api/api-keys?userId=u1&pageSize=3")).json()["limit"] == 3
    assert (await client.get("/api/api-keys?userId=u1&page=9")).json()["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "?provider=openai", "?isActive=maybe", "?page=0", "?page=-1", "?limit=0", "?limit=201",
        "?pageSize=x", "?userId=", "?userId=%00", "?user_id=u1", "?page=99999999999999999999",
    ],
)  # fmt: skip
async def test_bad_queries_are_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/api/api-keys{query}")
    assert answer.status_code == 400
    assert answer.json()["errors"]


@pytest.mark.parametrize("suffix", ["", "/decrypt", "/validate"])
async def test_an_unknown_key_is_404_and_a_malformed_id_400(
    client: httpx.AsyncClient, internal_headers: dict[str, str], suffix: str
) -> None:
    method = "POST" if suffix == "/validate" else "GET"
    for key_id, status in ((str(uuid7()), 404), ("not-an-id", 400)):
        answer = await client.request(
            method, f"/api/api-keys/{key_id}{suffix}", headers=internal_headers
        )
        assert answer.status_code == status, answer.text


async def test_a_change_touches_only_what_it_names(
    client: httpx.AsyncClient, create: Create
) -> None:
    key = await create(metadata={"a": 1}, expiresAt="2099-01-01T00:00:00Z")
    changed = (await client.put(f"/api/api-keys/{key['id']}", json={"keyName": "renamed"})).json()
    different = {name for name in key if key[name] != changed[name]}
    assert different <= {"keyName", "updatedAt"}
    assert changed["keyName"] == "renamed"
    cleared = await client.put(
        f"/api/api-keys/{key['id']}", json={"metadata": None, "expiresAt": None}
    )
    assert cleared.json()["metadata"] is None
    assert cleared.json()["expiresAt"] is None
    unchanged = await client.put(f"/api/api-keys/{key['id']}", json={})
    assert unchanged.json() == cleared.json()


async def test_a_name_cannot_be_taken_from_another_key(
    client: httpx.AsyncClient, create: Create
) -> None:
    await create()
    second = await create(keyName="second")
    answer = await client.put(f"/api/api-keys/{second['id']}", json={"keyName": "main"})
    assert answer.status_code == 409


@pytest.mark.parametrize(
    "change",
    [
        {"keyName": None}, {"keyName": ""}, {"isActive": None}, {"isActive": "yes"},
        {"isValid": True}, {"userId": "other"}, {"provider": "GOOGLE"}, {"metadata": 1},
        {"expiresAt": "soon"}, {"usageCount": 0},
    ],
)  # fmt: skip
async def test_a_bad_change_changes_nothing(
    client: httpx.AsyncClient, create: Create, change: dict[str, Any]
) -> None:
    key = await create()
    answer = await client.put(f"/api/api-keys/{key['id']}", json=change)
    assert answer.status_code == 400
    assert (await client.get(f"/api/api-keys/{key['id']}")).json() == key


async def test_a_new_value_has_to_go_through_rotate(
    client: httpx.AsyncClient, create: Create
) -> None:
    key = await create()
    answer = await client.put(
        f"/api/api-keys/{key['id']}", json={"apiKey": "sk-sandbox-another-0123456789"}
    )
    assert answer.status_code == 400
    assert "/rotate" in answer.text
    assert "sk-sandbox-another" not in answer.text


async def test_a_deleted_key_is_gone_with_its_ciphertext(
    client: httpx.AsyncClient, create: Create, database: Database
) -> None:
    key = await create()
    answer = await client.delete(f"/api/api-keys/{key['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.delete(f"/api/api-keys/{key['id']}")).status_code == 404
    async with database.single() as connection:
        assert (await connection.execute(select(api_keys))).all() == []


async def test_validating_again_notes_what_the_provider_says_now(
    client: httpx.AsyncClient, create: Create, sandbox: Sandbox
) -> None:
    key = await create()
    sandbox.openai.always = Behaviour.ECHO
    refused = (await client.post(f"/api/api-keys/{key['id']}/validate")).json()
    assert refused["isValid"] is False
    assert refused["validatedAt"] >= key["validatedAt"]
    sandbox.openai.always = None
    assert (await client.post(f"/api/api-keys/{key['id']}/validate")).json()["isValid"] is True


async def test_a_provider_that_is_down_does_not_change_the_verdict(
    client: httpx.AsyncClient, create: Create, sandbox: Sandbox
) -> None:
    key = await create()
    sandbox.openai.down = True
    answer = await client.post(f"/api/api-keys/{key['id']}/validate")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await client.get(f"/api/api-keys/{key['id']}")).json() == key


async def test_a_stored_key_is_never_led_elsewhere(
    client: httpx.AsyncClient, create: Create, sandbox: Sandbox, database: Database
) -> None:
    endpoint = sandbox.azure.origin
    key = await create(
        provider="AZURE", apiKey=sandbox.azure.sample_key(), metadata={"endpoint": endpoint}
    )
    path = f"/api/api-keys/{key['id']}"
    sandbox.clear()
    for metadata in (
        {"endpoint": "https://other.openai.azure.com"},
        {"endpoint": sandbox.ollama.origin},
        {"endpoint": None},
        {},
        None,
    ):
        answer = await client.put(path, json={"metadata": metadata})
        assert answer.status_code == 400, metadata
        assert answer.json()["errors"][0]["field"] == "metadata.endpoint"
    noted = await client.put(path, json={"metadata": {"endpoint": endpoint, "note": "x"}})
    assert noted.json()["metadata"] == {"endpoint": endpoint, "note": "x"}
    assert not any(stand_in.requests for stand_in in sandbox.stand_ins)


async def test_a_row_redirected_in_the_database_does_not_open(
    client: httpx.AsyncClient,
    create: Create,
    sandbox: Sandbox,
    internal_headers: dict[str, str],
    database: Database,
) -> None:
    value = sandbox.azure.sample_key()
    key = await create(provider="AZURE", apiKey=value, metadata={"endpoint": sandbox.azure.origin})
    path = f"/api/api-keys/{key['id']}/decrypt"
    assert (await client.get(path, headers=internal_headers)).json() == {"key": value}
    async with database.single() as connection:
        await connection.execute(
            update(api_keys).values(metadata={"endpoint": "https://evil.openai.azure.com"})
        )
    redirected = await client.get(path, headers=internal_headers)
    assert redirected.status_code == 500
    assert value not in redirected.text
