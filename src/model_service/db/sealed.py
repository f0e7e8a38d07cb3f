"""Tables of sealed records in PostgreSQL: finding those of a term, and swapping them."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    FromClause,
    Row,
    Text,
    Uuid,
    bindparam,
    exists,
    func,
    select,
    true,
    update,
)

from model_service.db.uow import Database
from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.sealed import SealedRow, term_prefix
from model_service.kernel.sealing import SecretBox


class SqlSealedTable:
    """`SealedTable` on one column of a table whose rows have a UUID `id`.

    Where there may be many records, an index on `left(<column>, 8), id` makes it fast.
    """

    def __init__(
        self,
        database: Database,
        column: Column[str],
        kind: str,
        reseal: Callable[[Row[Any]], str],
        *,
        beside: Sequence[ColumnElement[Any]] = (),
        source: FromClause | None = None,
    ) -> None:
        """`reseal` opens a row's record and seals its value anew, for the same place.

        It is given `sealed_id`, `sealed_text` and the columns `beside` them, from `source`
        when these are another table's too, and raises `IntegrityFailure` for a record that
        does not open.
        """
        self._database = database
        self._column = column
        self._table = column.table
        self._id: Column[UUID] = column.table.c.id
        self._reseal = reseal
        self._query = select(
            self._id.label("sealed_id"), column.label("sealed_text"), *beside
        ).select_from(column.table if source is None else source)
        self.kind = kind

    @property
    def name(self) -> str:
        """The table's name."""
        return str(self._table.name)

    async def count(self, term: int) -> int:
        """How many records of that term there are."""
        query = select(func.count()).select_from(self._table).where(self._is_of(term))
        async with self._database.single() as connection:
            return int(await connection.scalar(query) or 0)

    async def holds(self, term: int) -> bool:
        """Whether there is any record of that term."""
        query = select(exists(select(self._id).where(self._is_of(term))))
        async with self._database.single() as connection:
            return bool(await connection.scalar(query))

    async def batch(self, term: int, after: UUID | None, limit: int) -> Sequence[SealedRow]:
        """Records of that term in order of id, sealed anew and locked until they are replaced.

        Nobody is waited for: rows that somebody else has locked are left out.
        """
        query = (
            self._query.where(self._is_of(term), true() if after is None else self._id > after)
            .order_by(self._id)
            .limit(limit)
            .with_for_update(skip_locked=True, key_share=True, of=self._table)
        )
        async with self._database.single() as connection:
            rows = (await connection.execute(query)).all()
        return [self._sealed_row(row) for row in rows]

    async def replace(self, rows: Sequence[SealedRow]) -> set[UUID]:
        """Store the records sealed anew where the old text is still the one stored."""
        if not rows:
            return set()
        new = (
            func.unnest(
                bindparam("ids", type_=ARRAY(Uuid)),
                bindparam("were", type_=ARRAY(Text)),
                bindparam("become", type_=ARRAY(Text)),
            )
            .table_valued("id", "was", "becomes")
            .render_derived(name="new")
        )
        query = (
            update(self._table)
            .where(self._id == new.c.id, self._column == new.c.was)
            .values({self._column: new.c.becomes})
            .returning(self._id)
        )
        parameters = {
            "ids": [row.row_id for row in rows],
            "were": [row.stored for row in rows],
            "become": [row.resealed for row in rows],
        }
        async with self._database.single() as connection:
            return set((await connection.execute(query, parameters)).scalars())

    def _is_of(self, term: int) -> ColumnElement[bool]:
        return func.left(self._column, 8) == term_prefix(term)

    def _sealed_row(self, row: Row[Any]) -> SealedRow:
        try:
            resealed = self._reseal(row)
        except IntegrityFailure:
            resealed = None
        return SealedRow(row.sealed_id, row.sealed_text, resealed)


def boxed(
    database: Database, column: Column[str], kind: str, box: SecretBox, place: str
) -> SqlSealedTable:
    """A table of the service's own secrets, which the box seals to `place` and the row's id."""

    def reseal(row: Row[Any]) -> str:
        value = box.open(place, row.sealed_id, row.sealed_text)
        return box.seal(place, row.sealed_id, value)

    return SqlSealedTable(database, column, kind, reseal)
