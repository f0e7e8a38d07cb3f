"""Access tokens, the key they are hashed with, and the versions of change notices."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "access_tokens",
        Column("id", Uuid, primary_key=True),
        Column("digest", LargeBinary, nullable=False),
        Column("role", Text, nullable=False),
        Column("user_id", Text),
        Column("label", Text),
        Column("scopes", JSONB),
        Column("created_at", _moment(), nullable=False),
        Column("expires_at", _moment()),
        Column("last_used_at", _moment()),
        UniqueConstraint("digest", name="uq_access_tokens_digest"),
        CheckConstraint("(role = 'user') = (user_id IS NOT NULL)", name="user_of_user_tokens"),
        postgresql_with={"fillfactor": 85},
    )
    op.create_index("ix_access_tokens_user_id_id", "access_tokens", ["user_id", text("id DESC")])
    op.create_table(
        "access_keys",
        Column("purpose", Text, primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("sealed", Text, nullable=False),
        Column("created_at", _moment(), nullable=False),
        UniqueConstraint("id", name="uq_access_keys_id"),
    )
    op.create_table(
        "change_versions",
        Column("topic", Text, primary_key=True),
        Column("version", BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop them again."""
    for table in ("change_versions", "access_keys", "access_tokens"):
        op.drop_table(table)
