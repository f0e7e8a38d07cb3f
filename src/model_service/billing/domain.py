"""Accounts and what they owe: the words of billing, and what it needs of the rest.

All money is in US dollars, as `Decimal`. Costs and charges are exact, to whatever digit prices
and markups lead; only the total of a statement is rounded.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from model_service.billing.months import Month

CURRENCY: Final = "USD"
ZERO: Final = Decimal(0)
CENT: Final = Decimal("0.01")

#: Arithmetic of money: so many digits that nothing is ever cut off, and an error if it were.
EXACT: Final = Context(prec=200, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class Terms:
    """What an account pays beside the bare cost.

    `markup_percent` is put on every cost, `monthly_fee` is due each month whatever is used, and
    a month comes to `minimum_charge` at least.
    """

    markup_percent: Decimal = ZERO
    monthly_fee: Decimal = ZERO
    minimum_charge: Decimal = ZERO

    def charge(self, cost: Decimal) -> Decimal:
        """The cost with the markup, exactly."""
        return charged(cost, self.markup_percent)


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: for one user or for many.

    `first_month` is the first that gets a statement; everything before `open_month` is closed.
    `carried` is what rounding left over from the last statement, and belongs to the next.
    """

    id: UUID
    name: str
    terms: Terms
    stripe_customer_id: str | None
    first_month: Month
    open_month: Month
    carried: Decimal
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be opened."""

    name: str
    terms: Terms = Terms()
    stripe_customer_id: str | None = None
    first_month: Month | None = None
    """None: the current one."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's time with an account: whole days in UTC, `since` the first, `until` past the last.

    A user is with one account at most on any day.
    """

    id: UUID
    account_id: UUID
    user_id: str
    since: date
    until: date | None = None

    def covers(self, day: date) -> bool:
        """Whether the day is within it."""
        return self.since <= day and (self.until is None or day < self.until)


@dataclass(frozen=True, slots=True)
class Used:
    """So much was used. Classes of tokens are disjoint; `output_tokens` has those of reasoning.

    `unpriced_requests` are those whose cost nobody knew: they are counted, and cost nothing.
    """

    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    unpriced_requests: int = 0
    cost: Decimal = ZERO

    def plus(self, other: "Used") -> "Used":
        """Both together."""
        return Used(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.output_tokens + other.output_tokens,
            self.unpriced_requests + other.unpriced_requests,
            EXACT.add(self.cost, other.cost),
        )

    def beyond(self, other: "Used") -> "Used":
        """What is more here than there; what is less counts as nothing.

        Usage never becomes less. It looks as if it did once its records were purged, and
        purging must take nothing back.
        """
        return Used(
            max(0, self.requests - other.requests),
            max(0, self.input_tokens - other.input_tokens),
            max(0, self.cached_input_tokens - other.cached_input_tokens),
            max(0, self.cache_write_tokens - other.cache_write_tokens),
            max(0, self.output_tokens - other.output_tokens),
            max(0, self.unpriced_requests - other.unpriced_requests),
            max(ZERO, EXACT.subtract(self.cost, other.cost)),
        )


NOTHING: Final = Used()


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What one user used of one model on one day of UTC."""

    user_id: str
    model: str
    day: date
    used: Used


class UsageSums(Protocol):
    """What billing needs of metering: the sums of usage as they are known by now."""

    async def by_day(self, users: Collection[str], since: date, until: date) -> Sequence[UsageSum]:
        """The sums of those users, from the day `since` up to and without `until`, in UTC.

        One entry for each user, model and day with usage. Events are counted once, and by the
        day of their `time`, however late they arrive.

        Raises:
            DatabaseUnavailable: they cannot be read.
        """
        ...


class LineKind(StrEnum):
    """What a line of a statement is for."""

    USAGE = "usage"
    """A user's use of a model in the month."""
    LATE = "late"
    """Usage of an earlier month that became known after its statement was closed."""
    FEE = "fee"
    """The fixed fee of the month."""
    MINIMUM = "minimum"
    """What is missing to the least charge."""
    ROUNDING = "rounding"
    """To whole cents; what it leaves over is carried to the next statement."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `amount` is exact, and of rounding alone it may be negative."""

    kind: LineKind
    amount: Decimal
    user_id: str | None = None
    model: str | None = None
    month: Month | None = None
    """When it was used."""
    used: Used | None = None
    markup_percent: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What an account owes for a month. `total` is the sum of its lines, in whole cents.

    A draft has neither number nor digest nor `closed_at`, and may be another one tomorrow.
    `carried_in` and `carried_out` are what rounding left from the statement before, and leaves.
    """

    id: UUID
    account_id: UUID
    account_name: str
    month: Month
    terms: Terms
    lines: tuple[Line, ...]
    total: Decimal
    carried_in: Decimal
    carried_out: Decimal
    number: int | None = None
    closed_at: datetime | None = None
    digest: str | None = None

    @property
    def is_draft(self) -> bool:
        """Whether it may still change."""
        return self.closed_at is None

    @property
    def label(self) -> str:
        """What it is called on paper."""
        return "draft" if self.number is None else f"S-{self.number:06}"


@dataclass(frozen=True, slots=True)
class ClosedStatement:
    """A closed one as it is kept: `content` is what `digest` is the SHA-256 of."""

    id: UUID
    number: int
    account_id: UUID
    month: Month
    total: Decimal
    content: str = field(repr=False)
    digest: str
    closed_at: datetime


@dataclass(frozen=True, slots=True)
class CreditNote:
    """Money given back on a closed statement.

    `reference` is the caller's own name for it: asked for again under the same one, it is
    given once.
    """

    id: UUID
    number: int
    statement_id: UUID
    amount: Decimal
    reason: str
    reference: str | None
    created_at: datetime

    @property
    def label(self) -> str:
        """What it is called on paper."""
        return f"CN-{self.number:06}"


@dataclass(frozen=True, slots=True)
class NewCreditNote:
    """A credit note to be made out."""

    amount: Decimal
    reason: str
    reference: str | None = None


def charged(cost: Decimal, markup_percent: Decimal) -> Decimal:
    """A cost with a markup, exactly."""
    return EXACT.multiply(cost, EXACT.add(Decimal(100), markup_percent)).scaleb(-2, EXACT)
