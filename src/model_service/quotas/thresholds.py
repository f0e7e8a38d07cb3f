"""Telling receivers that a quota is half used, nearly, and wholly: each once in a window."""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.tables import quota_alerts, quotas
from model_service.db.uow import Database
from model_service.http.wire import format_moment
from model_service.kernel.counting import Answer, Ask, Metric, Window, window_bounds
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.events import Announcer, EventType
from model_service.quotas.domain import THRESHOLDS, from_units

log = structlog.get_logger(__name__)

#: Quotas of which is remembered how far they are told of; beyond, the database is asked again.
MOST_REMEMBERED: Final = 50_000
#: Seconds after which telling is tried again.
AGAIN_AFTER: Final = 1.0

_PREFIX: Final = "quota:"


@dataclass(frozen=True, slots=True)
class _Reached:
    quota_id: UUID
    opened: int
    used: int


class Thresholds:
    """Watches the counters that this worker hears of. A job: see `background`.

    Every worker sees the same thresholds passed; the one that stores it tells of it, in one
    transaction with that.
    """

    def __init__(self, database: Database, announcer: Announcer) -> None:
        self._db = database
        self._announcer = announcer
        self._told: dict[str, tuple[int, int]] = {}
        self._due: deque[_Reached] = deque()
        self._wake = asyncio.Event()
        self._telling = asyncio.Lock()

    def observe(self, ask: Ask, answer: Answer) -> None:
        """A counter stands like this now."""
        if not ask.key.startswith(_PREFIX) or ask.limit <= 0:
            return
        used = answer.taken - answer.held
        level = sum(used * 100 >= ask.limit * percent for percent in THRESHOLDS)
        if level == 0 or self._told.get(ask.key) == (answer.opened, level):
            return
        if len(self._told) >= MOST_REMEMBERED:
            self._told.clear()
        self._told[ask.key] = (answer.opened, level)
        self._due.append(_Reached(UUID(ask.key.removeprefix(_PREFIX)), answer.opened, used))
        self._wake.set()

    async def run(self) -> None:
        """Tell of what is reached, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("thresholds of quotas were not told of; again", count=len(self._due))
                self._wake.set()
                await asyncio.sleep(AGAIN_AFTER)

    async def step(self) -> None:
        """Tell of everything that is reached by now. Raises DatabaseUnavailable."""
        async with self._telling:
            while self._due:
                async with self._db.transaction() as connection:
                    await self._tell(connection, self._due[0])
                self._due.popleft()

    async def _tell(self, connection: AsyncConnection, reached: _Reached) -> None:
        known = select(quotas).where(quotas.c.id == reached.quota_id)
        row = (await connection.execute(known.with_for_update(key_share=True))).first()
        if row is None:  # deleted meanwhile
            return
        passed = [one for one in THRESHOLDS if reached.used * 100 >= row.most * one]
        if not passed:  # its limit was raised meanwhile
            return
        window = Window(row.period)
        begins = datetime.fromtimestamp(reached.opened / 1_000_000, UTC)
        new = (
            insert(quota_alerts)
            .values(
                [{"quota_id": row.id, "window_start": begins, "percent": one} for one in passed]
            )
            .on_conflict_do_nothing()
            .returning(quota_alerts.c.percent)
        )
        metric = Metric(row.metric)
        told: dict[str, Any] = {
            "quotaId": str(row.id),
            "userId": row.user_id,
            "tokenId": None if row.token_id is None else str(row.token_id),
            "model": row.model,
            "metric": metric.value,
            "window": window.value,
            "limit": float(from_units(metric, row.most)),
            "used": float(from_units(metric, reached.used)),
            "resetsAt": format_moment(window_bounds(window, begins)[1]),
        }
        for percent in sorted((await connection.execute(new)).scalars()):
            await self._announcer.announce(EventType.QUOTA_THRESHOLD, told | {"percent": percent})
