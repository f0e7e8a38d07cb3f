"""The routes of billing, over usage that metering has stored."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.billing.months import Month
from model_service.db.uow import Database
from model_service.service import Service
from tests.billing_world import empty_billing
from tests.usage_events import event, sink_on, without_usage

LAST_MONTH = Month.of(datetime.now(UTC)).shifted(-1)
#: In the middle of it.
THEN = datetime.combine(LAST_MONTH.first_day, datetime.min.time(), UTC) + timedelta(days=9)
MISSING = "018f3c5a-0000-7000-8000-000000000000"


@pytest_asyncio.fixture(autouse=True)
async def empty(service: Service, database: Database) -> AsyncIterator[None]:
    await empty_billing(database)
    await without_usage(database)
    yield
    await empty_billing(database)
    await without_usage(database)


async def open_account(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"name": "acme", "firstMonth": str(LAST_MONTH)} | fields
    answer = await client.post("/api/billing/accounts", json=body)
    assert answer.status_code == 201, answer.text
    account: dict[str, Any] = answer.json()
    return account


async def join(client: httpx.AsyncClient, account: dict[str, Any], user: str) -> dict[str, Any]:
    answer = await client.post(
        f"/api/billing/accounts/{account['id']}/members",
        json={"userId": user, "since": LAST_MONTH.first_day.isoformat()},
    )
    assert answer.status_code == 201, answer.text
    member: dict[str, Any] = answer.json()
    return member


async def closed(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The statement of an account with one user who used something."""
    account = await open_account(client, **fields)
    await join(client, account, "ada")
    answer = await client.post(
        "/api/billing/statements/close",
        json={"accountId": account["id"], "month": str(LAST_MONTH)},
    )
    assert answer.status_code == 200, answer.text
    statement: dict[str, Any] = answer.json()
    return statement


async def used(database: Database, cost: str | None = "1.25", **changes: Any) -> None:
    known = cost and Decimal(cost)
    await sink_on(database).keep([event(time=THEN, cost=known, **changes)])


def faults(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 400, answer.text
    return [fault["field"] for fault in answer.json()["errors"]]


async def test_an_account_is_opened_shown_changed_and_removed(client: httpx.AsyncClient) -> None:
    account = await open_account(
        client, markupPercent=12.5, monthlyFee=20, stripeCustomerId="cus_9"
    )
    where = f"/api/billing/accounts/{account['id']}"
    assert account == {
        "id": account["id"],
        "name": "acme",
        "currency": "USD",
        "markupPercent": 12.5,
        "monthlyFee": 20,
        "minimumCharge": 0,
        "stripeCustomerId": "cus_9",
        "firstMonth": str(LAST_MONTH),
        "openMonth": str(LAST_MONTH),
        "createdAt": account["createdAt"],
        "updatedAt": account["createdAt"],
    }
    assert (await client.get(where)).json() == account
    changed = await client.put(where, json={"minimumCharge": 50.25, "stripeCustomerId": None})
    assert changed.status_code == 200
    assert (changed.json()["minimumCharge"], changed.json()["stripeCustomerId"]) == (50.25, None)
    assert (await client.delete(where)).status_code == 204
    assert (await client.get(where)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a", "markupPercent": -1}, "markupPercent"),
        ({"name": "a", "markupPercent": 1.00001}, "markupPercent"),
        ({"name": "a", "monthlyFee": 0.001}, "monthlyFee"),
        ({"name": "a", "minimumCharge": "5"}, "minimumCharge"),
        ({"name": "a", "stripeCustomerId": "acct_1"}, "stripeCustomerId"),
        ({"name": "a", "firstMonth": "2026-13"}, "firstMonth"),
        ({"name": "a", "firstMonth": "9000-01"}, "firstMonth"),
        ({"name": "a", "currency": "EUR"}, "currency"),
    ],
)
async def test_a_wrong_account_is_refused_by_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    assert faults(await client.post("/api/billing/accounts", json=body)) == [field]


async def test_two_accounts_have_not_one_name(client: httpx.AsyncClient) -> None:
    await open_account(client)
    again = await client.post("/api/billing/accounts", json={"name": "acme"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


async def test_accounts_come_in_pages_newest_first(client: httpx.AsyncClient) -> None:
    names = [(await open_account(client, name=f"a{number}"))["name"] for number in range(3)]
    page = (await client.get("/api/billing/accounts?limit=2")).json()
    rest = (await client.get(f"/api/billing/accounts?limit=2&cursor={page['nextCursor']}")).json()
    assert [one["name"] for one in (*page["data"], *rest["data"])] == names[::-1]
    assert rest["nextCursor"] is None


async def test_a_user_who_joins_another_account_leaves_the_one_before(
    client: httpx.AsyncClient,
) -> None:
    left, right = await open_account(client), await open_account(client, name="other")
    await join(client, left, "ada")
    day = (LAST_MONTH.first_day + timedelta(days=4)).isoformat()
    moved = await client.post(
        f"/api/billing/accounts/{right['id']}/members", json={"userId": "ada", "since": day}
    )
    assert moved.json()["since"] == day
    members = (await client.get(f"/api/billing/accounts/{left['id']}/members")).json()["data"]
    assert [(one["userId"], one["until"]) for one in members] == [("ada", day)]


async def test_a_user_leaves_an_account(client: httpx.AsyncClient) -> None:
    account = await open_account(client)
    await join(client, account, "ada")
    where = f"/api/billing/accounts/{account['id']}/members"
    left = await client.delete(where, params={"userId": "ada"})
    assert left.status_code == 204
    (member,) = (await client.get(where)).json()["data"]
    assert member["until"] == datetime.now(UTC).date().isoformat()
    again = await client.delete(where, params={"userId": "ada"})
    assert again.status_code == 404


async def test_a_draft_shows_what_metering_stored(
    client: httpx.AsyncClient, database: Database
) -> None:
    account = await open_account(client, markupPercent=10)
    await join(client, account, "ada")
    await used(database, "1.25", model="large")
    await used(database, "0.75", model="large", tags=("x", "y"))
    await used(database, "99", user_id="bob")
    where = f"/api/billing/accounts/{account['id']}/statements/{LAST_MONTH}"
    draft = (await client.get(where)).json()
    assert (draft["status"], draft["id"], draft["digest"], draft["total"]) == (
        "draft",
        None,
        None,
        2.2,
    )
    (line,) = draft["lines"]
    assert line == {
        "kind": "usage",
        "month": str(LAST_MONTH),
        "userId": "ada",
        "model": "large",
        "requests": 2,
        "inputTokens": 22,
        "cachedInputTokens": 10,
        "cacheWriteTokens": 10,
        "outputTokens": 14,
        "unpricedRequests": 0,
        "cost": 2,
        "markupPercent": 10,
        "amount": 2.2,
    }


async def test_a_closed_statement_is_listed_shown_and_the_same_when_closed_again(
    client: httpx.AsyncClient, database: Database
) -> None:
    await used(database)
    statement = await closed(client)
    body = {"accountId": statement["accountId"], "month": str(LAST_MONTH)}
    again = await client.post("/api/billing/statements/close", json=body)
    shown = await client.get(f"/api/billing/statements/{statement['id']}")
    assert again.json() == shown.json() == statement
    listed = await client.get("/api/billing/statements", params=body)
    (summary,) = listed.json()["data"]
    assert (summary["id"], summary["total"]) == (statement["id"], 1.25)
    events = await client.get("/api/audit", params={"type": "billing.statement.close"})
    assert [one["subject"] for one in events.json()["data"]][:1] == [f"statement:{statement['id']}"]


async def test_the_json_of_a_statement_has_its_digest(
    client: httpx.AsyncClient, database: Database
) -> None:
    await used(database)
    statement = await closed(client)
    answer = await client.get(f"/api/billing/statements/{statement['id']}/json")
    assert hashlib.sha256(answer.content).hexdigest() == statement["digest"]
    assert answer.headers["x-content-sha256"] == statement["digest"]
    assert answer.json()["lines"][0]["amount"] == "1.25"


async def test_the_csv_of_a_statement_has_a_row_for_each_line(
    client: httpx.AsyncClient, database: Database
) -> None:
    await used(database, model="=large,1")
    statement = await closed(client, monthlyFee=3)
    answer = await client.get(f"/api/billing/statements/{statement['id']}/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = answer.text.split("\r\n")
    assert rows[1] == f'usage,{LAST_MONTH},ada,"\'=large,1",1,11,5,5,7,0,1.25,0.00,1.25,USD'
    assert rows[2] == f"fee,{LAST_MONTH},,,,,,,,,,,3.00,USD"


async def test_the_page_of_a_statement_is_escaped_and_needs_nothing_else(
    client: httpx.AsyncClient, database: Database
) -> None:
    await used(database, model="<script>alert(1)</script>", cost=None, price_version=None)
    statement = await closed(client, name='<img src="x">', monthlyFee=10)
    await client.post(
        f"/api/billing/statements/{statement['id']}/credit-notes",
        json={"amount": 4, "reason": "<b>late</b>"},
    )
    answer = await client.get(f"/api/billing/statements/{statement['id']}/html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.text
    for tag in ("<script", "<img", "<b>", "http"):
        assert tag not in page
    assert statement["digest"] in page
    assert "CN-000001: &lt;b&gt;late&lt;/b&gt;" in page
    assert "1 requests went to models without a known price" in page
    assert page.count('<td class="n">6.00</td>') == 1


async def test_a_credit_note_is_given_listed_and_shown_with_its_statement(
    client: httpx.AsyncClient,
) -> None:
    statement = await closed(client, monthlyFee=10)
    where = f"/api/billing/statements/{statement['id']}/credit-notes"
    body = {"amount": 4.5, "reason": "an outage", "reference": "case 7"}
    note = await client.post(where, json=body)
    assert note.status_code == 201
    assert (await client.post(where, json=body)).json() == note.json()
    assert (await client.get(where)).json()["data"] == [note.json()]
    shown = await client.get(f"/api/billing/statements/{statement['id']}")
    assert (shown.json()["total"], shown.json()["credited"]) == (10, 4.5)


async def test_more_than_the_statement_is_not_given_back(client: httpx.AsyncClient) -> None:
    statement = await closed(client, monthlyFee=10)
    where = f"/api/billing/statements/{statement['id']}/credit-notes"
    for amount in (0, 10.01, 5.001):
        assert faults(await client.post(where, json={"amount": amount, "reason": "x"})) == [
            "amount"
        ]


async def test_an_account_with_statements_is_not_removed(client: httpx.AsyncClient) -> None:
    statement = await closed(client)
    answer = await client.delete(f"/api/billing/accounts/{statement['accountId']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("month", ["2026-1", "2026-00", "0001-01", "now", "2026-01-01"])
async def test_what_is_no_month_is_refused(client: httpx.AsyncClient, month: str) -> None:
    account = await open_account(client)
    where = f"/api/billing/accounts/{account['id']}/statements/{month}"
    assert faults(await client.get(where)) == ["month"]


async def test_the_current_month_is_not_closed(client: httpx.AsyncClient) -> None:
    account = await open_account(client)
    body = {"accountId": account["id"], "month": str(LAST_MONTH.following)}
    assert faults(await client.post("/api/billing/statements/close", json=body)) == ["month"]


@pytest.mark.parametrize(
    "path",
    [
        f"accounts/{MISSING}",
        f"accounts/{MISSING}/members",
        f"accounts/{MISSING}/statements/2026-01",
        f"statements/{MISSING}",
        f"statements/{MISSING}/csv",
        f"statements/{MISSING}/json",
        f"statements/{MISSING}/html",
        f"statements/{MISSING}/credit-notes",
    ],
)
async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/api/billing/{path}")).status_code == 404


async def test_meters_are_listed_by_state(
    client: httpx.AsyncClient, service: Service, database: Database
) -> None:
    account = await open_account(client, stripeCustomerId="cus_9")
    await client.post(f"/api/billing/accounts/{account['id']}/members", json={"userId": "ada"})
    await sink_on(database).keep([event(time=datetime.now(UTC), cost=Decimal("0.5"))])
    await service.traffic.billing.collector.step()
    pending = (await client.get("/api/billing/meters?state=pending")).json()["data"]
    assert [(one["accountId"], one["billedMicrodollars"]) for one in pending] == [
        (account["id"], 500000)
    ]
    assert (await client.get("/api/billing/meters?state=parked")).json()["data"] == []
    retried = await client.post(f"/api/billing/meters/{pending[0]['id']}/retry")
    assert retried.status_code == 404  # it is not parked


async def test_billing_is_for_administrators(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    body = {"role": "user", "userId": "ada"}
    token = (await client.post("/api/tokens", json=body)).json()["token"]
    asked = await anonymous.get(
        "/api/billing/accounts", headers={"authorization": f"Bearer {token}"}
    )
    nobody = await anonymous.get("/api/billing/accounts")
    assert (asked.status_code, nobody.status_code) == (403, 401)
