"""Quotas, and the counters and leases by which limits are kept: see `kernel.counting`.

Amounts are in the metric's unit: requests, tokens, or billionths of a US dollar.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, SmallInteger, Table, Text, Uuid

from model_service.db.tables.base import metadata, moment

quotas = Table(
    "quotas",
    metadata,
    Column("id", Uuid, primary_key=True),
    # What it counts for; at least one of the three.
    Column("user_id", Text),
    Column("token_id", Uuid),
    Column("model", Text),
    Column("metric", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("most", BigInteger, nullable=False),
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
)

# Thresholds that were told of, each once in a window.
quota_alerts = Table(
    "quota_alerts",
    metadata,
    Column("quota_id", Uuid, ForeignKey("quotas.id", ondelete="CASCADE"), primary_key=True),
    Column("window_start", moment(), primary_key=True),
    Column("percent", SmallInteger, primary_key=True, autoincrement=False),
)

limit_counters = Table(
    "limit_counters",
    metadata,
    Column("key", Text, primary_key=True),
    Column("window_start", moment(), primary_key=True),
    Column("window_end", moment(), nullable=False),
    # All that is spent, and all that leases hold.
    Column("taken", BigInteger, nullable=False),
)
Index("ix_limit_counters_window_end", limit_counters.c.window_end)

limit_leases = Table(
    "limit_leases",
    metadata,
    Column("key", Text, primary_key=True),
    Column("window_start", moment(), primary_key=True),
    # A worker's process, and which of its leases it is.
    Column("holder", Uuid, primary_key=True),
    Column("lease", BigInteger, primary_key=True, autoincrement=False),
    Column("window_end", moment(), nullable=False),
    # Of the statement that last changed it, among the holder's.
    Column("number", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    # By then it is renewed, or its holder is taken for dead.
    Column("expires_at", moment(), nullable=False),
    # Since when it is.
    Column("doubted_at", moment()),
)
Index("ix_limit_leases_window_end", limit_leases.c.window_end)
Index(
    "ix_limit_leases_expires_at",
    limit_leases.c.expires_at,
    postgresql_where=limit_leases.c.held > 0,
)
