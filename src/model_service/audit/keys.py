"""How the trail's keys come to be: made once, sealed by the vault, opened at every start.

Keys that are stored at that moment are recorded with them: no record tells of their ciphertexts.
"""

import os
from base64 import b64decode, b64encode
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit.baseline import record_stored_keys
from model_service.audit.signing import CHAIN_KEY_BYTES, AuditKeys
from model_service.db.locks import Lock, take
from model_service.db.tables import audit_checkpoints, audit_head, audit_keys, audit_records
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, IntegrityFailure, StartupFault
from model_service.kernel.sealing import SecretBox
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7

PLACE: Final = "audit_keys"

_CHAIN: Final = "chain"
_CHECKPOINT: Final = "checkpoint"


async def open_audit_keys(database: Database, box: SecretBox) -> AuditKeys:
    """The trail's keys; made by the first process that starts on an empty trail.

    Raises:
        StartupFault: the database is away, or the keys of a trail that has records are
            missing or do not open.
    """
    try:
        async with database.transaction() as connection:
            await take(connection, Lock.AUDIT_KEYS)
            stored = await _load(connection, box)
            if stored.keys() == {_CHAIN, _CHECKPOINT}:
                signing = Ed25519PrivateKey.from_private_bytes(stored[_CHECKPOINT])
                return AuditKeys(Secret(stored[_CHAIN]), signing)
            if stored or await _trail_exists(connection):
                raise StartupFault(
                    "audit records exist but their keys do not; restore the table audit_keys"
                    " from a backup"
                )
            return await _make(connection, box)
    except DatabaseUnavailable as error:
        raise StartupFault("the database went away while the service started") from error
    except IntegrityFailure as error:
        raise StartupFault("the audit keys do not open; restore audit_keys") from error


async def _load(connection: AsyncConnection, box: SecretBox) -> dict[str, bytes]:
    rows = await connection.execute(select(audit_keys))
    return {row.purpose: _open(box, row.id, row.sealed, row.purpose) for row in rows}


async def _trail_exists(connection: AsyncConnection) -> bool:
    query = select(
        or_(
            exists().where(audit_head.c.seq > 0),
            exists(select(audit_records.c.seq)),
            exists(select(audit_checkpoints.c.seq)),
        )
    )
    return bool(await connection.scalar(query))


async def _make(connection: AsyncConnection, box: SecretBox) -> AuditKeys:
    keys = AuditKeys(Secret(os.urandom(CHAIN_KEY_BYTES)), Ed25519PrivateKey.generate())
    values = {_CHAIN: keys.chain.reveal(), _CHECKPOINT: keys.signing.private_bytes_raw()}
    for purpose, value in values.items():
        key_id = uuid7()
        sealed = box.seal(PLACE, key_id, Secret(f"{purpose}:{b64encode(value).decode()}"))
        await connection.execute(
            insert(audit_keys).values(
                purpose=purpose, id=key_id, sealed=sealed, created_at=func.now()
            )
        )
    await record_stored_keys(connection, keys.chain.reveal())
    return keys


def _open(box: SecretBox, key_id: UUID, sealed: str, purpose: str) -> bytes:
    # The purpose is part of what is sealed, so that the two rows cannot change places.
    written_for, _, encoded = box.open(PLACE, key_id, sealed).reveal().partition(":")
    if written_for != purpose:
        raise IntegrityFailure
    return b64decode(encoded)
