"""Guessing tokens over HTTP: limited by source, answered with the wait, and on record."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import delete

from model_service.db.tables import access_tokens
from model_service.db.uow import Database
from model_service.http.authenticator import Authenticator
from model_service.kernel.rate import RateLimits
from model_service.kernel.types import uuid7
from model_service.service import Service
from tests.access_tokens import SetClock, make_token
from tests.audit_trails import empty_trail
from tests.conftest import ADMIN_TOKEN
from tests.sharing import token

ALLOWED = 3
ALLOWED_SECRETS = 6
PATH = "/api/models"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def limited(service: Service, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service with room for three failures a minute, and for six wrong internal secrets."""
    authenticator: Authenticator = service.app.state.authenticator
    failures = RateLimits(ALLOWED, now=clock.monotonic)
    monkeypatch.setattr(authenticator, "_failures", failures)
    wrong_secrets = RateLimits(ALLOWED_SECRETS, now=clock.monotonic)
    monkeypatch.setattr(authenticator, "_wrong_secrets", wrong_secrets)
    return service


@pytest_asyncio.fixture
async def elsewhere(limited: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client at another address."""
    transport = httpx.ASGITransport(limited.app, client=("192.0.2.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


BAD: dict[str, dict[str, str]] = {
    "an unknown token": {"authorization": f"Bearer msk_{uuid7().hex}_{'0' * 64}"},
    "what is no token": {"x-api-key": "sk-something"},
    "another scheme": {"authorization": f"Basic {ADMIN_TOKEN}"},
    "a wrong internal secret": {"x-internal-secret": "wrong"},
    "two tokens": {"authorization": f"Bearer {ADMIN_TOKEN}", "api-key": ADMIN_TOKEN},
}


@pytest.mark.parametrize("shown", tuple(BAD))
async def test_after_so_many_failures_the_answer_is_429_until_the_wait_is_over(
    anonymous: httpx.AsyncClient, limited: Service, clock: SetClock, shown: str
) -> None:
    answers = [await anonymous.get(PATH, headers=BAD[shown]) for _ in range(ALLOWED + 2)]
    assert [answer.status_code for answer in answers] == [401] * ALLOWED + [429] * 2
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["retry-after"] == "20"
    clock.advance(20)
    statuses = [(await anonymous.get(PATH, headers=BAD[shown])).status_code for _ in range(2)]
    assert statuses == [401, 429]


async def test_a_right_token_passes_from_where_others_failed(
    anonymous: httpx.AsyncClient, client: httpx.AsyncClient, limited: Service
) -> None:
    right = await token(client, role="service")
    for _ in range(ALLOWED + 1):
        await anonymous.get(PATH, headers=BAD["what is no token"])
    for _ in range(ALLOWED + 1):
        assert (await anonymous.get(PATH, headers=right)).status_code == 200
    assert (await anonymous.get(PATH, headers=BAD["what is no token"])).status_code == 429


async def test_from_where_others_failed_no_guess_at_the_administrator_s_token_is_answered(
    anonymous: httpx.AsyncClient, elsewhere: httpx.AsyncClient, limited: Service, clock: SetClock
) -> None:
    right = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    for _ in range(ALLOWED):
        await anonymous.get(PATH, headers=BAD["what is no token"])
    refused = [
        await anonymous.get(PATH, headers=headers) for headers in (right, BAD["what is no token"])
    ]
    assert [answer.status_code for answer in refused] == [429, 429]
    assert refused[0].json()["message"] == refused[1].json()["message"]
    assert (await elsewhere.get(PATH, headers=right)).status_code == 200
    clock.advance(60 / ALLOWED)
    assert (await anonymous.get(PATH, headers=right)).status_code == 200


async def test_who_is_refused_while_limited_does_not_make_the_wait_longer(
    anonymous: httpx.AsyncClient, limited: Service, clock: SetClock
) -> None:
    for _ in range(ALLOWED):
        await anonymous.get(PATH, headers=BAD["what is no token"])
    for _ in range(19):
        clock.advance(1)
        refused = await anonymous.get(PATH, headers=BAD["what is no token"])
        assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"


async def test_old_internal_secrets_keep_out_neither_the_administrator_nor_right_ones_at_once(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    limited: Service,
    internal_headers: dict[str, str],
) -> None:
    for _ in range(ALLOWED_SECRETS - 1):
        await anonymous.get(PATH, headers=BAD["a wrong internal secret"])
    assert (await client.get(PATH)).status_code == 200
    named = internal_headers | {"x-user-id": "u"}
    assert (await anonymous.get(PATH, headers=named)).status_code == 200


async def test_beyond_a_larger_limit_no_guess_at_the_internal_secret_is_answered(
    anonymous: httpx.AsyncClient,
    elsewhere: httpx.AsyncClient,
    limited: Service,
    clock: SetClock,
    internal_headers: dict[str, str],
) -> None:
    named = internal_headers | {"x-user-id": "u"}
    for _ in range(ALLOWED_SECRETS):
        await anonymous.get(PATH, headers=BAD["a wrong internal secret"])
    refused = [
        await anonymous.get(PATH, headers=headers)
        for headers in (named, BAD["a wrong internal secret"])
    ]
    assert [answer.status_code for answer in refused] == [429, 429]
    assert refused[0].json()["message"] == refused[1].json()["message"]
    assert (await elsewhere.get(PATH, headers=named)).status_code == 200
    clock.advance(60 / ALLOWED_SECRETS)
    assert (await anonymous.get(PATH, headers=named)).status_code == 200


async def test_beside_a_token_the_internal_secret_counts_with_the_token(
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    limited: Service,
    internal_headers: dict[str, str],
) -> None:
    good, guessing = [await token(client, role="service") | {"x-user-id": "u"} for _ in range(2)]
    for _ in range(ALLOWED_SECRETS):
        await anonymous.get(PATH, headers=BAD["a wrong internal secret"])
        await anonymous.get(PATH, headers=guessing | BAD["a wrong internal secret"])
    right_guess = await anonymous.get(PATH, headers=guessing | internal_headers)
    assert right_guess.status_code == 429
    assert (await anonymous.get(PATH, headers=good | internal_headers)).status_code == 200


async def test_what_is_refused_for_the_limit_s_sake_is_on_record(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, limited: Service, database: Database
) -> None:
    auditor = await token(client, role="service", scopes={"routes": ["auditor"]})
    await limited.app.state.authenticator._refusals.step()  # a new minute: recorded one by one
    await empty_trail(database)
    for _ in range(ALLOWED + 1):
        await anonymous.get(PATH, headers=BAD["what is no token"])
    answer = await anonymous.get("/api/audit?type=auth.failure", headers=auditor)
    reasons = [record["reason"] for record in answer.json()["data"]]
    assert reasons == ["Too many failed attempts from this address"] + ["The token is wrong"] * 3


async def test_one_source_s_failures_are_not_another_s(
    anonymous: httpx.AsyncClient, elsewhere: httpx.AsyncClient
) -> None:
    for _ in range(ALLOWED + 1):
        last = await anonymous.get(PATH, headers=BAD["what is no token"])
    assert last.status_code == 429
    assert (await elsewhere.get(PATH, headers=BAD["what is no token"])).status_code == 401


async def test_open_routes_and_missing_credentials_are_not_failures(
    anonymous: httpx.AsyncClient, limited: Service
) -> None:
    for _ in range(ALLOWED + 1):
        health = await anonymous.get("/api/health", headers=BAD["what is no token"])
        assert health.status_code == 200
        assert (await anonymous.get(PATH)).status_code == 401
    assert (await anonymous.get(PATH, headers=BAD["what is no token"])).status_code == 401


async def test_who_failed_too_often_cannot_have_the_database_asked(
    anonymous: httpx.AsyncClient, limited: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def look_up(shown: bytes) -> None:
        asked.append(shown)

    monkeypatch.setattr(limited.access.directory, "look_up", look_up)
    for _ in range(ALLOWED + 5):
        await anonymous.get(PATH, headers={"x-api-key": make_token()[1].decode()})
    assert len(asked) == ALLOWED


async def test_a_service_that_knows_no_token_yet_looks_the_first_one_up(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, service: Service
) -> None:
    made = await token(client, role="service")
    directory = service.access.directory
    # As in a process that started on an empty database, of a token that another has made since.
    directory._entries, directory._digests, directory._expiries = {}, {}, []
    assert len(directory) == 0
    assert (await anonymous.get(PATH, headers=made)).status_code == 200


async def test_a_failure_is_on_record_with_the_token_it_claimed_to_be_and_without_its_secret(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, service: Service, database: Database
) -> None:
    await service.app.state.authenticator._refusals.step()  # a new minute: recorded one by one
    await empty_trail(database)
    made, text = make_token()
    await anonymous.get(PATH, headers={"x-api-key": text.decode()})
    await anonymous.get(PATH, headers=BAD["a wrong internal secret"])
    records: list[dict[str, Any]] = (await client.get("/api/audit?type=auth.failure")).json()[
        "data"
    ]
    told = [(r["subject"], r["decision"], r["actor"], r["clientAddress"]) for r in records[::-1]]
    assert told == [
        (f"token:{made.id}", "deny", "anonymous", "127.0.0.1"),
        (f"route:GET {PATH}", "deny", "anonymous", "127.0.0.1"),
    ]
    assert text.decode().rpartition("_")[2] not in str(records)


async def test_nobody_is_told_whether_a_token_in_the_database_is_a_token(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, database: Database, limited: Service
) -> None:
    """A token whose row somebody removed by hand is like any other once it is not known."""
    made = await token(client, role="service")
    async with database.transaction() as connection:
        await connection.execute(delete(access_tokens))
    await limited.access.directory.load()
    answers = [
        await anonymous.get(PATH, headers=headers)
        for headers in (made, BAD["an unknown token"], BAD["what is no token"])
    ]
    assert {(answer.status_code, answer.json()["message"]) for answer in answers} == {
        (401, "The token is wrong")
    }
