"""The keyring's rows in PostgreSQL, and who holds it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import (
    DateTime,
    Float,
    bindparam,
    delete,
    exists,
    extract,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.db.locks import Lock, take, try_take
from model_service.db.notices import notify
from model_service.db.tables import (
    access_keys,
    api_key_versions,
    api_keys,
    audit_keys,
    keyring_instances,
    keyring_term_keys,
    keyring_terms,
    keyring_wraps,
    provider_admin_credentials,
    webhook_secrets,
)
from model_service.db.uow import Database
from model_service.kernel.keyring import (
    Beat,
    InstanceRow,
    KeyringMark,
    KeyringRows,
    KeyringSession,
    TermKeyRow,
    TermRow,
    TermState,
    WrapRow,
)

#: The topic of change notices on which processes hear that the keyring changed.
KEYRING_TOPIC: Final = "keyring"

#: A process that said nothing for so long runs no more: it had ten occasions. Whoever waits
#: for all processes waits so long for one that died.
SILENCE: Final = timedelta(seconds=30)
#: A process silent for so long is forgotten.
GONE: Final = timedelta(hours=1)

#: The tables of sealed records.
_SEALED: Final = (
    api_keys,
    api_key_versions,
    provider_admin_credentials,
    webhook_secrets,
    audit_keys,
    access_keys,
)

# The database's clock, not the machines': what they say of themselves is compared.
_NOW = func.clock_timestamp(type_=DateTime(timezone=True))


class SqlKeyringSession:
    """`KeyringSession` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        #: Whether running processes are to compare what they hold with what is stored.
        self.changed = False

    async def load(self) -> KeyringRows:
        """All rows: wraps oldest first, terms and term keys in ascending order of term."""
        run = self._connection.execute
        wraps = await run(select(keyring_wraps).order_by(keyring_wraps.c.created_at))
        retired_for = extract("epoch", _NOW - keyring_terms.c.retired_at).cast(Float)
        terms = await run(
            select(keyring_terms, retired_for.label("retired_for")).order_by(keyring_terms.c.term)
        )
        keys = await run(select(keyring_term_keys).order_by(keyring_term_keys.c.term))
        return KeyringRows(
            wraps=tuple(
                WrapRow(w.wrap_id, w.kind, w.params, w.check_value, w.exposed_through, w.created_at)
                for w in wraps
            ),
            terms=tuple(
                TermRow(t.term, TermState(t.state), t.seals, t.retired_for, t.created_at)
                for t in terms
            ),
            term_keys=tuple(TermKeyRow(k.term, k.wrap_id, k.wrapped) for k in keys),
        )

    async def records_exist(self) -> bool:
        """Whether a record is stored in any table that holds some."""
        stored = or_(*[exists(select(table.c.id)) for table in _SEALED])
        return bool(await self._connection.scalar(select(stored)))

    async def instances(self) -> tuple[InstanceRow, ...]:
        """The processes that hold the keyring, by name; those long gone are left out."""
        i = keyring_instances.c
        query = (
            select(keyring_instances, (i.seen_at > _NOW - SILENCE).label("is_live"))
            .where(i.seen_at > _NOW - GONE)
            .order_by(i.name, i.instance_id)
        )
        return tuple(
            InstanceRow(
                instance_id=row.instance_id,
                name=row.name,
                wrap_id=row.wrap_id,
                active_term=row.active_term,
                newest_term=row.newest_term,
                started_at=row.started_at,
                seen_at=row.seen_at,
                is_live=row.is_live,
            )
            for row in await self._connection.execute(query)
        )

    async def add_wrap(self, wrap: WrapRow) -> None:
        """Store a new wrap, as the newest one whatever the clocks say."""
        newest = select(func.max(keyring_wraps.c.created_at)).scalar_subquery()
        await self._connection.execute(
            keyring_wraps.insert().values(
                wrap_id=wrap.wrap_id,
                kind=wrap.kind,
                params=dict(wrap.params),
                check_value=wrap.check_value,
                created_at=func.greatest(_NOW, newest + timedelta(milliseconds=1)),
                exposed_through=wrap.exposed_through,
            )
        )

    async def expose(self, wrap_id: str, *, through: int) -> None:
        """Note at a wrap that the secret before it leaked, with the data keys up to a term."""
        await self._connection.execute(
            update(keyring_wraps)
            .where(keyring_wraps.c.wrap_id == wrap_id)
            .values(exposed_through=through)
        )

    async def delete_wrap(self, wrap_id: str) -> None:
        """Forget a wrap and every data key under it."""
        self.changed = True
        await self._connection.execute(
            delete(keyring_wraps).where(keyring_wraps.c.wrap_id == wrap_id)
        )

    async def add_term(self, term: TermRow, keys: tuple[TermKeyRow, ...]) -> None:
        """Store a new term with its data key under each wrap."""
        self.changed = True
        await self._connection.execute(
            keyring_terms.insert().values(term=term.term, state=term.state.value, created_at=_NOW)
        )
        await self.add_term_keys(keys)

    async def add_term_keys(self, keys: tuple[TermKeyRow, ...]) -> None:
        """Store data keys of stored terms under a stored wrap."""
        await self._connection.execute(
            keyring_term_keys.insert(),
            [{"term": k.term, "wrap_id": k.wrap_id, "wrapped": k.wrapped} for k in keys],
        )

    async def set_term_state(self, term: int, state: TermState) -> None:
        """Change what a term may be used for; DESTROYED deletes its data key under every wrap."""
        if state is TermState.DESTROYED:
            await self._connection.execute(
                delete(keyring_term_keys).where(keyring_term_keys.c.term == term)
            )
        self.changed = True
        t = keyring_terms.c
        retired_at = None if state is TermState.ACTIVE else func.coalesce(t.retired_at, _NOW)
        await self._connection.execute(
            update(keyring_terms)
            .where(t.term == term)
            .values(state=state.value, retired_at=retired_at)
        )

    async def fence(self) -> bool:
        """Keep every sealed record from being stored until this transaction ends, if none is."""
        return await try_take(self._connection, Lock.FENCE)

    async def beat(self, beat: Beat) -> KeyringMark:
        """Note that a process is alive and what it uses, and count what it sealed."""
        i = keyring_instances.c
        said = {
            "name": beat.name,
            "wrap_id": beat.wrap_id,
            "active_term": beat.active_term,
            "newest_term": beat.newest_term,
            "seen_at": _NOW,
        }
        await self._connection.execute(
            insert(keyring_instances)
            .values(instance_id=beat.instance_id, started_at=_NOW, **said)
            .on_conflict_do_update(index_elements=[i.instance_id], set_=said)
        )
        await self._connection.execute(delete(keyring_instances).where(i.seen_at < _NOW - GONE))
        await self._count(beat.seals)
        wraps = await self._connection.scalars(select(keyring_wraps.c.wrap_id))
        terms = (await self._connection.execute(select(keyring_terms))).all()
        return KeyringMark(
            wrap_ids=frozenset(wraps),
            states={term.term: TermState(term.state) for term in terms},
            seals={term.term: term.seals for term in terms},
        )

    async def _count(self, seals: Mapping[int, int]) -> None:
        if not seals:
            return
        t = keyring_terms.c
        # In one order, so that no two processes wait for each other.
        await self._connection.execute(
            update(keyring_terms)
            .where(t.term == bindparam("of_term"))
            .values(seals=t.seals + bindparam("more")),
            [{"of_term": term, "more": more} for term, more in sorted(seals.items())],
        )


class SqlKeyringStore:
    """`KeyringStore` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[KeyringSession]:
        """A transaction under the keyring's advisory lock: processes take turns."""
        async with self._database.transaction() as connection:
            await take(connection, Lock.KEYRING)
            session = SqlKeyringSession(connection)
            yield session
            if session.changed:
                await notify(connection, KEYRING_TOPIC, "")

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[KeyringSession]:
        """A transaction beside those of other processes: for reading and for beats."""
        async with self._database.transaction() as connection:
            yield SqlKeyringSession(connection)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """A transaction in which at most one process re-encrypts; False: another has the turn."""
        async with self._database.transaction() as connection:
            yield await try_take(connection, Lock.REWRAP)

    async def leave(self, instance_id: UUID) -> None:
        """Note that a process has ended."""
        async with self._database.transaction() as connection:
            await connection.execute(
                delete(keyring_instances).where(keyring_instances.c.instance_id == instance_id)
            )
