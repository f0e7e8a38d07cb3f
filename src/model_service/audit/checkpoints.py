"""Signing what has been recorded, a thousand records or an hour at a time."""

import asyncio
import hmac
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import chain, seals, store
from model_service.audit.domain import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS, Head
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent, AuditTrail, Decision
from model_service.kernel.errors import AuditBroken, ServiceError
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.types import Clock

log = structlog.get_logger(__name__)

#: Seconds between looks at whether a checkpoint is due.
PERIOD: Final = 1.0
#: Seconds for which a finding is not told again.
REPORT_SECONDS: Final = 86_400.0


class Checkpointer:
    """Signs checkpoints. Safe to run in every process at once: one of them signs at a time.

    It checks each record against the chain before it signs, so a record that was altered
    meanwhile is not made good by a signature: it is reported, and nothing is signed any more.
    """

    def __init__(
        self,
        database: Database,
        keys: AuditKeys,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._database = database
        self._keys = keys
        self._trail = trail
        self._announcer = announcer
        self._clock = clock
        self._told: tuple[int, datetime] | None = None

    async def run(self) -> None:
        """Sign what is due, until cancelled."""
        while True:
            try:
                while await self.step():
                    pass
            except ServiceError as error:
                log.warning("no checkpoint signed", code=error.code)
            await asyncio.sleep(PERIOD)

    async def step(self) -> bool:
        """Sign one checkpoint if it is due; whether another one may be.

        Raises:
            DatabaseUnavailable, AuditUnavailable.
        """
        try:
            async with self._database.transaction() as connection:
                return await seals.try_turn(connection) and await self._sign_due(connection)
        except AuditBroken as broken:
            await self.report(broken)
            return False

    async def cover(self) -> int:
        """Sign up to the last record there is, due or not; gives its number.

        Raises:
            AuditBroken: the records are not those that were written; nothing more is signed.
            DatabaseUnavailable.
        """
        while True:
            async with self._database.transaction() as connection:
                await seals.take_turn(connection)
                end = await self._end(connection)
                start = await seals.last(connection, self._keys)
                if start.seq >= end:
                    return end
                await self._sign(connection, min(end, start.seq + CHECKPOINT_RECORDS))

    async def _sign_due(self, connection: AsyncConnection) -> bool:
        end = await self._end(connection)
        start = await seals.last(connection, self._keys)
        if end - start.seq >= CHECKPOINT_RECORDS:
            await self._sign(connection, start.seq + CHECKPOINT_RECORDS)
            return True
        oldest = await store.time_of(connection, start.seq + 1)
        if oldest is None:
            return False
        if self._clock.now() - oldest >= timedelta(seconds=CHECKPOINT_SECONDS):
            await self._sign(connection, end)
        return False

    async def _sign(self, connection: AsyncConnection, last_seq: int) -> None:
        start = await seals.last(connection, self._keys)
        segment = Segment(self._keys.chain.reveal(), start)
        async for records in store.read(connection, start.seq, last_seq):
            for record in records:
                segment.take(record)
        if segment.head.seq != last_seq:
            raise AuditBroken(segment.head.seq + 1, "the record is missing")
        await seals.add(connection, self._keys, segment.checkpoint(self._clock.now()))

    async def _end(self, connection: AsyncConnection) -> int:
        head = await store.stored_head(connection)
        if head is None:
            raise AuditBroken(0, "nothing says where the trail ends")
        return head.seq

    async def report(self, broken: AuditBroken) -> None:
        """Tell subscribers and the trail itself what was found, once a day for each place.

        The two are apart: where not even this can be recorded, it is told all the same.

        Raises:
            DatabaseUnavailable, AuditUnavailable.
        """
        since = self._clock.now() - timedelta(seconds=REPORT_SECONDS)
        if self._told is not None and self._told[0] == broken.seq and self._told[1] >= since:
            return
        log.error("the audit trail is not as it was written", reason=broken.message)
        event = AuditEvent(
            type="integrity.failure",
            decision=Decision.DENY,
            subject=f"audit:{broken.seq}",
            reason=broken.message,
        )
        async with self._database.transaction() as connection:
            await seals.take_turn(connection)
            told_at = await self._told_at(connection, event, since)
            if told_at is None:
                await self._announcer.announce(
                    EventType.AUDIT_INTEGRITY_FAILURE,
                    {"seq": broken.seq, "message": broken.message},
                )
        self._told = broken.seq, told_at or self._clock.now()
        if told_at is None:
            await self._trail.record(event)

    async def _told_at(
        self, connection: AsyncConnection, event: AuditEvent, since: datetime
    ) -> datetime | None:
        """When another process last told of it, if it has since then.

        Only a record with the right hash counts: whoever altered the trail could otherwise put
        one there that says so.
        """
        told = await store.newest_like(connection, event, since)
        if told is None:
            return None
        link = chain.link(
            self._keys.chain.reveal(),
            Head(told.seq - 1, told.prev_hash),
            chain.canonical(told.entry),
        )
        return told.entry.time if hmac.compare_digest(link.hash, told.hash) else None
