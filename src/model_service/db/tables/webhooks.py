"""The tables of webhooks: who is told, what, and how telling went.

Deliveries do not refer to `webhooks` by a foreign key: its lock would make every transaction
that announces something wait for whoever deletes a webhook at that moment. What a deleted
webhook leaves behind is swept away.
"""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from model_service.db.tables.base import metadata, moment

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    # Null means every event.
    Column("events", ARRAY(Text)),
    Column("description", Text),
    Column("is_active", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("sealed", Text, nullable=False),
    # Null for the one in use; the one before it signs too until then.
    Column("expires_at", moment()),
)
Index(
    "uq_webhook_secrets_webhook_id",
    webhook_secrets.c.webhook_id,
    unique=True,
    postgresql_where=webhook_secrets.c.expires_at.is_(None),
)
Index("ix_webhook_secrets_term", func.left(webhook_secrets.c.sealed, 8), webhook_secrets.c.id)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("type", Text, nullable=False),
    # As sent, byte for byte, at every attempt and to every receiver.
    Column("body", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
)
Index("ix_webhook_events_created_at", webhook_events.c.created_at)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column(
        "event_id",
        Uuid,
        ForeignKey("webhook_events.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("webhook_id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    # Counted when an attempt is begun; its number is also what its result is stored by.
    Column("attempts", Integer, nullable=False),
    Column("due_at", moment(), nullable=False),
    # Until then a process works on it; after that another may take it over.
    Column("leased_until", moment()),
)
Index(
    "ix_webhook_deliveries_due",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.due_at,
    postgresql_where=webhook_deliveries.c.state == "pending",
)
Index(
    "ix_webhook_deliveries_webhook_id_event_id",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.event_id,
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("webhook_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", moment(), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("latency_ms", Integer, nullable=False),
    ForeignKeyConstraint(
        ["event_id", "webhook_id"],
        ["webhook_deliveries.event_id", "webhook_deliveries.webhook_id"],
        ondelete="CASCADE",
    ),
)
