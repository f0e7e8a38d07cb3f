"""Metering: telling billing systems from hour to hour what accounts use."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from model_service.billing.domain import (
    CURRENCY,
    EXACT,
    NOTHING,
    Account,
    Membership,
    UsageSums,
    Used,
    charged,
)
from model_service.billing.months import Month, day_of, last_second_of
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions

log = structlog.get_logger(__name__)

#: Days before today in which usage that came late is still metered. Stripe takes none that is
#: older than 35 days; the rest is time to get it there.
LATE_DAYS: Final = 33
# How many of those are looked at each hour; the others once a day.
_EACH_HOUR: Final = 2
_LOOK_SECONDS: Final = 60.0
_BATCH: Final = 100
_USERS_AT_ONCE: Final = 50


class MeterState(StrEnum):
    """How far a meter has come on its way to Stripe."""

    UNEXPORTED = "unexported"
    """It is not for Stripe: the account had no customer there."""
    PENDING = "pending"
    """It is to be sent, or sent again."""
    SENT = "sent"
    """Stripe has it."""
    PARKED = "parked"
    """It waits for somebody to look at it; `reason` says why."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What one account used, as far as no meter before said so: of one day, told in one hour.

    `microdollars` is what is billed for it, markup included, in millionths of a dollar: the
    whole ones, the rest comes with the day's next. It is negative when a day came to less than
    was told: its user turned out to be with another account, or the markup was lowered.
    """

    id: UUID
    account_id: UUID
    day: date
    occurred_at: datetime
    used: Used
    microdollars: int
    stripe_customer_id: str | None
    created_at: datetime
    state: MeterState
    reason: str | None = None
    attempts: int = 0
    refusals: int = 0
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Metered:
    """What was told of a day so far."""

    used: Used = NOTHING
    microdollars: int = 0


class AccountReader(Protocol):
    """What metering needs of accounts. See `meter_store.SqlMeterStore` and `store`."""

    async def held(self, account_id: UUID) -> Account | None:
        """One account, held until the transaction ends."""
        ...

    async def memberships(self, account_id: UUID) -> Sequence[Membership]:
        """All its memberships."""
        ...


class Markups(Protocol):
    """The markups that closed months were billed at."""

    async def markups(self, account_id: UUID) -> Mapping[Month, Decimal]:
        """The markup of each closed month."""
        ...


class MeterStore(Protocol):
    """Where meters are kept. See `meter_store.SqlMeterStore`."""

    async def unmetered(self, hour: datetime, limit: int) -> Sequence[UUID]:
        """Accounts that were not metered since that hour began."""
        ...

    async def begin(self, account_id: UUID, hour: datetime) -> datetime | None:
        """Note that an account is metered for this hour; gives the hour it was before.

        None: never. The hour itself: somebody was faster.
        """
        ...

    async def told(self, account_id: UUID, since: date) -> Mapping[date, Metered]:
        """What was told of that day and later ones."""
        ...

    async def add(self, meter: Meter, now_told: Metered) -> None:
        """Keep a meter, and what has been told of its day with it."""
        ...


class Collector:
    """Makes a meter out of whatever is new, once an hour for each account.

    A job; any number may run at once: an account's hour is one transaction, which takes the
    account, compares what is known with what was told, and notes and announces the difference.
    """

    def __init__(
        self,
        transactions: Transactions,
        accounts: AccountReader,
        markups: Markups,
        store: MeterStore,
        usage: UsageSums,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._accounts = accounts
        self._markups = markups
        self._store = store
        self._usage = usage
        self._announcer = announcer
        self._clock = clock

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        while True:
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("metering waits for the database")
            await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> int:
        """Meter every account that was not metered in this hour; how many meters that made.

        Raises:
            DatabaseUnavailable: the rest is done later.
        """
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        count = 0
        while batch := await self._store.unmetered(hour, _BATCH):
            for account_id in batch:
                count += await self._meter(account_id, hour)
        return count

    async def _meter(self, account_id: UUID, hour: datetime) -> int:
        async with self._transactions.transaction():
            account = await self._accounts.held(account_id)
            if account is None:
                return 0
            before = await self._store.begin(account_id, hour)
            if before is not None and before >= hour:
                return 0
            daily = before is None or day_of(before) != day_of(hour)
            now = self._clock.now()
            today = day_of(now)
            since = max(
                today - timedelta(days=LATE_DAYS if daily else _EACH_HOUR - 1),
                account.first_month.first_day,
            )
            known = await self._known(account, since, today + timedelta(days=1))
            told = await self._store.told(account_id, since)
            meters = 0
            for day in sorted({*known, *told}):
                meters += await self._tell(
                    account, day, known.get(day, Metered()), told.get(day, Metered()), now
                )
        return meters

    async def _known(self, account: Account, since: date, until: date) -> dict[date, Metered]:
        """What each day comes to, as far as is known."""
        memberships = await self._accounts.memberships(account.id)
        users = sorted(
            {one.user_id for one in memberships if one.until is None or one.until > since}
        )
        markups = await self._markups.markups(account.id) if users else {}
        of_user: dict[str, list[Membership]] = {}
        for membership in memberships:
            of_user.setdefault(membership.user_id, []).append(membership)
        days: dict[date, Used] = {}
        # A few users at a time, so that others are answered in between.
        for start in range(0, len(users), _USERS_AT_ONCE):
            few = users[start : start + _USERS_AT_ONCE]
            for entry in await self._usage.by_day(few, since, until):
                if any(one.covers(entry.day) for one in of_user[entry.user_id]):
                    days[entry.day] = days.get(entry.day, NOTHING).plus(entry.used)
        return {
            day: Metered(
                used,
                microdollars(
                    charged(used.cost, markups.get(Month.of(day), account.terms.markup_percent))
                ),
            )
            for day, used in days.items()
        }

    async def _tell(
        self, account: Account, day: date, known: Metered, told: Metered, now: datetime
    ) -> int:
        difference = minus(known.used, told.used)
        new = known.microdollars - told.microdollars
        if difference == NOTHING and new == 0:
            return 0
        customer = account.stripe_customer_id if new else None
        meter = Meter(
            id=uuid7(),
            account_id=account.id,
            day=day,
            # Within its day, so that it falls into the right month there too.
            occurred_at=min(now, last_second_of(day)),
            used=difference,
            microdollars=new,
            stripe_customer_id=customer,
            created_at=now,
            state=MeterState.UNEXPORTED if customer is None else MeterState.PENDING,
        )
        await self._store.add(meter, known)
        await self._announcer.announce(EventType.USAGE_METERED, announced(meter))
        return 1


def microdollars(amount: Decimal) -> int:
    """The whole millionths of a dollar in an amount."""
    return int(amount.scaleb(6, EXACT).to_integral_value(ROUND_FLOOR))


def minus(one: Used, other: Used) -> Used:
    """The difference, class by class; negative where the other is more."""
    return Used(
        one.requests - other.requests,
        one.input_tokens - other.input_tokens,
        one.cached_input_tokens - other.cached_input_tokens,
        one.cache_write_tokens - other.cache_write_tokens,
        one.output_tokens - other.output_tokens,
        one.unpriced_requests - other.unpriced_requests,
        EXACT.subtract(one.cost, other.cost),
    )


def announced(meter: Meter) -> dict[str, Any]:
    """A meter as webhooks tell of it."""
    used = meter.used
    return {
        "meterId": str(meter.id),
        "accountId": str(meter.account_id),
        "day": meter.day.isoformat(),
        "requests": used.requests,
        "inputTokens": used.input_tokens,
        "cachedInputTokens": used.cached_input_tokens,
        "cacheWriteTokens": used.cache_write_tokens,
        "outputTokens": used.output_tokens,
        "unpricedRequests": used.unpriced_requests,
        "cost": float(used.cost),
        "billedMicrodollars": meter.microdollars,
        "currency": CURRENCY,
    }
