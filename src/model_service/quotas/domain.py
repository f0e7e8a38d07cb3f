"""What a quota is as it is managed, how it stands, and what the slice needs from outside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from model_service.kernel.counting import NANO, Metric, Quota, Window
from model_service.kernel.errors import FieldFault, InvalidInput

#: Parts of a quota, in percent, at which receivers are told how much of it is used.
THRESHOLDS: Final = (50, 80, 100)
#: Largest limit, in the metric's own unit: a billion dollars, or as many billionths of tokens.
MOST_LIMIT: Final = 10**18

Refresh = Callable[[], Awaitable[None]]
"""Has what this process spent counted, so that what is shown is what is so."""


@dataclass(frozen=True, slots=True)
class NewQuota:
    """A quota to be set. `limit` is in requests, tokens or US dollars."""

    metric: Metric
    window: Window
    limit: Decimal
    user_id: str | None = None
    token_id: UUID | None = None
    model: str | None = None

    def check(self) -> None:
        """Raise `InvalidInput` for what does not fit together."""
        faults = []
        if self.user_id is None and self.token_id is None and self.model is None:
            faults.append(FieldFault("userId", "is required, or tokenId, or model"))
        faults += limit_faults(self.metric, self.limit)
        if faults:
            raise InvalidInput(errors=faults)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change says; None of what it does not name. Only the limit may differ."""

    limit: Decimal | None = None
    named: Mapping[str, object] | None = None
    """The other fields that were given, by their names."""


@dataclass(frozen=True, slots=True)
class StoredQuota:
    """A quota with when it was set and changed."""

    quota: Quota
    created_at: datetime
    updated_at: datetime

    @property
    def limit(self) -> Decimal:
        """Its limit, in requests, tokens or US dollars."""
        return from_units(self.quota.metric, self.quota.limit)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a quota stands in its present window, in its metric's unit, at one moment.

    `used` is spent for good; `reserved` is held for calls under way, or leased by a worker.
    """

    used: int
    reserved: int
    begins: datetime
    resets_at: datetime
    moment: datetime

    def exhausted_at(self, limit: int, since: datetime) -> datetime | None:
        """When it will be used up at the pace of the window so far; None: not before it resets.

        Counted from `since`, when the quota was set, if that was later than the window's begin.
        """
        if self.used >= limit:
            return self.moment
        passed = (self.moment - max(self.begins, since)).total_seconds()
        if self.used == 0 or passed <= 0:
            return None
        seconds = passed * (limit - self.used) / self.used
        if seconds >= (self.resets_at - self.moment).total_seconds():
            return None
        return self.moment + timedelta(seconds=seconds)


def to_units(metric: Metric, limit: Decimal) -> int:
    """A limit in the unit it is counted in; checked before by `limit_faults`."""
    return int(limit * NANO if metric is Metric.COST else limit)


def from_units(metric: Metric, amount: int) -> Decimal:
    """An amount as it is shown: costs in US dollars, exactly."""
    return Decimal(amount) / NANO if metric is Metric.COST else Decimal(amount)


def limit_faults(metric: Metric, limit: Decimal) -> list[FieldFault]:
    """What is wrong with a limit of that metric."""
    units = limit * NANO if metric is Metric.COST else limit
    if not 0 <= units <= MOST_LIMIT:
        return [FieldFault("limit", f"must lie between 0 and {from_units(metric, MOST_LIMIT):,}")]
    if units != units.to_integral_value():
        smallest = "of billionths of a dollar" if metric is Metric.COST else f"of {metric.value}"
        return [FieldFault("limit", f"must be a whole number {smallest}")]
    return []


class QuotaStore(Protocol):
    """Where quotas are kept. Every change tells every process."""

    async def add(self, stored: StoredQuota) -> None:
        """Store a new quota."""
        ...

    async def get(self, quota_id: UUID) -> StoredQuota | None:
        """One quota."""
        ...

    async def about(self, quota_id: UUID, user_id: str) -> bool:
        """Whether the quota is for that user, or for a token of that user."""
        ...

    async def page(
        self, user_id: str | None, before: UUID | None, limit: int
    ) -> Sequence[StoredQuota]:
        """Quotas newest first, those older than `before`; of one user and its tokens, or all."""
        ...

    async def all(self) -> Sequence[Quota]:
        """All of them, as calls are measured by them."""
        ...

    async def set_limit(self, quota_id: UUID, limit: int, now: datetime) -> StoredQuota | None:
        """Change the limit; None when there is no such quota."""
        ...

    async def delete(self, quota_id: UUID) -> bool:
        """Remove a quota; whether there was one."""
        ...

    async def standings(self, quota_ids: Sequence[UUID]) -> Mapping[UUID, Standing]:
        """How quotas stand now, by the database's clock."""
        ...


class SpentLedger(Protocol):
    """What was used, by the calls that were answered."""

    async def spent(self, quota: Quota, since: datetime, until: datetime) -> int | None:
        """What calls that the quota counts used, of those that ended between the two moments.

        In the quota's unit, rounded up; None when nobody knows.

        Raises:
            DatabaseUnavailable: that cannot be told now.
        """
        ...
