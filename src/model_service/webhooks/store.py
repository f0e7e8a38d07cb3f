"""Webhooks and their log in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.tables import (
    webhook_attempts,
    webhook_deliveries,
    webhook_events,
    webhook_secrets,
    webhooks,
)
from model_service.db.uow import Database
from model_service.kernel.events import EventType
from model_service.webhooks.domain import (
    Attempt,
    Delivery,
    DeliveryState,
    Event,
    Outcome,
    SealedSecret,
    Settlement,
    Target,
    Webhook,
)

_w, _s, _e = webhooks.c, webhook_secrets.c, webhook_events.c
_d, _a = webhook_deliveries.c, webhook_attempts.c


class SqlWebhookStore:
    """`WebhookStore` on the tables of webhooks.

    Rows are locked in one order by everybody: the webhook's first, then its deliveries'.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, webhook: Webhook, secret: SealedSecret) -> None:
        """Store a new webhook with its secret."""
        async with self._db.transaction() as connection:
            await connection.execute(insert(webhooks).values(_webhook_values(webhook)))
            await connection.execute(
                insert(webhook_secrets).values(_secret_values(webhook.id, secret))
            )

    async def get(self, webhook_id: UUID) -> Webhook | None:
        """One webhook."""
        async with self._db.single() as connection:
            row = (await connection.execute(select(webhooks).where(_w.id == webhook_id))).first()
        return _webhook(row) if row else None

    async def target(self, webhook_id: UUID, now: datetime) -> Target | None:
        """A webhook's address and the secrets that sign now, the one in use first."""
        async with self._db.single() as connection:
            return await read_target(connection, webhook_id, now, active_only=False)

    async def page(self, before: UUID | None, limit: int) -> Sequence[Webhook]:
        """Webhooks newest first; their ids are in order of time."""
        query = (
            select(webhooks)
            .where(true() if before is None else _w.id < before)
            .order_by(_w.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_webhook(row) for row in await connection.execute(query)]

    async def change(
        self, webhook_id: UUID, changes: Mapping[str, Any], now: datetime
    ) -> Webhook | None:
        """Set the named fields; the others keep what somebody else may just have set."""
        query = (
            update(webhooks)
            .where(_w.id == webhook_id)
            .values(**changes, updated_at=now)
            .returning(webhooks)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _webhook(row) if row else None

    async def replace_secret(
        self, webhook_id: UUID, secret: SealedSecret, *, previous_until: datetime
    ) -> bool:
        """Put a new secret in use; the one before signs too until then, older ones no more."""
        known = select(_w.id).where(_w.id == webhook_id).with_for_update()
        of_webhook = _s.webhook_id == webhook_id
        async with self._db.transaction() as connection:
            if await connection.scalar(known) is None:
                return False
            await connection.execute(
                delete(webhook_secrets).where(of_webhook, _s.expires_at.is_not(None))
            )
            await connection.execute(
                update(webhook_secrets).where(of_webhook).values(expires_at=previous_until)
            )
            await connection.execute(
                insert(webhook_secrets).values(_secret_values(webhook_id, secret))
            )
        return True

    async def delete(self, webhook_id: UUID) -> bool:
        """Remove a webhook with its secrets, deliveries and log."""
        async with self._db.transaction() as connection:
            gone = await connection.execute(delete(webhooks).where(_w.id == webhook_id))
            await connection.execute(delete(webhook_deliveries).where(_d.webhook_id == webhook_id))
        return bool(gone.rowcount)

    async def deliveries(
        self, webhook_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """A webhook's log, newest event first."""
        page = (
            select(_d.event_id, _d.state, _d.due_at, _e.type, _e.created_at)
            .join(webhook_events, _e.id == _d.event_id)
            .where(_d.webhook_id == webhook_id, true() if before is None else _d.event_id < before)
            .order_by(_d.event_id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            rows = (await connection.execute(page)).all()
            attempts = await connection.execute(
                select(webhook_attempts)
                .where(_a.webhook_id == webhook_id, _a.event_id.in_([row.event_id for row in rows]))
                .order_by(_a.number)
            )
        made: dict[UUID, list[Attempt]] = {row.event_id: [] for row in rows}
        for row in attempts:
            made[row.event_id].append(_attempt(row))
        return [
            Delivery(
                event_id=row.event_id,
                type=EventType(row.type),
                created_at=row.created_at,
                state=DeliveryState(row.state),
                due_at=row.due_at,
                attempts=tuple(made[row.event_id]),
            )
            for row in rows
        ]

    async def log_test(
        self, webhook_id: UUID, event: Event, attempt: Attempt, settlement: Settlement
    ) -> bool:
        """Log an event that was sent to one webhook alone."""
        known = select(_w.id).where(_w.id == webhook_id).with_for_update(read=True)
        async with self._db.transaction() as connection:
            if settlement.disables is not None:
                await disable(connection, webhook_id, settlement.disables, attempt.at)
            if await connection.scalar(known) is None:
                return False
            await connection.execute(insert(webhook_events).values(event_values(event)))
            await connection.execute(
                insert(webhook_deliveries).values(
                    event_id=event.id,
                    webhook_id=webhook_id,
                    state=settlement.state.value,
                    attempts=attempt.number,
                    due_at=settlement.due_at,
                )
            )
            await log_attempt(connection, event.id, webhook_id, attempt)
        return True


async def read_target(
    connection: AsyncConnection, webhook_id: UUID, now: datetime, *, active_only: bool
) -> Target | None:
    """A webhook's address and signing secrets; None without one, or without an active one."""
    rows = (await connection.execute(_target_query(webhook_id, now, active_only))).all()
    if not rows:
        return None
    secrets = tuple(SealedSecret(row.id, row.sealed, row.expires_at) for row in rows)
    return Target(webhook_id, rows[0].url, secrets)


async def disable(
    connection: AsyncConnection, webhook_id: UUID, reason: str, now: datetime
) -> None:
    """Switch a webhook off."""
    await connection.execute(
        update(webhooks)
        .where(_w.id == webhook_id, _w.is_active)
        .values(is_active=False, disabled_reason=reason, updated_at=now)
    )


async def log_attempt(
    connection: AsyncConnection, event_id: UUID, webhook_id: UUID, attempt: Attempt
) -> None:
    """Keep what came of an attempt."""
    await connection.execute(
        insert(webhook_attempts).values(
            event_id=event_id,
            webhook_id=webhook_id,
            number=attempt.number,
            at=attempt.at,
            outcome=attempt.outcome.value,
            status=attempt.status,
            latency_ms=attempt.latency_ms,
        )
    )


def event_values(event: Event) -> dict[str, Any]:
    """An event as a row."""
    return {
        "id": event.id,
        "type": event.type.value,
        "body": event.body,
        "created_at": event.created_at,
    }


def _target_query(webhook_id: UUID, now: datetime, active_only: bool) -> Select[Any]:
    return (
        select(_w.url, _s.id, _s.sealed, _s.expires_at)
        .join(webhook_secrets, _s.webhook_id == _w.id)
        .where(
            _w.id == webhook_id,
            _w.is_active if active_only else true(),
            or_(_s.expires_at.is_(None), _s.expires_at > now),
        )
        .order_by(_s.expires_at.desc().nulls_first())
    )


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        url=row.url,
        events=None if row.events is None else tuple(EventType(name) for name in row.events),
        description=row.description,
        is_active=row.is_active,
        disabled_reason=row.disabled_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(row.number, row.at, Outcome(row.outcome), row.status, row.latency_ms)


def _webhook_values(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": None if webhook.events is None else list(webhook.events),
        "description": webhook.description,
        "is_active": webhook.is_active,
        "disabled_reason": webhook.disabled_reason,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }


def _secret_values(webhook_id: UUID, secret: SealedSecret) -> dict[str, Any]:
    return {
        "id": secret.id,
        "webhook_id": webhook_id,
        "sealed": secret.sealed,
        "expires_at": secret.expires_at,
    }
