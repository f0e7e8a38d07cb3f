"""The audit trail: how fast it is written, and how fast and in what memory it is checked."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from bench import report
from bench.service import CORE, ENCRYPTION_SECRET, environment
from model_service.audit import chain
from model_service.audit.checkpoints import Checkpointer
from model_service.audit.domain import GENESIS, Entry
from model_service.audit.keys import open_audit_keys
from model_service.audit.signing import AuditKeys
from model_service.audit.trail import Trail
from model_service.db.engine import create_engine
from model_service.db.keyring import SqlKeyringStore
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock, uuid7
from model_service.vault.box import KeyringBox
from model_service.vault.keyring import open_keyring

_BATCH = 20_000
_SUBJECTS = 10_000


class _NobodyTold:
    async def announce(self, type: str, data: Mapping[str, Any]) -> None:  # noqa: A002
        raise RuntimeError(f"{type} in a benchmark: {data}")


@dataclass(frozen=True, slots=True)
class Opened:
    """A trail on a database of its own."""

    database: Database
    keys: AuditKeys
    trail: Trail
    checkpointer: Checkpointer


async def opened(url: Secret[str]) -> Opened:
    """The trail of a migrated database, with its keys."""
    await migrate(url)
    database, clock = Database(create_engine(url)), SystemClock()
    keyring = await open_keyring(SqlKeyringStore(database), Secret(ENCRYPTION_SECRET))
    keys = await open_audit_keys(database, KeyringBox(keyring))
    trail = Trail(database, keys, clock, lambda text: text, "bench:1")
    checkpointer = Checkpointer(database, keys, trail, _NobodyTold(), clock)
    return Opened(database, keys, trail, checkpointer)


async def append_rate(url: Secret[str], seconds: float) -> str:
    """Records a second, each awaited until it is committed, by how many want to at once."""
    audit = await opened(url)
    rows = []
    for writers in (1, 8, 64, 256):
        done = await _append(audit.trail, writers, seconds)
        rows.append([str(writers), f"{done / seconds:,.0f}"])
    await audit.database.close()
    return (
        "Records a second appended to the chain and committed (`synchronous_commit` on), each"
        " awaited by its\nwriter before it makes the next. Those that arrive together share a"
        " commit.\n\n" + report.table(["writers", "records/s"], rows)
    )


async def _append(trail: Trail, writers: int, seconds: float) -> int:
    deadline = time.perf_counter() + seconds
    done = 0

    async def write(writer: int) -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await trail.record(AuditEvent(type="key.reveal", subject=f"key:{UUID(int=writer)}"))
            done += 1

    await asyncio.gather(*map(write, range(writers)))
    return done


async def verify_rate(make: Callable[[str], Awaitable[Secret[str]]], counts: list[int]) -> str:
    """Time and memory of `model-service audit verify` over trails of several lengths."""
    rows = []
    for count in counts:
        url = await make(f"trail_{count}")
        await _fill(url, count)
        seconds, mib = await _timed(url, "audit", "verify")
        rows.append([f"{count:,}", f"{seconds:.1f}", f"{count / seconds:,.0f}", f"{mib:.0f}"])
    return (
        "`model-service audit verify` as a process on one core, start and database included."
        " Targets:\n1,000,000 records within 60 s, in the same memory as fewer.\n\n"
        + report.table(["records", "seconds", "records/s", "most memory, MiB"], rows)
    )


async def _fill(url: Secret[str], count: int) -> None:
    """A trail of that length, as the service writes it, with its checkpoints."""
    audit = await opened(url)
    connection = await asyncpg.connect(url.reveal())
    head, now = GENESIS, SystemClock().now()
    columns = ["seq", "prev_hash", "hash", *Entry._fields]
    for start in range(0, count, _BATCH):
        rows = []
        for index in range(start, min(count, start + _BATCH)):
            entry = _entry(index % _SUBJECTS, now)
            following = chain.link(audit.keys.chain.reveal(), head, chain.canonical(entry))
            rows.append((following.seq, head.hash, following.hash, *entry))
            head = following
        await connection.copy_records_to_table("audit_records", records=rows, columns=columns)
    await connection.execute("UPDATE audit_head SET seq = $1, hash = $2", head.seq, head.hash)
    await connection.execute("VACUUM ANALYZE audit_records")
    await connection.close()
    await audit.checkpointer.cover()
    await audit.database.close()


def _entry(subject: int, now: datetime) -> Entry:
    return Entry(
        id=uuid7(), time=now, type="key.reveal", phase="result", actor="internal",
        on_behalf_of=None, subject=f"key:{UUID(int=subject)}", provider="OPENAI",
        purpose="decrypt", request_id=str(uuid7()), client_address="127.0.0.1",
        decision="allow", reason=None, ciphertext_sha256=None, term=None, instance="bench:1",
    )  # fmt: skip


async def _timed(url: Secret[str], *command: str) -> tuple[float, float]:
    """Seconds that a command took, and the most memory it held, in MiB."""

    def run() -> tuple[float, float]:
        started = time.perf_counter()
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "model_service", *command],
            environment(url.reveal(), Path.cwd()),
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
        os.sched_setaffinity(child, {CORE})
        _, status, usage = os.wait4(child, 0)
        if status:
            raise RuntimeError(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
        return time.perf_counter() - started, usage.ru_maxrss / 1024

    return await asyncio.to_thread(run)
