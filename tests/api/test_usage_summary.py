"""Sums and exports over HTTP."""

import asyncio
import csv
import io
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import uuid7
from model_service.service import Service
from model_service.usage.domain import UsageEvent
from tests.sharing import user
from tests.usage_events import at, event, without_usage

PATH = "/api/usage/summary"
EXPORT = "/api/usage/export"
KEY, TOKEN = uuid7(), uuid7()


@pytest_asyncio.fixture
async def kept(service: Service, database: Database) -> list[UsageEvent]:
    await without_usage(database)
    events = [
        event(cost=Decimal("0.25"), key_id=KEY, tags=("a", "b")),
        event(cost=Decimal("0.5"), model="best", provider="GOOGLE", token_id=TOKEN, tags=("b",)),
        event(cost=None, user_id="bob", status=429, time=at(hours=13), tags=("b",)),
        event(cost=None, user_id=None, model="new", time=at(hours=13)),
    ]
    await service.traffic.usage.sink.keep(events)
    return events


async def groups(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


async def test_a_group_is_shown_with_all_its_sums(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    (first, *_) = await groups(client, groupBy="user")
    assert first == {
        "user": "ada", "requests": 2, "errors": 0, "unpriced": 0, "estimated": 0,
        "inputTokens": 22, "cachedInputTokens": 10, "cacheWriteTokens": 10,
        "cacheWrite1hTokens": 4, "outputTokens": 14, "reasoningTokens": 8, "costUsd": 0.75,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("user", {"ada": 2, "bob": 1, None: 1}),
        ("model", {"fast": 2, "best": 1, "new": 1}),
        ("provider", {"OPENAI": 3, "GOOGLE": 1}),
        ("key", {str(KEY): 1, None: 3}),
        ("token", {str(TOKEN): 1, None: 3}),
        ("day", {"2026-01-31": 2, "2026-02-01": 2}),
        ("hour", {"2026-01-31T12:00:00.000Z": 2, "2026-02-01T01:00:00.000Z": 2}),
        ("tag", {"a": 1, "b": 3}),
    ],
)
async def test_every_dimension_groups(
    client: httpx.AsyncClient, kept: list[UsageEvent], by: str, expected: dict[str | None, int]
) -> None:
    found = await groups(client, groupBy=by)
    assert {group[by]: group["requests"] for group in found} == expected


async def test_without_a_dimension_everything_is_one_group(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    (group,) = await groups(client)
    assert (group["requests"], group["errors"], group["unpriced"]) == (4, 1, 2)
    assert group["costUsd"] == 0.75
    assert "user" not in group


async def test_the_cost_of_calls_that_nobody_can_price_is_null(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    found = {group["model"]: group for group in await groups(client, groupBy="model")}
    assert (found["new"]["costUsd"], found["new"]["unpriced"]) == (None, 1)
    assert (found["fast"]["costUsd"], found["fast"]["unpriced"]) == (0.25, 1)


async def test_filters_and_periods_narrow_the_sums(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    by_model = await groups(client, groupBy="model", userId="ada", tag="b")
    assert {group["model"]: group["requests"] for group in by_model} == {"fast": 1, "best": 1}
    period = {"from": "2026-02-01T02:00:00+01:00", "to": "2026-02-01T01:00:00.001Z"}
    assert [group["requests"] for group in await groups(client, **period)] == [2]
    assert await groups(client, groupBy="user", status="500") == []


async def test_more_groups_than_asked_for_are_said_to_be_there(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    answer = (await client.get(PATH, params={"groupBy": "model", "limit": 1})).json()
    assert ([group["model"] for group in answer["data"]], answer["truncated"]) == (["best"], True)
    answer = (await client.get(PATH, params={"groupBy": "model"})).json()
    assert (len(answer["data"]), answer["truncated"]) == (3, False)


async def test_an_unknown_dimension_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH, params={"groupBy": "month"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "groupBy")


async def test_a_users_sums_are_of_its_own_calls(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    headers = await user(client, "bob")
    answer = await client.get(PATH, params={"groupBy": "user"}, headers=headers)
    assert [(one["user"], one["requests"]) for one in answer.json()["data"]] == [("bob", 1)]
    refused = await client.get(PATH, params={"userId": "ada"}, headers=headers)
    assert refused.status_code == 403


async def test_an_export_as_lines_of_json_has_what_the_list_has(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    answer = await client.get(EXPORT, params={"format": "jsonl"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines == (await client.get("/api/usage")).json()["data"]


async def test_an_export_as_csv_has_a_head_and_a_row_for_each_call(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    answer = await client.get(EXPORT)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "usage.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    (shown, *_) = (await client.get("/api/usage")).json()["data"]
    assert list(rows[0]) == list(shown)
    assert sorted(row["id"] for row in rows) == sorted(str(one.id) for one in kept)
    by_id = {row["id"]: row for row in rows}
    assert by_id[str(kept[0].id)]["tags"] == "a b"
    assert by_id[str(kept[0].id)]["costUsd"] == "0.25"
    assert by_id[str(kept[3].id)]["costUsd"] == ""


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
async def test_no_cell_of_a_csv_is_a_formula(
    client: httpx.AsyncClient, service: Service, database: Database, first: str
) -> None:
    await without_usage(database)
    said = f'{first}HYPERLINK("http://x")'
    await service.traffic.usage.sink.keep(
        [event(request_id=said, user_id=said, model=said, tags=(said,))]
    )
    answer = await client.get(EXPORT)
    (row,) = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert [row[name] for name in ("requestId", "userId", "model", "tags")] == [f"'{said}"] * 4


async def test_an_export_of_many_calls_has_each_once_newest_first(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await without_usage(database)
    await service.traffic.usage.sink.keep(
        [event(time=at(seconds=second)) for second in range(1100)]
    )
    answer = await client.get(EXPORT, params={"format": "jsonl"})
    times = [json.loads(line)["time"] for line in answer.text.splitlines()]
    assert len(times) == 1100
    assert times == sorted(times, reverse=True)


async def test_a_users_export_has_its_own_calls_alone(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    headers = await user(client, "bob")
    answer = await client.get(EXPORT, params={"format": "jsonl"}, headers=headers)
    assert [json.loads(line)["userId"] for line in answer.text.splitlines()] == ["bob"]


async def test_an_export_while_the_database_is_away_is_an_error_and_no_document(
    client: httpx.AsyncClient,
    service: Service,
    kept: list[UsageEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: object) -> None:
        await asyncio.sleep(0)
        raise DatabaseUnavailable

    monkeypatch.setattr(type(service.traffic.usage.reader), "page", away)
    answer = await client.get(EXPORT)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
