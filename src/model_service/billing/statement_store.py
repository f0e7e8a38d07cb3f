"""Statements, what they billed, and credit notes, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, insert, select, true
from sqlalchemy.dialects.postgresql import insert as upsert

from model_service.billing.domain import (
    ClosedStatement,
    CreditNote,
    UsageSum,
    Used,
)
from model_service.billing.months import Month
from model_service.db.tables import (
    billing_counters,
    billing_credit_notes,
    billing_included,
    billing_statements,
)
from model_service.db.uow import Database

_s, _i, _n = billing_statements.c, billing_included.c, billing_credit_notes.c
_COUNTS: Final = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "unpriced_requests",
)
# Rows of one INSERT: PostgreSQL takes 32767 parameters at most.
_BATCH: Final = 1000


class SqlStatementStore:
    """Statements and credit notes. Both are added in a transaction that holds their account."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def next_number(self, kind: str) -> int:
        """The next number of `statement` or `credit_note`.

        It is this transaction's: rolled back, it is given again. So numbers have no gaps, and
        those who want one take turns from here to the commit.
        """
        query = (
            upsert(billing_counters)
            .values(name=kind, value=1)
            .on_conflict_do_update(
                index_elements=[billing_counters.c.name],
                set_={"value": billing_counters.c.value + 1},
            )
            .returning(billing_counters.c.value)
        )
        async with self._db.single() as connection:
            return int(await connection.scalar(query))

    async def add(self, statement: ClosedStatement, markup_percent: Decimal) -> None:
        """Keep a statement, for good."""
        async with self._db.single() as connection:
            await connection.execute(
                insert(billing_statements).values(
                    id=statement.id,
                    number=statement.number,
                    account_id=statement.account_id,
                    month=statement.month.first_day,
                    markup_percent=markup_percent,
                    total=statement.total,
                    content=statement.content,
                    digest=statement.digest,
                    closed_at=statement.closed_at,
                )
            )

    async def get(self, statement_id: UUID) -> ClosedStatement | None:
        """One statement."""
        async with self._db.single() as connection:
            query = select(billing_statements).where(_s.id == statement_id)
            row = (await connection.execute(query)).first()
        return _statement(row) if row else None

    async def of_month(self, account_id: UUID, month: Month) -> ClosedStatement | None:
        """The statement of an account's month."""
        query = select(billing_statements).where(
            _s.account_id == account_id, _s.month == month.first_day
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _statement(row) if row else None

    async def page(
        self, account_id: UUID | None, month: Month | None, before: UUID | None, limit: int
    ) -> Sequence[ClosedStatement]:
        """Statements, those closed last first."""
        query = (
            select(billing_statements)
            .where(
                true() if account_id is None else _s.account_id == account_id,
                true() if month is None else _s.month == month.first_day,
                true() if before is None else _s.id < before,
            )
            .order_by(_s.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_statement(row) for row in await connection.execute(query)]

    async def markups(self, account_id: UUID) -> Mapping[Month, Decimal]:
        """The markup of each closed month."""
        query = select(_s.month, _s.markup_percent).where(_s.account_id == account_id)
        async with self._db.single() as connection:
            rows = await connection.execute(query)
            return {Month.of(row.month): row.markup_percent for row in rows}

    async def billed(
        self, users: Collection[str], since: date, until: date
    ) -> Mapping[tuple[str, str, object], Used]:
        """What statements billed those users for those days, by user, model and day."""
        query = select(billing_included).where(
            _i.user_id == func.any(sorted(users)), _i.day >= since, _i.day < until
        )
        async with self._db.single() as connection:
            rows = await connection.execute(query)
            return {(row.user_id, row.model, row.day): used_of(row) for row in rows}

    async def include(self, account_id: UUID, sums: Sequence[UsageSum]) -> None:
        """Note that a statement billed this, beyond what was billed before."""
        new = upsert(billing_included)
        added = {name: _i[name] + new.excluded[name] for name in (*_COUNTS, "cost")}
        query = new.on_conflict_do_update(
            index_elements=[_i.user_id, _i.model, _i.day],
            set_=added,
        )
        async with self._db.single() as connection:
            for start in range(0, len(sums), _BATCH):
                rows = [
                    {
                        "user_id": entry.user_id,
                        "model": entry.model,
                        "day": entry.day,
                        "account_id": account_id,
                        **used_values(entry.used),
                    }
                    for entry in sums[start : start + _BATCH]
                ]
                await connection.execute(query, rows)

    async def add_note(self, note: CreditNote) -> None:
        """Keep a credit note, for good."""
        async with self._db.single() as connection:
            await connection.execute(
                insert(billing_credit_notes).values(
                    id=note.id,
                    number=note.number,
                    statement_id=note.statement_id,
                    amount=note.amount,
                    reason=note.reason,
                    reference=note.reference,
                    created_at=note.created_at,
                )
            )

    async def note_of(self, statement_id: UUID, reference: str) -> CreditNote | None:
        """The note that was asked for under that reference."""
        query = select(billing_credit_notes).where(
            _n.statement_id == statement_id, _n.reference == reference
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _note(row) if row else None

    async def notes(
        self, statement_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[CreditNote]:
        """A statement's credit notes, newest first."""
        query = (
            select(billing_credit_notes)
            .where(
                _n.statement_id == statement_id,
                true() if before is None else _n.id < before,
            )
            .order_by(_n.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_note(row) for row in await connection.execute(query)]

    async def credited(self, statement_ids: Sequence[UUID]) -> Mapping[UUID, Decimal]:
        """What was given back on each of them, where anything was."""
        query = (
            select(_n.statement_id, func.sum(_n.amount).label("amount"))
            .where(_n.statement_id.in_(statement_ids))
            .group_by(_n.statement_id)
        )
        async with self._db.single() as connection:
            rows = await connection.execute(query)
            return {row.statement_id: row.amount for row in rows}


def used_of(row: Row[Any]) -> Used:
    """The columns of usage as what they mean."""
    return Used(
        row.requests,
        row.input_tokens,
        row.cached_input_tokens,
        row.cache_write_tokens,
        row.output_tokens,
        row.unpriced_requests,
        row.cost,
    )


def used_values(used: Used) -> dict[str, Any]:
    """Usage as columns."""
    values: dict[str, Any] = {name: getattr(used, name) for name in _COUNTS}
    return {**values, "cost": used.cost}


def _statement(row: Row[Any]) -> ClosedStatement:
    return ClosedStatement(
        row.id,
        row.number,
        row.account_id,
        Month.of(row.month),
        row.total,
        row.content,
        row.digest,
        row.closed_at,
    )


def _note(row: Row[Any]) -> CreditNote:
    return CreditNote(
        row.id,
        row.number,
        row.statement_id,
        row.amount,
        row.reason,
        row.reference,
        row.created_at,
    )
