"""Audit trails for tests: an empty one on a database, and records to put into it."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, func, insert, select, text

from model_service.audit import chain
from model_service.audit.domain import GENESIS, AuditRecord, Entry, Head
from model_service.audit.export import Exported
from model_service.audit.ledger import Ledger
from model_service.audit.signing import AuditKeys
from model_service.audit.trail import Trail
from model_service.db.tables import audit_checkpoints, audit_head, audit_records
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.secret import Secret
from tests.fakes import RecordingAnnouncer

CHAIN_KEY = bytes(range(32))
SIGNING_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


class SetClock:
    """Stands still until told otherwise."""

    def __init__(self, now: datetime = START) -> None:
        self.moment = now

    def now(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Bench:
    """One trail with everything around it."""

    database: Database
    clock: SetClock
    trail: Trail
    announcer: RecordingAnnouncer
    ledger: Ledger

    async def write(self, count: int, type: str = "key.reveal") -> None:  # noqa: A002
        """Append so many records."""
        events = [AuditEvent(type=type, subject=f"key:{UUID(int=n)}") for n in range(count)]
        async with self.database.transaction():
            await self.trail.record(*events)

    async def records(self) -> list[AuditRecord]:
        names = ("seq", "prev_hash", "hash", *Entry._fields)
        columns = [audit_records.c[name] for name in names]
        async with self.database.single() as connection:
            rows = (await connection.execute(select(*columns).order_by(columns[0]))).all()
        return [AuditRecord(row[0], row[1], row[2], Entry._make(row[3:])) for row in rows]

    async def count(self) -> int:
        async with self.database.single() as connection:
            query = select(func.count()).select_from(audit_records)
            return int(await connection.scalar(query) or 0)

    async def execute(self, statement: str, **parameters: object) -> None:
        """What somebody with access to the database may do."""
        async with self.database.transaction() as connection:
            await connection.execute(text(statement), parameters)

    async def export(self, since: datetime | None = None) -> tuple[bytes, Exported]:
        """An export, and what is in it."""
        output = io.BytesIO()
        exported = await self.ledger.export(output.write, since=since)
        assert exported is not None
        return output.getvalue(), exported


def make_bench(
    database: Database,
    redact: Callable[[str], str] = str,
    announcer: RecordingAnnouncer | None = None,
) -> Bench:
    """A trail on a database, with keys of its own."""
    keys, clock = AuditKeys(Secret(CHAIN_KEY), SIGNING_KEY), SetClock()
    announcer = announcer or RecordingAnnouncer()
    trail = Trail(database, keys, clock, redact, "test-host:1")
    ledger = Ledger.build(database, keys, trail, announcer, clock)
    return Bench(database, clock, trail, announcer, ledger)


async def empty_trail(database: Database) -> None:
    """Take every record away and begin anew; the keys stay."""
    async with database.transaction() as connection:
        names = f"{audit_records.name}, {audit_checkpoints.name}"
        await connection.execute(text(f"TRUNCATE {names}"))
        await connection.execute(delete(audit_head))
        await connection.execute(insert(audit_head).values(single=True, seq=0, hash=GENESIS.hash))


def entry(number: int, **fields: Any) -> Entry:
    """What a record says, made up."""
    made = Entry(
        id=UUID(int=number),
        time=START + timedelta(seconds=number),
        type="key.reveal",
        phase="result",
        actor="internal",
        on_behalf_of=None,
        subject=f"key:{UUID(int=number)}",
        provider="OPENAI",
        purpose="decrypt",
        request_id=None,
        client_address="127.0.0.1",
        decision="allow",
        reason=None,
        ciphertext_sha256=None,
        term=None,
        instance="test-host:1",
    )
    return made._replace(**fields)


def linked(entries: Sequence[Entry], start: Head = GENESIS) -> list[AuditRecord]:
    """The entries as records that follow `start`."""
    heads = chain.heads(CHAIN_KEY, start, map(chain.canonical, entries))
    return [
        AuditRecord(after.seq, before.hash, after.hash, entry)
        for before, after, entry in zip(heads, heads[1:], entries, strict=False)
    ]
