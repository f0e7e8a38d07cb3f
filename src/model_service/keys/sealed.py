"""The key slice's tables of sealed records, for whoever moves them to another term."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Row

from model_service.db.sealed import SqlSealedTable
from model_service.db.tables import api_key_versions, api_keys
from model_service.db.uow import Database
from model_service.keys.domain import ENDPOINT, SealedKey
from model_service.keys.sealer import Sealer
from model_service.keys.store import PLAIN, key_of


def sealed_keys(database: Database, sealer: Sealer) -> SqlSealedTable:
    """The values in use. A row of this kind is what the audit trail calls `key:<id>`."""

    def reseal(row: Row[Any]) -> str:
        return _resealed(sealer, SealedKey(key_of(row), row.sealed_text))

    return SqlSealedTable(database, api_keys.c.encrypted_key, "key", reseal, beside=PLAIN)


def sealed_versions(database: Database, sealer: Sealer) -> SqlSealedTable:
    """The values not in use: bound to their key's row, but their own version and endpoint."""
    v = api_key_versions.c

    def reseal(row: Row[Any]) -> str:
        metadata = None if row.endpoint is None else {ENDPOINT: row.endpoint}
        key = replace(key_of(row), key_version=row.version, metadata=metadata)
        return _resealed(sealer, SealedKey(key, row.sealed_text))

    return SqlSealedTable(
        database,
        v.encrypted_key,
        "key-version",
        reseal,
        beside=(*PLAIN, v.version, v.endpoint),
        source=api_key_versions.join(api_keys),
    )


def _resealed(sealer: Sealer, sealed: SealedKey) -> str:
    return sealer.seal(sealed.key, sealer.open(sealed)).encrypted_key
