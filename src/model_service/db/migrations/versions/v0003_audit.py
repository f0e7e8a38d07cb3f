"""The audit trail."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    LargeBinary,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the chain, empty, and what it is signed with."""
    op.create_table(
        "audit_records",
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("id", Uuid, nullable=False),
        Column("time", _moment(), nullable=False),
        Column("type", Text, nullable=False),
        Column("phase", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("on_behalf_of", Text),
        Column("subject", Text),
        Column("provider", Text),
        Column("purpose", Text),
        Column("request_id", Text),
        Column("client_address", Text),
        Column("decision", Text, nullable=False),
        Column("reason", Text),
        Column("ciphertext_sha256", Text),
        Column("term", BigInteger),
        Column("instance", Text, nullable=False),
        Column("prev_hash", LargeBinary, nullable=False),
        Column("hash", LargeBinary, nullable=False),
    )
    op.create_index("ix_audit_records_time", "audit_records", ["time"])
    for column in ("type", "actor", "subject"):
        op.create_index(f"ix_audit_records_{column}_seq", "audit_records", [column, "seq"])
    op.create_index(
        "ix_audit_records_ciphertext",
        "audit_records",
        ["subject", "seq"],
        postgresql_where=text("ciphertext_sha256 IS NOT NULL OR type = 'key.delete'"),
    )
    op.create_table(
        "audit_head",
        Column("single", Boolean, primary_key=True),
        Column("seq", BigInteger, nullable=False),
        Column("hash", LargeBinary, nullable=False),
        CheckConstraint("single", name="one_row"),
        postgresql_with={"fillfactor": 10},
    )
    op.execute("INSERT INTO audit_head VALUES (true, 0, decode(repeat('00', 32), 'hex'))")
    op.create_table(
        "audit_checkpoints",
        Column("kind", Text, primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("document", Text, nullable=False),
        Column("signature", LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_keys",
        Column("purpose", Text, primary_key=True),
        Column("id", Uuid, nullable=False),
        Column("sealed", Text, nullable=False),
        Column("created_at", _moment(), nullable=False),
    )


def downgrade() -> None:
    """Drop the trail."""
    for table in ("audit_keys", "audit_checkpoints", "audit_head", "audit_records"):
        op.drop_table(table)
