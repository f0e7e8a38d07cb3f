"""What billing needs of the rest: the sums of usage, and the way to Stripe."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from sqlalchemy import func, select

from model_service.billing.assembly import StripeAccess
from model_service.billing.domain import UsageSum, Used
from model_service.billing.months import day_of, start_of
from model_service.db.tables import usage_series, usage_series_daily
from model_service.db.uow import Database
from model_service.kernel.errors import EgressRefused, StartupFault
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.settings import Settings

_s, _d = usage_series.c, usage_series_daily.c
_COUNTS: Final = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "unpriced",
    "cost",
)


class AccountUsage:
    """`UsageSums` out of the daily sums that metering keeps; they outlive the single events."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def by_day(self, users: Collection[str], since: date, until: date) -> Sequence[UsageSum]:
        """The sums of those users, by model and day of UTC."""
        query = (
            select(
                _s.user_id,
                _s.model,
                _d.period,
                *(func.sum(_d[name]).label(name) for name in _COUNTS),
            )
            .join(usage_series_daily, _d.series == _s.id)
            .where(
                _s.user_id == func.any(sorted(users)),
                # The series of all calls; those of tags count the same calls again.
                _s.tag.is_(None),
                _d.period >= start_of(since),
                _d.period < start_of(until),
            )
            .group_by(_s.user_id, _s.model, _d.period)
        )
        async with self._db.single() as connection:
            rows = (await connection.execute(query)).all()
        return [
            UsageSum(
                row.user_id,
                row.model,
                day_of(row.period),
                Used(
                    requests=int(row.requests),
                    input_tokens=int(row.input_tokens),
                    cached_input_tokens=int(row.cached_input_tokens),
                    cache_write_tokens=int(row.cache_write_tokens + row.cache_write_1h_tokens),
                    output_tokens=int(row.output_tokens),
                    unpriced_requests=int(row.unpriced),
                    cost=row.cost,
                ),
            )
            for row in rows
        ]


def stripe_access(settings: Settings, policy: EgressPolicy) -> StripeAccess | None:
    """The way to Stripe; None without a key.

    Raises:
        StartupFault: its address is malformed, or not one that may be connected to.
    """
    if settings.stripe_api_key is None:
        return None
    try:
        address = vetted_endpoint(settings.stripe_base_url, policy, trusted=True)
    except EgressRefused as error:
        raise StartupFault(f"STRIPE_BASE_URL is malformed: {error.message}") from None
    return StripeAccess(address, settings.stripe_api_key, settings.stripe_meter_event)


def stripe_faults(settings: Settings) -> list[str]:
    """What is wrong with the settings of Stripe."""
    try:
        # With no rule of the policy in the way: that one is checked by itself.
        stripe_access(settings, EgressPolicy((), loopback_allowed=True))
    except StartupFault as fault:
        return list(fault.faults)
    return []
