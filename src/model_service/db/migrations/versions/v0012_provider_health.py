"""How the providers are doing."""

from alembic import op
from sqlalchemy import Column, DateTime, Integer, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "provider_states",
        Column("provider", Text, primary_key=True),
        Column("endpoint", Text, primary_key=True),
        Column("model", Text, primary_key=True),
        Column("names", ARRAY(Text), nullable=False),
        Column("state", Text, nullable=False),
        Column("since", _moment(), nullable=False),
        Column("changed_at", _moment(), nullable=False),
        Column("retry_at", _moment()),
        Column("error", Text),
        Column("why", Text, nullable=False),
    )
    op.create_table(
        "provider_state_changes",
        Column("id", Uuid, primary_key=True),
        Column("provider", Text, nullable=False),
        Column("endpoint", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("names", ARRAY(Text), nullable=False),
        Column("state", Text, nullable=False),
        Column("at", _moment(), nullable=False),
        Column("error", Text),
        Column("why", Text, nullable=False),
        Column("instance", Text, nullable=False),
    )
    op.create_index("ix_provider_state_changes_at", "provider_state_changes", ["at"])
    op.create_table(
        "provider_numbers",
        Column("instance", Text, primary_key=True),
        Column("provider", Text, primary_key=True),
        Column("endpoint", Text, primary_key=True),
        Column("model", Text, primary_key=True),
        Column("names", ARRAY(Text), nullable=False),
        Column("state", Text, nullable=False),
        Column("since", _moment(), nullable=False),
        Column("calls", Integer, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("latencies", JSONB, nullable=False),
        Column("first_tokens", JSONB, nullable=False),
        Column("last_error", Text),
        Column("last_error_why", Text, nullable=False),
        Column("last_error_at", _moment()),
        Column("updated_at", _moment(), nullable=False),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("ix_provider_numbers_updated_at", "provider_numbers", ["updated_at"])


def downgrade() -> None:
    """Drop them again."""
    for table in ("provider_numbers", "provider_state_changes", "provider_states"):
        op.drop_table(table)
