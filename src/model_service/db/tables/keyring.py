"""The keyring's tables."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text
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
)

keyring_terms = Table(
    "keyring_terms",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("created_at", moment(), nullable=False),
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
