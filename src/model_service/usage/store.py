"""Usage events into PostgreSQL, each once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from model_service.db.uow import Database
from model_service.usage.domain import KeyUse, UsageEvent
from model_service.usage.partitions import Month, Months
from model_service.usage.rollup import KEEP

log = structlog.get_logger(__name__)

#: Largest value of PostgreSQL's `integer` and `smallint`, the types of counts.
_MAX_INTEGER: Final = 2**31 - 1
_MAX_SMALLINT: Final = 2**15 - 1
#: Characters of what is indexed: at four bytes each an index can still hold them (PostgreSQL
#: manual, "B-Tree Indexes", 65.1.4.1: a third of a page).
_MAX_INDEXED: Final = 500
_INDEXED: Final = frozenset({"user_id", "model", "provider", "tags"})
# SQLSTATE classes (PostgreSQL manual, appendix A): 22, a value that its column cannot hold; 54, one
# that its index cannot.
_VALUE_CLASSES: Final = ("22", "54")
# SQLSTATE of a row that no partition takes, too.
_CHECK_VIOLATION: Final = "23514"
_LOCK: Final = text("LOCK TABLE usage_events IN ROW EXCLUSIVE MODE")
_KEEP: Final = text(KEEP)


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
        try:
            await self._keep(events, document if document is not None else _mended(events))
        except DBAPIError as error:
            state = str(getattr(error.orig, "sqlstate", ""))
            if state == _CHECK_VIOLATION and isinstance(error, IntegrityError):
                # Somebody dropped a month by hand. It is made again, as it never was one too old.
                self._months.forget()
            elif not state.startswith(_VALUE_CLASSES):
                raise
            await self._keep(events, _mended(events))

    async def _keep(self, events: Sequence[UsageEvent], document: str) -> None:
        await self._months.ensure({Month.of(event.time) for event in events})
        async with self._db.transaction() as connection:
            # Before the statement begins that reads the horizon: dropping a month waits for it.
            await connection.execute(_LOCK)
            rows = (await connection.execute(_KEEP, {"events": document})).all()
            used = {row.key_id: (row.uses, row.last_use) for row in rows if row.key_id is not None}
            if used:
                await self._keys.used(used)
        _complain(rows)


def _complain(rows: Sequence[Row[Any]]) -> None:
    late = rows[0].late
    if late:
        log.warning("usage events came after their month was dropped; left out", count=late)


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
            most = _MAX_SMALLINT if name in ("status", "attempts") else _MAX_INTEGER
            changes[name] = min(max(value, 0), most)
        elif name == "cost" and value is not None and not value.is_finite():
            changes[name] = changes["price_version"] = None
        elif isinstance(value, str | tuple | Mapping):
            changes[name] = _mended_value(value)
            if name in _INDEXED:
                changes[name] = _cut(changes[name])
    return replace(event, **changes)


def _cut(value: str | list[str]) -> str | list[str]:
    return value[:_MAX_INDEXED] if isinstance(value, str) else [v[:_MAX_INDEXED] for v in value]


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
