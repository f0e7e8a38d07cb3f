"""The table of editions of the price book that were brought in. Rows are never changed."""

from sqlalchemy import Column, Integer, Table, Text, UniqueConstraint, Uuid

from model_service.db.tables.base import metadata, moment

price_editions = Table(
    "price_editions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    # SHA-256 of the file, in hexadecimal.
    Column("digest", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("effective_from", moment(), nullable=False),
    Column("imported_at", moment(), nullable=False),
    Column("imported_by", Text, nullable=False),
    Column("models", Integer, nullable=False),
    # The file as it came, byte for byte.
    Column("text", Text, nullable=False),
    UniqueConstraint("name"),
    UniqueConstraint("digest"),
)
