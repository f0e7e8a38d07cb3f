"""Webhooks, their secrets, and the outbox of events for them."""

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the tables."""
    _create_webhooks()
    _create_outbox()


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        Column("id", Uuid, primary_key=True),
        Column("url", Text, nullable=False),
        Column("events", ARRAY(Text)),
        Column("description", Text),
        Column("is_active", Boolean, nullable=False),
        Column("disabled_reason", Text),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
    )
    op.create_table(
        "webhook_secrets",
        Column("id", Uuid, primary_key=True),
        Column("webhook_id", Uuid, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        Column("sealed", Text, nullable=False),
        Column("expires_at", _moment()),
    )
    op.create_index(
        "uq_webhook_secrets_webhook_id",
        "webhook_secrets",
        ["webhook_id"],
        unique=True,
        postgresql_where=text("expires_at IS NULL"),
    )
    op.create_index("ix_webhook_secrets_term", "webhook_secrets", [text('"left"(sealed, 8)'), "id"])
    # As for every table of sealed records: see migration 0006.
    op.execute(
        "CREATE TRIGGER keyring_fence BEFORE INSERT OR UPDATE OF sealed ON webhook_secrets"
        " FOR EACH ROW EXECUTE FUNCTION keyring_refuse_destroyed('sealed')"
    )


def _create_outbox() -> None:
    op.create_table(
        "webhook_events",
        Column("id", Uuid, primary_key=True),
        Column("type", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("created_at", _moment(), nullable=False),
    )
    op.create_index("ix_webhook_events_created_at", "webhook_events", ["created_at"])
    op.create_table(
        "webhook_deliveries",
        Column(
            "event_id",
            Uuid,
            ForeignKey("webhook_events.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        Column("webhook_id", Uuid, primary_key=True),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("due_at", _moment(), nullable=False),
        Column("leased_until", _moment()),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "due_at"],
        postgresql_where=text("state = 'pending'"),
    )
    op.create_index(
        "ix_webhook_deliveries_webhook_id_event_id",
        "webhook_deliveries",
        ["webhook_id", "event_id"],
    )
    op.create_table(
        "webhook_attempts",
        Column("event_id", Uuid, primary_key=True),
        Column("webhook_id", Uuid, primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("at", _moment(), nullable=False),
        Column("outcome", Text, nullable=False),
        Column("status", Integer),
        Column("latency_ms", Integer, nullable=False),
        ForeignKeyConstraint(
            ["event_id", "webhook_id"],
            ["webhook_deliveries.event_id", "webhook_deliveries.webhook_id"],
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    """Drop them again."""
    for table in (
        "webhook_attempts",
        "webhook_deliveries",
        "webhook_events",
        "webhook_secrets",
        "webhooks",
    ):
        op.drop_table(table)
