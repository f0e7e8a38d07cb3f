"""Usage events for tests, and their sums as plain Python adds them up."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.http.wire import format_moment
from model_service.kernel.types import uuid7
from model_service.usage.domain import Dimension, Sums, UsageEvent
from model_service.usage.partitions import Months
from model_service.usage.records import event_payload, origin
from model_service.usage.store import SqlUsageSink

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TABLES = (
    "usage_events", "usage_hourly", "usage_daily",
    "usage_series", "usage_series_daily",
)  # fmt: skip


def event(**changes: Any) -> UsageEvent:
    """A call like many others, but for what is given."""
    usual: dict[str, Any] = {
        "id": uuid7(), "time": NOON, "request_id": str(uuid7()), "user_id": "ada",
        "token_id": None, "model": "fast", "provider": "OPENAI", "upstream_model": "gpt-5-mini",
        "key_id": None, "door": "openai", "operation": "chat", "status": 200, "stream": False,
        "input_tokens": 11, "cached_input_tokens": 5, "cache_write_tokens": 3,
        "cache_write_1h_tokens": 2, "output_tokens": 7, "reasoning_tokens": 4,
        "cost": Decimal("0.000123"), "price_version": "2026-01-01", "latency_ms": 120.5,
        "attempts": 1,
    }  # fmt: skip
    return UsageEvent(**usual | changes)


def payload_of(one: UsageEvent) -> bytes:
    """The same call as a process writes it into its journal."""
    return event_payload(
        str(one.id), round(one.time.timestamp() * 1000), one.request_id,
        origin(
            one.user_id, one.token_id, one.model, one.provider, one.upstream_model, one.key_id,
            one.door, one.operation, one.stream,
        ),
        one.status, one.input_tokens, one.cached_input_tokens, one.cache_write_tokens,
        one.cache_write_1h_tokens, one.output_tokens, one.reasoning_tokens,
        None if one.cost is None else str(one.cost), one.price_version, one.latency_ms,
        one.first_token_ms, one.attempts, one.fallback_from, one.estimated, one.error_class,
        one.tags, one.why,
    )  # fmt: skip


@dataclass
class CountedKeys:
    """`KeyUse` that remembers."""

    uses: dict[UUID, int] = field(default_factory=lambda: defaultdict(int))
    last: dict[UUID, datetime] = field(default_factory=dict)

    async def used(self, counts: str) -> None:
        for one in orjson.loads(counts):
            key_id = UUID(one["key_id"])
            self.uses[key_id] += one["uses"]
            self.last[key_id] = datetime.fromisoformat(one["last_use"])


def sink_on(database: Database, keys: CountedKeys | None = None) -> SqlUsageSink:
    """What keeps events there, as a process has it that has just started."""
    return SqlUsageSink(database, Months(database), keys or CountedKeys())


async def without_usage(database: Database) -> None:
    """Empty the tables of usage; months that were made stay."""
    async with database.transaction() as connection:
        for table in TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        await connection.execute(text("DELETE FROM usage_horizon"))


async def months_made(database: Database) -> list[str]:
    """The tables that hold a month of events."""
    async with database.single() as connection:
        found = await connection.execute(
            text(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
                " WHERE inhparent = 'usage_events'::regclass ORDER BY name"
            )
        )
        return list(found.scalars())


async def without_months(database: Database) -> None:
    """Empty the tables of usage, and drop every month."""
    await without_usage(database)
    for name in await months_made(database):
        async with database.single() as connection:
            await connection.execute(text(f"DROP TABLE {name}"))


def of_event(one: UsageEvent) -> Sums:
    """What one event comes to."""
    return Sums(
        requests=1, errors=int(one.status >= 400), unpriced=int(one.cost is None),
        estimated=int(one.estimated), input_tokens=one.input_tokens,
        cached_input_tokens=one.cached_input_tokens, cache_write_tokens=one.cache_write_tokens,
        cache_write_1h_tokens=one.cache_write_1h_tokens, output_tokens=one.output_tokens,
        reasoning_tokens=one.reasoning_tokens, cost=one.cost or Decimal(),
    )  # fmt: skip


def total(events: Iterable[UsageEvent]) -> Sums:
    """What events come to."""
    sums = [of_event(one) for one in events]
    return Sums(
        **{
            name: sum((getattr(one, name) for one in sums), start=getattr(Sums(), name))
            for name in Sums.__slots__
        }
    )


def values_of(one: UsageEvent, by: Dimension) -> list[str | None]:
    """Under which values of a dimension it counts."""
    match by:
        case Dimension.USER:
            return [one.user_id]
        case Dimension.MODEL:
            return [one.model]
        case Dimension.PROVIDER:
            return [one.provider]
        case Dimension.KEY:
            return [None if one.key_id is None else str(one.key_id)]
        case Dimension.TOKEN:
            return [None if one.token_id is None else str(one.token_id)]
        case Dimension.DAY:
            return [one.time.astimezone(UTC).date().isoformat()]
        case Dimension.HOUR:
            hour = one.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            return [format_moment(hour)]
        case Dimension.TAG:
            return list(set(one.tags))


def grouped(
    events: Sequence[UsageEvent], by: Sequence[Dimension]
) -> dict[tuple[str | None, ...], Sums]:
    """The sums of each combination of values."""
    groups: dict[tuple[str | None, ...], list[UsageEvent]] = {}
    for one in events:
        combinations: list[tuple[str | None, ...]] = [()]
        for dimension in by:
            combinations = [
                (*before, value) for before in combinations for value in values_of(one, dimension)
            ]
        for combination in combinations:
            groups.setdefault(combination, []).append(one)
    return {values: total(members) for values, members in groups.items()}


def at(**offset: Any) -> datetime:
    """Noon of that day, and some more or less."""
    return NOON + timedelta(**offset)


def renewed(events: Iterable[UsageEvent]) -> list[UsageEvent]:
    """The same calls under new ids."""
    return [replace(one, id=uuid7()) for one in events]
