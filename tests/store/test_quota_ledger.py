"""What calls used between two moments, by their usage events."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.counting import Metric, Quota, Window
from model_service.quotas.ledger import UsageLedger
from tests.usage_events import NOON, event, sink_on, without_usage

TOKEN = uuid4()
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture
async def ledger(database: Database) -> AsyncIterator[UsageLedger]:
    await without_usage(database)
    yield UsageLedger(database)
    await without_usage(database)


async def spent(ledger: UsageLedger, metric: Metric, **subject: Any) -> int | None:
    quota = Quota(uuid4(), metric, Window.MONTH, 10, **(subject or {"user_id": "ada"}))
    return await ledger.spent(quota, NOON - MINUTE, NOON + MINUTE)


@pytest.mark.parametrize(
    ("metric", "amount"),
    # Two calls of 11 + 5 + 3 + 2 + 7 tokens, at 0.000123 dollars, each rounded up by a billionth.
    [(Metric.REQUESTS, 2), (Metric.TOKENS, 56), (Metric.COST, 246_002)],
)
async def test_it_is_in_the_quotas_unit(
    ledger: UsageLedger, database: Database, metric: Metric, amount: int
) -> None:
    await sink_on(database).keep([event(), event()])
    assert await spent(ledger, metric) == amount


async def test_a_cost_below_the_unit_is_rounded_up(ledger: UsageLedger, database: Database) -> None:
    await sink_on(database).keep([event(cost=Decimal("0.0000000001"))])
    assert await spent(ledger, Metric.COST) == 2


async def test_without_calls_it_is_nothing(ledger: UsageLedger) -> None:
    assert await spent(ledger, Metric.TOKENS) == 0


async def test_calls_count_that_ended_within(ledger: UsageLedger, database: Database) -> None:
    began_before = event(time=NOON - 2 * MINUTE, latency_ms=61_000)
    ended_before = event(time=NOON - 2 * MINUTE, latency_ms=59_000)
    ended_after = event(time=NOON, latency_ms=61_000)
    await sink_on(database).keep([began_before, ended_before, ended_after])
    assert await spent(ledger, Metric.REQUESTS) == 1


@pytest.mark.parametrize(
    ("subject", "count"),
    [
        ({"user_id": "ada"}, 2),
        ({"token_id": TOKEN}, 1),
        ({"model": "fast"}, 2),
        ({"user_id": "ada", "model": "fast"}, 1),
        ({"user_id": "nobody"}, 0),
    ],
)
async def test_calls_count_that_are_the_subjects(
    ledger: UsageLedger, database: Database, subject: dict[str, Any], count: int
) -> None:
    calls = [event(), event(model="slow", token_id=TOKEN), event(user_id="bob")]
    await sink_on(database).keep(calls)
    assert await spent(ledger, Metric.REQUESTS, **subject) == count


async def test_a_call_counts_for_the_model_that_was_asked_for(
    ledger: UsageLedger, database: Database
) -> None:
    await sink_on(database).keep([event(model="slow", fallback_from="fast")])
    assert await spent(ledger, Metric.REQUESTS, model="fast") == 1
    assert await spent(ledger, Metric.REQUESTS, model="slow") == 0
