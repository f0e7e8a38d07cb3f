"""Removing what was exported, and leaving a signed anchor where the trail then begins."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import seals, store
from model_service.audit.domain import Checkpoint, Head, SealKind
from model_service.audit.signing import AuditKeys
from model_service.db.tables import api_keys, audit_records
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import Conflict
from model_service.kernel.types import Clock

#: Records looked at, or deleted, in one statement.
WINDOW: Final = 5000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: the records from `first_seq` to `last_seq`.

    `carried` stored keys had their last ciphertext recorded there; it was recorded anew.
    """

    first_seq: int
    last_seq: int
    carried: int


async def prune(
    database: Database,
    keys: AuditKeys,
    trail: AuditTrail,
    clock: Clock,
    before: datetime,
    *,
    author: str | None = None,
) -> Pruned | None:
    """Remove the segments whose records are all older and exported; None when there is none.

    Raises:
        Conflict: the oldest segment is old enough, but was not exported.
        AuditBroken: a checkpoint is not signed.
        AuditUnavailable: it could not be recorded, so nothing was removed.
        DatabaseUnavailable: the database went away.
    """
    async with database.transaction() as connection:
        start = await seals.anchor(connection, keys)
        last = await _last_prunable(connection, keys, start, before)
    if last is None:
        return None
    carried = 0
    for first in range(start.seq, last.seq, WINDOW):
        window = (first, min(first + WINDOW, last.seq))
        carried += await _carry_forward(database, trail, *window)
    async with database.transaction() as connection:
        await seals.take_turn(connection)
        if await seals.anchor(connection, keys) != start:
            raise Conflict("The trail was pruned by somebody else meanwhile")
        await _remove(connection, start.seq, last.seq)
        anchor = replace(last, kind=SealKind.ANCHOR, first_seq=start.seq + 1, time=clock.now())
        await seals.add(connection, keys, anchor)
        by = "" if author is None else f" by {author}"
        reason = f"records {anchor.first_seq} to {anchor.seq}{by}"
        await trail.record(AuditEvent(type="audit.prune", subject="audit", reason=reason))
    return Pruned(anchor.first_seq, anchor.seq, carried)


async def _last_prunable(
    connection: AsyncConnection, keys: AuditKeys, start: Head, before: datetime
) -> Checkpoint | None:
    last: Checkpoint | None = None
    after = start.seq
    while found := await seals.checkpoints(connection, keys, after=after, limit=1):
        signed = found[0]
        if signed.checkpoint.last_time >= before:
            break
        if not signed.is_exported:
            if last is None:
                raise Conflict("The oldest records were not exported; run `audit export` first")
            break
        last = signed.checkpoint
        after = last.seq
    return last


async def _carry_forward(database: Database, trail: AuditTrail, after: int, last: int) -> int:
    """Record anew the ciphertexts of stored keys that are recorded nowhere else.

    What is carried is what was recorded, not what is stored: a forged row stays a forgery.
    """
    async with database.transaction() as connection:
        # Nobody may record a newer ciphertext before ours is.
        await store.lock_head(connection)
        rows = await connection.execute(_LAST_CIPHERTEXTS, {"after": after, "last": last})
        events = [
            AuditEvent(
                type="audit.prune",
                subject=row.subject,
                provider=row.provider,
                reason=f"carried forward from record {row.seq}",
                ciphertext_sha256=row.ciphertext_sha256,
                term=row.term,
            )
            for row in rows
        ]
        await trail.record(*events)
    return len(events)


async def _remove(connection: AsyncConnection, after: int, last: int) -> None:
    for first in range(after, last, WINDOW):
        seq = audit_records.c.seq
        within = seq.between(first + 1, min(first + WINDOW, last))
        await connection.execute(delete(audit_records).where(within))


_LAST_CIPHERTEXTS = text(
    f"""
    SELECT r.seq, r.subject, r.provider, r.ciphertext_sha256, r.term
    FROM {audit_records.name} r
    WHERE r.seq > :after AND r.seq <= :last AND r.ciphertext_sha256 IS NOT NULL
      AND NOT EXISTS (
        SELECT FROM {audit_records.name} newer
        WHERE newer.subject = r.subject AND newer.seq > r.seq
          AND (newer.ciphertext_sha256 IS NOT NULL OR newer.type = 'key.delete')
      )
      AND EXISTS (
        SELECT FROM {api_keys.name} k
        WHERE k.id = CASE WHEN r.subject ~ '^key:[0-9a-f-]{{36}}$'
                     THEN CAST(substr(r.subject, 5) AS uuid) END
      )
    ORDER BY r.seq
    """  # noqa: S608 - the names of our own tables
)
