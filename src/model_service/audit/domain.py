"""What a record of the audit trail is, and what is signed about many of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

#: Records that a checkpoint covers, when so many are there.
CHECKPOINT_RECORDS: Final = 1000
#: Seconds after which those that are there are covered by a checkpoint all the same.
CHECKPOINT_SECONDS: Final = 3600.0
#: Seconds within which a record must be durable; else what it speaks of does not happen.
ANSWER_SECONDS: Final = 2.0


class Head(NamedTuple):
    """Where a chain ends: the number and hash of its last record."""

    seq: int
    hash: bytes


#: Where the chain begins: before record 1.
GENESIS: Final = Head(0, bytes(32))


class Entry(NamedTuple):
    """What a record says, before it has its place in the chain."""

    id: UUID
    time: datetime
    type: str
    phase: str
    actor: str
    on_behalf_of: str | None
    subject: str | None
    provider: str | None
    purpose: str | None
    request_id: str | None
    client_address: str | None
    decision: str
    reason: str | None
    ciphertext_sha256: str | None
    term: int | None
    instance: str


class AuditRecord(NamedTuple):
    """One record as it is stored: its place in the chain and what it says."""

    seq: int
    prev_hash: bytes
    hash: bytes
    entry: Entry

    @property
    def head(self) -> Head:
        """Where the chain ends that ends with this record."""
        return Head(self.seq, self.hash)


class SealKind(StrEnum):
    """What is signed."""

    CHECKPOINT = "checkpoint"
    """That the records from `first_seq` to `seq` are these."""
    ANCHOR = "anchor"
    """That the records from `first_seq` to `seq` were pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is signed about a segment of the chain.

    `hash` is that of record `seq`; `digest` the SHA-256, in hex, of the segment's exported
    lines; `last_time` the latest time in a record of it; `key_id` names the signing key.
    """

    kind: SealKind
    first_seq: int
    seq: int
    hash: str
    digest: str
    time: datetime
    last_time: datetime
    key_id: str

    @property
    def head(self) -> Head:
        """Where the chain ends that ends with the segment."""
        return Head(self.seq, bytes.fromhex(self.hash))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with the very text that was signed."""

    checkpoint: Checkpoint
    document: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records to list; None means any. `before` is the seq that ends the page before."""

    type: str | None = None
    actor: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
