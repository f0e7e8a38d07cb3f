"""Proving that the trail is as it was written, with the audit key at hand.

Everything is read in one snapshot and in order, a few records at a time, so that a trail of any
length is checked in the same memory.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit import seals, store
from model_service.audit.domain import Checkpoint, Head, SignedCheckpoint
from model_service.audit.segment import Segment
from model_service.audit.signing import AuditKeys
from model_service.db.tables import api_keys, audit_records
from model_service.db.uow import Database
from model_service.kernel.errors import AuditBroken

#: Checkpoints, and key rows, read at a time.
SEALS_BATCH: Final = 100
KEYS_BATCH: Final = 2000


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found right: the records from `first_seq` to `last_seq`, and what goes with them.

    `signed_seq` is the last record that a checkpoint covers.
    """

    first_seq: int
    last_seq: int
    checkpoints: int
    signed_seq: int
    keys: int

    @property
    def records(self) -> int:
        """How many records were checked."""
        return self.last_seq - self.first_seq + 1


async def verify(
    database: Database,
    keys: AuditKeys,
    trusted: Sequence[Checkpoint] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Check every record, checkpoint and stored ciphertext.

    `trusted` are checkpoints kept elsewhere, their signatures checked: against them it shows
    when the end of the trail was cut off, or all of it replaced. `on_progress` hears the number
    of the last record checked.

    Raises:
        AuditBroken: something is not as it was written; names the first record, or place of
            one, that is wrong.
        DatabaseUnavailable: the database went away.
    """
    async with database.transaction() as connection:
        await store.take_snapshot(connection)
        walk = await check_records(connection, keys, trusted, on_progress)
        return Verified(
            first_seq=walk.start.seq + 1,
            last_seq=walk.head.seq,
            checkpoints=walk.checkpoints,
            signed_seq=walk.signed_seq,
            keys=await _check_ciphertexts(connection),
        )


async def check_records(
    connection: AsyncConnection,
    keys: AuditKeys,
    trusted: Sequence[Checkpoint] = (),
    on_progress: Callable[[int], None] = lambda _: None,
) -> "Walk":
    """Check every record and checkpoint, in a transaction that sees one moment.

    Raises:
        AuditBroken: something is not as it was written.
    """
    start = await seals.anchor(connection, keys)
    await _require_nothing_before(connection, start)
    walk = Walk(connection, keys, start, trusted)
    await walk.go(on_progress)
    await walk.require_end()
    await _check_resealed(connection, start)
    return walk


class Walk:
    """One pass over the chain, with the checkpoints beside it."""

    def __init__(
        self,
        connection: AsyncConnection,
        keys: AuditKeys,
        start: Head,
        trusted: Sequence[Checkpoint],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._segment = Segment(keys.chain.reveal(), start)
        self.start = start
        self._trusted = sorted(trusted, key=lambda checkpoint: checkpoint.seq)
        self._expected = {c.seq: c.hash for c in trusted if c.seq >= start.seq}
        self.checkpoints = 0
        self.signed_seq = start.seq

    @property
    def head(self) -> Head:
        """The last record that was found right."""
        return self._segment.head

    async def go(self, on_progress: Callable[[int], None]) -> None:
        """Check the records one after the other, and each checkpoint where it ends."""
        await self._check_pruned()
        signed = self._signed()
        upcoming = await anext(signed, None)
        self._compare_trusted()
        async for records in store.read(self._connection, self.start.seq):
            for record in records:
                self._segment.take(record)
                self._compare_trusted()
                if upcoming is not None and upcoming.checkpoint.seq == record.seq:
                    self._segment.close(upcoming.checkpoint)
                    self.signed_seq = record.seq
                    self.checkpoints += 1
                    upcoming = await anext(signed, None)
            on_progress(self.head.seq)
        if upcoming is not None:
            raise AuditBroken(self.head.seq + 1, "the record is missing, says its checkpoint")

    async def require_end(self) -> None:
        """The chain ends where the head and every trusted checkpoint say that it does."""
        said = await store.stored_head(self._connection)
        found = self.head
        if said is None:
            raise AuditBroken(found.seq, "nothing says where the trail ends")
        if said.seq > found.seq:
            raise AuditBroken(found.seq + 1, "the record is missing")
        if said.seq < found.seq:
            raise AuditBroken(said.seq + 1, "the record is behind the end of the trail")
        if said.hash != found.hash:
            raise AuditBroken(found.seq, "the end of the trail was altered")
        if self._trusted and self._trusted[-1].seq > found.seq:
            raise AuditBroken(found.seq + 1, "the record is missing, says the checkpoint given")

    def _compare_trusted(self) -> None:
        expected = self._expected.get(self.head.seq)
        if expected is not None and expected != self.head.hash.hex():
            raise AuditBroken(self.head.seq, "the trail is another one than the checkpoint given")

    async def _check_pruned(self) -> None:
        """Checkpoints of what was pruned remain: they must be signed, and those trusted too."""
        for checkpoint in self._trusted:
            if checkpoint.seq < self.start.seq:
                stored = await seals.ending_at(self._connection, self._keys, checkpoint.seq)
                seals.require_same(stored, checkpoint)

    async def _signed(self) -> AsyncIterator[SignedCheckpoint]:
        after = self.start.seq
        while True:
            found = await seals.checkpoints(
                self._connection, self._keys, after=after, limit=SEALS_BATCH
            )
            for signed in found:
                yield signed
            if len(found) < SEALS_BATCH:
                return
            after = found[-1].checkpoint.seq


async def _require_nothing_before(connection: AsyncConnection, start: Head) -> None:
    seq = audit_records.c.seq
    found = await connection.scalar(select(func.min(seq)).where(seq <= start.seq))
    if found is not None:
        raise AuditBroken(found, "the record is before the beginning of the trail")


async def _check_ciphertexts(connection: AsyncConnection) -> int:
    """Compare each stored key's ciphertext with the last one audited; gives how many keys.

    Raises:
        AuditBroken: one is another, so it was forged or an old one put back.
    """
    checked, after = 0, None
    while True:
        rows = (await connection.execute(_CIPHERTEXTS, {"after": after, "n": KEYS_BATCH})).all()
        for row in rows:
            if row.seq is None:
                raise AuditBroken(0, f"key {row.id} is stored, but its ciphertext not recorded")
            if row.audited is None:
                raise AuditBroken(row.seq, f"key {row.id} is stored, but was deleted")
            if row.audited != row.stored:
                raise AuditBroken(
                    row.seq, f"key {row.id} has another ciphertext than the one recorded last"
                )
        checked += len(rows)
        if len(rows) < KEYS_BATCH:
            return checked
        after = rows[-1].id


async def _check_resealed(connection: AsyncConnection, start: Head) -> None:
    """Each ciphertext that was sealed anew was the one recorded before it.

    Raises:
        AuditBroken: one was another, so it had been forged or an old one put back.
    """
    after: int | None = start.seq
    while after is not None:
        rows = (await connection.execute(_RESEALED, {"after": after, "n": KEYS_BATCH})).all()
        for row in rows:
            if row.before is not None and row.reason != f"replaces {row.before}":
                what = f"{row.subject} had another ciphertext than the one recorded before"
                raise AuditBroken(row.seq, what)
        after = rows[-1].seq if len(rows) == KEYS_BATCH else None


_RESEALED = text(
    f"""
    SELECT r.seq, r.subject, r.reason, p.ciphertext_sha256 AS before
    FROM {audit_records.name} r
    LEFT JOIN LATERAL (
        SELECT ciphertext_sha256 FROM {audit_records.name}
        WHERE subject = r.subject AND seq < r.seq
          AND (ciphertext_sha256 IS NOT NULL OR type = 'key.delete')
        ORDER BY seq DESC LIMIT 1
    ) p ON true
    WHERE r.type = 'keyring.rewrap' AND r.subject LIKE 'key:%' AND r.seq > :after
    ORDER BY r.seq LIMIT :n
    """  # noqa: S608 - the names of our own tables
)

# The SHA-256 is taken over the stored text, as `vault.envelope.ciphertext_sha256` does.
_CIPHERTEXTS = text(
    f"""
    SELECT k.id, encode(sha256(convert_to(k.encrypted_key, 'UTF8')), 'hex') AS stored,
           a.seq, a.ciphertext_sha256 AS audited
    FROM {api_keys.name} k
    LEFT JOIN LATERAL (
        SELECT r.seq, r.ciphertext_sha256 FROM {audit_records.name} r
        WHERE r.subject = 'key:' || k.id
          AND (r.ciphertext_sha256 IS NOT NULL OR r.type = 'key.delete')
        ORDER BY r.seq DESC LIMIT 1
    ) a ON true
    WHERE CAST(:after AS uuid) IS NULL OR k.id > CAST(:after AS uuid)
    ORDER BY k.id LIMIT :n
    """  # noqa: S608 - the names of our own tables
)
