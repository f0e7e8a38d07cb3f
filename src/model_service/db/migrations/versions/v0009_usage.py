"""Usage events by month, and their sums."""

from typing import Any, Final

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Integer,
    Numeric,
    SmallInteger,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, TIMESTAMP

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_GRAINS: Final = ("hourly", "daily")


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the tables. The months of events are made when they are needed."""
    _create_events()
    op.create_table(
        "usage_horizon",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("kept_since", _moment(), nullable=False),
        CheckConstraint("id = 1", name="one_row"),
    )
    op.execute("INSERT INTO usage_horizon VALUES (1, '1970-01-01 00:00:00+00')")
    _create_series()
    for grain in _GRAINS:
        _create_sums(grain)


def _create_events() -> None:
    op.create_table(
        "usage_events",
        Column("time", _moment(), primary_key=True),
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
        Column("why", JSONB),
        postgresql_partition_by="RANGE (time)",
    )
    op.create_index("ix_usage_events_user_id_time", "usage_events", ["user_id", "time"])
    op.create_index(
        "ix_usage_events_request_id", "usage_events", ["request_id"], postgresql_using="hash"
    )


def _create_series() -> None:
    op.create_table(
        "usage_series",
        Column("id", Uuid, primary_key=True),
        Column("user_id", Text),
        Column("token_id", Uuid),
        Column("model", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("key_id", Uuid),
        Column("status", SmallInteger, nullable=False),
        Column("tag", Text),
    )
    for name in ("user_id", "token_id", "key_id"):
        op.create_index(f"ix_usage_series_{name}", "usage_series", [name])
    op.create_index(
        "ix_usage_series_tag", "usage_series", ["tag"], postgresql_where=text("tag IS NOT NULL")
    )
    op.create_table(
        "usage_series_daily",
        Column("series", Uuid, primary_key=True),
        Column("period", _moment(), primary_key=True),
        *_sums(),
        postgresql_with={"fillfactor": 90},
    )
    op.create_index("ix_usage_series_daily_period", "usage_series_daily", ["period"])


def _create_sums(grain: str) -> None:
    op.create_table(
        f"usage_{grain}",
        Column("dimension", SmallInteger, primary_key=True, autoincrement=False),
        Column("value", Text, primary_key=True),
        Column("period", _moment(), primary_key=True),
        *_sums(),
        postgresql_with={"fillfactor": 90},
    )
    op.create_index(f"ix_usage_{grain}_dimension_period", f"usage_{grain}", ["dimension", "period"])


def _sums() -> list[Column[Any]]:
    counts = (
        "requests",
        "errors",
        "unpriced",
        "estimated",
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
    return [
        *(Column(name, BigInteger, nullable=False) for name in counts),
        Column("cost", Numeric, nullable=False),
    ]


def downgrade() -> None:
    """Drop them again, the months with the events."""
    for grain in _GRAINS:
        op.drop_table(f"usage_{grain}")
    for table in ("usage_series_daily", "usage_series", "usage_horizon", "usage_events"):
        op.drop_table(table)
