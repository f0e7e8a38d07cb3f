"""Several worker processes and one PostgreSQL: no limit is overshot, and none left unused."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest_asyncio
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.counting import NANO, Metric
from model_service.kernel.secret import Secret
from model_service.quotas.store import SqlQuotaStore
from model_service.quotas.upkeep import Patience, Upkeep
from tests.quota_worlds import Told, counted, let_leases_expire, stored_quota, without_quotas

ROOT = Path(__file__).parent.parent.parent
FIVE_CENTS = NANO // 20
#: Seconds of a minute that a test of one minute's limit must have before it.
ROOM = 7


@dataclass
class Report:
    """What came of a worker's calls."""

    windows: dict[str, int]
    codes: dict[str, int]

    @property
    def passed(self) -> int:
        return sum(self.windows.values())


class Process:
    """One worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: Secret[str], **orders: Any) -> "Process":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.limit_worker", url.reveal(), json.dumps(orders),
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    async def ready(self) -> None:
        assert await self._heard() == "ready"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def report(self) -> Report:
        return Report(**json.loads(await self._heard()))

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        if self._process.returncode is None:
            self.go()
            await self._process.wait()

    async def _heard(self) -> str:
        """The next line that is no log's."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while True:
                line = (await self._process.stdout.readline()).decode().strip()
                assert line, "the worker ended"
                if line.startswith("{") or line == "ready":
                    return line


@asynccontextmanager
async def workers(count: int, url: Secret[str], **orders: Any) -> AsyncIterator[list[Process]]:
    """So many workers, ready."""
    started = [await Process.start(url, **orders) for _ in range(count)]
    try:
        for one in started:
            await one.ready()
        yield started
    finally:
        for one in started:
            await one.close()


async def reports_of(started: list[Process]) -> list[Report]:
    """What comes of all of them at once."""
    for one in started:
        one.go()
    return [await one.report() for one in started]


async def begin_early_in_a_minute(database: Database) -> None:
    """Wait for the next minute, if this one is nearly over by the database's clock."""
    left = "60 - extract(second FROM clock_timestamp())"
    wait = text(f"SELECT CASE WHEN {left} < {ROOM} THEN pg_sleep({left}) END")
    async with database.transaction() as connection:
        await connection.execute(wait)


@pytest_asyncio.fixture
async def empty(database: Database) -> Database:
    await without_quotas(database)
    return database


async def test_of_300_calls_at_once_exactly_60_pass_a_limit_of_60_a_minute(
    empty: Database, database_url: Secret[str]
) -> None:
    model = str(uuid4())
    async with workers(3, database_url, model_id=model, per_minute=60, calls=100) as started:
        await begin_early_in_a_minute(empty)
        reports = await reports_of(started)
    assert sum(report.passed for report in reports) == 60
    assert len({window for report in reports for window in report.windows}) == 1
    assert sum(report.codes["rate_limit_exceeded"] for report in reports) == 240


async def test_of_200_calls_at_five_cents_a_quota_of_a_dollar_lets_20_pass(
    empty: Database, database_url: Secret[str]
) -> None:
    quota = await stored_quota(empty, Metric.COST, limit=NANO)
    orders = {"model_id": str(uuid4()), "calls": 67, "cost": FIVE_CENTS}
    async with workers(3, database_url, **orders) as started:
        reports = await reports_of(started)
        assert sum(report.passed for report in reports) == 20
        assert all(set(report.codes) <= {"quota_exceeded"} for report in reports)
    assert await counted(empty, quota.key) == (NANO, 0)


async def test_what_a_killed_worker_had_reserved_comes_back(
    empty: Database, database_url: Secret[str]
) -> None:
    quota = await stored_quota(empty, Metric.COST, limit=NANO)
    orders = {"model_id": str(uuid4()), "cost": FIVE_CENTS}
    async with workers(1, database_url, calls=12, hold=True, **orders) as (holder,):
        assert (await reports_of([holder]))[0].passed == 12
        await holder.kill()
    # While it is in doubt it counts, and when nobody used it, it is there for others.
    async with workers(1, database_url, calls=20, **orders) as (other,):
        assert (await reports_of([other]))[0].passed <= 8
    await let_leases_expire(empty)
    upkeep = Upkeep(empty, SqlQuotaStore(empty), Told(0), Patience(doubt=timedelta()))
    await upkeep.step()
    used, held = await counted(empty, quota.key)
    assert held == 0
    async with workers(1, database_url, calls=40, **orders) as (last,):
        assert (await reports_of([last]))[0].passed == (NANO - used) // FIVE_CENTS
    assert await counted(empty, quota.key) == (NANO, 0)


async def test_what_a_worker_does_not_use_is_there_for_another_at_once(
    empty: Database, database_url: Secret[str]
) -> None:
    await stored_quota(empty, limit=40)
    orders = {"model_id": str(uuid4())}
    async with (
        workers(1, database_url, calls=1, **orders) as (idle,),
        workers(1, database_url, calls=60, **orders) as (busy,),
    ):
        assert (await reports_of([idle]))[0].passed == 1
        assert (await reports_of([busy]))[0].passed == 39
