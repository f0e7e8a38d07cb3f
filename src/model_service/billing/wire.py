"""What the routes of billing take and give."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from model_service.billing.domain import (
    CENT,
    CURRENCY,
    ZERO,
    Account,
    ClosedStatement,
    CreditNote,
    Line,
    LineKind,
    Membership,
    NewAccount,
    NewCreditNote,
    Statement,
    Terms,
)
from model_service.billing.meters import Meter, MeterState
from model_service.billing.months import Month
from model_service.http.paging import CursorQuery
from model_service.http.wire import (
    Moment,
    Money,
    RequestModel,
    ResponseModel,
    Text10k,
    Text255,
    UserId,
)
from model_service.kernel.errors import FieldFault, InvalidInput

#: Percentages have four decimal places at most.
_PERCENT_STEP = Decimal("0.0001")


def _exact(value: float) -> Decimal:
    # The shortest decimal that reads back as the same number is what the caller wrote.
    return Decimal(repr(value))


def _cents(value: Decimal) -> Decimal:
    if value != value.quantize(CENT):
        raise ValueError("must be whole cents")
    return value.quantize(CENT)


def _percent(value: Decimal) -> Decimal:
    if value != value.quantize(_PERCENT_STEP):
        raise ValueError("must have four decimal places at most")
    return value


def _month(value: object) -> Month:
    if not isinstance(value, str):
        raise ValueError("must be a month such as 2026-01")
    return Month.parse(value)


def month_of(text: str) -> Month:
    """The month in a path. Raises InvalidInput."""
    try:
        return Month.parse(text)
    except ValueError as error:
        raise InvalidInput(errors=[FieldFault("month", str(error))]) from None


def _day(value: object) -> date:
    # Not what pydantic would take besides: numbers, and moments at midnight.
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = date.min
        if 1970 <= day.year <= 9998 and day.isoformat() == value:
            return day
    raise ValueError("must be a day such as 2026-01-31")


Cents = Annotated[
    float,
    Field(strict=True, ge=0, le=1e9),
    AfterValidator(_exact),
    AfterValidator(_cents),
]
"""US dollars in whole cents, not negative; becomes a Decimal."""

Percent = Annotated[
    float,
    Field(strict=True, ge=0, le=10_000),
    AfterValidator(_exact),
    AfterValidator(_percent),
]
"""A percentage; becomes a Decimal."""

MonthIn = Annotated[
    Month,
    BeforeValidator(_month),
    WithJsonSchema({"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[0-2])$"}),
]
"""A calendar month."""

MonthOut = Annotated[
    Month,
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string"}, mode="serialization"),
]
"""A calendar month, as `2026-01`."""

DayIn = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A day in UTC."""

StripeCustomer = Annotated[
    str, StringConstraints(pattern=r"^cus_[A-Za-z0-9_]{1,200}$", strict=True)
]
"""An id of a customer at Stripe."""


class CreateAccount(RequestModel):
    """An account. `firstMonth` is the first that gets a statement, else the current one."""

    name: Text255
    markup_percent: Percent = 0.0
    monthly_fee: Cents = 0.0
    minimum_charge: Cents = 0.0
    stripe_customer_id: StripeCustomer | None = None
    first_month: MonthIn | None = None

    def to_new(self) -> NewAccount:
        """What the service opens."""
        terms = Terms(
            Decimal(self.markup_percent), Decimal(self.monthly_fee), Decimal(self.minimum_charge)
        )
        return NewAccount(self.name, terms, self.stripe_customer_id, self.first_month)


class ChangeAccount(RequestModel):
    """What may be changed. Terms hold for every month that is not closed yet."""

    name: Annotated[Text255, Field(default=None)]
    markup_percent: Annotated[Percent, Field(default=None)]
    monthly_fee: Annotated[Cents, Field(default=None)]
    minimum_charge: Annotated[Cents, Field(default=None)]
    stripe_customer_id: StripeCustomer | None = None

    def to_changes(self) -> dict[str, object]:
        """The named fields alone."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class JoinAccount(RequestModel):
    """A user and the first day with the account, today when left out."""

    user_id: UserId
    since: DayIn | None = None


class LeaveQuery(RequestModel):
    """Which user, and the first day without the account, today when left out."""

    user_id: UserId
    since: DayIn | None = None


class StatementsQuery(CursorQuery):
    """Which closed statements."""

    account_id: UUID | None = None
    month: MonthIn | None = None


class MetersQuery(CursorQuery):
    """Which meters."""

    account_id: UUID | None = None
    state: MeterState | None = None


class CloseStatement(RequestModel):
    """Whose statement of which month."""

    account_id: UUID
    month: MonthIn


class CreateCreditNote(RequestModel):
    """What is given back and why. Asked for again under one `reference`, it is given once."""

    amount: Annotated[Cents, Field(gt=0)]
    reason: Annotated[Text10k, Field(min_length=1)]
    reference: Text255 | None = None

    def to_new(self) -> NewCreditNote:
        """What the service makes out."""
        return NewCreditNote(Decimal(self.amount), self.reason, self.reference)


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
