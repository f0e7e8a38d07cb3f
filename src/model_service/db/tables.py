"""The tables, as SQLAlchemy Core sees them. `migrations/` creates them; a test compares both."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

#: The newest migration; a process that finds it in the database need not load Alembic.
SCHEMA_REVISION = "0001"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _moment() -> DateTime:
    """A point in time to the millisecond, which is what the API shows."""
    return TIMESTAMP(timezone=True, precision=3)


models = Table(
    "models",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
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
    Column("provider_settings", JSONB(none_as_null=True)),
    Column("is_active", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("metadata", JSONB(none_as_null=True)),
    Column("context_window", Integer),
    Column("capabilities", JSONB(none_as_null=True)),
    Column("fallbacks", JSONB(none_as_null=True)),
    Column("created_at", _moment(), nullable=False),
    Column("updated_at", _moment(), nullable=False),
    CheckConstraint("max_tokens >= 1", name="max_tokens_positive"),
)
# At most one row can be the default: the second one would repeat the value true.
Index(
    "uq_models_is_default",
    models.c.is_default,
    unique=True,
    postgresql_where=models.c.is_default,
)
Index("ix_models_created_at_id", models.c.created_at.desc(), models.c.id.desc())
Index("ix_models_provider", models.c.provider)

api_keys = Table(
    "api_keys",
    metadata,
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
    Column("metadata", JSONB(none_as_null=True)),
    Column("created_at", _moment(), nullable=False),
    Column("updated_at", _moment(), nullable=False),
    Column("expires_at", _moment()),
    Column("validated_at", _moment()),
    UniqueConstraint("user_id", "provider", "key_name"),
    # Room for the next version of a row in its own page: counting a use then touches no index.
    postgresql_with={"fillfactor": 85},
)
Index(
    "ix_api_keys_user_id_created_at_id",
    api_keys.c.user_id,
    api_keys.c.created_at.desc(),
    api_keys.c.id.desc(),
)
Index("ix_api_keys_created_at_id", api_keys.c.created_at.desc(), api_keys.c.id.desc())

keyring_wraps = Table(
    "keyring_wraps",
    metadata,
    Column("wrap_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("params", JSONB, nullable=False),
    Column("check_value", LargeBinary, nullable=False),
    Column("created_at", _moment(), nullable=False),
)

keyring_terms = Table(
    "keyring_terms",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("created_at", _moment(), nullable=False),
)

keyring_term_keys = Table(
    "keyring_term_keys",
    metadata,
    Column("term", BigInteger, ForeignKey("keyring_terms.term"), primary_key=True),
    Column(
        "wrap_id",
        Text,
        ForeignKey("keyring_wraps.wrap_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("wrapped", LargeBinary, nullable=False),
)
