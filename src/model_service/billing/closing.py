"""Statements: drafts, closing them for good, and giving money back on them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

import structlog

from model_service.billing.domain import (
    CURRENCY,
    ZERO,
    Account,
    ClosedStatement,
    CreditNote,
    Line,
    Membership,
    NewCreditNote,
    Statement,
    UsageSum,
    UsageSums,
    Used,
)
from model_service.billing.months import Month
from model_service.billing.service import found
from model_service.billing.statements import closed, opened, reckon, unbilled, usage_lines
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import (
    Conflict,
    DatabaseUnavailable,
    FieldFault,
    InvalidInput,
    NotFound,
    ServiceError,
)
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions

log = structlog.get_logger(__name__)

#: How long after the end of a month its statements are closed by themselves. By then every
#: journal has been drained that will be; what comes later still is on the next statement.
CLOSE_AFTER: Final = timedelta(hours=6)
#: Months before the one of a statement in which usage is looked for that came late.
LATE_MONTHS: Final = 13
#: Seconds between two looks for months to close, and accounts read at a time.
_LOOK_SECONDS: Final = 300.0
_BATCH: Final = 100
# Users reckoned between two chances for other work.
_USERS_AT_ONCE: Final = 8


class AccountReader(Protocol):
    """What closing needs of accounts. See `store.SqlAccountStore`."""

    async def get(self, account_id: UUID) -> Account | None:
        """One account."""
        ...

    async def held(self, account_id: UUID) -> Account | None:
        """One account, held until the transaction ends."""
        ...

    async def with_open(self, month: Month, after: UUID | None, limit: int) -> Sequence[Account]:
        """Accounts for which that month or an earlier one is not closed, in order of id."""
        ...

    async def memberships(self, account_id: UUID) -> Sequence[Membership]:
        """All its memberships."""
        ...

    async def change(self, account_id: UUID, changes: Mapping[str, object]) -> Account | None:
        """Set the named columns."""
        ...


class StatementStore(Protocol):
    """Where statements are kept. See `statement_store.SqlStatementStore`."""

    async def next_number(self, kind: str) -> int:
        """The next number of its kind, without gaps."""
        ...

    async def add(self, statement: ClosedStatement, markup_percent: Decimal) -> None:
        """Keep a statement."""
        ...

    async def get(self, statement_id: UUID) -> ClosedStatement | None:
        """One statement."""
        ...

    async def of_month(self, account_id: UUID, month: Month) -> ClosedStatement | None:
        """The statement of an account's month."""
        ...

    async def page(
        self, account_id: UUID | None, month: Month | None, before: UUID | None, limit: int
    ) -> Sequence[ClosedStatement]:
        """Statements, those closed last first."""
        ...

    async def markups(self, account_id: UUID) -> Mapping[Month, Decimal]:
        """The markup of each closed month."""
        ...

    async def billed(
        self, users: Collection[str], since: date, until: date
    ) -> Mapping[tuple[str, str, object], Used]:
        """What statements billed those users for those days."""
        ...

    async def include(self, account_id: UUID, sums: Sequence[UsageSum]) -> None:
        """Note that a statement billed this."""
        ...

    async def add_note(self, note: CreditNote) -> None:
        """Keep a credit note."""
        ...

    async def note_of(self, statement_id: UUID, reference: str) -> CreditNote | None:
        """The note that was asked for under that reference."""
        ...

    async def notes(
        self, statement_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[CreditNote]:
        """A statement's credit notes, newest first."""
        ...

    async def credited(self, statement_ids: Sequence[UUID]) -> Mapping[UUID, Decimal]:
        """What was given back on each."""
        ...


@dataclass(frozen=True, slots=True)
class StatementService:
    """The use cases of statements and credit notes."""

    transactions: Transactions
    accounts: AccountReader
    store: StatementStore
    usage: UsageSums
    trail: AuditTrail
    announcer: Announcer
    clock: Clock

    async def of_month(self, account_id: UUID, month: Month) -> Statement:
        """The statement of a month: the closed one, or else what it would be now.

        Raises:
            NotFound: there is no such account, or the month is before its first one.
        """
        account = found(await self.accounts.get(account_id))
        kept = await self.store.of_month(account_id, month)
        if kept is not None:
            return await _opened(kept)
        if month < account.first_month:
            raise NotFound(f"The account's first month is {account.first_month}")
        return await self._reckoned(account, month)

    async def get(self, statement_id: UUID) -> Statement:
        """A closed statement. Raises NotFound."""
        return await _opened(await self.kept(statement_id))

    async def kept(self, statement_id: UUID) -> ClosedStatement:
        """A closed statement in the very form that its digest is of. Raises NotFound."""
        kept = await self.store.get(statement_id)
        if kept is None:
            raise NotFound("No such statement")
        return kept

    async def page(
        self, account_id: UUID | None, month: Month | None, before: UUID | None, limit: int
    ) -> Sequence[ClosedStatement]:
        """Closed statements, those closed last first."""
        return await self.store.page(account_id, month, before, limit)

    async def close(self, account_id: UUID, month: Month) -> Statement:
        """Close the statement of a month; one that is closed is given as it is.

        However many ask at once, wherever: they take turns, and all get the same one.

        Raises:
            NotFound: there is no such account.
            InvalidInput: the month is not over, or before the account's first one.
            Conflict: an earlier month has to be closed first.
            DatabaseUnavailable, AuditUnavailable: nothing is closed.
        """
        if self.clock.now() < month.ends_at:
            raise _wrong_month("is not over yet, in UTC")
        async with self.transactions.transaction():
            account = found(await self.accounts.held(account_id))
            kept = await self.store.of_month(account_id, month)
            if kept is not None:
                return await _opened(kept)
            if month < account.first_month:
                raise _wrong_month(f"is before the account's first one, {account.first_month}")
            if month != account.open_month:
                raise Conflict(f"The statement of {account.open_month} has to be closed first")
            kept = await self._close(account, month)
        log.info("statement closed", statement_id=str(kept.id), number=kept.number)
        return await _opened(kept)

    async def credit(self, statement_id: UUID, new: NewCreditNote) -> CreditNote:
        """Give money back on a closed statement; under one reference, once.

        Raises:
            NotFound: there is no such statement.
            InvalidInput: it is more than is left of the statement.
            Conflict: under that reference something else was given back.
        """
        async with self.transactions.transaction():
            statement = await self.kept(statement_id)
            found(await self.accounts.held(statement.account_id))
            if new.reference is not None:
                given = await self.store.note_of(statement_id, new.reference)
                if given is not None:
                    if (given.amount, given.reason) != (new.amount, new.reason):
                        raise Conflict("Another credit note has that reference")
                    return given
            credited = await self.store.credited([statement_id])
            left = statement.total - credited.get(statement_id, ZERO)
            if new.amount > left:
                fault = FieldFault("amount", f"must not exceed what is left of it, {left:f}")
                raise InvalidInput(errors=[fault])
            number = await self.store.next_number("credit_note")
            note = CreditNote(
                uuid7(),
                number,
                statement_id,
                new.amount,
                new.reason,
                new.reference,
                self.clock.now(),
            )
            await self.store.add_note(note)
            await self._record("billing.credit_note.create", statement_id, note.label)
        return note

    async def notes(
        self, statement_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[CreditNote]:
        """A statement's credit notes, newest first. Raises NotFound."""
        await self.kept(statement_id)
        return await self.store.notes(statement_id, before, limit)

    async def credited(self, statement_ids: Sequence[UUID]) -> Mapping[UUID, Decimal]:
        """What was given back on each of them, where anything was."""
        return await self.store.credited(statement_ids)

    async def _close(self, account: Account, month: Month) -> ClosedStatement:
        statement = await self._reckoned(account, month, for_good=True)
        now = self.clock.now()
        number = await self.store.next_number("statement")
        kept = await asyncio.to_thread(closed, statement, number, now)
        await self.store.add(kept, account.terms.markup_percent)
        await self.accounts.change(
            account.id,
            {"open_month": month.following.first_day, "carried": statement.carried_out},
        )
        await self._record("billing.statement.close", kept.id, f"{month} {kept.digest}")
        await self.announcer.announce(
            EventType.STATEMENT_CLOSED,
            {
                "statementId": str(kept.id),
                "number": kept.number,
                "accountId": str(account.id),
                "month": str(month),
                "total": float(kept.total),
                "currency": CURRENCY,
                "digest": kept.digest,
            },
        )
        return kept

    async def _reckoned(
        self, account: Account, month: Month, *, for_good: bool = False
    ) -> Statement:
        """The month's statement as of now; `for_good`, what it bills is noted as billed.

        A few users at a time: with many, this would take seconds in which nobody else in this
        process is answered.
        """
        memberships = await self.accounts.memberships(account.id)
        markups = await self.store.markups(account.id)
        lines: list[Line] = []
        for part in max(account.first_month, month.shifted(-LATE_MONTHS)).until(month.following):
            if part != month and part not in markups:
                continue  # it is open, and gets a statement of its own
            users = sorted(
                {
                    one.user_id
                    for one in memberships
                    if one.since < part.end and (one.until is None or one.until > part.first_day)
                }
            )
            for start in range(0, len(users), _USERS_AT_ONCE):
                few = set(users[start : start + _USERS_AT_ONCE])
                sums = await self.usage.by_day(few, part.first_day, part.end)
                billed = await self.store.billed(few, part.first_day, part.end)
                theirs = [one for one in memberships if one.user_id in few]
                new = unbilled(sums, billed, theirs)
                lines += usage_lines(account.terms, month, new, markups.__getitem__)
                if for_good:
                    await self.store.include(account.id, new)
        return await asyncio.to_thread(reckon, uuid7(), account, month, lines)

    async def _record(self, kind: str, statement_id: UUID, reason: str) -> None:
        event = AuditEvent(type=kind, subject=f"statement:{statement_id}", reason=reason)
        await self.trail.record(event)


class Closer:
    """Closes what is due, by itself. A job; any number may run at once."""

    def __init__(self, statements: StatementService, accounts: AccountReader, clock: Clock) -> None:
        self._statements = statements
        self._accounts = accounts
        self._clock = clock

    async def run(self) -> None:
        """Look from time to time until cancelled."""
        while True:
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("closing statements waits for the database")
            await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> int:
        """Close every month that has been over for long enough; how many were.

        Raises:
            DatabaseUnavailable: what is due cannot be read.
        """
        last = Month.of(self._clock.now() - CLOSE_AFTER).shifted(-1)
        after: UUID | None = None
        count = 0
        while batch := await self._accounts.with_open(last, after, _BATCH):
            for account in batch:
                count += await self._close(account, last)
            after = batch[-1].id
        return count

    async def _close(self, account: Account, last: Month) -> int:
        count = 0
        for month in account.open_month.until(last.following):
            try:
                await self._statements.close(account.id, month)
            except DatabaseUnavailable:
                raise
            except ServiceError as error:  # one account must not hold up the others
                log.error(
                    "a statement could not be closed",
                    account_id=str(account.id),
                    month=str(month),
                    error_type=type(error).__name__,
                )
                break
            count += 1
        return count


async def _opened(kept: ClosedStatement) -> Statement:
    # In a thread, as all that goes over the lines at once: there may be ten thousand.
    return await asyncio.to_thread(opened, kept)


def _wrong_month(message: str) -> InvalidInput:
    return InvalidInput(errors=[FieldFault("month", message)])
