"""Usage events into PostgreSQL, each once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from model_service.db.uow import Database
from model_service.usage.domain import KeyUse, UsageEvent
from model_service.usage.partitions import Month, Months
from model_service.usage.records import moment_of
from model_service.usage.rollup import (
    KEEP,
    KEEP_PAYLOADS,
    MAX_INDEXED,
    MAX_INTEGER,
    MAX_SMALLINT,
)

log = structlog.get_logger(__name__)

_INDEXED: Final = frozenset({"user_id", "model", "provider", "tags"})
# SQLSTATE classes (PostgreSQL manual, appendix A): 22, a value that its column cannot hold; 54, one
# that its index cannot.
_VALUE_CLASSES: Final = ("22", "54")
# SQLSTATE of a row that no partition takes, too.
_CHECK_VIOLATION: Final = "23514"
_LOCK: Final = text("LOCK TABLE usage_events IN ROW EXCLUSIVE MODE")
_KEEP: Final = text(KEEP)
_KEEP_PAYLOADS: Final = text(KEEP_PAYLOADS)
# The character that PostgreSQL cannot store, as JSON says it; not a backslash and then its name.
_NUL: Final = b"\\u0000"
_NUL_SAID: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class SqlUsageSink:
    """`UsageSink` on the tables of usage."""

    def __init__(self, database: Database, months: Months, keys: KeyUse) -> None:
        self._db = database
        self._months = months
        self._keys = keys

    async def keep(self, events: Sequence[UsageEvent]) -> None:
        """Store those not stored yet, add them to the sums, and count the uses of keys: one unit.

        An event from before what is kept (see `retention`) is left out, and the log says so.

        Raises:
            DatabaseUnavailable: none is stored; the same may be told again.
        """
        if not events:
            return
        document = _encoded(events)
        months = {Month.of(event.time) for event in events}
        await self._months.ensure(months)
        try:
            await self._keep(_KEEP, {"events": document or _mended(events)})
        except DBAPIError as error:
            if _misses_month(error):
                # Somebody dropped it by hand. It is made again, as it never was one too old.
                self._months.forget()
            elif not _state(error).startswith(_VALUE_CLASSES):
                raise
            await self._months.ensure(months)
            await self._keep(_KEEP, {"events": _mended(events)})

    async def keep_payloads(self, payloads: Sequence[bytes]) -> None:
        """Do the same for events as they were journalled: it is the database that reads them.

        What its columns cannot hold is cut to what they can, as `keep` does it.

        Raises:
            DatabaseUnavailable: none is stored; the same may be told again.
            DBAPIError: one of them cannot be read or stored, so none is.
            ValueError: one of them is no event at all, so none is stored.
        """
        if not payloads:
            return
        document = b",".join(payloads)
        if b"\\" in document and _NUL in document:  # the first alone is looked for much faster
            document = _NUL_SAID.sub(rb"\1\\ufffd", document)
        parameters = {"payloads": document}
        try:
            await self._keep(_KEEP_PAYLOADS, parameters)
        except DBAPIError as error:
            if not _misses_month(error):
                raise
            # Looked for only now: months are made long ahead, and looking takes each payload.
            self._months.forget()
            await self._months.ensure({Month.of(moment_of(payload)) for payload in payloads})
            await self._keep(_KEEP_PAYLOADS, parameters)

    async def _keep(self, statement: TextClause, parameters: Mapping[str, str | bytes]) -> None:
        async with self._db.transaction() as connection:
            # Before the statement begins that reads the horizon: dropping a month waits for it.
            await connection.execute(_LOCK)
            row = (await connection.execute(statement, parameters)).one()
            if row.uses is not None:
                await self._keys.used(row.uses)
        if row.late:
            log.warning("usage events came after their month was dropped; left out", count=row.late)


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


def _misses_month(error: DBAPIError) -> bool:
    return isinstance(error, IntegrityError) and _state(error) == _CHECK_VIOLATION


def _encoded(events: Sequence[UsageEvent]) -> str | None:
    """The events as JSON; None when PostgreSQL could not read it.

    In C from end to end: this runs where calls are served.
    """
    try:
        document = orjson.dumps(events, default=_plain)
    except TypeError:  # a surrogate, or a number beyond 64 bits
        return None
    return None if b"\\u0000" in document else document.decode()


def _plain(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, UUID):  # of the database driver's own class
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _mended(events: Sequence[UsageEvent]) -> str:
    """The events with what no column can hold cut to what it can.

    An event must not be lost, nor stand in the way of others, for what a provider or a caller
    wrote into it.
    """
    return orjson.dumps([_mended_event(event) for event in events], default=_plain).decode()


def _mended_event(event: UsageEvent) -> UsageEvent:
    changes: dict[str, Any] = {}
    for name in UsageEvent.__slots__:
        value = getattr(event, name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            most = MAX_SMALLINT if name in ("status", "attempts") else MAX_INTEGER
            changes[name] = min(max(value, 0), most)
        elif name == "cost" and value is not None and not value.is_finite():
            changes[name] = changes["price_version"] = None
        elif isinstance(value, str | tuple | Mapping):
            changes[name] = _mended_value(value)
            if name in _INDEXED:
                changes[name] = _cut(changes[name])
    return replace(event, **changes)


def _cut(value: str | list[str]) -> str | list[str]:
    return value[:MAX_INDEXED] if isinstance(value, str) else [v[:MAX_INDEXED] for v in value]


def _mended_value(value: Any) -> Any:  # noqa: ANN401 - JSON has no narrower type
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case bool() | None:
            return value
        case int():
            return min(max(value, -(2**63)), 2**63 - 1)
        case Mapping():
            return {str(_mended_value(str(k))): _mended_value(v) for k, v in value.items()}
        case list() | tuple():
            return [_mended_value(item) for item in value]
        case _:
            return value
