"""Accounts: opening and changing them, and who is with them from which day on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol
from uuid import UUID

import structlog

from model_service.billing.domain import ZERO, Account, Membership, NewAccount
from model_service.billing.months import Month, day_of
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import Conflict, FieldFault, InvalidInput, NotFound
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions

log = structlog.get_logger(__name__)

#: Users of one account. Each statement is reckoned in memory.
MOST_MEMBERS: Final = 10_000
#: Months that an account may begin before the current one; more cannot be meant.
_MOST_BACK: Final = 120


class AccountStore(Protocol):
    """Where accounts are kept, as far as these use cases go. See `store.SqlAccountStore`."""

    async def add(self, account: Account) -> None:
        """Store a new one. Raises AlreadyExists."""
        ...

    async def get(self, account_id: UUID) -> Account | None:
        """One account."""
        ...

    async def held(self, account_id: UUID) -> Account | None:
        """One account, held until the transaction ends."""
        ...

    async def page(self, before: UUID | None, limit: int) -> Sequence[Account]:
        """Accounts, newest first."""
        ...

    async def change(self, account_id: UUID, changes: Mapping[str, Any]) -> Account | None:
        """Set the named columns. Raises AlreadyExists."""
        ...

    async def has_statements(self, account_id: UUID) -> bool:
        """Whether anything was closed for it."""
        ...

    async def delete(self, account_id: UUID) -> bool:
        """Remove one."""
        ...

    async def members(
        self, account_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Membership]:
        """A page of its memberships, those said last first."""
        ...

    async def memberships(self, account_id: UUID) -> Sequence[Membership]:
        """All its memberships."""
        ...

    async def hold_members(self) -> None:
        """Keep other changes of memberships out until the transaction ends."""
        ...

    async def from_day(self, user_id: str, day: date) -> Sequence[Membership]:
        """A user's memberships that reach to that day or beyond."""
        ...

    async def join(self, membership: Membership) -> None:
        """Store a new one."""
        ...

    async def end(self, membership: Membership, until: date) -> None:
        """Let one end before that day."""
        ...


@dataclass(frozen=True, slots=True)
class AccountService:
    """The use cases of accounts."""

    transactions: Transactions
    store: AccountStore
    trail: AuditTrail
    clock: Clock

    async def create(self, new: NewAccount) -> Account:
        """Open an account.

        Raises:
            AlreadyExists: there is one of that name.
            InvalidInput: it would begin in the future, or too long ago.
            DatabaseUnavailable, AuditUnavailable: nothing is stored.
        """
        now = self.clock.now()
        current = Month.of(now)
        first = new.first_month or current
        if not current.shifted(-_MOST_BACK) <= first <= current:
            fault = FieldFault("firstMonth", "must be the current month or one of the last 120")
            raise InvalidInput(errors=[fault])
        account = Account(
            id=uuid7(),
            name=new.name,
            terms=new.terms,
            stripe_customer_id=new.stripe_customer_id,
            first_month=first,
            open_month=first,
            carried=ZERO,
            created_at=now,
            updated_at=now,
        )
        async with self.transactions.transaction():
            await self.store.add(account)
            await self._record("billing.account.create", account.id)
        return account

    async def get(self, account_id: UUID) -> Account:
        """One account. Raises NotFound."""
        return found(await self.store.get(account_id))

    async def page(self, before: UUID | None, limit: int) -> Sequence[Account]:
        """Accounts, newest first."""
        return await self.store.page(before, limit)

    async def change(self, account_id: UUID, changes: Mapping[str, Any]) -> Account:
        """Change some columns. New terms hold for every month that is not closed.

        Raises:
            NotFound: there is none.
            AlreadyExists: there is another one of that name.
        """
        async with self.transactions.transaction():
            found(await self.store.held(account_id))
            now = self.clock.now()
            changed = found(await self.store.change(account_id, {**changes, "updated_at": now}))
            await self._record("billing.account.update", account_id, " ".join(sorted(changes)))
        return changed

    async def delete(self, account_id: UUID) -> None:
        """Remove an account that was never billed.

        Raises:
            NotFound: there is none.
            Conflict: it has statements, which are kept.
        """
        async with self.transactions.transaction():
            found(await self.store.held(account_id))
            if await self.store.has_statements(account_id):
                raise Conflict("The account has closed statements, which are never deleted")
            await self.store.delete(account_id)
            await self._record("billing.account.delete", account_id)

    async def members(
        self, account_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Membership]:
        """An account's memberships, those said last first. Raises NotFound."""
        found(await self.store.get(account_id))
        return await self.store.members(account_id, before, limit)

    async def join(self, account_id: UUID, user_id: str, since: date | None) -> Membership:
        """Let a user be with an account from a day on; None: today.

        What was said of that day and later days, of whatever account, holds no more. So this
        moves users too, and usage before the day stays with the account it was.

        Raises:
            NotFound: there is no such account.
            Conflict: an account concerned has a statement over that day already, or too many
                members.
        """
        day = since or day_of(self.clock.now())
        async with self.transactions.transaction():
            await self.store.hold_members()
            former = await self.store.from_day(user_id, day)
            await self._hold({account_id, *(one.account_id for one in former)}, day)
            match former:
                case [one] if one.account_id == account_id and one.covers(day) and not one.until:
                    return one
            for one in former:
                await self.store.end(one, day)
            if len(await self.store.memberships(account_id)) >= MOST_MEMBERS:
                raise Conflict(f"An account has {MOST_MEMBERS} memberships at most")
            membership = Membership(uuid7(), account_id, user_id, day)
            await self.store.join(membership)
            await self._record("billing.member.join", account_id, f"{user_id} from {day}")
        return membership

    async def leave(self, account_id: UUID, user_id: str, day: date | None) -> None:
        """Let a user be with an account no more, from that day on; None: from today on.

        Raises:
            NotFound: there is no such account, or the user is not with it then or later.
            Conflict: the account has a statement over that day already.
        """
        until = day or day_of(self.clock.now())
        async with self.transactions.transaction():
            await self.store.hold_members()
            concerned = [
                one
                for one in await self.store.from_day(user_id, until)
                if one.account_id == account_id
            ]
            await self._hold({account_id}, until)
            if not concerned:
                raise NotFound("The user is not with this account then")
            for one in concerned:
                await self.store.end(one, until)
            await self._record("billing.member.leave", account_id, f"{user_id} from {until}")

    async def _hold(self, account_ids: set[UUID], day: date) -> None:
        """Hold accounts, all of which must have that day open still."""
        for account_id in sorted(account_ids):
            account = found(await self.store.held(account_id))
            if day < account.open_month.first_day:
                raise Conflict(
                    f"Account '{account.name}' takes changes from {account.open_month.first_day}"
                    " on: what is before is closed, or before its first month"
                )

    async def _record(self, kind: str, account_id: UUID, reason: str | None = None) -> None:
        event = AuditEvent(type=kind, subject=f"billing-account:{account_id}", reason=reason)
        await self.trail.record(event)


def found(account: Account | None) -> Account:
    """The account. Raises NotFound when there is none."""
    if account is None:
        raise NotFound("No such billing account")
    return account
