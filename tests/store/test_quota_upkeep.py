"""What dead workers held: in doubt at first, and back when the usage events say so."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.counting import Quota
from model_service.quotas.store import SqlQuotaStore
from model_service.quotas.upkeep import CLOCKS_OFF, Patience, Upkeep
from tests.quota_worlds import (
    PlainModel,
    Told,
    counted,
    let_leases_expire,
    limiter_of,
    stored_quota,
    without_quotas,
)

AT_ONCE = Patience(doubt=timedelta())


@pytest_asyncio.fixture
async def quota(database: Database) -> Quota:
    """A quota of 10 requests, of which a worker that died had reserved 4 and settled 1 of them."""
    await without_quotas(database)
    quota = await stored_quota(database, limit=10)
    limiter = await limiter_of(database)
    limits = limiter.find("ann", None, PlainModel())
    assert limits is not None
    holds = [await limiter.reserve(limits, 0, 0) for _ in range(4)]
    holds[0].settle(1, 0, 0)
    await limiter.on_recall(None)
    await limiter.flush()
    return quota


def upkeep(database: Database, ledger: Told, patience: Patience = AT_ONCE) -> Upkeep:
    return Upkeep(database, SqlQuotaStore(database), ledger, patience)


async def test_while_a_lease_is_good_nothing_comes_back(database: Database, quota: Quota) -> None:
    await upkeep(database, Told(0)).step()
    assert await counted(database, quota.key) == (4, 3)


async def test_an_expired_lease_is_in_doubt_at_first_and_counts(
    database: Database, quota: Quota
) -> None:
    await let_leases_expire(database)
    await upkeep(database, Told(0), Patience()).step()
    assert await counted(database, quota.key) == (4, 3)


async def test_what_nobody_used_comes_back(database: Database, quota: Quota) -> None:
    await let_leases_expire(database)
    await upkeep(database, Told(0)).step()
    assert await counted(database, quota.key) == (1, 0)


async def test_what_may_have_been_used_stays_taken(database: Database, quota: Quota) -> None:
    await let_leases_expire(database)
    await upkeep(database, Told(2)).step()
    assert await counted(database, quota.key) == (3, 0)


async def test_more_used_than_was_held_takes_no_more(database: Database, quota: Quota) -> None:
    await let_leases_expire(database)
    await upkeep(database, Told(100)).step()
    assert await counted(database, quota.key) == (4, 0)


async def test_where_nobody_can_tell_it_stays_taken(database: Database, quota: Quota) -> None:
    await let_leases_expire(database)
    await upkeep(database, Told(None)).step()
    assert await counted(database, quota.key) == (4, 3)


async def test_what_came_back_comes_back_once(database: Database, quota: Quota) -> None:
    await let_leases_expire(database)
    for _ in range(3):
        await upkeep(database, Told(0)).step()
    assert await counted(database, quota.key) == (1, 0)


async def test_the_ledger_is_asked_from_when_the_holder_was_last_heard_of(
    database: Database, quota: Quota
) -> None:
    ledger = Told(0)
    await let_leases_expire(database)
    await upkeep(database, ledger).step()
    ((since, until),) = ledger.asked
    now = datetime.now(UTC)
    assert since < now - Patience().lease - CLOCKS_OFF
    assert now < until < now + CLOCKS_OFF + timedelta(seconds=1)


async def test_a_worker_that_was_only_cut_off_settles_what_it_did_spend(
    database: Database,
) -> None:
    await without_quotas(database)
    quota = await stored_quota(database, limit=10)
    limiter = await limiter_of(database)
    limits = limiter.find("ann", None, PlainModel())
    assert limits is not None
    hold = await limiter.reserve(limits, 0, 0)
    await limiter.on_recall(None)
    await limiter.flush()
    await let_leases_expire(database)
    await upkeep(database, Told(0)).step()
    assert await counted(database, quota.key) == (0, 0)
    hold.settle(1, 0, 0)
    await limiter.flush()
    assert await counted(database, quota.key) == (1, 0)


@pytest.mark.parametrize("table", ["limit_counters", "limit_leases"])
async def test_windows_long_over_are_forgotten(
    database: Database, quota: Quota, table: str
) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text(f"UPDATE {table} SET window_end = now() - interval '61 minutes'")  # noqa: S608
        )
    await upkeep(database, Told(None)).step()
    async with database.single() as connection:
        left = await connection.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608
    assert left == 0
