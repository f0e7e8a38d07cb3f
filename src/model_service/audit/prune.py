"""Removing what an export holds, and leaving a signed anchor where the trail then begins."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import seals, store, verify
from model_service.audit.domain import AuditRecord, Checkpoint, Head, SealKind
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.audit.standalone import Verifier, Wrong
from model_service.db.tables import api_keys, audit_records
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import AuditBroken, Conflict
from model_service.kernel.types import Clock

#: Records deleted in one statement, and about how many are recorded anew in one transaction.
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
    kept: Iterable[bytes],
) -> Pruned | None:
    """Remove the segments whose records are all older and in an export; None when none is older.

    `kept` are the lines of that export: it alone shows what was taken out, for whatever the
    database said of it somebody else could have written there. The whole trail is checked
    before, so that nothing that was altered is recorded anew as if it had been written so.

    Raises:
        Conflict: the export is damaged, or does not hold the oldest segment; or the trail was
            pruned by somebody else meanwhile.
        AuditBroken: the trail is not as it was written, or another one than the export's.
        AuditUnavailable: it could not be recorded, so nothing was removed. Where very many keys
            have to be recorded anew there are several transactions, and those before it stay.
        DatabaseUnavailable: the database went away.
    """
    async with database.transaction() as connection:
        await store.take_snapshot(connection)
        start = await seals.anchor(connection, keys)
        held = _checkpoints(keys, kept)
        last = await _last_prunable(connection, keys, start, before, held)
        if last is None:
            return None
        await verify.check_records(connection, keys, held)
    first_seq, carried = start.seq + 1, 0
    while start.seq < last.seq:
        async with database.transaction() as connection:
            await seals.take_turn(connection)
            if await seals.anchor(connection, keys) != start:
                raise Conflict("The trail was pruned by somebody else meanwhile")
            taken, found = await _take(connection, keys, start, last.seq)
            await _remove(connection, start.seq, taken.seq)
            anchor = replace(taken, kind=SealKind.ANCHOR, first_seq=start.seq + 1, time=clock.now())
            await seals.add(connection, keys, anchor)
            # Nobody may record a newer ciphertext before ours is.
            await store.lock_head(connection)
            found = await _newest(connection, found)
            what = f"records {anchor.first_seq} to {anchor.seq}"
            done = AuditEvent(type="audit.prune", subject="audit", reason=what)
            await trail.record(*map(_carried, found), done)
        start = anchor.head
        carried += len(found)
    return Pruned(first_seq, last.seq, carried)


def _checkpoints(keys: AuditKeys, kept: Iterable[bytes]) -> list[Checkpoint]:
    """The checkpoints in an export, of whose records all are there.

    Raises:
        Conflict: the export is not as it was written.
    """
    verifier, found = Verifier(keys.public), list[Checkpoint]()
    try:
        for line in kept:
            passed = verifier.checkpoints
            verifier.take(line)
            if verifier.checkpoints > passed:
                found.append(keys.require_signed_line(line))
        verifier.finish()
    except Wrong as wrong:
        raise Conflict(f"The export is not as it was written: {wrong}") from wrong
    return found


async def _last_prunable(
    connection: AsyncConnection,
    keys: AuditKeys,
    start: Head,
    before: datetime,
    held: Sequence[Checkpoint],
) -> Checkpoint | None:
    by_start = {checkpoint.first_seq: checkpoint for checkpoint in held}
    last: Checkpoint | None = None
    async for stored in _older(connection, keys, start, before):
        found = by_start.get(stored.first_seq)
        if found is None and last is None:
            raise Conflict(f"The export does not hold the oldest records, from {start.seq + 1} on")
        if found is None:
            break
        if found != stored:
            raise AuditBroken(stored.first_seq, "the trail is another one than the export's")
        last = stored
    return last


async def _older(
    connection: AsyncConnection, keys: AuditKeys, start: Head, before: datetime
) -> AsyncIterator[Checkpoint]:
    """The checkpoints of the oldest segments, as long as all their records are older."""
    after = start.seq
    while found := await seals.checkpoints(connection, keys, after=after, limit=1):
        checkpoint = found[0].checkpoint
        if checkpoint.last_time >= before:
            return
        yield checkpoint
        after = checkpoint.seq


async def _take(
    connection: AsyncConnection, keys: AuditKeys, start: Head, last_seq: int
) -> tuple[Checkpoint, list[AuditRecord]]:
    """The last of the segments to remove now, and the records in them to be recorded anew.

    They are checked as they are read, since the last look at them was in another transaction.
    """
    segment, found = Segment(keys.chain.reveal(), start), list[AuditRecord]()
    while True:
        signed = await seals.checkpoints(connection, keys, after=segment.head.seq, limit=1)
        if not signed:
            raise AuditBroken(segment.first_seq, "the checkpoint from here on is missing")
        checkpoint = signed[0].checkpoint
        stored: list[AuditRecord] = []
        async for records in store.read(connection, segment.head.seq, checkpoint.seq):
            for record in records:
                segment.take(record)
                if record.entry.ciphertext_sha256 is not None:
                    stored.append(record)
        segment.close(checkpoint)
        found += await _newest(connection, stored)
        if checkpoint.seq >= last_seq or len(found) >= WINDOW:
            return checkpoint, found


async def _newest(connection: AsyncConnection, records: Sequence[AuditRecord]) -> list[AuditRecord]:
    """Those whose ciphertext is the last one recorded of a key that is still stored."""
    parameters = {
        "seqs": [record.seq for record in records],
        "subjects": [record.entry.subject for record in records],
    }
    newest = set((await connection.execute(_NEWEST, parameters)).scalars())
    return [record for record in records if record.seq in newest]


def _carried(record: AuditRecord) -> AuditEvent:
    """What is recorded anew: what was recorded, not what is stored, so a forgery stays one."""
    return AuditEvent(
        type="audit.prune",
        subject=record.entry.subject,
        provider=record.entry.provider,
        reason=f"carried forward from record {record.seq}",
        ciphertext_sha256=record.entry.ciphertext_sha256,
        term=record.entry.term,
    )


async def _remove(connection: AsyncConnection, after: int, last: int) -> None:
    for first in range(after, last, WINDOW):
        seq = audit_records.c.seq
        within = seq.between(first + 1, min(first + WINDOW, last))
        await connection.execute(delete(audit_records).where(within))


_NEWEST = text(
    f"""
    SELECT r.seq
    FROM unnest(:seqs, :subjects) AS r (seq, subject)
    WHERE NOT EXISTS (
        SELECT FROM {audit_records.name} newer
        WHERE newer.subject = r.subject AND newer.seq > r.seq
          AND (newer.ciphertext_sha256 IS NOT NULL OR newer.type = 'key.delete')
      )
      AND EXISTS (
        SELECT FROM {api_keys.name} k
        WHERE k.id = CASE WHEN r.subject ~ '^key:[0-9a-f-]{{36}}$'
                     THEN CAST(substr(r.subject, 5) AS uuid) END
      )
    """  # noqa: S608 - the names of our own tables
).bindparams(bindparam("seqs", type_=ARRAY(BigInteger)), bindparam("subjects", type_=ARRAY(Text)))
