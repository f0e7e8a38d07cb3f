"""The registry's table."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment

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
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
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
