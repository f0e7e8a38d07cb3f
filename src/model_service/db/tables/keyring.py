"""The keyring's tables."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from model_service.db.tables.base import metadata, moment

keyring_wraps = Table(
    "keyring_wraps",
    metadata,
    Column("wrap_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("params", JSONB, nullable=False),
    Column("check_value", LargeBinary, nullable=False),
    Column("created_at", moment(), nullable=False),
    # Set when the secret before this one leaked: the last term its holders may have a key of.
    Column("exposed_through", BigInteger),
)

keyring_terms = Table(
    "keyring_terms",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
    Column("seals", BigInteger, nullable=False, server_default=text("0")),
    # When it ceased to be the active one.
    Column("retired_at", moment()),
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

# One row for each running process: what it holds of the keyring, said anew every few seconds.
keyring_instances = Table(
    "keyring_instances",
    metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("wrap_id", Text, nullable=False),
    Column("active_term", BigInteger, nullable=False),
    Column("newest_term", BigInteger, nullable=False),
    Column("started_at", moment(), nullable=False),
    Column("seen_at", moment(), nullable=False),
)
