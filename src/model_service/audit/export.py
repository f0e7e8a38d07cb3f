"""Writing the trail out, for `standalone` and for whoever keeps it elsewhere.

An export holds whole segments: every line in it is covered by a signature.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import seals, signing, store
from model_service.audit.checkpoints import Checkpointer
from model_service.audit.domain import GENESIS, SignedCheckpoint
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import AuditBroken


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the records from `first_seq` to `last_seq`."""

    first_seq: int
    last_seq: int
    checkpoints: int

    @property
    def records(self) -> int:
        """How many records were written."""
        return self.last_seq - self.first_seq + 1


async def export(
    database: Database,
    keys: AuditKeys,
    trail: AuditTrail,
    checkpointer: Checkpointer,
    write: Callable[[bytes], object],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Exported | None:
    """Write every segment that has a record of that time; None when none has.

    That it is done is recorded first, so a complete export holds the record of itself.

    Raises:
        AuditBroken: the records are not those that were written.
        AuditUnavailable: it could not be recorded, so nothing was written.
        DatabaseUnavailable: the database went away.
    """
    await trail.record(AuditEvent(type="audit.export", subject="audit"))
    await checkpointer.cover()
    async with database.transaction() as connection:
        await store.take_snapshot(connection)
        wanted = await store.numbers_between(connection, since, until)
        if wanted is None:
            return None
        return await _write(connection, keys, write, *wanted)


async def _write(
    connection: AsyncConnection,
    keys: AuditKeys,
    write: Callable[[bytes], object],
    first: int,
    last: int,
) -> Exported:
    segment: Segment | None = None
    written = 0
    async for signed in _segments(connection, keys, first, last):
        checkpoint = signed.checkpoint
        if segment is None:
            before = await seals.ending_at(connection, keys, checkpoint.first_seq - 1)
            if before is not None:
                write(signing.line(before))
            elif checkpoint.first_seq > 1:
                raise AuditBroken(checkpoint.first_seq - 1, "the checkpoint is missing")
            first = checkpoint.first_seq
            segment = Segment(
                keys.chain.reveal(), GENESIS if before is None else before.checkpoint.head
            )
        async for records in store.read(connection, segment.head.seq, checkpoint.seq):
            for record in records:
                write(segment.take(record))
        segment.close(checkpoint)
        write(signing.line(signed))
        written += 1
    if segment is None:
        raise AuditBroken(first, "the checkpoint is missing")
    return Exported(first, segment.head.seq, written)


async def _segments(
    connection: AsyncConnection, keys: AuditKeys, first: int, last: int
) -> AsyncIterator[SignedCheckpoint]:
    """The checkpoints of the segments that hold the records from `first` to `last`."""
    after = first - 1
    while True:
        found = await seals.checkpoints(connection, keys, after=after, limit=1)
        if not found or found[0].checkpoint.first_seq > last:
            return
        yield found[0]
        after = found[0].checkpoint.seq
