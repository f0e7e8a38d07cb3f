"""GET /api/api-keys/{id}/decrypt: who may, what counts, and what must never open."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Row, insert, select, update

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from model_service.service import Service

GOOD = "sk-sandbox-0123456789abcdef"
SECRET = "test-internal-2b60d8aa51"


@pytest_asyncio.fixture
async def key(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.post(
        "/api/api-keys",
        json={"userId": "u1", "provider": "OPENAI", "keyName": "main", "apiKey": GOOD},
    )
    made: dict[str, Any] = answer.json()
    return made


async def row_of(database: Database, key_id: str) -> Row[Any]:
    async with database.single() as connection:
        return (await connection.execute(select(api_keys).where(api_keys.c.id == key_id))).one()


async def test_the_internal_secret_alone_reveals_the_key(
    anonymous: httpx.AsyncClient, key: dict[str, Any], internal_headers: dict[str, str]
) -> None:
    answer = await anonymous.get(f"/api/api-keys/{key['id']}/decrypt", headers=internal_headers)
    assert answer.status_code == 200
    assert answer.json() == {"key": GOOD}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-internal-secret", "")],
        [("x-internal-secret", "wrong")],
        [("x-internal-secret", SECRET[:-1])],
        [("x-internal-secret", SECRET + "x")],
        [("x-internal-secret", SECRET.upper())],
        [("x-internal-secret", "x" * 60_000)],
        [("x-internal-secret", b"\xff\xfe\x00secret")],
        [("x-internal-secret", SECRET), ("x-internal-secret", SECRET)],
        [("x-internal-secret", f"{SECRET}, {SECRET}")],
        [("authorization", f"Bearer {SECRET}")],
    ],
)
async def test_nothing_but_the_right_secret_does(
    anonymous: httpx.AsyncClient, key: dict[str, Any], database: Database, headers: Any
) -> None:
    for path in (f"/api/api-keys/{key['id']}/decrypt", f"/api/api-keys/{uuid7()}/decrypt"):
        answer = await anonymous.get(path, headers=headers)
        assert answer.status_code == 401, "before anything is looked up"
        assert GOOD not in answer.text
    assert (await row_of(database, key["id"])).usage_count == 0


async def test_being_administrator_is_not_enough(
    client: httpx.AsyncClient, key: dict[str, Any]
) -> None:
    answer = await client.get(f"/api/api-keys/{key['id']}/decrypt")
    assert answer.status_code == 401


async def test_each_reveal_counts(
    client: httpx.AsyncClient, key: dict[str, Any], internal_headers: dict[str, str]
) -> None:
    for _ in range(3):
        await client.get(f"/api/api-keys/{key['id']}/decrypt", headers=internal_headers)
    after = (await client.get(f"/api/api-keys/{key['id']}")).json()
    assert after["usageCount"] == 3
    assert after["lastUsedAt"] >= key["createdAt"]
    assert after["updatedAt"] == key["updatedAt"], "a use is not a change"


async def test_500_parallel_reveals_lose_no_count(
    client: httpx.AsyncClient,
    key: dict[str, Any],
    internal_headers: dict[str, str],
    service: Service,
) -> None:
    other = await client.post(
        "/api/api-keys",
        json={"userId": "u2", "provider": "OLLAMA", "keyName": "main", "apiKey": "*"},
    )
    ids = [key["id"], other.json()["id"]]
    answers = await asyncio.gather(
        *(
            client.get(f"/api/api-keys/{ids[index % 2]}/decrypt", headers=internal_headers)
            for index in range(500)
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    for key_id in ids:
        assert (await client.get(f"/api/api-keys/{key_id}")).json()["usageCount"] == 250


@pytest.mark.parametrize("change", [{"isActive": False}, {"expiresAt": "2020-01-01T00:00:00Z"}])
async def test_an_inactive_or_expired_key_stays_in(
    client: httpx.AsyncClient,
    key: dict[str, Any],
    internal_headers: dict[str, str],
    change: dict[str, Any],
) -> None:
    await client.put(f"/api/api-keys/{key['id']}", json=change)
    answer = await client.get(f"/api/api-keys/{key['id']}/decrypt", headers=internal_headers)
    assert answer.status_code == 409
    assert answer.json()["code"] == "key_inactive"
    assert (await client.get(f"/api/api-keys/{key['id']}")).json()["usageCount"] == 0


async def test_one_bad_record_does_not_hold_up_the_others_of_its_batch(
    client: httpx.AsyncClient,
    key: dict[str, Any],
    internal_headers: dict[str, str],
    database: Database,
) -> None:
    row = await row_of(database, key["id"])
    broken = row._asdict() | {"id": uuid7(), "key_name": "copy"}
    async with database.single() as connection:
        await connection.execute(insert(api_keys).values(broken))
    wanted = [key["id"], str(broken["id"]), str(uuid7())] * 10
    answers = await asyncio.gather(
        *(client.get(f"/api/api-keys/{k}/decrypt", headers=internal_headers) for k in wanted)
    )
    assert [answer.status_code for answer in answers] == [200, 500, 404] * 10
    assert (await row_of(database, key["id"])).usage_count == 10
    assert (await row_of(database, str(broken["id"]))).usage_count == 0


@pytest.mark.parametrize(
    "tamper",
    [
        {"user_id": "somebody-else"},
        {"provider": "GOOGLE"},
        {"key_version": 2},
        {"metadata": {"endpoint": "https://evil.example"}},
        {"encrypted_key": ""},
        {"encrypted_key": "AAAA"},
        {"encrypted_key": "not base64!"},
        {"metadata": {"endpoint": "https://[broken"}},
    ],
)
async def test_a_row_tampered_with_does_not_open(
    client: httpx.AsyncClient,
    key: dict[str, Any],
    internal_headers: dict[str, str],
    database: Database,
    tamper: dict[str, Any],
) -> None:
    async with database.single() as connection:
        await connection.execute(update(api_keys).values(tamper))
    answer = await client.get(f"/api/api-keys/{key['id']}/decrypt", headers=internal_headers)
    assert answer.status_code == 500
    body = answer.json()
    assert body["message"] == "Internal server error"
    assert body["requestId"] == answer.headers["x-request-id"]
    assert (await row_of(database, key["id"])).usage_count == 0


async def test_ciphertexts_swapped_between_rows_do_not_open(
    client: httpx.AsyncClient, internal_headers: dict[str, str], database: Database
) -> None:
    ids = []
    for name in ("one", "two"):
        body = {"userId": "u1", "provider": "OPENAI", "keyName": name, "apiKey": GOOD}
        ids.append((await client.post("/api/api-keys", json=body)).json()["id"])
    first, second = [await row_of(database, key_id) for key_id in ids]
    async with database.transaction() as connection:
        for here, there in ((first, second), (second, first)):
            await connection.execute(
                update(api_keys)
                .where(api_keys.c.id == here.id)
                .values(encrypted_key=there.encrypted_key)
            )
    for key_id in ids:
        answer = await client.get(f"/api/api-keys/{key_id}/decrypt", headers=internal_headers)
        assert answer.status_code == 500


async def test_any_flipped_bit_of_the_stored_record_is_noticed(
    client: httpx.AsyncClient,
    key: dict[str, Any],
    internal_headers: dict[str, str],
    database: Database,
) -> None:
    record = base64.b64decode((await row_of(database, key["id"])).encrypted_key)
    for position in range(0, len(record), 7):
        flipped = bytearray(record)
        flipped[position] ^= 1 << position % 8
        async with database.single() as connection:
            text = base64.b64encode(flipped).decode()
            await connection.execute(update(api_keys).values(encrypted_key=text))
        answer = await client.get(f"/api/api-keys/{key['id']}/decrypt", headers=internal_headers)
        assert answer.status_code == 500, position
