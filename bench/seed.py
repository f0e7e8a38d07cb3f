"""Filling a database with many keys, each sealed by the real vault."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from bench.audit import opened
from bench.service import ENCRYPTION_SECRET
from model_service.db.engine import create_engine
from model_service.db.keyring import SqlKeyringStore
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.vault.envelope import AssociatedData
from model_service.vault.keyring import Keyring, open_keyring

#: Keys that each user has.
KEYS_PER_USER = 5
_COLUMNS = (
    "id", "user_id", "provider", "key_name", "encrypted_key", "key_version", "key_prefix",
    "usage_count", "is_active", "is_valid", "created_at", "updated_at",
)  # fmt: skip
_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Seeded:
    """Some of the stored keys, to ask for."""

    key_ids: list[UUID]
    user_ids: list[str]


async def fill(url: Secret[str], count: int, *, sample: int = 1000) -> Seeded:
    """Store `count` keys, on record; gives about `sample` of them, evenly spread."""
    await migrate(url)
    database = Database(create_engine(url))
    keyring = await open_keyring(SqlKeyringStore(database), Secret(ENCRYPTION_SECRET))
    await database.close()
    connection = await asyncpg.connect(url.reveal())
    every = max(1, count // sample)
    seeded = Seeded([], [])
    rows = _rows(keyring, count)
    done = 0
    while batch := list(itertools.islice(rows, _BATCH)):
        await connection.copy_records_to_table("api_keys", records=batch, columns=_COLUMNS)
        for index, row in enumerate(batch, start=done):
            if index % every == 0:
                seeded.key_ids.append(row[0])
                seeded.user_ids.append(row[1])
        done += len(batch)
    # As a service has it that has run for a while: else the first one to start would record
    # every key, and sign for that in the background of what is measured.
    trail = await opened(url)
    await trail.checkpointer.cover()
    await trail.database.close()
    await connection.execute("VACUUM ANALYZE api_keys, audit_records")
    await connection.execute("CHECKPOINT")
    await connection.close()
    return seeded


def _rows(keyring: Keyring, count: int) -> Iterator[tuple[Any, ...]]:
    start = datetime.now(UTC) - timedelta(days=30)
    for index in range(count):
        key_id, user, provider = uuid7(), f"user-{index // KEYS_PER_USER}", "OPENAI"
        aad = AssociatedData(
            record_id=key_id, user_id=user, provider=provider, key_version=1, endpoint_origin=""
        )
        value = f"sk-bench-{index:040d}"
        moment = start + timedelta(milliseconds=index)
        yield (
            *(key_id, user, provider, f"key-{index}"),
            *(keyring.seal(aad, Secret(value)), 1, f"{value[:7]}...{value[-4:]}"),
            *(0, True, True, moment, moment),
        )
