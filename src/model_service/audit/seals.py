"""The checkpoints and anchors in PostgreSQL: what is signed, and where the next one begins."""

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit.domain import GENESIS, Checkpoint, Head, SealKind, SignedCheckpoint
from model_service.audit.signing import AuditKeys
from model_service.db.locks import Lock, take, try_take
from model_service.db.tables import audit_checkpoints
from model_service.kernel.errors import AuditBroken

_c = audit_checkpoints.c
_IS_CHECKPOINT = _c.kind == SealKind.CHECKPOINT.value
_IS_ANCHOR = _c.kind == SealKind.ANCHOR.value


async def try_turn(connection: AsyncConnection) -> bool:
    """Whether this transaction is the one that signs now; if not, somebody else is at it."""
    return await try_take(connection, Lock.AUDIT_SIGNING)


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until this transaction is the one that signs."""
    await take(connection, Lock.AUDIT_SIGNING)


async def last(connection: AsyncConnection, keys: AuditKeys) -> Head:
    """Where the last signed segment ends.

    Raises:
        AuditBroken: what says so is not signed.
    """
    query = select(audit_checkpoints).order_by(_c.seq.desc(), _c.kind.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return GENESIS if row is None else _signed(row, keys).checkpoint.head


async def anchor(connection: AsyncConnection, keys: AuditKeys) -> Head:
    """Where the pruned part of the chain ends; the genesis when nothing was pruned.

    Raises:
        AuditBroken: what says so is not signed.
    """
    query = select(audit_checkpoints).where(_IS_ANCHOR).order_by(_c.seq.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return GENESIS if row is None else _signed(row, keys).checkpoint.head


async def ending_at(
    connection: AsyncConnection, keys: AuditKeys, seq: int
) -> SignedCheckpoint | None:
    """The checkpoint, else the anchor, whose last record is `seq`.

    Raises:
        AuditBroken: it is not signed.
    """
    query = select(audit_checkpoints).where(_c.seq == seq).order_by(_c.kind.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _signed(row, keys)


async def checkpoints(
    connection: AsyncConnection, keys: AuditKeys, *, after: int, limit: int
) -> list[SignedCheckpoint]:
    """The first checkpoints that end behind record `after`, in order.

    Raises:
        AuditBroken: one is not signed.
    """
    query = (
        select(audit_checkpoints)
        .where(_IS_CHECKPOINT, _c.seq > after)
        .order_by(_c.seq)
        .limit(limit)
    )
    return [_signed(row, keys) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, keys: AuditKeys, checkpoint: Checkpoint) -> None:
    """Sign and store."""
    signed = keys.sign(checkpoint)
    await connection.execute(
        insert(audit_checkpoints).values(
            kind=checkpoint.kind.value,
            seq=checkpoint.seq,
            document=signed.document,
            signature=signed.signature,
        )
    )


def _signed(row: Any, keys: AuditKeys) -> SignedCheckpoint:  # noqa: ANN401 - a row of the table
    checkpoint = keys.require_signed(row.kind, row.seq, row.document, row.signature)
    return SignedCheckpoint(checkpoint, row.document, row.signature)


def require_same(stored: SignedCheckpoint | None, trusted: Checkpoint) -> None:
    """Compare what is stored with what was kept elsewhere about the same record.

    Raises:
        AuditBroken: they differ, or nothing is stored: what is signed stays when records go.
    """
    if stored is None:
        raise AuditBroken(trusted.seq, "the checkpoint is missing")
    if stored.checkpoint.hash != trusted.hash:
        raise AuditBroken(trusted.seq, "the trail is another one than the checkpoint given")
