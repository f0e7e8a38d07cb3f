"""PostgreSQL's advisory locks that the service takes: one list, so that no two share a number."""

from enum import IntEnum
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

#: The first of the two numbers of every lock: "msvc" in ASCII, apart from other applications'.
NAMESPACE: Final = 0x6D737663


class Lock(IntEnum):
    """What only one transaction at a time does. Held until the transaction ends."""

    KEYRING = 1
    """Making or changing the keyring."""
    MIGRATION = 2
    """Changing the schema."""
    REWRAP = 3
    """Moving records to the active term."""
    FENCE = 4
    """Destroying a term; writers of sealed records share it, in triggers."""
    DEFAULT_MODEL = 5
    """Changing which model is the default."""
    AUDIT_KEYS = 31
    """Making the audit trail's keys."""
    AUDIT_SIGNING = 32
    """Signing a checkpoint."""
    ACCESS_KEYS = 33
    """Making the key that tokens are hashed with."""
    USAGE_MONTHS = 41
    """Making or dropping a month of usage events."""
    BILLING_MEMBERS = 51
    """Changing which user is with which billing account."""


async def take(connection: AsyncConnection, lock: Lock) -> None:
    """Wait until this transaction has the lock."""
    await connection.execute(select(func.pg_advisory_xact_lock(NAMESPACE, lock.value)))


async def try_take(connection: AsyncConnection, lock: Lock) -> bool:
    """Whether this transaction has the lock; False when somebody else has it."""
    return bool(
        await connection.scalar(select(func.pg_try_advisory_xact_lock(NAMESPACE, lock.value)))
    )
