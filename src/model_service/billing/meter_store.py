"""Meters in PostgreSQL: what was told of each day, and the outbox to Stripe."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, func, insert, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from model_service.billing.meters import Meter, Metered, MeterState
from model_service.billing.outbox import Claim, Settlement
from model_service.billing.statement_store import used_of, used_values
from model_service.db.tables import billing_accounts, billing_metered, billing_meters
from model_service.db.uow import Database

_a, _d, _m = billing_accounts.c, billing_metered.c, billing_meters.c


class SqlMeterStore:
    """`MeterStore` and `MeterOutbox`. Times are the caller's clock's."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def unmetered(self, hour: datetime, limit: int) -> Sequence[UUID]:
        """Accounts that were not metered since that hour began, in order of id."""
        query = (
            select(_a.id)
            .where(or_(_a.metered_hour.is_(None), _a.metered_hour < hour))
            .order_by(_a.id)
            .limit(limit)
        )
        async with self._db.single() as connection:
            return list((await connection.execute(query)).scalars())

    async def begin(self, account_id: UUID, hour: datetime) -> datetime | None:
        """Note that an account is metered for this hour; gives the hour it was before.

        The account is held by the current transaction.
        """
        same = _a.id == account_id
        async with self._db.single() as connection:
            before: datetime | None = await connection.scalar(select(_a.metered_hour).where(same))
            if before is None or before < hour:
                await connection.execute(
                    update(billing_accounts).where(same).values(metered_hour=hour)
                )
        return before

    async def told(self, account_id: UUID, since: date) -> Mapping[date, Metered]:
        """What was told of that day and later ones."""
        query = select(billing_metered).where(_d.account_id == account_id, _d.day >= since)
        async with self._db.single() as connection:
            rows = await connection.execute(query)
            return {row.day: Metered(used_of(row), row.microdollars) for row in rows}

    async def add(self, meter: Meter, now_told: Metered) -> None:
        """Keep a meter, and what has been told of its day with it."""
        told = {**used_values(now_told.used), "microdollars": now_told.microdollars}
        async with self._db.single() as connection:
            await connection.execute(insert(billing_meters).values(_values(meter)))
            await connection.execute(
                upsert(billing_metered)
                .values(account_id=meter.account_id, day=meter.day, **told)
                .on_conflict_do_update(index_elements=[_d.account_id, _d.day], set_=told)
            )

    async def page(
        self,
        account_id: UUID | None,
        state: MeterState | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[Meter]:
        """Meters, newest first."""
        query = (
            select(billing_meters)
            .where(
                true() if account_id is None else _m.account_id == account_id,
                true() if state is None else _m.state == state.value,
                true() if before is None else _m.id < before,
            )
            .order_by(_m.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_meter(row) for row in await connection.execute(query)]

    async def claim(self, *, limit: int, now: datetime, leased_until: datetime) -> Sequence[Claim]:
        """Take due meters that no other process holds.

        No row stays locked while they are sent: the lease keeps others away, and lapses by
        itself when this process dies. From here on each may be at Stripe.
        """
        due = (
            select(_m.id, _m.uncertain_since)
            .where(_is_due(now))
            .order_by(_m.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        take = (
            update(billing_meters)
            .where(_m.id == due.c.id)
            .values(
                attempts=_m.attempts + 1,
                leased_until=leased_until,
                uncertain_since=func.coalesce(_m.uncertain_since, now),
            )
            .returning(*billing_meters.c, due.c.uncertain_since.label("was_uncertain_since"))
        )
        async with self._db.single() as connection:
            rows = (await connection.execute(take)).all()
        return [Claim(_meter(row), row.was_uncertain_since) for row in rows]

    async def settle(self, claim: Claim, settlement: Settlement, now: datetime) -> bool:
        """Note what came of an attempt, unless another process took the meter over."""
        pending = settlement.state is MeterState.PENDING
        changes: dict[str, Any] = {
            "state": settlement.state.value,
            "reason": settlement.reason,
            "due_at": settlement.due_at,
            "refusals": _m.refusals + (1 if settlement.refused else 0),
            "leased_until": None,
            "settled_at": None if pending else now,
        }
        if settlement.surely_not_there:
            changes["uncertain_since"] = claim.uncertain_since
        query = (
            update(billing_meters)
            .where(
                _m.id == claim.meter.id,
                _m.attempts == claim.meter.attempts,
                _m.state == MeterState.PENDING.value,
            )
            .values(**changes)
        )
        async with self._db.single() as connection:
            return bool((await connection.execute(query)).rowcount)

    async def unpark(self, meter_id: UUID, now: datetime) -> Meter | None:
        """Let a parked meter be sent again."""
        query = (
            update(billing_meters)
            .where(_m.id == meter_id, _m.state == MeterState.PARKED.value)
            .values(
                state=MeterState.PENDING.value,
                reason=None,
                due_at=now,
                leased_until=None,
                uncertain_since=None,
                settled_at=None,
                refusals=_m.refusals + 1,
            )
            .returning(*billing_meters.c)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _meter(row) if row else None


def _is_due(now: datetime) -> ColumnElement[bool]:
    return and_(
        _m.state == MeterState.PENDING.value,
        _m.due_at <= now,
        or_(_m.leased_until.is_(None), _m.leased_until <= now),
    )


def _meter(row: Row[Any]) -> Meter:
    return Meter(
        id=row.id,
        account_id=row.account_id,
        day=row.day,
        occurred_at=row.occurred_at,
        used=used_of(row),
        microdollars=row.microdollars,
        stripe_customer_id=row.stripe_customer_id,
        created_at=row.created_at,
        state=MeterState(row.state),
        reason=row.reason,
        attempts=row.attempts,
        refusals=row.refusals,
        settled_at=row.settled_at,
    )


def _values(meter: Meter) -> dict[str, Any]:
    return {
        "id": meter.id,
        "account_id": meter.account_id,
        "day": meter.day,
        "occurred_at": meter.occurred_at,
        **used_values(meter.used),
        "microdollars": meter.microdollars,
        "stripe_customer_id": meter.stripe_customer_id,
        "state": meter.state.value,
        "reason": meter.reason,
        "attempts": meter.attempts,
        "refusals": meter.refusals,
        "due_at": meter.created_at,
        "settled_at": meter.settled_at,
        "created_at": meter.created_at,
    }
