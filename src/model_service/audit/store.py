"""The trail in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    bindparam,
    func,
    insert,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.audit.domain import AuditRecord, Entry, Head, RecordFilter
from model_service.db.tables import audit_head, audit_records
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditUnavailable

#: Milliseconds an append waits for somebody's lock. Below the bound for the whole answer, so
#: that the database ends the wait and the connection can go on being used.
LOCK_TIMEOUT_MS: Final = 1500

#: Records read at a time: a few milliseconds of this process's time.
READ_BATCH: Final = 200

_r = audit_records.c
_NAMES: Final = ("seq", "prev_hash", "hash", *Entry._fields)
_COLUMNS: Final = [_r[name] for name in _NAMES]
_LOCK_TIMEOUT = text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_LOCK_HEAD = select(audit_head.c.seq, audit_head.c.hash).with_for_update()
_LOCK_TABLES = text("LOCK TABLE audit_head, audit_records IN ROW EXCLUSIVE MODE")


async def lock_head(connection: AsyncConnection) -> Head:
    """Where the chain ends; nobody else appends until the transaction is over.

    Raises:
        AuditUnavailable: the row that says so is missing.
    """
    await connection.execute(_LOCK_TIMEOUT)
    row = (await connection.execute(_LOCK_HEAD)).first()
    if row is None:
        raise AuditUnavailable
    return Head(row.seq, row.hash)


async def append(
    connection: AsyncConnection, entries: Sequence[Entry], heads: Sequence[Head]
) -> None:
    """Add the entries behind the locked head, and move it there: one statement.

    `heads` are that head and the one after each entry.
    """
    parameters: dict[str, object] = dict(
        zip(Entry._fields, map(list, zip(*entries, strict=True)), strict=True)
    )
    parameters["seq"] = [head.seq for head in heads[1:]]
    parameters["prev_hash"] = [head.hash for head in heads[:-1]]
    parameters["hash"] = [head.hash for head in heads[1:]]
    parameters["head_seq"], parameters["head_hash"] = heads[-1]
    await connection.execute(_APPEND, parameters)


async def require_writable(database: Database) -> None:
    """Show that an append would find what it needs, without making one.

    Raises:
        AuditUnavailable: a table is missing, may not be written, or is locked.
    """
    async with database.transaction() as connection:
        await connection.execute(_LOCK_TIMEOUT)
        await connection.execute(_LOCK_TABLES)
        if (await connection.execute(select(audit_head.c.seq))).first() is None:
            raise AuditUnavailable


async def take_snapshot(connection: AsyncConnection) -> None:
    """Have this transaction, which has done nothing yet, see one moment and write nothing."""
    await connection.execute(_SNAPSHOT)


async def stored_head(connection: AsyncConnection) -> Head | None:
    """Where the chain is said to end; None when nothing says so."""
    row = (await connection.execute(select(audit_head.c.seq, audit_head.c.hash))).first()
    return None if row is None else Head(row.seq, row.hash)


async def time_of(connection: AsyncConnection, seq: int) -> datetime | None:
    """When the record of that number was written; None when there is none."""
    found: datetime | None = await connection.scalar(select(_r.time).where(_r.seq == seq))
    return found


async def newest_like(
    connection: AsyncConnection, event: AuditEvent, since: datetime
) -> AuditRecord | None:
    """The newest record since then that says the same, as it is stored."""
    said = (_r.type == event.type, _r.subject == event.subject, _r.reason == event.reason)
    query = select(*_COLUMNS).where(*said, _r.time >= since).order_by(_r.seq.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _record(row)


async def numbers_between(
    connection: AsyncConnection, since: datetime | None, until: datetime | None
) -> tuple[int, int] | None:
    """The first and last number among the records of a time; None when there are none."""
    conditions = _conditions(RecordFilter(since=since, until=until))
    row = (
        await connection.execute(select(func.min(_r.seq), func.max(_r.seq)).where(*conditions))
    ).one()
    return None if row[0] is None else (row[0], row[1])


async def read(
    connection: AsyncConnection, after: int, last: int | None = None
) -> AsyncIterator[list[AuditRecord]]:
    """The records behind number `after`, up to `last`, in order, some at a time."""
    while True:
        within = true() if last is None else _r.seq <= last
        query = select(*_COLUMNS).where(_r.seq > after, within).order_by(_r.seq).limit(READ_BATCH)
        found = [_record(row) for row in await connection.execute(query)]
        if found:
            yield found
        if len(found) < READ_BATCH:
            return
        after = found[-1].seq


class SqlAuditStore:
    """Reads records, for those who may."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def list(self, wanted: RecordFilter, limit: int) -> list[AuditRecord]:
        """The newest records that match, newest first."""
        query = select(*_COLUMNS).where(*_conditions(wanted)).order_by(_r.seq.desc())
        async with self._db.single() as connection:
            return [_record(row) for row in await connection.execute(query.limit(limit))]


def _record(row: Sequence[Any]) -> AuditRecord:
    return AuditRecord(row[0], row[1], row[2], Entry._make(row[3:]))


def _conditions(wanted: RecordFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.type is not None:
        conditions.append(_r.type == wanted.type)
    if wanted.actor is not None:
        conditions.append(_r.actor == wanted.actor)
    if wanted.subject is not None:
        conditions.append(_r.subject == wanted.subject)
    if wanted.since is not None:
        conditions.append(_r.time >= wanted.since)
    if wanted.until is not None:
        conditions.append(_r.time <= wanted.until)
    if wanted.before is not None:
        conditions.append(_r.seq < wanted.before)
    return conditions


def _append() -> Any:  # noqa: ANN401 - an INSERT with a second statement in it
    arrays = [bindparam(name, type_=ARRAY(_r[name].type, dimensions=1)) for name in _NAMES]
    rows = func.unnest(*arrays).table_valued(*_NAMES).render_derived(name="rows")
    moved = (
        update(audit_head)
        .values(seq=bindparam("head_seq"), hash=bindparam("head_hash"))
        .cte("moved")
    )
    return insert(audit_records).from_select(list(_NAMES), select(rows)).add_cte(moved)


_APPEND: Final = _append()
