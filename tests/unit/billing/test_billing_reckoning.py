"""Reckoning as properties: whatever is used, in whatever order it arrives, none of it is lost."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from model_service.billing.domain import (
    NOTHING,
    ZERO,
    Account,
    Membership,
    Statement,
    Terms,
    UsageSum,
    Used,
    charged,
)
from model_service.billing.meters import microdollars
from model_service.billing.months import Month
from model_service.billing.statements import (
    closed,
    opened,
    plain,
    reckon,
    rounded,
    total_of,
    unbilled,
    usage_lines,
)

FIRST = Month(2027, 11)  # February 2028 has 29 days
LAST = Month(2028, 4)
DAYS = (LAST.first_day - FIRST.first_day).days
NOW = datetime(2028, 4, 1, tzinfo=UTC)

costs = st.decimals(min_value=0, max_value=1000, places=12)
percents = st.decimals(min_value=0, max_value=300, places=4)
cents = st.decimals(min_value=0, max_value=100, places=2)
terms = st.builds(Terms, percents, cents, cents)
#: What was used on a day, and how many days later it became known.
events = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["large", "small"]),
        st.integers(0, DAYS - 1),
        costs,
        st.integers(0, DAYS),
    ),
    max_size=30,
)


def an_account(its_terms: Terms) -> Account:
    return Account(uuid4(), "acme", its_terms, None, FIRST, FIRST, ZERO, NOW, NOW)


class Ledger:
    """One account over months, as the service closes them; nothing but arithmetic."""

    def __init__(self, account: Account, members: list[Membership]) -> None:
        self.account = account
        self.members = members
        self.billed: dict[tuple[str, str, object], Used] = {}
        self.markups: dict[Month, Decimal] = {}
        self.statements: list[Statement] = []

    def close(self, known: Mapping[tuple[str, str, date], Used]) -> Statement:
        month = self.account.open_month
        sums = [
            UsageSum(user, model, day, used)
            for (user, model, day), used in known.items()
            if day < month.end
        ]
        new = unbilled(sums, self.billed, self.members)
        lines = usage_lines(self.account.terms, month, new, self.markups.__getitem__)
        statement = reckon(uuid4(), self.account, month, lines)
        for entry in new:
            key = (entry.user_id, entry.model, entry.day)
            self.billed[key] = self.billed.get(key, NOTHING).plus(entry.used)
        self.markups[month] = self.account.terms.markup_percent
        self.account = replace(
            self.account,
            open_month=month.following,
            carried=statement.carried_out,
        )
        self.statements.append(statement)
        return statement


def members_of(account_id: UUID, *users: str) -> list[Membership]:
    return [Membership(uuid4(), account_id, user, FIRST.first_day) for user in users]


def known_by(
    happened: list[tuple[str, str, int, Decimal, int]], day: date
) -> dict[tuple[str, str, date], Used]:
    """What is known at the beginning of a day."""
    known: dict[tuple[str, str, date], Used] = defaultdict(lambda: NOTHING)
    for user, model, offset, cost, delay in happened:
        used_on = FIRST.first_day + timedelta(days=offset)
        if used_on + timedelta(days=delay) < day:
            known[user, model, used_on] = known[user, model, used_on].plus(Used(1, cost=cost))
    return known


@given(happened=events, each_month=st.lists(terms, min_size=12, max_size=12))
def test_statements_bill_all_usage_at_the_markup_of_its_month_and_nothing_twice(
    happened: list[tuple[str, str, int, Decimal, int]], each_month: list[Terms]
) -> None:
    account = an_account(Terms())
    ledger = Ledger(account, members_of(account.id, "ann", "bob"))
    # All of it has arrived by the last of these.
    end = LAST.shifted(6)
    for month, its_terms in zip(FIRST.until(end), each_month, strict=False):
        ledger.account = replace(ledger.account, terms=its_terms)
        ledger.close(known_by(happened, month.end))
    usage = sum(
        (
            charged(cost, ledger.markups[Month.of(FIRST.first_day + timedelta(days=offset))])
            for _, _, offset, cost, _ in happened
        ),
        ZERO,
    )
    lines = [line for one in ledger.statements for line in one.lines]
    assert total_of(line for line in lines if line.used is not None) == usage
    assert sum(line.used.requests for line in lines if line.used) == len(happened)


@given(happened=events, its_terms=terms)
def test_the_sum_of_the_lines_is_the_total_in_whole_cents(
    happened: list[tuple[str, str, int, Decimal, int]], its_terms: Terms
) -> None:
    account = an_account(its_terms)
    ledger = Ledger(account, members_of(account.id, "ann", "bob"))
    for month in FIRST.until(LAST):
        statement = ledger.close(known_by(happened, month.end))
        assert total_of(statement.lines) == statement.total == rounded(statement.total)


@given(happened=events, its_terms=terms)
def test_rounding_never_adds_up_to_more_than_half_a_cent(
    happened: list[tuple[str, str, int, Decimal, int]], its_terms: Terms
) -> None:
    account = an_account(its_terms)
    ledger = Ledger(account, members_of(account.id, "ann", "bob"))
    exact = ZERO
    for month in FIRST.until(LAST):
        statement = ledger.close(known_by(happened, month.end))
        exact += total_of(line for line in statement.lines if line.kind.value != "rounding")
        billed = sum((one.total for one in ledger.statements), ZERO)
        assert abs(exact - billed) <= Decimal("0.005")


@given(happened=events, order=st.randoms(use_true_random=False))
def test_in_whatever_order_usage_is_told_a_statement_is_the_same(
    happened: list[tuple[str, str, int, Decimal, int]], order: object
) -> None:
    account = an_account(Terms(Decimal("12.5")))
    shuffled = list(happened)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    totals = []
    for told in (happened, shuffled):
        ledger = Ledger(account, members_of(account.id, "ann", "bob"))
        for month in FIRST.until(LAST):
            ledger.close(known_by(told, month.end))
        totals.append([(one.total, one.lines) for one in ledger.statements])
    assert totals[0] == totals[1]


@given(happened=events, moved=st.integers(0, DAYS))
def test_a_user_who_moves_is_billed_whole_by_both_accounts_together(
    happened: list[tuple[str, str, int, Decimal, int]], moved: int
) -> None:
    day = FIRST.first_day + timedelta(days=moved)
    left, right = an_account(Terms()), an_account(Terms())
    ledgers = [
        Ledger(left, [Membership(uuid4(), left.id, "ann", FIRST.first_day, day)]),
        Ledger(right, [Membership(uuid4(), right.id, "ann", day)]),
    ]
    for month in FIRST.until(LAST.shifted(6)):
        for ledger in ledgers:
            ledger.close(known_by(happened, month.end))
    billed = [
        total_of(line for one in ledger.statements for line in one.lines if line.used)
        for ledger in ledgers
    ]
    before = sum(
        (cost for user, _, offset, cost, _ in happened if user == "ann" and offset < moved), ZERO
    )
    all_of_it = sum((cost for user, _, _, cost, _ in happened if user == "ann"), ZERO)
    assert billed == [before, all_of_it - before]


@given(happened=events, its_terms=terms)
def test_a_closed_statement_reads_back_as_it_was_written(
    happened: list[tuple[str, str, int, Decimal, int]], its_terms: Terms
) -> None:
    account = an_account(its_terms)
    ledger = Ledger(account, members_of(account.id, "ann", "bob"))
    statement = ledger.close(known_by(happened, FIRST.end))
    kept = closed(statement, 7, NOW)
    assert opened(kept) == replace(statement, number=7, closed_at=NOW, digest=kept.digest)
    assert closed(statement, 7, NOW) == kept


@given(st.lists(costs, max_size=20), percents)
def test_meters_add_up_to_the_whole_microdollars_of_a_day(
    parts: list[Decimal], percent: Decimal
) -> None:
    told, cost = 0, ZERO
    for part in parts:
        cost += part
        told += microdollars(charged(cost, percent)) - told
    exact = charged(cost, percent) * 1_000_000
    assert told <= exact < told + 1


@given(st.decimals(min_value=-(10**9), max_value=10**9, allow_nan=False, places=15))
def test_plain_amounts_read_back_and_have_no_exponent(amount: Decimal) -> None:
    text = plain(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert len(text.partition(".")[2]) >= 2


def test_halves_go_to_the_even_cent() -> None:
    amounts = ["0.005", "0.015", "0.025", "-0.005"]
    assert [str(rounded(Decimal(amount))) for amount in amounts] == [
        "0.00",
        "0.02",
        "0.02",
        "0.00",
    ]


def test_a_month_is_that_of_utc_whatever_the_zone_of_a_moment() -> None:
    east = datetime.fromisoformat("2026-02-01T13:59:59+14:00")
    west = datetime.fromisoformat("2026-01-31T12:00:00-12:00")
    assert [str(Month.of(moment)) for moment in (east, west)] == ["2026-01", "2026-02"]


def test_months_follow_one_another_over_the_years() -> None:
    months = list(Month(2027, 11).until(Month(2028, 3)))
    assert [str(month) for month in months] == ["2027-11", "2027-12", "2028-01", "2028-02"]
    assert Month(2028, 2).end == date(2028, 3, 1)
    assert Month(2026, 1).shifted(-13) == Month(2024, 12)
