"""What was used, by the usage events."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, case, func, select

from model_service.db.tables import usage_events
from model_service.db.uow import Database
from model_service.kernel.counting import NANO, Metric, Quota

#: How long a call can take.
LONGEST_CALL: Final = timedelta(hours=1)

_e = usage_events.c

_ended: Final = _e.time + func.make_interval(0, 0, 0, 0, 0, 0, _e.latency_ms / 1000)
_TOKENS: Final = (
    _e.input_tokens
    + _e.cached_input_tokens
    + _e.cache_write_tokens
    + _e.cache_write_1h_tokens
    + _e.output_tokens
)


class UsageLedger:
    """`SpentLedger` on the usage events that workers handed over."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def spent(self, quota: Quota, since: datetime, until: datetime) -> int | None:
        """What counted calls used that ended between the two moments."""
        query = select(_amount(quota.metric)).where(
            # A call may have begun at any time before it ended; this is for the partitions.
            _e.time <= until,
            _e.time >= since - LONGEST_CALL,
            _ended >= since,
            _ended <= until,
        )
        if quota.user_id is not None:
            query = query.where(_e.user_id == quota.user_id)
        if quota.token_id is not None:
            query = query.where(_e.token_id == quota.token_id)
        if quota.model is not None:
            named = case((_e.fallback_from.is_not(None), _e.fallback_from), else_=_e.model)
            query = query.where(named == quota.model)
        async with self._db.single() as connection:
            found = await connection.scalar(query)
        return int(found or 0)


def _amount(metric: Metric) -> ColumnElement[int]:
    """In the metric's unit. Costs were each rounded up: a billionth of a dollar more for each."""
    if metric is Metric.REQUESTS:
        return func.count()
    if metric is Metric.TOKENS:
        return func.sum(_TOKENS)
    return func.ceil(func.sum(func.coalesce(_e.cost, 0)) * NANO) + func.count()
