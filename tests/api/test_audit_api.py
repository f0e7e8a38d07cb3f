"""The trail over the API: what each request leaves in it, and who may read that."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import update

from model_service.audit.domain import ANSWER_SECONDS
from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.sandbox.server import Sandbox
from model_service.service import Service
from tests.audit_trails import empty_trail

VALUE = "sk-sandbox-c4naryOfTheTrail99"
#: Seconds on top of what an answer may take, on a busy machine.
SLACK = 3.0
FIELDS = {
    "seq", "id", "time", "type", "phase", "actor", "onBehalfOf", "subject", "provider", "purpose",
    "requestId", "clientAddress", "decision", "reason", "ciphertextSha256", "term", "instance",
    "prevHash", "hash",
}  # fmt: skip

Trail = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest_asyncio.fixture
async def trail(client: httpx.AsyncClient, database: Database) -> Trail:
    """Reads the whole trail, oldest first, without the records of reading it."""
    await empty_trail(database)

    async def read(query: str = "") -> list[dict[str, Any]]:
        answer = await client.get(f"/api/audit?limit=500{query}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return [record for record in reversed(found) if record["type"] != "audit.read"]

    return read


async def create(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    body = {"userId": "u1", "provider": "OPENAI", "keyName": "main", "apiKey": VALUE}
    return await client.post("/api/api-keys", json=body | fields)


def said(records: list[dict[str, Any]]) -> list[tuple[str | None, ...]]:
    return [
        tuple(r[n] for n in ("type", "phase", "decision", "purpose", "reason")) for r in records
    ]


async def test_a_key_s_life_is_recorded_step_by_step(
    client: httpx.AsyncClient, trail: Trail, internal_headers: dict[str, str]
) -> None:
    key = (await create(client)).json()["id"]
    path = f"/api/api-keys/{key}"
    await client.post(f"{path}/validate")
    await client.get(f"{path}/decrypt", headers=internal_headers)
    await client.put(path, json={"isActive": False, "metadata": {"a": "secret-ish"}})
    await client.get(f"{path}/decrypt", headers=internal_headers)
    await client.delete(path)
    await client.get(f"{path}/decrypt", headers=internal_headers)
    records = await trail(f"&subject=key:{key}")
    assert said(records) == [
        ("key.create", "result", "allow", None, "validated"),
        ("key.validate", "intent", "allow", "validate", None),
        ("key.validate", "result", "allow", "validate", "valid"),
        ("key.reveal", "result", "allow", "decrypt", None),
        ("key.update", "result", "allow", None, "is_active,metadata"),
        ("key.reveal", "result", "deny", "decrypt", "key_inactive"),
        ("key.delete", "result", "allow", None, None),
        ("key.reveal", "result", "deny", "decrypt", "not_found"),
    ]
    assert {record["provider"] for record in records[:-1]} == {"OPENAI"}
    assert {record["subject"] for record in records} == {f"key:{key}"}


async def test_a_record_has_every_field_and_names_its_request(
    client: httpx.AsyncClient, trail: Trail, internal_headers: dict[str, str]
) -> None:
    answer = await create(client)
    intent, record = await trail("&type=key.create")
    assert intent.keys() == FIELDS
    assert intent["requestId"] == record["requestId"]
    assert record.keys() == FIELDS
    assert record["requestId"] == answer.headers["x-request-id"]
    assert record["actor"] == "administrator"
    assert record["clientAddress"] == "127.0.0.1"
    assert record["term"] == 1
    assert len(record["ciphertextSha256"]) == len(record["hash"]) == len(record["prevHash"]) == 64
    assert record["time"].endswith("Z")
    revealed = await client.get(
        f"/api/api-keys/{answer.json()['id']}/decrypt", headers=internal_headers
    )
    (record,) = await trail("&type=key.reveal")
    assert record["requestId"] == revealed.headers["x-request-id"]


async def test_each_of_many_reveals_at_once_is_recorded_for_its_own_request(
    anonymous: httpx.AsyncClient,
    client: httpx.AsyncClient,
    trail: Trail,
    internal_headers: dict[str, str],
) -> None:
    key = (await create(client)).json()["id"]
    answers = await asyncio.gather(
        *(
            anonymous.get(f"/api/api-keys/{key}/decrypt", headers=internal_headers)
            for _ in range(100)
        )
    )
    records = await trail("&type=key.reveal")
    assert {answer.status_code for answer in answers} == {200}
    assert len(records) == 100
    assert {record["requestId"] for record in records} == {
        answer.headers["x-request-id"] for answer in answers
    }
    assert {record["actor"] for record in records} == {"internal"}


async def test_models_and_the_keys_that_go_with_them_are_recorded(
    client: httpx.AsyncClient, trail: Trail, internal_headers: dict[str, str]
) -> None:
    await create(client)
    body = {"name": "m", "provider": "OPENAI", "modelId": "gpt"}
    model = (await client.post("/api/models", json=body)).json()["id"]
    path = f"/api/models/{model}"
    await client.post("/api/models", json=body)
    await client.put(path, json={"maxTokens": 9, "isDefault": True})
    with_key = await client.get(f"{path}?userId=u1", headers=internal_headers)
    assert with_key.json()["apiKey"] == VALUE
    await client.get("/api/models/providers/OPENAI/available-models?userId=u1")
    await client.delete(path)
    assert said((await trail())[2:]) == [
        ("model.create", "result", "allow", None, None),
        ("model.update", "result", "allow", None, "is_default,max_tokens"),
        ("key.reveal", "result", "allow", "model", None),
        ("key.reveal", "result", "allow", "listing", None),
        ("model.delete", "result", "allow", None, None),
    ]
    assert {r["subject"] for r in await trail() if r["type"][:5] == "model"} == {f"model:{model}"}


async def test_a_model_that_steps_down_for_another_default_is_on_record(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    body = {"provider": "OPENAI", "modelId": "m", "isDefault": True}
    first = (await client.post("/api/models", json={"name": "first", **body})).json()["id"]
    second = (await client.post("/api/models", json={"name": "second", **body})).json()["id"]
    await client.put(f"/api/models/{first}", json={"isDefault": True})
    assert [(r["type"], r["subject"]) for r in await trail()] == [
        ("model.create", f"model:{first}"),
        ("model.update", f"model:{first}"),
        ("model.create", f"model:{second}"),
        ("model.update", f"model:{second}"),
        ("model.update", f"model:{first}"),
    ]


async def test_a_key_that_its_provider_does_not_take_is_recorded_and_not_stored(
    client: httpx.AsyncClient, trail: Trail, sandbox: Sandbox
) -> None:
    assert (await create(client, apiKey="sk-refused-0123456789")).status_code == 400
    assert (await create(client, apiKey="sk-sandbox-broken-0123456789")).status_code == 503
    records = await trail()
    assert said(records) == [
        ("key.create", "intent", "allow", "validate", None),
        ("key.create", "result", "deny", None, "invalid"),
        ("key.create", "intent", "allow", "validate", None),
        ("key.create", "result", "deny", None, "provider_unreachable"),
    ]
    assert {record["subject"] for record in records} == {"user:u1"}


async def test_a_key_that_does_not_open_is_an_integrity_failure(
    client: httpx.AsyncClient, trail: Trail, database: Database, internal_headers: dict[str, str]
) -> None:
    key = (await create(client)).json()["id"]
    async with database.single() as connection:
        await connection.execute(update(api_keys).values(user_id="u2"))
    await client.get(f"/api/api-keys/{key}/decrypt", headers=internal_headers)
    await client.post(f"/api/api-keys/{key}/validate")
    assert said((await trail())[2:]) == [
        ("integrity.failure", "result", "deny", None, "does_not_open"),
        ("key.reveal", "result", "deny", "decrypt", "does_not_open"),
        ("integrity.failure", "result", "deny", None, "does_not_open"),
    ]


async def test_what_fails_leaves_no_record(client: httpx.AsyncClient, trail: Trail) -> None:
    await create(client)
    await create(client)
    other = (await create(client, keyName="other")).json()["id"]
    assert (await client.put(f"/api/api-keys/{other}", json={"keyName": "main"})).status_code == 409
    assert (await client.delete(f"/api/api-keys/{uuid7()}")).status_code == 404
    assert (await client.put(f"/api/models/{uuid7()}", json={"name": "x"})).status_code == 404
    assert [record["type"] for record in await trail()] == ["key.create"] * 4


# --- reading ---------------------------------------------------------------------------------


async def test_pages_follow_one_another_newest_first(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    for n in range(5):
        await client.post(
            "/api/models", json={"name": f"m{n}", "provider": "OPENAI", "modelId": "g"}
        )
    seen: list[int] = []
    cursor = ""
    for _ in range(3):
        page = (await client.get(f"/api/audit?type=model.create&limit=2{cursor}")).json()
        seen += [record["seq"] for record in page["data"]]
        cursor = f"&cursor={page['nextCursor']}"
    assert page["nextCursor"] is None
    assert seen == [5, 4, 3, 2, 1]


async def test_filters_narrow_what_is_given(client: httpx.AsyncClient, trail: Trail) -> None:
    key = (await create(client)).json()["id"]
    await client.delete(f"/api/api-keys/{key}")
    asked, created, deleted = await trail()
    assert await trail("&subject=user:u1") == [asked]
    assert await trail("&type=key.delete") == [deleted]
    assert await trail(f"&subject=key:{key}") == [created, deleted]
    assert await trail("&actor=administrator&type=key.create") == [asked, created]
    assert await trail("&actor=somebody") == []
    assert await trail(f"&from={created['time']}&to={deleted['time']}") == [created, deleted]
    assert await trail("&to=2020-01-01T00:00:00Z") == []
    assert await trail("&from=2999-01-01T00:00:00Z") == []


async def test_a_key_s_records_are_there_after_it_is_gone(
    client: httpx.AsyncClient, trail: Trail
) -> None:
    key = (await create(client)).json()["id"]
    await create(client, keyName="other")
    await client.delete(f"/api/api-keys/{key}")
    page = (await client.get(f"/api/api-keys/{key}/audit")).json()
    assert [record["type"] for record in page["data"]] == ["key.delete", "key.create"]
    assert page["nextCursor"] is None
    short = (await client.get(f"/api/api-keys/{key}/audit?limit=1")).json()
    assert [record["type"] for record in short["data"]] == ["audit.read"], "of the reading before"
    assert (await client.get(f"/api/api-keys/{uuid7()}/audit")).json()["data"] == []


async def test_reading_is_recorded(client: httpx.AsyncClient, trail: Trail) -> None:
    key = uuid7()
    await client.get("/api/audit?actor=x")
    await client.get(f"/api/api-keys/{key}/audit")
    found = (await client.get("/api/audit?type=audit.read")).json()["data"]
    assert [record["subject"] for record in found] == [f"key:{key}", "audit"]
    assert {record["actor"] for record in found} == {"administrator"}


@pytest.mark.parametrize(
    ("subject", "recorded"),
    [
        ("user:u1", "user:u1"),
        ("audit:7", "audit:7"),
        (f"user:{VALUE}", "user:[redacted]"),
        (VALUE, "audit"),
        ("what did Ann do with her key", "audit"),
        ("user:ann doe", "audit"),
    ],
)
async def test_a_reading_repeats_nothing_but_what_names_a_subject(
    client: httpx.AsyncClient, trail: Trail, subject: str, recorded: str
) -> None:
    await client.get("/api/audit", params={"subject": subject})
    found = (await client.get("/api/audit?type=audit.read")).json()["data"]
    assert [record["subject"] for record in found] == [recorded]


async def test_a_key_whose_value_is_its_own_id_is_named_in_the_trail_all_the_same(
    client: httpx.AsyncClient, trail: Trail, internal_headers: dict[str, str]
) -> None:
    key = (await create(client, provider="CUSTOM")).json()
    path = f"/api/api-keys/{key['id']}"
    rotated = await client.post(f"{path}/rotate", json={"apiKey": key["id"]})
    assert rotated.status_code == 200, rotated.text
    for _ in range(2):
        await client.get(f"{path}/decrypt", headers=internal_headers)
    records = await trail("&type=key.reveal")
    assert [record["subject"] for record in records] == [f"key:{key['id']}"] * 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        ("cursor=1.5", "cursor"),
        ("cursor=99999999999999999999", "cursor"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("from=yesterday", "from"),
        ("to=2026-01-01T00:00:00", "to"),
        ("since=2026-01-01T00:00:00Z", "since"),
        ("type=", "type"),
        ("unknown=1", "unknown"),
    ],
)
async def test_what_cannot_be_asked_is_a_400(
    client: httpx.AsyncClient, trail: Trail, query: str, field: str
) -> None:
    answer = await client.get(f"/api/audit?{query}")
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert await trail() == []


# --- a trail that cannot be written ----------------------------------------------------------


@pytest_asyncio.fixture
async def intruder(database_url: Secret[str]) -> Any:
    connection = await asyncpg.connect(database_url.reveal())
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (
            "ALTER TABLE audit_records RENAME TO hidden",
            "ALTER TABLE hidden RENAME TO audit_records",
        ),
        ("BEGIN; LOCK TABLE audit_records", "ROLLBACK"),
    ],
    ids=["unwritable", "hanging"],
)
async def test_without_a_record_no_key_leaves_and_nothing_changes(
    client: httpx.AsyncClient,
    trail: Trail,
    sandbox: Sandbox,
    internal_headers: dict[str, str],
    intruder: asyncpg.Connection,
    breaks: str,
    mends: str,
) -> None:
    # A key for each kind of request: those for one key wait for one another besides.
    keys = [(await create(client, keyName=name)).json() for name in "abcd"]
    paths = [f"/api/api-keys/{key['id']}" for key in keys]
    path = paths[0]
    model = {"name": "m", "provider": "OPENAI", "modelId": "g"}
    before = await trail()
    sandbox.clear()

    await intruder.execute(breaks)
    loop = asyncio.get_running_loop()
    started = loop.time()
    answers = await asyncio.gather(
        *(client.get(f"{path}/decrypt", headers=internal_headers) for _ in range(200)),
        client.post(f"{paths[1]}/validate"),
        client.put(paths[2], json={"isActive": False}),
        client.delete(paths[3]),
        client.post("/api/models", json=model),
        create(client, keyName="new"),
    )
    took = loop.time() - started
    ready = await client.get("/api/health/ready")
    await intruder.execute(mends)

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert VALUE not in answer.text
    assert took < ANSWER_SECONDS + SLACK
    assert (ready.status_code, ready.json()["checks"]["audit"]) == (503, "audit_unavailable")
    assert not any(stand_in.requests for stand_in in sandbox.stand_ins)

    for other, key in zip(paths, keys, strict=True):
        assert (await client.get(other)).json() == key, "not even a use was counted"
    assert (await client.get("/api/models")).json() == []
    assert await trail() == before
    revealed = await client.get(f"{path}/decrypt", headers=internal_headers)
    assert revealed.json() == {"key": VALUE}


async def test_no_record_holds_a_key_or_what_was_sent(
    client: httpx.AsyncClient,
    trail: Trail,
    service: Service,
    database: Database,
    internal_headers: dict[str, str],
) -> None:
    key = (await create(client, metadata={"note": "sk-sandbox-inMetadata-99"})).json()["id"]
    path = f"/api/api-keys/{key}"
    for leak in ({"x-request-id": VALUE}, {"x-user-id": VALUE}):
        headers = internal_headers | leak
        await client.get(f"{path}/decrypt", headers=headers)
        await client.post(f"{path}/validate", headers=headers)
        await client.put(path, json={"metadata": {"note": VALUE}}, headers=headers)
    async with database.single() as connection:
        rows = await connection.exec_driver_sql("SELECT r::text FROM audit_records r")
        text = "\n".join(rows.scalars())
    assert "key.reveal" in text
    assert VALUE not in text
    assert "inMetadata" not in text
