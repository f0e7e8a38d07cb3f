"""Quotas in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, Row, Uuid, bindparam, delete, insert, or_, select, text, true, update
from sqlalchemy.sql.elements import ColumnElement

from model_service.db.tables import access_tokens, quotas
from model_service.db.uow import Database
from model_service.kernel.counting import Metric, Quota, Window
from model_service.quotas.domain import Standing, StoredQuota

_q = quotas.c

# A window is the database's: the same that `exchange_leases` counts in.
_STANDINGS: Final = text("""
SELECT id, begins, ends, moment, coalesce(taken, 0) AS taken, held
FROM (
    SELECT id, 'quota:' || id AS key, moment,
        date_trunc(period, moment, 'UTC') AS begins,
        ((date_trunc(period, moment, 'UTC') AT TIME ZONE 'UTC') + ('1 ' || period)::interval)
            AT TIME ZONE 'UTC' AS ends
    FROM quotas, (SELECT clock_timestamp() AS moment) AS clock
    WHERE id = ANY(:ids)
) AS q
LEFT JOIN limit_counters AS c ON c.key = q.key AND c.window_start = q.begins
CROSS JOIN LATERAL (
    SELECT coalesce(sum(held), 0)::bigint AS held FROM limit_leases AS l
    WHERE l.key = q.key AND l.window_start = q.begins
) AS leases
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))


class SqlQuotaStore:
    """`QuotaStore` on the table `quotas`, whose trigger tells every process."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, stored: StoredQuota) -> None:
        """Store a new quota."""
        async with self._db.single() as connection:
            await connection.execute(insert(quotas).values(_values(stored)))

    async def get(self, quota_id: UUID) -> StoredQuota | None:
        """One quota."""
        async with self._db.single() as connection:
            row = (await connection.execute(select(quotas).where(_q.id == quota_id))).first()
        return None if row is None else _stored(row)

    async def about(self, quota_id: UUID, user_id: str) -> bool:
        """Whether the quota is for that user, or for a token of that user."""
        query = select(_q.id).where(_q.id == quota_id, _about(user_id))
        async with self._db.single() as connection:
            return (await connection.execute(query)).first() is not None

    async def page(
        self, user_id: str | None, before: UUID | None, limit: int
    ) -> Sequence[StoredQuota]:
        """Quotas newest first; their ids are in order of time."""
        query = (
            select(quotas)
            .where(
                true() if user_id is None else _about(user_id),
                true() if before is None else _q.id < before,
            )
            .order_by(_q.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_stored(row) for row in await connection.execute(query)]

    async def all(self) -> Sequence[Quota]:
        """All of them."""
        async with self._db.single() as connection:
            return [_quota(row) for row in await connection.execute(select(quotas))]

    async def set_limit(self, quota_id: UUID, limit: int, now: datetime) -> StoredQuota | None:
        """Change the limit."""
        query = (
            update(quotas)
            .where(_q.id == quota_id)
            .values(most=limit, updated_at=now)
            .returning(quotas)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _stored(row)

    async def delete(self, quota_id: UUID) -> bool:
        """Remove a quota. What was counted for it is swept away when its window is over."""
        async with self._db.single() as connection:
            gone = await connection.execute(delete(quotas).where(_q.id == quota_id))
        return bool(gone.rowcount)

    async def standings(self, quota_ids: Sequence[UUID]) -> Mapping[UUID, Standing]:
        """How quotas stand now."""
        if not quota_ids:
            return {}
        async with self._db.single() as connection:
            rows = await connection.execute(_STANDINGS, {"ids": list(quota_ids)})
            return {
                row.id: Standing(row.taken - row.held, row.held, row.begins, row.ends, row.moment)
                for row in rows
            }


def _about(user_id: str) -> ColumnElement[bool]:
    tokens = select(access_tokens.c.id).where(access_tokens.c.user_id == user_id)
    return or_(_q.user_id == user_id, _q.token_id.in_(tokens))


def _values(stored: StoredQuota) -> dict[str, Any]:
    quota = stored.quota
    return {
        "id": quota.id,
        "user_id": quota.user_id,
        "token_id": quota.token_id,
        "model": quota.model,
        "metric": quota.metric.value,
        "period": quota.window.value,
        "most": quota.limit,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
    }


def _quota(row: Row[Any]) -> Quota:
    return Quota(
        row.id,
        Metric(row.metric),
        Window(row.period),
        row.most,
        row.user_id,
        row.token_id,
        row.model,
    )


def _stored(row: Row[Any]) -> StoredQuota:
    return StoredQuota(_quota(row), row.created_at, row.updated_at)
