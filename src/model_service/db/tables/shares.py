"""The table of grants: who, besides its owner, may use a provider key."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment
from model_service.db.tables.keys import api_keys

key_shares = Table(
    "key_shares",
    metadata,
    Column("id", Uuid, primary_key=True),
    # Deleting a key ends its grants, however it is deleted.
    Column("key_id", Uuid, ForeignKey(api_keys.c.id, ondelete="CASCADE"), nullable=False),
    Column("grantee_user_id", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("models", JSONB(none_as_null=True)),
    Column("expires_at", moment()),
    Column("created_at", moment(), nullable=False),
    CheckConstraint("scope IN ('use', 'reveal')", name="scope"),
)
#: One grant for each key and grantee: of two at once the database lets one in.
Index(
    "uq_key_shares_grantee_user_id_key_id",
    key_shares.c.grantee_user_id,
    key_shares.c.key_id,
    unique=True,
)
Index("ix_key_shares_key_id_id", key_shares.c.key_id, key_shares.c.id.desc())
