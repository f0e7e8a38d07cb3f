"""The tables, as SQLAlchemy Core sees them. `migrations/` creates them; a test compares both."""

from model_service.db.tables.base import metadata
from model_service.db.tables.catalog import models
from model_service.db.tables.keyring import keyring_term_keys, keyring_terms, keyring_wraps
from model_service.db.tables.keys import api_keys

#: The newest migration; a process that finds it in the database need not load Alembic.
SCHEMA_REVISION = "0001"

__all__ = [
    "SCHEMA_REVISION",
    "api_keys",
    "keyring_term_keys",
    "keyring_terms",
    "keyring_wraps",
    "metadata",
    "models",
]
