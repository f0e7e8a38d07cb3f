"""Rotation of provider keys: earlier and coming values, the journal, policies, what was issued."""

from typing import Any

from alembic import op
from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def _of_key(*, primary: bool = False) -> Column[Any]:
    return Column(
        "key_id",
        Uuid,
        ForeignKey("api_keys.id", ondelete="CASCADE"),
        primary_key=primary,
        nullable=False,
    )


def upgrade() -> None:
    """Create the tables."""
    _create_versions()
    _create_steps()
    _create_policies()
    _create_issued()


def _create_versions() -> None:
    op.create_table(
        "api_key_versions",
        Column("id", Uuid, primary_key=True),
        _of_key(),
        Column("version", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("encrypted_key", Text, nullable=False),
        Column("key_prefix", Text, nullable=False),
        Column("endpoint", Text),
        Column("retire_at", _moment()),
        Column("created_at", _moment(), nullable=False),
    )
    op.create_index(
        "uq_api_key_versions_key_id_version", "api_key_versions", ["key_id", "version"], unique=True
    )
    op.create_index("ix_api_key_versions_retire_at", "api_key_versions", ["retire_at"])
    op.create_index(
        "ix_api_key_versions_term", "api_key_versions", [text("left(encrypted_key, 8)"), "id"]
    )


def _create_steps() -> None:
    op.create_table(
        "key_rotation_steps",
        Column("id", Uuid, primary_key=True),
        _of_key(),
        Column("rotation_id", Uuid, nullable=False),
        Column("version", Integer, nullable=False),
        Column("state", Text, nullable=False),
        Column("automatic", Boolean, nullable=False),
        Column("reason", Text),
        Column("at", _moment(), nullable=False),
    )
    op.create_index("ix_key_rotation_steps_key_id_id", "key_rotation_steps", ["key_id", "id"])
    op.create_index(
        "ix_key_rotation_steps_pending",
        "key_rotation_steps",
        ["at"],
        postgresql_where=text("state = 'pending'"),
    )


def _create_policies() -> None:
    op.create_table(
        "key_rotation_policies",
        _of_key(primary=True),
        Column("mode", Text, nullable=False),
        Column("every_days", Integer),
        Column("grace_seconds", Integer),
        Column("credential_id", Uuid),
        Column("target", Text),
        Column("due_at", _moment()),
        Column("retry_at", _moment()),
        Column("reason", Text),
        Column("manual", Boolean, nullable=False),
        Column("updated_at", _moment(), nullable=False),
    )
    op.create_index("ix_key_rotation_policies_due_at", "key_rotation_policies", ["due_at"])
    op.create_table(
        "key_reminders",
        _of_key(primary=True),
        Column("kind", Text, primary_key=True),
        Column("notice", Text, primary_key=True),
        Column("about", _moment(), primary_key=True),
        Column("sent_at", _moment(), nullable=False),
    )


def _create_issued() -> None:
    op.create_table(
        "issued_keys",
        Column("id", Uuid, primary_key=True),
        Column("key_id", Uuid, nullable=False),
        Column("rotation_id", Uuid, nullable=False),
        Column("version", Integer, nullable=False),
        Column("provider", Text, nullable=False),
        Column("credential_id", Uuid, nullable=False),
        Column("target", Text, nullable=False),
        Column("reference", Text),
        Column("former", Text),
        Column("state", Text, nullable=False),
        Column("claimed_until", _moment(), nullable=False),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
    )
    op.create_index(
        "uq_issued_keys_key_id",
        "issued_keys",
        ["key_id"],
        unique=True,
        postgresql_where=text("state IN ('requested', 'issued')"),
    )
    op.create_index("ix_issued_keys_key_id_version", "issued_keys", ["key_id", "version"])
    op.create_index("ix_issued_keys_state_claimed_until", "issued_keys", ["state", "claimed_until"])
    op.create_table(
        "provider_admin_credentials",
        Column("id", Uuid, primary_key=True),
        Column("provider", Text, nullable=False),
        Column("label", Text),
        Column("settings", JSONB, nullable=False),
        Column("sealed", Text, nullable=False),
        Column("created_at", _moment(), nullable=False),
    )


def downgrade() -> None:
    """Drop them again."""
    for table in (
        "provider_admin_credentials",
        "issued_keys",
        "key_reminders",
        "key_rotation_policies",
        "key_rotation_steps",
        "api_key_versions",
    ):
        op.drop_table(table)
