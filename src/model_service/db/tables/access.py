"""The tables of access tokens, and the versions that change notices count."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("user_id", Text),
    Column("label", Text),
    Column("scopes", JSONB(none_as_null=True)),
    Column("created_at", moment(), nullable=False),
    Column("expires_at", moment()),
    Column("last_used_at", moment()),
    CheckConstraint("(role = 'user') = (user_id IS NOT NULL)", name="user_of_user_tokens"),
    # Room for the next version of a row in its own page: noting a use then touches no index.
    postgresql_with={"fillfactor": 85},
)
Index("ix_access_tokens_user_id_id", access_tokens.c.user_id, access_tokens.c.id.desc())

access_keys = Table(
    "access_keys",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("sealed", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
)

change_versions = Table(
    "change_versions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
