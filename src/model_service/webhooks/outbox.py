"""The outbox in PostgreSQL: events are stored with what they speak of, and told afterwards."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)

from model_service.db.tables import webhook_deliveries, webhook_events, webhooks
from model_service.db.uow import Database
from model_service.kernel.events import EventType
from model_service.webhooks.domain import Attempt, Claim, DeliveryState, Event, Settlement
from model_service.webhooks.store import disable, event_values, log_attempt, read_target

_w, _e, _d = webhooks.c, webhook_events.c, webhook_deliveries.c
_PENDING: Final = DeliveryState.PENDING.value
# Events forgotten, or deliveries given up, in one transaction.
_SWEEP_BATCH: Final = 1000


class SqlOutbox:
    """`Outbox` on the tables of events and deliveries. Times are the caller's clock's."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def publish(self, event: Event) -> bool:
        """Store an event for every active webhook that wants it: one statement, no lock waited for.

        A webhook that is being deleted at this moment may be counted in; such a delivery is
        never attempted.
        """
        wants = or_(_w.events.is_(None), literal(event.type.value, Text) == any_(_w.events))
        wanting = select(_w.id).where(_w.is_active, wants).cte("wanting")
        new_event = (
            insert(webhook_events)
            .from_select(
                ["id", "type", "body", "created_at"],
                select(
                    *(
                        bindparam(None, value, type_=_e[name].type)
                        for name, value in event_values(event).items()
                    )
                ).where(select(wanting.c.id).exists()),
            )
            .cte("new_event")
        )
        deliveries = (
            insert(webhook_deliveries)
            .from_select(
                ["event_id", "webhook_id", "state", "attempts", "due_at"],
                select(
                    bindparam(None, event.id, type_=_d.event_id.type),
                    wanting.c.id,
                    literal(_PENDING, Text),
                    literal(0),
                    bindparam(None, event.created_at, type_=_d.due_at.type),
                ),
            )
            .add_cte(new_event)
        )
        async with self._db.single() as connection:
            stored = await connection.execute(deliveries)
        return bool(stored.rowcount)

    async def due_webhooks(self, now: datetime) -> Sequence[UUID]:
        """The active webhooks with a delivery due, the longest waiting first."""
        longest_waiting = (
            select(_d.due_at)
            .where(_d.webhook_id == _w.id, _is_due(now))
            .order_by(_d.due_at)
            .limit(1)
            .lateral("longest_waiting")
        )
        query = (
            select(_w.id)
            .join(longest_waiting, true())
            .where(_w.is_active)
            .order_by(longest_waiting.c.due_at)
        )
        async with self._db.single() as connection:
            return (await connection.execute(query)).scalars().all()

    async def claim(
        self, webhook_id: UUID, *, limit: int, now: datetime, leased_until: datetime
    ) -> Sequence[Claim]:
        """Take due deliveries of a webhook that no other process holds.

        No row stays locked while they are attempted: the lease keeps others away, and lapses
        by itself when this process dies.
        """
        due = (
            select(_d.event_id)
            .where(_d.webhook_id == webhook_id, _is_due(now))
            .order_by(_d.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        take = (
            update(webhook_deliveries)
            .where(
                _d.webhook_id == webhook_id,
                _d.event_id == due.c.event_id,
                _e.id == due.c.event_id,
            )
            .values(attempts=_d.attempts + 1, leased_until=leased_until)
            .returning(_d.attempts, _e.id, _e.type, _e.body, _e.created_at)
        )
        async with self._db.transaction() as connection:
            target = await read_target(connection, webhook_id, now, active_only=True)
            if target is None:
                return []
            rows = (await connection.execute(take)).all()
        return [
            Claim(
                target,
                Event(row.id, EventType(row.type), row.body, row.created_at),
                attempt=row.attempts,
            )
            for row in rows
        ]

    async def settle(self, claim: Claim, attempt: Attempt, settlement: Settlement) -> bool:
        """Log an attempt and what follows, unless another process took the delivery over."""
        webhook_id, event_id = claim.target.webhook_id, claim.event.id
        close = (
            update(webhook_deliveries)
            .where(
                _d.event_id == event_id,
                _d.webhook_id == webhook_id,
                _d.attempts == claim.attempt,
                _d.state == _PENDING,
            )
            .values(state=settlement.state.value, due_at=settlement.due_at, leased_until=None)
        )
        async with self._db.transaction() as connection:
            if settlement.disables is not None:
                await disable(connection, webhook_id, settlement.disables, attempt.at)
            closed = await connection.execute(close)
            if not closed.rowcount:
                return False
            await log_attempt(connection, event_id, webhook_id, attempt)
        return True

    async def sweep(self, *, give_up_before: datetime, forget_before: datetime) -> int:
        """Give up and forget what is old, a batch at a time; rows in use are left for later."""
        while await self._give_up(give_up_before) == _SWEEP_BATCH:
            pass
        forgotten = 0
        while batch := await self._forget(forget_before):
            forgotten += batch
            if batch < _SWEEP_BATCH:
                break
        return forgotten

    async def _give_up(self, before: datetime) -> int:
        late = (
            select(_d.event_id, _d.webhook_id)
            .join(webhook_events, _e.id == _d.event_id)
            .where(_d.state == _PENDING, _e.created_at < before)
            .limit(_SWEEP_BATCH)
            .with_for_update(of=webhook_deliveries, skip_locked=True)
            .cte("late")
        )
        query = (
            update(webhook_deliveries)
            .where(_d.event_id == late.c.event_id, _d.webhook_id == late.c.webhook_id)
            .values(state=DeliveryState.FAILED.value, leased_until=None)
        )
        async with self._db.single() as connection:
            return int((await connection.execute(query)).rowcount)

    async def _forget(self, before: datetime) -> int:
        old = (
            select(_e.id)
            .where(_e.created_at < before)
            .limit(_SWEEP_BATCH)
            .with_for_update(skip_locked=True)
            .cte("old")
        )
        query = delete(webhook_events).where(_e.id.in_(select(old.c.id)))
        async with self._db.single() as connection:
            return int((await connection.execute(query)).rowcount)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(
        _d.state == _PENDING,
        _d.due_at <= now,
        or_(_d.leased_until.is_(None), _d.leased_until <= now),
    )
