"""Calls over HTTP: what is shown, filters, pages, whose they are, and why each went so."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.types import uuid7
from model_service.service import Service
from model_service.usage.domain import UsageEvent
from tests.sharing import service as acting_service
from tests.sharing import user
from tests.usage_events import at, event, without_usage

PATH = "/api/usage"


@pytest_asyncio.fixture
async def kept(service: Service, database: Database) -> list[UsageEvent]:
    """Calls of two users, oldest first."""
    await without_usage(database)
    events = [
        event(
            time=at(minutes=index),
            user_id="ada" if index % 2 else "bob",
            model="fast" if index % 3 else "best",
            provider="OPENAI" if index % 3 else "ANTHROPIC",
            status=200 if index % 5 else 503,
            key_id=uuid7() if index == 7 else None,
            token_id=uuid7() if index == 8 else None,
            tags=("night",) if index == 9 else (),
        )
        for index in range(20)
    ]
    await service.traffic.usage.sink.keep(events)
    return events


async def listed(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def ids(events: Sequence[UsageEvent]) -> list[str]:
    """Newest first."""
    return [str(one.id) for one in reversed(events)]


async def test_a_call_is_shown_with_all_its_fields(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await without_usage(database)
    told = event(
        key_id=uuid7(), token_id=uuid7(), first_token_ms=12.25, fallback_from="best",
        error_class="overloaded", tags=("a", "b"), estimated=True, stream=True,
        cost=Decimal("0.00123"),
    )  # fmt: skip
    await service.traffic.usage.sink.keep([told])
    answer = await client.get(PATH)
    assert answer.json() == {
        "data": [
            {
                "id": str(told.id), "time": "2026-01-31T12:00:00.000Z",
                "requestId": told.request_id, "userId": "ada", "tokenId": str(told.token_id),
                "model": "fast", "provider": "OPENAI", "upstreamModel": "gpt-5-mini",
                "keyId": str(told.key_id), "door": "openai", "operation": "chat", "status": 200,
                "stream": True, "inputTokens": 11, "cachedInputTokens": 5, "cacheWriteTokens": 5,
                "cacheWrite1hTokens": 2, "outputTokens": 7, "reasoningTokens": 4,
                "costUsd": 0.00123, "priceVersion": "2026-01-01", "latencyMs": 120.5,
                "timeToFirstTokenMs": 12.25, "attempts": 1, "fallbackFrom": "best",
                "estimated": True, "errorClass": "overloaded", "tags": ["a", "b"],
            }
        ],
        "nextCursor": None,
    }  # fmt: skip


async def test_a_call_of_unknown_price_costs_null(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await without_usage(database)
    await service.traffic.usage.sink.keep([event(cost=None, price_version=None)])
    (shown,) = (await client.get(PATH)).json()["data"]
    assert (shown["costUsd"], shown["priceVersion"]) == (None, None)


async def test_pages_give_every_call_once_newest_first(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(PATH, params={"limit": "7"} | cursor)).json()
        seen += [one["id"] for one in page["data"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == ids(kept)


async def test_filters_narrow_the_list(client: httpx.AsyncClient, kept: list[UsageEvent]) -> None:
    wanted: dict[str, tuple[str, Callable[[UsageEvent], bool]]] = {
        "userId": ("ada", lambda one: one.user_id == "ada"),
        "model": ("best", lambda one: one.model == "best"),
        "provider": ("ANTHROPIC", lambda one: one.provider == "ANTHROPIC"),
        "status": ("503", lambda one: one.status == 503),
        "keyId": (str(kept[7].key_id), lambda one: one.key_id is not None),
        "tokenId": (str(kept[8].token_id), lambda one: one.token_id is not None),
        "tag": ("night", lambda one: one.tags == ("night",)),
        "from": ("2026-01-31T13:10:00+01:00", lambda one: one.time >= at(minutes=10)),
        "to": ("2026-01-31T12:10:00Z", lambda one: one.time < at(minutes=10)),
    }
    for name, (value, matches) in wanted.items():
        expected = ids([one for one in kept if matches(one)])
        assert expected
        assert await listed(client, **{name: value}) == expected, name


async def test_filters_together_want_all_of_them(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    found = await listed(client, model="best", status=503)
    assert found == ids([one for one in kept if one.model == "best" and one.status == 503])
    assert await listed(client, model="best", provider="OPENAI") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "99"}, "status"), ({"status": "2e2"}, "status"),
        ({"provider": "ACME"}, "provider"), ({"keyId": "1"}, "keyId"),
        ({"from": "yesterday"}, "from"), ({"to": "2026-01-31T00:00:00"}, "to"),
        ({"from": "2026-02-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ({"cursor": "nonsense"}, "cursor"), ({"cursor": "1_2_3"}, "cursor"),
        ({"cursor": f"{10**40}_01a21381-9106-7167-9dd5-4c3a7e1f0b2d"}, "cursor"),
        ({"limit": "501"}, "limit"),
        ({"groupBy": "user"}, "groupBy"), ({"model": "a\0"}, "model"),
    ],
    ids=str,
)  # fmt: skip
async def test_bad_queries_are_refused_with_the_fields_name(
    client: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    answer = await client.get(PATH, params=query)
    assert answer.status_code == 400
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_a_user_sees_its_own_calls_alone(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    headers = await user(client, "ada")
    own = ids([one for one in kept if one.user_id == "ada"])
    answer = await client.get(PATH, headers=headers)
    assert [one["id"] for one in answer.json()["data"]] == own
    refused = await client.get(PATH, params={"userId": "bob"}, headers=headers)
    assert refused.status_code == 403


async def test_a_service_sees_the_calls_of_the_user_it_names(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    named = await acting_service(client, "bob")
    answer = await client.get(PATH, headers=named)
    expected = ids([one for one in kept if one.user_id == "bob"])
    assert [one["id"] for one in answer.json()["data"]] == expected
    nobody = await client.get(PATH, headers=await acting_service(client))
    assert (nobody.status_code, nobody.json()["errors"][0]["field"]) == (400, "userId")


async def test_nobody_sees_anything_without_a_credential(
    anonymous: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    paths = (PATH, f"{PATH}/summary", f"{PATH}/export", f"{PATH}/{kept[0].request_id}")
    for path in paths:
        assert (await anonymous.get(path)).status_code == 401


async def test_a_token_limited_to_something_else_sees_nothing(client: httpx.AsyncClient) -> None:
    body = {"role": "admin", "scopes": {"routes": ["models:read"]}}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    answer = await client.get(PATH, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 403


async def test_the_why_of_a_plain_call_follows_from_what_it_was(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    one = kept[7]
    shown = (await client.get(f"{PATH}/{one.request_id}")).json()
    assert shown["id"] == str(one.id)
    assert shown["earlier"] == []
    assert shown["why"] == {
        "candidates": ["fast"], "skipped": [], "attempts": 1,
        "answeredBy": {"model": "fast", "provider": "OPENAI", "upstreamModel": "gpt-5-mini"},
        "key": str(one.key_id), "priceVersion": "2026-01-01", "reservation": None,
        "errorClass": None,
    }  # fmt: skip


async def test_the_why_of_an_eventful_call_says_what_was_noted(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await without_usage(database)
    noted = {
        "candidates": ["best", "small", "fast"],
        "skipped": [{"model": "small", "reason": "its context window is too small"}],
        "reservation": {"tokens": 512},
    }
    one = event(fallback_from="best", why=noted)
    await service.traffic.usage.sink.keep([one])
    why = (await client.get(f"{PATH}/{one.request_id}")).json()["why"]
    assert {name: why[name] for name in noted} == noted
    assert why["answeredBy"]["model"] == "fast"


async def test_of_calls_with_one_request_id_the_newest_is_shown_and_the_others_after_it(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await without_usage(database)
    events = [event(request_id="job-7", time=at(seconds=second)) for second in range(3)]
    await service.traffic.usage.sink.keep(events)
    shown = (await client.get(f"{PATH}/job-7")).json()
    assert [shown["id"], *(one["id"] for one in shown["earlier"])] == ids(events)


async def test_the_why_of_anothers_call_is_as_if_there_were_none(
    client: httpx.AsyncClient, kept: list[UsageEvent]
) -> None:
    headers = await user(client, "ada")
    answers = {
        name: await client.get(f"{PATH}/{request_id}", headers=headers)
        for name, request_id in (
            ("own", kept[1].request_id), ("another's", kept[0].request_id), ("none", "unheard-of"),
        )
    }  # fmt: skip
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "own": 200, "another's": 404, "none": 404,
    }  # fmt: skip
    assert answers["another's"].json()["message"] == answers["none"].json()["message"]
