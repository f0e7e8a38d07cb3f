"""What the routes of billing give."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import PlainSerializer, WithJsonSchema

from model_service.billing.domain import (
    CURRENCY,
    ZERO,
    Account,
    ClosedStatement,
    CreditNote,
    Line,
    LineKind,
    Membership,
    Statement,
)
from model_service.billing.meters import Meter, MeterState
from model_service.billing.months import Month
from model_service.http.wire import Moment, Money, ResponseModel

MonthOut = Annotated[
    Month,
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}, mode="serialization"),
]
"""A calendar month, as `2026-01`."""


class AccountView(ResponseModel):
    """An account. Every month before `openMonth` is closed."""

    id: UUID
    name: str
    currency: str
    markup_percent: Money
    monthly_fee: Money
    minimum_charge: Money
    stripe_customer_id: str | None
    first_month: MonthOut
    open_month: MonthOut
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, account: Account) -> "AccountView":
        """The view of an account."""
        return cls(
            id=account.id,
            name=account.name,
            currency=CURRENCY,
            markup_percent=account.terms.markup_percent,
            monthly_fee=account.terms.monthly_fee,
            minimum_charge=account.terms.minimum_charge,
            stripe_customer_id=account.stripe_customer_id,
            first_month=account.first_month,
            open_month=account.open_month,
            created_at=account.created_at,
            updated_at=account.updated_at,
        )


class MemberView(ResponseModel):
    """A user's time with an account: `since` is the first day, `until` the first one after it."""

    id: UUID
    account_id: UUID
    user_id: str
    since: date
    until: date | None

    @classmethod
    def of(cls, member: Membership) -> "MemberView":
        """The view of a membership."""
        return cls(
            id=member.id,
            account_id=member.account_id,
            user_id=member.user_id,
            since=member.since,
            until=member.until,
        )


_COUNTED = (
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "unpriced_requests",
    "cost",
)


class LineView(ResponseModel):
    """A line. `cost` is without markup, `amount` with it; of fees there is only an amount."""

    kind: LineKind
    month: MonthOut | None
    user_id: str | None
    model: str | None
    requests: int | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    unpriced_requests: int | None = None
    cost: Money | None = None
    markup_percent: Money | None
    amount: Money

    @classmethod
    def of(cls, line: Line) -> "LineView":
        """The view of a line."""
        used = line.used
        counts = {} if used is None else {name: getattr(used, name) for name in _COUNTED}
        return cls(
            kind=line.kind,
            month=line.month,
            user_id=line.user_id,
            model=line.model,
            markup_percent=line.markup_percent,
            amount=line.amount,
            **counts,
        )


class StatementView(ResponseModel):
    """A statement with its lines. A draft has no `id`, `number`, `closedAt` and `digest`."""

    id: UUID | None
    number: int | None
    account_id: UUID
    account_name: str
    month: MonthOut
    status: str
    currency: str
    markup_percent: Money
    monthly_fee: Money
    minimum_charge: Money
    lines: list[LineView]
    total: Money
    credited: Money
    closed_at: Moment | None
    digest: str | None

    @classmethod
    def of(cls, statement: Statement, credited: Decimal = ZERO) -> "StatementView":
        """The view of a statement; `credited` is what was given back on it."""
        return cls(
            id=None if statement.is_draft else statement.id,
            number=statement.number,
            account_id=statement.account_id,
            account_name=statement.account_name,
            month=statement.month,
            status="draft" if statement.is_draft else "closed",
            currency=CURRENCY,
            markup_percent=statement.terms.markup_percent,
            monthly_fee=statement.terms.monthly_fee,
            minimum_charge=statement.terms.minimum_charge,
            lines=[LineView.of(line) for line in statement.lines],
            total=statement.total,
            credited=credited,
            closed_at=statement.closed_at,
            digest=statement.digest,
        )


class StatementSummary(ResponseModel):
    """A closed statement in a list, without its lines."""

    id: UUID
    number: int
    account_id: UUID
    month: MonthOut
    currency: str
    total: Money
    closed_at: Moment
    digest: str

    @classmethod
    def of(cls, statement: ClosedStatement) -> "StatementSummary":
        """The summary of a closed statement."""
        return cls(
            id=statement.id,
            number=statement.number,
            account_id=statement.account_id,
            month=statement.month,
            currency=CURRENCY,
            total=statement.total,
            closed_at=statement.closed_at,
            digest=statement.digest,
        )


class CreditNoteView(ResponseModel):
    """A credit note."""

    id: UUID
    number: int
    label: str
    statement_id: UUID
    currency: str
    amount: Money
    reason: str
    reference: str | None
    created_at: Moment

    @classmethod
    def of(cls, note: CreditNote) -> "CreditNoteView":
        """The view of a credit note."""
        return cls(
            id=note.id,
            number=note.number,
            label=note.label,
            statement_id=note.statement_id,
            currency=CURRENCY,
            amount=note.amount,
            reason=note.reason,
            reference=note.reference,
            created_at=note.created_at,
        )


class MeterView(ResponseModel):
    """A meter and its way to Stripe. `id` is its identifier there."""

    id: UUID
    account_id: UUID
    day: date
    occurred_at: Moment
    requests: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    unpriced_requests: int
    cost: Money
    billed_microdollars: int
    stripe_customer_id: str | None
    state: MeterState
    reason: str | None
    attempts: int
    settled_at: Moment | None
    created_at: Moment

    @classmethod
    def of(cls, meter: Meter) -> "MeterView":
        """The view of a meter."""
        used = meter.used
        return cls(
            id=meter.id,
            account_id=meter.account_id,
            day=meter.day,
            occurred_at=meter.occurred_at,
            requests=used.requests,
            input_tokens=used.input_tokens,
            cached_input_tokens=used.cached_input_tokens,
            cache_write_tokens=used.cache_write_tokens,
            output_tokens=used.output_tokens,
            unpriced_requests=used.unpriced_requests,
            cost=used.cost,
            billed_microdollars=meter.microdollars,
            stripe_customer_id=meter.stripe_customer_id,
            state=meter.state,
            reason=meter.reason,
            attempts=meter.attempts,
            settled_at=meter.settled_at,
            created_at=meter.created_at,
        )
