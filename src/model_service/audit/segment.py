"""Walking along the chain, one checkpoint's records after the other."""

import hashlib
import hmac
from datetime import datetime

from model_service.audit import chain
from model_service.audit.domain import AuditRecord, Checkpoint, Head, SealKind
from model_service.kernel.errors import AuditBroken


class Segment:
    """The records since the last checkpoint, checked one by one and digested as exported."""

    def __init__(self, key: bytes, start: Head) -> None:
        """`start` is where the chain is known to be right: a checkpoint, an anchor, the genesis."""
        self._key = key
        self._first_seq = start.seq + 1
        self._head = start
        self._last_time: datetime | None = None
        self._digest = hashlib.sha256()

    @property
    def first_seq(self) -> int:
        """The number of the segment's first record."""
        return self._first_seq

    @property
    def head(self) -> Head:
        """The last record taken."""
        return self._head

    def take(self, record: AuditRecord) -> bytes:
        """Go on by one record; gives its line in an export.

        Raises:
            AuditBroken: it is not the one that was written there.
        """
        self._head = chain.follow(self._key, self._head, record)
        time = record.entry.time
        self._last_time = time if self._last_time is None else max(self._last_time, time)
        line = chain.line(record)
        self._digest.update(line)
        return line

    def checkpoint(self, now: datetime) -> Checkpoint:
        """What is to be signed of the records taken, of which there is at least one."""
        if self._last_time is None:
            raise ValueError("a segment without records")
        return Checkpoint(
            kind=SealKind.CHECKPOINT,
            first_seq=self._first_seq,
            seq=self._head.seq,
            hash=self._head.hash.hex(),
            digest=self._digest.hexdigest(),
            time=now,
            last_time=self._last_time,
            key_id="",
        )

    def close(self, checkpoint: Checkpoint) -> None:
        """Begin the next segment, if this is the checkpoint of the records taken.

        Raises:
            AuditBroken: it is a checkpoint of others.
        """
        if checkpoint.first_seq != self._first_seq:
            raise AuditBroken(self._first_seq, "the checkpoint from here on is missing")
        if checkpoint.seq != self._head.seq:
            raise AuditBroken(self._head.seq + 1, "the record is missing, says its checkpoint")
        same_hash = hmac.compare_digest(checkpoint.hash, self._head.hash.hex())
        if not same_hash or checkpoint.digest != self._digest.hexdigest():
            raise AuditBroken(self._first_seq, "the records are not those of their checkpoint")
        self._first_seq = self._head.seq + 1
        self._last_time = None
        self._digest = hashlib.sha256()
