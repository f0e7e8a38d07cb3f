"""Models, provider keys and the keyring."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _moment() -> DateTime:
    return TIMESTAMP(timezone=True, precision=3)


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "models",
        Column("id", Uuid, primary_key=True),
        Column("name", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("model_id", Text, nullable=False),
        Column("description", Text),
        Column("max_tokens", Integer, nullable=False),
        Column("supports_streaming", Boolean, nullable=False),
        Column("default_temperature", Double),
        Column("rate_limit_per_minute", Integer),
        Column("rate_limit_per_hour", Integer),
        Column("rate_limit_per_day", Integer),
        Column("input_cost_per_1k_tokens", Numeric),
        Column("output_cost_per_1k_tokens", Numeric),
        Column("cached_input_cost_per_1k_tokens", Numeric),
        Column("cache_write_cost_per_1k_tokens", Numeric),
        Column("provider_settings", JSONB),
        Column("is_active", Boolean, nullable=False),
        Column("is_default", Boolean, nullable=False),
        Column("metadata", JSONB),
        Column("context_window", Integer),
        Column("capabilities", JSONB),
        Column("fallbacks", JSONB),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
        UniqueConstraint("name", name="uq_models_name"),
        CheckConstraint("max_tokens >= 1", name="max_tokens_positive"),
    )
    op.create_index(
        "uq_models_is_default",
        "models",
        ["is_default"],
        unique=True,
        postgresql_where=text("is_default"),
    )
    op.create_index("ix_models_created_at_id", "models", [text("created_at DESC"), text("id DESC")])
    op.create_index("ix_models_provider", "models", ["provider"])
    op.create_table(
        "api_keys",
        Column("id", Uuid, primary_key=True),
        Column("user_id", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("key_name", Text, nullable=False),
        Column("encrypted_key", Text, nullable=False),
        Column("key_version", Integer, nullable=False),
        Column("key_prefix", Text, nullable=False),
        Column("last_used_at", _moment()),
        Column("usage_count", BigInteger, nullable=False),
        Column("is_active", Boolean, nullable=False),
        Column("is_valid", Boolean, nullable=False),
        Column("metadata", JSONB),
        Column("created_at", _moment(), nullable=False),
        Column("updated_at", _moment(), nullable=False),
        Column("expires_at", _moment()),
        Column("validated_at", _moment()),
        UniqueConstraint(
            "user_id", "provider", "key_name", name="uq_api_keys_user_id_provider_key_name"
        ),
        postgresql_with={"fillfactor": 85},
    )
    op.create_index(
        "ix_api_keys_user_id_created_at_id",
        "api_keys",
        ["user_id", text("created_at DESC"), text("id DESC")],
    )
    op.create_index(
        "ix_api_keys_created_at_id", "api_keys", [text("created_at DESC"), text("id DESC")]
    )
    op.create_table(
        "keyring_wraps",
        Column("wrap_id", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("params", JSONB, nullable=False),
        Column("check_value", LargeBinary, nullable=False),
        Column("created_at", _moment(), nullable=False),
    )
    op.create_table(
        "keyring_terms",
        Column("term", BigInteger, primary_key=True, autoincrement=False),
        Column("state", Text, nullable=False),
        Column("created_at", _moment(), nullable=False),
    )
    op.create_table(
        "keyring_term_keys",
        Column("term", BigInteger, ForeignKey("keyring_terms.term"), primary_key=True),
        Column(
            "wrap_id",
            Text,
            ForeignKey("keyring_wraps.wrap_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        Column("wrapped", LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop everything again."""
    for table in ("keyring_term_keys", "keyring_terms", "keyring_wraps", "api_keys", "models"):
        op.drop_table(table)
