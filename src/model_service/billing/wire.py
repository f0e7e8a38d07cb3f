"""What the routes of billing take."""

from datetime import date
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from model_service.billing.domain import (
    CENT,
    NewAccount,
    NewCreditNote,
    Terms,
)
from model_service.billing.meters import MeterState
from model_service.billing.months import Month
from model_service.http.paging import CursorQuery
from model_service.http.wire import (
    RequestModel,
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
