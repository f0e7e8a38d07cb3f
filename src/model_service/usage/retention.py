"""How long single events are kept: whole months are dropped, their sums stay."""

import asyncio
from typing import Final

import structlog
from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert

from model_service.db.locks import Lock, take
from model_service.db.tables import usage_horizon
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import Clock
from model_service.usage.partitions import Month, Months, months_of

log = structlog.get_logger(__name__)

#: Months made ahead of the current one: time enough to notice that nothing makes them.
AHEAD: Final = 2
#: Seconds between looks at whether there is a month to make or to drop.
INTERVAL: Final = 3600.0
# How long dropping a month may wait for those who read events, and whoever comes after has to
# wait with it.
_LOCK_TIMEOUT: Final = "2s"


class UsageUpkeep:
    """Makes months ahead and drops those that are too old. A job: see `background`."""

    def __init__(self, database: Database, months: Months, clock: Clock, months_kept: int) -> None:
        """`months_kept` counts the current month too."""
        self._db = database
        self._months = months
        self._clock = clock
        self._months_kept = months_kept

    async def step(self) -> list[Month]:
        """Do what there is to do now; gives the months dropped.

        Raises:
            DatabaseUnavailable: not everything could be done now.
        """
        current = Month.of(self._clock.now())
        await self._months.ensure(current.plus(ahead) for ahead in range(AHEAD + 1))
        return await self.drop_before(current.plus(1 - self._months_kept))

    async def drop_before(self, first_kept: Month) -> list[Month]:
        """Drop the months before that one, each in a transaction of its own, oldest first.

        Nothing is read of what is dropped, so memory and time do not depend on how much it is.
        """
        async with self._db.transaction() as connection:
            old = sorted(month for month in await months_of(connection) if month < first_kept)
        for month in old:
            await self._drop(month)
            log.info("the usage events of a month were dropped", month=str(month))
        return old

    async def _drop(self, month: Month) -> None:
        async with self._db.transaction() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
            await take(connection, Lock.USAGE_MONTHS)
            # Events of that month that are told from now on are known to be too late: a writer
            # looks at the horizon when it has the lock that dropping a month waits for.
            horizon = insert(usage_horizon).values(id=1, kept_since=month.plus(1).begin)
            later = func.greatest(usage_horizon.c.kept_since, horizon.excluded.kept_since)
            await connection.execute(
                horizon.on_conflict_do_update(index_elements=["id"], set_={"kept_since": later})
            )
            await connection.execute(text(f"DROP TABLE IF EXISTS {month.table}"))

    async def run(self) -> None:
        """Look every hour until cancelled; what could not be done is tried again sooner."""
        while True:
            pause = INTERVAL
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("the months of usage events could not be seen to; again soon")
                pause = INTERVAL / 60
            await asyncio.sleep(pause)
