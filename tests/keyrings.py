"""Keyrings on a database of their own, as several processes hold them, with records in it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, text, update

from model_service.custody import sealed_tables
from model_service.db import tables
from model_service.db.engine import create_engine
from model_service.db.keyring import SqlKeyringStore
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, SystemClock, uuid7
from model_service.keys.domain import ProviderKey, key_prefix
from model_service.keys.sealer import Sealer
from model_service.keys.store import SqlKeyStore
from model_service.vault.box import KeyringBox
from model_service.vault.custody import Custody
from model_service.vault.keyring import Keyring, open_keyring
from model_service.vault.rewrap import Rewrapper
from model_service.vault.rotation import Witnesses
from model_service.vault.terms import TermRotation
from model_service.vault.watch import Identity, KeyringWatch
from tests.conftest import ENCRYPTION_SECRET
from tests.fakes import RecordingAnnouncer, RecordingTrail

OLD_SECRET = Secret(ENCRYPTION_SECRET)
NEW_SECRET = Secret("the-secret-that-comes-after-c81f5e20")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: The places that the service's own secrets are sealed to.
SERVICE_PLACES = ("admin_credentials", "webhooks", "audit_keys", "access_keys")
#: Every table that a keyring's records are in, with what they refer to.
_FILLED = (
    tables.api_keys,
    tables.api_key_versions,
    tables.provider_admin_credentials,
    tables.webhooks,
    tables.webhook_secrets,
    tables.audit_keys,
    tables.access_keys,
    tables.audit_records,
    tables.audit_checkpoints,
    tables.keyring_wraps,
    tables.keyring_terms,
    tables.keyring_term_keys,
    tables.keyring_instances,
)


async def emptied(database: Database) -> None:
    """Take every record, the keyring and the audit trail away."""
    names = ", ".join(table.name for table in _FILLED)
    async with database.transaction() as connection:
        await connection.execute(text(f"TRUNCATE {names} CASCADE"))
        await connection.execute(update(tables.audit_head).values(seq=0, hash=bytes(32)))


@dataclass
class Process:
    """What one process has of the service, as far as the keyring goes."""

    database: Database
    keyring: Keyring
    name: str = "process"
    trail: RecordingTrail = field(default_factory=RecordingTrail)
    announcer: RecordingAnnouncer = field(default_factory=RecordingAnnouncer)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self.store = SqlKeyringStore(self.database)
        self.sealer = Sealer(self.keyring)
        self.box = KeyringBox(self.keyring)
        self.seals: dict[int, int] = {}
        self.watch = KeyringWatch(
            self.keyring, self.store, Identity(uuid7(), self.name), clock, self.seals.update
        )
        self.keys = SqlKeyStore(self.database, clock, self.watch.prepare)
        self.tables = sealed_tables(self.database, self.keyring)
        witnesses = Witnesses(self.trail, self.announcer, "ada@host")
        self.terms = TermRotation(self.keyring, self.store, witnesses)
        self.moved: list[tuple[str, int]] = []
        self.rewrapper = Rewrapper(
            self.tables,
            self.keyring,
            self.store,
            self.terms,
            self.trail,
            lambda table, count: self.moved.append((table, count)),
        )
        self.custody = Custody(self.keyring, self.store, self.watch, self.tables, witnesses)

    @classmethod
    async def start(
        cls, database: Database, name: str = "process", secret: Secret[str] = OLD_SECRET
    ) -> "Process":
        return cls(database, await open_keyring(SqlKeyringStore(database), secret), name)

    async def change_term(self) -> int:
        """A new active term; this process says that it knows of it, if it says anything."""
        term = await self.terms.add()
        if self.watch._entered:
            await self.watch.step()
        await self.terms.activate(term)
        return term

    async def finish(self) -> int:
        """Move every record to the active term; gives how many were moved."""
        moved: list[int] = []
        await self.rewrapper.finish(moved.append)
        return sum(moved)

    async def add_key(self, value: str, **changes: Any) -> ProviderKey:
        fields: dict[str, Any] = {
            "id": uuid7(),
            "user_id": "user-1",
            "provider": Provider.OPENAI,
            "key_name": f"key-{uuid7()}",
            "key_version": 1,
            "key_prefix": key_prefix(Secret(value)),
            "last_used_at": None,
            "usage_count": 0,
            "is_active": True,
            "is_valid": True,
            "metadata": None,
            "created_at": NOW,
            "updated_at": NOW,
            "expires_at": None,
            "validated_at": None,
        }
        key = ProviderKey(**(fields | changes))
        await self.keys.add(self.sealer.seal(key, Secret(value)))
        return key

    async def add_version(self, key: ProviderKey, version: int, value: str) -> UUID:
        """A value of a key that is not in use."""
        row_id = uuid7()
        then = replace(key, key_version=version, metadata=None)
        async with self.database.transaction() as connection:
            await connection.execute(
                insert(tables.api_key_versions).values(
                    id=row_id,
                    key_id=key.id,
                    version=version,
                    state="retiring",
                    encrypted_key=self.sealer.seal(then, Secret(value)).encrypted_key,
                    key_prefix=key.key_prefix,
                    endpoint=None,
                    retire_at=None,
                    created_at=NOW,
                )
            )
        return row_id

    async def add_service_secrets(self, value: str) -> dict[str, UUID]:
        """A record in each table of the service's own secrets; gives their ids by place.

        Those of the audit trail and of the tokens are none that these can start with.
        """
        ids = {place: uuid7() for place in SERVICE_PLACES}
        sealed = {place: self.box.seal(place, ids[place], Secret(value)) for place in ids}
        webhook_id = uuid7()
        rows: list[tuple[Any, dict[str, Any]]] = [
            (
                tables.provider_admin_credentials,
                {
                    "id": ids["admin_credentials"],
                    "provider": "OPENAI",
                    "settings": {},
                    "sealed": sealed["admin_credentials"],
                    "created_at": NOW,
                },
            ),
            (
                tables.webhooks,
                {
                    "id": webhook_id,
                    "url": "https://example.test/hook",
                    "is_active": True,
                    "created_at": NOW,
                    "updated_at": NOW,
                },
            ),
            (
                tables.webhook_secrets,
                {"id": ids["webhooks"], "webhook_id": webhook_id, "sealed": sealed["webhooks"]},
            ),
            *(
                (
                    table,
                    {
                        "purpose": f"test-{ids[table.name]}",
                        "id": ids[table.name],
                        "sealed": sealed[table.name],
                        "created_at": NOW,
                    },
                )
                for table in (tables.audit_keys, tables.access_keys)
            ),
        ]
        async with self.database.transaction() as connection:
            for table, values in rows:
                await connection.execute(insert(table).values(values))
        return ids

    async def value_of(self, key_id: UUID) -> str:
        """The value of a key as a reveal gives it."""
        (sealed,) = await self.keys.get_sealed([key_id])
        return self.sealer.open(sealed).reveal()

    async def counts(self, term: int) -> dict[str, int]:
        """How many records of a term each table holds, as far as it holds any."""
        found = {table.name: await table.count(term) for table in self.tables}
        return {name: count for name, count in found.items() if count}


async def stored_texts(database: Database, column: Any) -> dict[UUID, str]:
    """The records in a column, by id."""
    async with database.single() as connection:
        rows = await connection.execute(select(column.table.c.id, column))
        return {row[0]: row[1] for row in rows}


async def let_pass(database: Database, seconds: float) -> None:
    """Move what the database noted of processes and terms into the past."""
    async with database.transaction() as connection:
        ago = func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        i, t = tables.keyring_instances, tables.keyring_terms
        await connection.execute(i.update().values(seen_at=i.c.seen_at - ago))
        await connection.execute(t.update().values(retired_at=t.c.retired_at - ago))


def engines(url: Secret[str], count: int) -> Sequence[Database]:
    """So many processes' connections to one database."""
    return [Database(create_engine(url, pool_size=4)) for _ in range(count)]


async def closed(databases: Sequence[Database]) -> None:
    await asyncio.gather(*(database.close() for database in databases))
