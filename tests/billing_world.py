"""Billing on real tables, with usage that tests say and a clock that they set."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest_asyncio
from sqlalchemy import text

from model_service.billing.assembly import Billing, StripeAccess
from model_service.billing.closing import Closer
from model_service.billing.domain import (
    NOTHING,
    Account,
    NewAccount,
    Statement,
    Terms,
    UsageSum,
    Used,
)
from model_service.billing.meter_store import SqlMeterStore
from model_service.billing.meters import Collector, Meter, MeterState
from model_service.billing.months import Month
from model_service.billing.outbox import Exporter, MeterSender
from model_service.db.tables import (
    billing_accounts,
    billing_counters,
    billing_credit_notes,
    billing_included,
    billing_memberships,
    billing_metered,
    billing_meters,
    billing_statements,
)
from model_service.db.uow import Database
from model_service.providers.egress import EgressPolicy
from model_service.providers.transport import Transport
from tests.fakes import RecordingAnnouncer, RecordingTrail

TABLES = (
    billing_accounts,
    billing_counters,
    billing_credit_notes,
    billing_included,
    billing_memberships,
    billing_metered,
    billing_meters,
    billing_statements,
)


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def set(self, *parts: int) -> None:
        """To that year, month, day, hour, ... in UTC."""
        self.moment = datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]

    def advance(self, **parts: float) -> None:
        self.moment += timedelta(**parts)


class SaidUsage:
    """`UsageSums` of what a test says was used."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str, date], Used] = {}

    def say(
        self, user: str, day: date, cost: str | Decimal, *, model: str = "m", requests: int = 1
    ) -> None:
        """That one call, or so many, became known now."""
        used = Used(requests, 10 * requests, 0, 0, 5 * requests, 0, Decimal(cost))
        key = (user, model, day)
        self.sums[key] = self.sums.get(key, NOTHING).plus(used)

    async def by_day(self, users: Collection[str], since: date, until: date) -> Sequence[UsageSum]:
        return [
            UsageSum(user, model, day, used)
            for (user, model, day), used in self.sums.items()
            if user in users and since <= day < until
        ]

    @property
    def cost(self) -> Decimal:
        """All that was said."""
        return sum((used.cost for used in self.sums.values()), Decimal(0))


@dataclass
class BillingWorld:
    """The slice, and what it stands on."""

    database: Database
    billing: Billing
    usage: SaidUsage
    clock: SetClock
    trail: RecordingTrail
    announcer: RecordingAnnouncer
    transport: Transport
    chance: float = field(default=0.5)

    async def account(
        self,
        name: str = "acme",
        *users: str,
        markup: str = "0",
        fee: str = "0",
        minimum: str = "0",
        customer: str | None = None,
        first: str | None = None,
    ) -> Account:
        """An account whose users are with it from its first day on."""
        month = None if first is None else Month.parse(first)
        terms = Terms(Decimal(markup), Decimal(fee), Decimal(minimum))
        account = await self.billing.accounts.create(NewAccount(name, terms, customer, month))
        for user in users:
            await self.join(account.id, user, account.first_month.first_day)
        return account

    async def join(self, account_id: UUID, user: str, since: date | None = None) -> None:
        await self.billing.accounts.join(account_id, user, since)

    async def close(self, account_id: UUID, month: str) -> Statement:
        return await self.billing.statements.close(account_id, Month.parse(month))

    async def draft(self, account_id: UUID, month: str) -> Statement:
        return await self.billing.statements.of_month(account_id, Month.parse(month))

    async def meters(self, state: MeterState | None = None) -> list[Meter]:
        """All, oldest first."""
        return list(await self.billing.meters.page(None, state, None, 1000))[::-1]

    def exporter(self, sender: MeterSender | None) -> Exporter:
        """Another process's way to Stripe."""
        return Exporter(
            SqlMeterStore(self.database), sender, self.clock, chance=lambda: self.chance
        )

    @property
    def collector(self) -> Collector:
        return self.billing.collector

    @property
    def closer(self) -> Closer:
        return self.billing.closer


async def empty_billing(database: Database) -> None:
    """Forget all that was billed; only tests can."""
    names = ", ".join(table.name for table in TABLES)
    async with database.transaction() as connection:
        await connection.execute(text(f"TRUNCATE {names} CASCADE"))


@asynccontextmanager
async def billing_world(
    database: Database, stripe: StripeAccess | None = None
) -> AsyncIterator[BillingWorld]:
    """Billing on empty tables, at noon of 15 January 2026."""
    await empty_billing(database)
    clock = SetClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    usage, trail, announcer = SaidUsage(), RecordingTrail(), RecordingAnnouncer()
    transport = Transport(EgressPolicy((), loopback_allowed=True))
    built = Billing.build(database, usage, transport, stripe, trail, announcer, clock)
    try:
        yield BillingWorld(database, built, usage, clock, trail, announcer, transport)
    finally:
        await transport.aclose()


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[BillingWorld]:
    """Billing, without a way to Stripe."""
    async with billing_world(database) as world:
        yield world
