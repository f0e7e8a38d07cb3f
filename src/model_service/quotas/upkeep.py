"""Leases whose holders died, and counters whose windows are over.

What a dead worker held of a quota counts as spent, for it may have been. It does until the usage
events say otherwise: a while after the lease expired, when the dead worker's journal has been
taken in, what the calls used that ended since it was last heard of is the most that it can have
spent unsaid, and what it held beyond that comes back. Where nobody can tell, and for the models'
own rates, it counts as spent until the window is over.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, Table, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.tables import limit_counters, limit_leases, quota_alerts
from model_service.db.uow import Database
from model_service.kernel.counting import LEASE_SECONDS, Quota
from model_service.kernel.errors import DatabaseUnavailable
from model_service.quotas.domain import QuotaStore, SpentLedger

log = structlog.get_logger(__name__)

#: Seconds between two rounds.
INTERVAL: Final = 10.0
#: Seconds by which workers' clocks, which usage events are timed by, may be off.
CLOCKS_OFF: Final = timedelta(seconds=60)
#: How long after its end a window is forgotten. The database's clock may be put back by less.
KEPT: Final = timedelta(hours=1)
#: As long as a month and the one before it: receivers are not told of them again.
ALERTS_KEPT: Final = timedelta(days=62)
#: Rows forgotten in one statement.
BATCH: Final = 5_000

_l, _c = limit_leases.c, limit_counters.c


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a lease is good, and how long after that its holder's journal may take.

    In `doubt` calls end that the holder began, and it starts again somewhere.
    """

    lease: timedelta = timedelta(seconds=LEASE_SECONDS)
    doubt: timedelta = timedelta(seconds=900)


class Upkeep:
    """Brings back what dead workers had not spent, and forgets. A job: see `background`."""

    def __init__(
        self,
        database: Database,
        store: QuotaStore,
        ledger: SpentLedger,
        patience: Patience = Patience(),
    ) -> None:
        self._db = database
        self._store = store
        self._ledger = ledger
        self._patience = patience

    async def run(self) -> None:
        """Do so every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("leases of limits were not looked after; again")

    async def step(self) -> None:
        """Do so once. Raises DatabaseUnavailable."""
        await self._doubt()
        await self._bring_back()
        for table in (limit_leases, limit_counters):
            await self._forget(table)
        async with self._db.single() as connection:
            await connection.execute(
                delete(quota_alerts).where(quota_alerts.c.window_start < func.now() - ALERTS_KEPT)
            )

    async def _doubt(self) -> None:
        """Mark leases that nobody renewed in time."""
        query = (
            update(limit_leases)
            .where(_l.held > 0, _l.expires_at < func.now(), _l.doubted_at.is_(None))
            .where(_l.window_end > func.now())
            .values(doubted_at=func.now())
        )
        async with self._db.single() as connection:
            marked = (await connection.execute(query)).rowcount
        if marked:
            log.warning("leases of limits were not renewed: a worker died", count=marked)

    async def _bring_back(self) -> None:
        query = select(limit_leases).where(
            _l.held > 0,
            _l.doubted_at < func.now() - self._patience.doubt,
            _l.window_end > func.now(),
        )
        async with self._db.single() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return
        quotas = {quota.key: quota for quota in await self._store.all()}
        for row in rows:
            if (quota := quotas.get(row.key)) is not None:
                await self._settle(row, quota)

    async def _settle(self, row: Row[Any], quota: Quota) -> None:
        heard_at: datetime = row.expires_at - self._patience.lease
        spent = await self._ledger.spent(quota, heard_at - CLOCKS_OFF, row.doubted_at + CLOCKS_OFF)
        if spent is None:
            return
        back = max(0, row.held - spent)
        async with self._db.transaction() as connection:
            if not await _lower(connection, row, back):
                return
            await connection.execute(
                update(limit_leases)
                .where(*(_l[name] == value for name, value in _identity(row).items()))
                .values(spent=_l.spent + row.held - back, held=0)
            )
        log.info("what a dead worker had not spent came back", quota_id=str(quota.id), count=back)

    async def _forget(self, table: Table) -> None:
        key = tuple_(*table.primary_key.columns)
        ended = (
            select(*table.primary_key.columns)
            .where(table.c.window_end < func.now() - KEPT)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        while True:
            async with self._db.single() as connection:
                gone = await connection.execute(delete(table).where(key.in_(ended)))
            if gone.rowcount < BATCH:
                return


async def _lower(connection: AsyncConnection, row: Row[Any], back: int) -> bool:
    """Lower a counter by what comes back; False when the holder turns out to be alive.

    The counter is locked first, as by every exchange.
    """
    counter = update(limit_counters).where(_c.key == row.key, _c.window_start == row.window_start)
    await connection.execute(counter.values(taken=_c.taken))
    known = select(_l.number, _l.doubted_at, _l.held).where(
        *(_l[name] == value for name, value in _identity(row).items())
    )
    found = (await connection.execute(known)).first()
    if found is None or found.number != row.number or found.doubted_at is None or not found.held:
        return False
    await connection.execute(counter.values(taken=_c.taken - back))
    return True


def _identity(row: Row[Any]) -> Mapping[str, Any]:
    return {
        "key": row.key,
        "window_start": row.window_start,
        "holder": row.holder,
        "lease": row.lease,
    }
