"""Accounts and who is with them, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from model_service.billing.domain import Account, Membership, Terms
from model_service.billing.months import Month
from model_service.db.locks import Lock, take
from model_service.db.tables import (
    billing_accounts,
    billing_memberships,
    billing_statements,
)
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists

_a, _m = billing_accounts.c, billing_memberships.c


class SqlAccountStore:
    """Accounts and memberships.

    Whoever changes what an account has been, is or will be billed for holds its row (`held`).
    Several are locked in order of id.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, account: Account) -> None:
        """Store a new one.

        Raises:
            AlreadyExists: there is one of that name.
        """
        try:
            async with self._db.single() as connection:
                await connection.execute(insert(billing_accounts).values(_values(account)))
        except IntegrityError:
            raise AlreadyExists("An account of that name exists already") from None

    async def get(self, account_id: UUID) -> Account | None:
        """One account."""
        return await self._one(account_id, hold=False)

    async def held(self, account_id: UUID) -> Account | None:
        """One account, which nobody else may hold until the current transaction ends."""
        return await self._one(account_id, hold=True)

    async def page(self, before: UUID | None, limit: int) -> Sequence[Account]:
        """Accounts, newest first; their ids are in order of time."""
        query = (
            select(billing_accounts)
            .where(true() if before is None else _a.id < before)
            .order_by(_a.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_account(row) for row in await connection.execute(query)]

    async def with_open(self, month: Month, after: UUID | None, limit: int) -> Sequence[Account]:
        """Accounts for which that month or an earlier one is not closed, in order of id."""
        query = (
            select(billing_accounts)
            .where(
                _a.open_month <= month.first_day,
                true() if after is None else _a.id > after,
            )
            .order_by(_a.id)
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_account(row) for row in await connection.execute(query)]

    async def change(self, account_id: UUID, changes: Mapping[str, Any]) -> Account | None:
        """Set the named columns.

        Raises:
            AlreadyExists: there is another one of that name.
        """
        query = (
            update(billing_accounts)
            .where(_a.id == account_id)
            .values(**changes)
            .returning(*billing_accounts.c)
        )
        try:
            async with self._db.single() as connection:
                row = (await connection.execute(query)).first()
        except IntegrityError:
            raise AlreadyExists("An account of that name exists already") from None
        return _account(row) if row else None

    async def has_statements(self, account_id: UUID) -> bool:
        """Whether anything was closed for it."""
        query = select(billing_statements.c.id).where(billing_statements.c.account_id == account_id)
        async with self._db.single() as connection:
            return (await connection.execute(query.limit(1))).first() is not None

    async def delete(self, account_id: UUID) -> bool:
        """Remove one with its memberships and meters; it has no statements."""
        query = delete(billing_accounts).where(_a.id == account_id)
        async with self._db.single() as connection:
            return bool((await connection.execute(query)).rowcount)

    async def memberships(self, account_id: UUID) -> Sequence[Membership]:
        """All that were, are and will be, in order of user and time."""
        query = (
            select(billing_memberships)
            .where(_m.account_id == account_id)
            .order_by(_m.user_id, _m.since)
        )
        async with self._db.single() as connection:
            return [_membership(row) for row in await connection.execute(query)]

    async def members(
        self, account_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Membership]:
        """A page of them, those said last first."""
        query = (
            select(billing_memberships)
            .where(
                _m.account_id == account_id,
                true() if before is None else _m.id < before,
            )
            .order_by(_m.id.desc())
            .limit(limit)
        )
        async with self._db.single() as connection:
            return [_membership(row) for row in await connection.execute(query)]

    async def hold_members(self) -> None:
        """Keep every other change of memberships out until the current transaction ends."""
        async with self._db.single() as connection:
            await take(connection, Lock.BILLING_MEMBERS)

    async def from_day(self, user_id: str, day: date) -> Sequence[Membership]:
        """A user's memberships that reach to that day or beyond, in order of time."""
        query = (
            select(billing_memberships)
            .where(_m.user_id == user_id, or_(_m.until.is_(None), _m.until > day))
            .order_by(_m.since)
        )
        async with self._db.single() as connection:
            return [_membership(row) for row in await connection.execute(query)]

    async def join(self, membership: Membership) -> None:
        """Store a new one, which overlaps with none."""
        async with self._db.single() as connection:
            await connection.execute(
                insert(billing_memberships).values(
                    id=membership.id,
                    account_id=membership.account_id,
                    user_id=membership.user_id,
                    since=membership.since,
                    until=membership.until,
                )
            )

    async def end(self, membership: Membership, until: date) -> None:
        """Let one end before that day; one that had not begun by then is removed."""
        same = _m.id == membership.id
        async with self._db.single() as connection:
            if membership.since >= until:
                await connection.execute(delete(billing_memberships).where(same))
            else:
                await connection.execute(
                    update(billing_memberships).where(same).values(until=until)
                )

    async def _one(self, account_id: UUID, *, hold: bool) -> Account | None:
        query = select(billing_accounts).where(_a.id == account_id)
        if hold:
            query = query.with_for_update()
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _account(row) if row else None


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        terms=Terms(row.markup_percent, row.monthly_fee, row.minimum_charge),
        stripe_customer_id=row.stripe_customer_id,
        first_month=Month.of(row.first_month),
        open_month=Month.of(row.open_month),
        carried=row.carried,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _values(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "markup_percent": account.terms.markup_percent,
        "monthly_fee": account.terms.monthly_fee,
        "minimum_charge": account.terms.minimum_charge,
        "stripe_customer_id": account.stripe_customer_id,
        "first_month": account.first_month.first_day,
        "open_month": account.open_month.first_day,
        "carried": account.carried,
        "created_at": account.created_at,
        "updated_at": account.updated_at,
    }


def _membership(row: Row[Any]) -> Membership:
    return Membership(row.id, row.account_id, row.user_id, row.since, row.until)
