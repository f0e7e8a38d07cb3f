"""Grants of provider keys to other users than their owners."""

from alembic import op
from sqlalchemy import CheckConstraint, Column, ForeignKey, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of grants."""
    op.create_table(
        "key_shares",
        Column("id", Uuid, primary_key=True),
        Column(
            "key_id",
            Uuid,
            ForeignKey("api_keys.id", ondelete="CASCADE", name="fk_key_shares_key_id"),
            nullable=False,
        ),
        Column("grantee_user_id", Text, nullable=False),
        Column("scope", Text, nullable=False),
        Column("models", JSONB),
        Column("expires_at", TIMESTAMP(timezone=True, precision=3)),
        Column("created_at", TIMESTAMP(timezone=True, precision=3), nullable=False),
        CheckConstraint("scope IN ('use', 'reveal')", name="ck_key_shares_scope"),
    )
    op.create_index(
        "uq_key_shares_grantee_user_id_key_id",
        "key_shares",
        ["grantee_user_id", "key_id"],
        unique=True,
    )
    op.create_index("ix_key_shares_key_id_id", "key_shares", ["key_id", text("id DESC")])


def downgrade() -> None:
    """Drop it again, and with it every grant."""
    op.drop_table("key_shares")
