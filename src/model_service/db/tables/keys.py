"""The provider keys' table."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment

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
    Column("last_used_at", moment()),
    Column("usage_count", BigInteger, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("is_valid", Boolean, nullable=False),
    Column("metadata", JSONB(none_as_null=True)),
    Column("created_at", moment(), nullable=False),
    Column("updated_at", moment(), nullable=False),
    Column("expires_at", moment()),
    Column("validated_at", moment()),
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
# The first 8 characters name the term (kernel.sealed), for re-encrypting what an old one sealed.
Index("ix_api_keys_term", func.left(api_keys.c.encrypted_key, 8), api_keys.c.id)
