"""Editions of the price book that were brought in."""

from alembic import op
from sqlalchemy import Column, DateTime, Integer, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "price_editions",
        Column("id", Uuid, primary_key=True),
        Column("name", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("format", Text, nullable=False),
        Column("effective_from", _moment(), nullable=False),
        Column("imported_at", _moment(), nullable=False),
        Column("imported_by", Text, nullable=False),
        Column("models", Integer, nullable=False),
        Column("text", Text, nullable=False),
        UniqueConstraint("name", name="uq_price_editions_name"),
        UniqueConstraint("digest", name="uq_price_editions_digest"),
    )


def downgrade() -> None:
    """Drop it again."""
    op.drop_table("price_editions")
