"""The key that tokens are hashed with: made once, sealed by the vault, opened at every start.

It is a key of its own, and not derived from the master secret, so that tokens outlive every
rotation of that: what changes is the record that the key is sealed in.
"""

import os
from base64 import b64decode, b64encode
from typing import Final

from sqlalchemy import exists, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.access.domain import HASH_KEY_BYTES, TokenHasher
from model_service.db.locks import Lock, take
from model_service.db.tables import access_keys, access_tokens
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, IntegrityFailure, StartupFault
from model_service.kernel.sealing import SecretBox
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7

#: The place that the key is sealed to.
PLACE: Final = "access_keys"
_PURPOSE: Final = "token_hash"


async def open_token_hasher(database: Database, box: SecretBox) -> TokenHasher:
    """What hashes tokens; its key is made by the first process that starts without any token.

    Raises:
        StartupFault: the database is away, or the key of stored tokens is missing or does not
            open.
    """
    try:
        async with database.transaction() as connection:
            await take(connection, Lock.ACCESS_KEYS)
            query = select(access_keys).where(access_keys.c.purpose == _PURPOSE)
            row = (await connection.execute(query)).first()
            if row is not None:
                sealed = box.open(PLACE, row.id, row.sealed)
                return TokenHasher(Secret(b64decode(sealed.reveal())))
            if await connection.scalar(select(exists(select(access_tokens.c.id)))):
                raise StartupFault(
                    "access tokens exist but the key of their hashes does not; restore the table"
                    " access_keys from a backup"
                )
            return await _make(connection, box)
    except DatabaseUnavailable as error:
        raise StartupFault("the database went away while the service started") from error
    except IntegrityFailure as error:
        raise StartupFault(
            "the key of the token hashes does not open; restore access_keys"
        ) from error


async def _make(connection: AsyncConnection, box: SecretBox) -> TokenHasher:
    key = os.urandom(HASH_KEY_BYTES)
    key_id = uuid7()
    sealed = box.seal(PLACE, key_id, Secret(b64encode(key).decode()))
    row = {"purpose": _PURPOSE, "id": key_id, "sealed": sealed, "created_at": func.now()}
    await connection.execute(insert(access_keys).values(row))
    return TokenHasher(Secret(key))
