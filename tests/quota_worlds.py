"""Quotas and their counters in PostgreSQL, as tests of stored things set them up."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from model_service.db.uow import Database
from model_service.gateway.limits import Limiter
from model_service.kernel.counting import Metric, Quota, Window
from model_service.kernel.types import SystemClock
from model_service.quotas.counters_store import SqlCounterStore
from model_service.quotas.domain import StoredQuota
from model_service.quotas.store import SqlQuotaStore


async def without_quotas(database: Database) -> None:
    """Forget every quota and all that was counted."""
    async with database.transaction() as connection:
        await connection.execute(
            text("TRUNCATE quotas, quota_alerts, limit_counters, limit_leases CASCADE")
        )


async def stored_quota(
    database: Database,
    metric: Metric = Metric.REQUESTS,
    limit: int = 10,
    window: Window = Window.MONTH,
    **subject: Any,
) -> Quota:
    """A quota that was set: of the user `ann`, unless another subject is named."""
    subject = subject or {"user_id": "ann"}
    quota = Quota(uuid4(), metric, window, limit, **subject)
    now = SystemClock().now()
    await SqlQuotaStore(database).add(StoredQuota(quota, now, now))
    return quota


class PlainModel:
    """A model as far as limits go."""

    def __init__(self, name: str = "m") -> None:
        self.name = name
        self.id = uuid4()
        self.rates = None


async def limiter_of(database: Database, store: SqlCounterStore | None = None) -> Limiter:
    """A worker's limiter that knows the stored quotas."""
    limiter = Limiter(store or SqlCounterStore(database))
    limiter.set_quotas(await SqlQuotaStore(database).all())
    return limiter


async def counted(database: Database, key: str) -> tuple[int, int]:
    """What is taken of a counter in its present window, and how much of it is held."""
    query = text(
        "SELECT coalesce(sum(taken), 0)::bigint AS taken, (SELECT coalesce(sum(held), 0)::bigint"
        " FROM limit_leases WHERE key = :key) AS held FROM limit_counters WHERE key = :key"
    )
    async with database.single() as connection:
        row = (await connection.execute(query, {"key": key})).one()
    return row.taken, row.held


async def let_leases_expire(database: Database) -> None:
    """As if nobody had been heard of for long enough."""
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE limit_leases SET expires_at = now() - interval '1 second'")
        )


class Told:
    """`SpentLedger` that knows what it is told."""

    def __init__(self, spent: Mapping[UUID, int | None] | int | None) -> None:
        self.spent_by = spent
        self.asked: list[tuple[Any, Any]] = []

    async def spent(self, quota: Quota, since: Any, until: Any) -> int | None:
        self.asked.append((since, until))
        if isinstance(self.spent_by, Mapping):
            return self.spent_by.get(quota.id)
        return self.spent_by


def dollars(amount: str) -> Decimal:
    return Decimal(amount)
