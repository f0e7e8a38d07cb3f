"""Usage events by month, and their sums by hour and day.

Sums are kept twice: by each single value of a dimension, for the summaries that everybody asks
for, and by series, which are the combinations of values that occur, for all others. There are
about as many series in an hour as there are calls, so they have sums by the day alone.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from model_service.db.tables.base import metadata, moment

# In an order that leaves no gaps between columns of fixed width: they come first, widest first.
usage_events = Table(
    "usage_events",
    metadata,
    Column("time", moment(), primary_key=True),
    Column("id", Uuid, primary_key=True),
    Column("token_id", Uuid),
    Column("key_id", Uuid),
    Column("input_tokens", Integer, nullable=False),
    Column("cached_input_tokens", Integer, nullable=False),
    Column("cache_write_tokens", Integer, nullable=False),
    Column("cache_write_1h_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("latency_ms", REAL, nullable=False),
    Column("first_token_ms", REAL),
    Column("status", SmallInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("user_id", Text),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("cost", Numeric),
    Column("price_version", Text),
    Column("fallback_from", Text),
    Column("error_class", Text),
    Column("tags", ARRAY(Text)),
    Column("why", JSONB(none_as_null=True)),
    postgresql_partition_by="RANGE (time)",
)
Index("ix_usage_events_user_id_time", usage_events.c.user_id, usage_events.c.time)
# Its entries are as small for long ids as for short ones.
Index("ix_usage_events_request_id", usage_events.c.request_id, postgresql_using="hash")

# One row. Events from before then were dropped: such a one is not taken again, for nobody could
# say whether the sums have it already.
usage_horizon = Table(
    "usage_horizon",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kept_since", moment(), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

usage_series = Table(
    "usage_series",
    metadata,
    # A hash of the rest, so that every process finds it without a question.
    Column("id", Uuid, primary_key=True),
    Column("user_id", Text),
    Column("token_id", Uuid),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("key_id", Uuid),
    Column("status", SmallInteger, nullable=False),
    # Null in the series of all calls; beside it there is one for each tag of theirs.
    Column("tag", Text),
)
Index("ix_usage_series_user_id", usage_series.c.user_id)
Index("ix_usage_series_token_id", usage_series.c.token_id)
Index("ix_usage_series_key_id", usage_series.c.key_id)
Index("ix_usage_series_tag", usage_series.c.tag, postgresql_where=usage_series.c.tag.is_not(None))


def _sums() -> list[Column[Any]]:
    return [
        Column("requests", BigInteger, nullable=False),
        Column("errors", BigInteger, nullable=False),
        Column("unpriced", BigInteger, nullable=False),
        Column("estimated", BigInteger, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("cached_input_tokens", BigInteger, nullable=False),
        Column("cache_write_tokens", BigInteger, nullable=False),
        Column("cache_write_1h_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Column("reasoning_tokens", BigInteger, nullable=False),
        Column("cost", Numeric, nullable=False),
    ]


def _by_value(grain: str) -> Table:
    table = Table(
        f"usage_{grain}",
        metadata,
        Column("dimension", SmallInteger, primary_key=True, autoincrement=False),
        # Empty for calls that have none.
        Column("value", Text, primary_key=True),
        Column("period", moment(), primary_key=True),
        *_sums(),
        # Room for the next version of a row in its own page: adding to it touches no index.
        postgresql_with={"fillfactor": 90},
    )
    Index(f"ix_usage_{grain}_dimension_period", table.c.dimension, table.c.period)
    return table


usage_hourly = _by_value("hourly")
usage_daily = _by_value("daily")
usage_series_daily = Table(
    "usage_series_daily",
    metadata,
    Column("series", Uuid, primary_key=True),
    Column("period", moment(), primary_key=True),
    *_sums(),
    postgresql_with={"fillfactor": 90},
)
Index("ix_usage_series_daily_period", usage_series_daily.c.period)
