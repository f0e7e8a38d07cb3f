"""The months that events are stored by: made ahead of time, or when an event needs one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from model_service.db.locks import Lock, take
from model_service.db.tables import usage_horizon
from model_service.db.uow import Database

_NAME: Final = re.compile(r"usage_events_(\d{4,5})_(\d\d)")
# Tables that hold a month of events, by their places in the tree of tables.
_EXISTING: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = CAST('usage_events' AS regclass)"
)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime) -> "Month":
        """The month of a point in time."""
        moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    def plus(self, months: int) -> "Month":
        """So many months later; earlier when negative."""
        year, index = divmod(self.year * 12 + self.number - 1 + months, 12)
        return Month(year, index + 1)

    @property
    def begin(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def table(self) -> str:
        """The name of the table with its events."""
        return f"usage_events_{self.year:04}_{self.number:02}"

    @classmethod
    def named(cls, table: str) -> "Month | None":
        """The month whose events that table has, if it is one of those."""
        found = _NAME.fullmatch(table)
        return cls(int(found[1]), int(found[2])) if found else None

    @override
    def __str__(self) -> str:
        """As `2026-01`."""
        return f"{self.year:04}-{self.number:02}"


class Months:
    """The months that have a table.

    There is no default partition: an event for which there is no month would go there unseen, and
    its month could not be made any more.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: frozenset[Month] = frozenset()

    async def ensure(self, months: Iterable[Month]) -> None:
        """Make those that are missing, but for those already dropped. Not for a transaction.

        What this process knows to be there costs no question.

        Raises:
            DatabaseUnavailable: they could not be made now.
        """
        missing = set(months) - self._known
        if not missing:
            return
        async with self._db.transaction() as connection:
            # Processes that find the same month missing make it one after the other.
            await take(connection, Lock.USAGE_MONTHS)
            existing = await months_of(connection)
            horizon = await kept_since(connection)
            for month in sorted(missing - existing):
                if month.plus(1).begin > horizon:
                    await _make(connection, month)
        # Also those that were dropped: nobody will make them again.
        self._known |= existing | missing

    def forget(self) -> None:
        """Look again next time: somebody took a month away."""
        self._known = frozenset()


async def months_of(connection: AsyncConnection) -> set[Month]:
    """The months that have a table."""
    names = (await connection.execute(_EXISTING)).scalars()
    return {month for name in names if (month := Month.named(name)) is not None}


async def kept_since(connection: AsyncConnection) -> datetime:
    """Since when events are kept: what is older was dropped."""
    found = await connection.scalar(select(usage_horizon.c.kept_since))
    return found or datetime(1970, 1, 1, tzinfo=UTC)


async def _make(connection: AsyncConnection, month: Month) -> None:
    # Attached, not made in place: CREATE TABLE ... PARTITION OF would lock all writers out, and
    # wait for them (PostgreSQL manual, "Table Partitioning", 5.12.2.2).
    first, end = month.begin, month.plus(1).begin
    await connection.execute(
        text(
            f"CREATE TABLE {month.table}"
            " (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
        )
    )
    await connection.execute(
        text(
            f"ALTER TABLE usage_events ATTACH PARTITION {month.table}"
            f" FOR VALUES FROM ('{first.isoformat()}') TO ('{end.isoformat()}')"
        )
    )
