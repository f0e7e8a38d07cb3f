"""The routes of quotas: administrators set them, users see those that are about them."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.counting import NANO, Metric
from model_service.quotas.store import SqlQuotaStore
from model_service.service import Service
from tests.quota_worlds import PlainModel, limiter_of, without_quotas
from tests.sharing import service as service_token
from tests.sharing import user as user_token

MISSING = "/api/quotas/018f3c5a-0000-7000-8000-000000000000"
QUOTA = {"userId": "ann", "metric": "requests", "window": "day", "limit": 100}


@pytest_asyncio.fixture(autouse=True)
async def no_quotas(database: Database, service: Service) -> None:
    await without_quotas(database)


async def create(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/quotas", json=QUOTA | changes)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def fields_refused(client: httpx.AsyncClient, **body: Any) -> list[str]:
    answer = await client.post("/api/quotas", json=body)
    assert answer.status_code == 400, answer.text
    return [fault["field"] for fault in answer.json()["errors"]]


async def ids_seen(client: httpx.AsyncClient, headers: dict[str, str], **query: str) -> list[str]:
    answer = await client.get("/api/quotas", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def use(database: Database, metric: Metric, amount: int) -> None:
    """Let a worker spend so much of what is ann's."""
    limiter = await limiter_of(database)
    limits = limiter.find("ann", None, PlainModel())
    assert limits is not None
    used = [amount if metric is one else 0 for one in (Metric.TOKENS, Metric.COST)]
    for _ in range(amount if metric is Metric.REQUESTS else 1):
        (await limiter.reserve(limits, *used)).settle(1, *used)
    await limiter.on_recall(None)
    await limiter.flush()


async def test_a_quota_is_shown_as_it_was_set(client: httpx.AsyncClient) -> None:
    created = await create(client)
    assert created == QUOTA | {
        "id": created["id"],
        "tokenId": None,
        "model": None,
        "used": 0.0,
        "reserved": 0.0,
        "remaining": 100.0,
        "resetsAt": created["resetsAt"],
        "projectedExhaustionAt": None,
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
    }
    assert created["resetsAt"].endswith("T00:00:00.000Z")
    assert (await client.get(f"/api/quotas/{created['id']}")).json() == created
    listed = await client.get("/api/quotas")
    assert listed.json() == {"data": [created], "nextCursor": None}


@pytest.mark.parametrize("metric", ["requests", "tokens", "cost"])
@pytest.mark.parametrize("window", ["minute", "hour", "day", "month"])
async def test_every_metric_goes_with_every_window(
    client: httpx.AsyncClient, metric: str, window: str
) -> None:
    created = await create(client, metric=metric, window=window)
    assert (created["metric"], created["window"]) == (metric, window)


@pytest.mark.parametrize(
    "subject",
    [{"userId": "ann"}, {"tokenId": str(uuid4())}, {"model": "fast"},
     {"userId": "ann", "tokenId": str(uuid4()), "model": "fast"}],
)  # fmt: skip
async def test_a_quota_is_for_what_it_names(
    client: httpx.AsyncClient, subject: dict[str, str]
) -> None:
    created = await create(client, **({"userId": None} | subject))
    named = {name: created[name] for name in ("userId", "tokenId", "model")}
    assert named == dict.fromkeys(named) | subject


async def test_without_a_subject_it_is_refused(client: httpx.AsyncClient) -> None:
    assert await fields_refused(client, metric="requests", window="day", limit=1) == ["userId"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metric": "dollars"}, "metric"),
        ({"window": "week"}, "window"),
        ({"limit": -1}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"limit": None}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"metric": "cost", "limit": 1e-10}, "limit"),
        ({"metric": "cost", "limit": 1e10}, "limit"),
        ({"limit": 1e19}, "limit"),
        ({"tokenId": "mine"}, "tokenId"),
        ({"model": ""}, "model"),
        ({"userId": " ann"}, "userId"),
        ({"usedSoFar": 3}, "usedSoFar"),
    ],
)
async def test_what_does_not_hold_is_refused_by_name(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    assert await fields_refused(client, **QUOTA | changes) == [field]


async def test_a_cost_is_kept_to_a_billionth_of_a_dollar(client: httpx.AsyncClient) -> None:
    assert (await create(client, metric="cost", limit=0.000000001))["limit"] == 1e-9


async def test_another_limit_leaves_what_is_used(
    client: httpx.AsyncClient, database: Database
) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    await use(database, Metric.REQUESTS, 3)
    changed = await client.put(path, json={"limit": 2})
    assert changed.status_code == 200
    shown = changed.json()
    assert (shown["limit"], shown["used"], shown["remaining"]) == (2.0, 3.0, 0.0)


async def test_what_is_so_already_may_be_said(client: httpx.AsyncClient) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    changed = await client.put(path, json=QUOTA | {"limit": 7})
    assert (changed.status_code, changed.json()["limit"]) == (200, 7.0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"userId": "bob"}, "userId"),
        ({"model": "fast"}, "model"),
        ({"tokenId": str(uuid4())}, "tokenId"),
        ({"metric": "tokens"}, "metric"),
        ({"window": "month"}, "window"),
        ({"limit": 0.5}, "limit"),
    ],
)
async def test_what_would_be_another_quota_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    answer = await client.put(path, json=changes)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_a_deleted_quota_is_gone(client: httpx.AsyncClient) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_one_that_never_was_is_not_found(client: httpx.AsyncClient, method: str) -> None:
    body = {"json": {"limit": 1}} if method == "PUT" else {}
    assert (await client.request(method, MISSING, **body)).status_code == 404  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "limit", "amount", "used"),
    [
        (Metric.REQUESTS, 10, 4, 4.0),
        (Metric.TOKENS, 500, 120, 120.0),
        (Metric.COST, 1, NANO // 4, 0.25),
    ],
)  # fmt: skip
async def test_it_shows_what_is_used_in_its_metric(
    client: httpx.AsyncClient,
    database: Database,
    metric: Metric,
    limit: int,
    amount: int,
    used: float,
) -> None:
    created = await create(client, metric=metric.value, limit=limit)
    await use(database, metric, amount)
    shown = (await client.get(f"/api/quotas/{created['id']}")).json()
    assert (shown["used"], shown["reserved"], shown["remaining"]) == (used, 0.0, limit - used)


async def test_it_shows_what_calls_under_way_reserve(
    client: httpx.AsyncClient, database: Database
) -> None:
    created = await create(client, metric="tokens", limit=500)
    limiter = await limiter_of(database)
    limits = limiter.find("ann", None, PlainModel())
    assert limits is not None
    await limiter.reserve(limits, 200, 0)
    await limiter.on_recall(None)
    await limiter.flush()
    shown = (await client.get(f"/api/quotas/{created['id']}")).json()
    assert (shown["used"], shown["reserved"], shown["remaining"]) == (0.0, 200.0, 500.0)


async def test_used_up_it_is_projected_to_be_so_now(
    client: httpx.AsyncClient, database: Database
) -> None:
    created = await create(client, limit=2)
    await use(database, Metric.REQUESTS, 2)
    shown = (await client.get(f"/api/quotas/{created['id']}")).json()
    assert created["createdAt"] <= shown["projectedExhaustionAt"] <= shown["resetsAt"]


async def test_pages_go_on_where_the_one_before_ended(client: httpx.AsyncClient) -> None:
    made = [(await create(client))["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": "2"} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get("/api/quotas", params=query)).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


async def test_a_user_sees_what_is_for_it_and_its_tokens(client: httpx.AsyncClient) -> None:
    token = (await client.post("/api/tokens", json={"role": "user", "userId": "ann"})).json()
    mine = await create(client)
    of_token = await create(client, userId=None, tokenId=token["id"])
    await create(client, userId="bob")
    await create(client, userId=None, model="fast")
    headers = await user_token(client, "ann")
    assert await ids_seen(client, headers) == [of_token["id"], mine["id"]]


async def test_a_service_sees_what_is_its_users(client: httpx.AsyncClient) -> None:
    mine = await create(client)
    await create(client, userId="bob")
    headers = await service_token(client, "ann")
    assert await ids_seen(client, headers) == [mine["id"]]


async def test_an_administrator_sees_one_users(client: httpx.AsyncClient) -> None:
    await create(client)
    of_bob = await create(client, userId="bob")
    assert await ids_seen(client, {}, userId="bob") == [of_bob["id"]]


async def test_what_is_another_users_is_not_found(client: httpx.AsyncClient) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    assert (await client.get(path, headers=await user_token(client, "ann"))).status_code == 200
    assert (await client.get(path, headers=await user_token(client, "bob"))).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_only_administrators_change_them(client: httpx.AsyncClient, method: str) -> None:
    path = f"/api/quotas/{(await create(client))['id']}"
    target, body = {"POST": ("/api/quotas", QUOTA), "PUT": (path, {"limit": 9})}.get(
        method, (path, None)
    )
    for headers in (await user_token(client, "ann"), await service_token(client, "ann")):
        answer = await client.request(method, target, json=body, headers=headers)
        assert answer.status_code == 403
    assert (await client.get(path)).json()["limit"] == 100.0


async def test_changes_are_in_the_audit_trail(client: httpx.AsyncClient) -> None:
    created = await create(client)
    path = f"/api/quotas/{created['id']}"
    await client.put(path, json={"limit": 5})
    await client.delete(path)
    subject = f"quota:{created['id']}"
    records = (await client.get("/api/audit", params={"subject": subject})).json()["data"]
    assert [(one["type"], one["reason"]) for one in records] == [
        ("quota.delete", "5 requests per day"),
        ("quota.update", "5 requests per day"),
        ("quota.create", "100 requests per day"),
    ]


async def test_a_change_is_known_to_who_measures_calls_by_it(
    client: httpx.AsyncClient, database: Database
) -> None:
    created = await create(client)
    await client.put(f"/api/quotas/{created['id']}", json={"limit": 5})
    (known,) = await SqlQuotaStore(database).all()
    assert (str(known.id), known.limit, known.user_id) == (created["id"], 5, "ann")
