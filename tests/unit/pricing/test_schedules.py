"""Prices over time: dates at the ends of months and years, hours, editions."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.chat import Usage
from model_service.providers.price_schedule import DAY, Chapter, Listing, Schedule
from model_service.providers.pricing import Rate, Rates

ONE = Usage(input=1)


def costing(dollars: int) -> Rates:
    return Rates(input=Rate(Decimal(dollars)))


def midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def schedule(*listings: Listing) -> Schedule:
    return Schedule(lambda: [Chapter("e", None, listings)])


def dollars(prices: Schedule, moment: float, tier: str | None = None) -> int | None:
    price = prices.at(moment, tier)
    return None if price is None else int(price.cost(ONE))


@pytest.mark.parametrize(
    "day",
    [
        date(2026, 1, 1),
        date(2026, 3, 1),
        date(2028, 2, 29),  # a leap day
        date(2028, 3, 1),
        date(2026, 3, 29),  # summer time begins in Europe
        date(2026, 10, 25),  # and ends
        date(2017, 1, 1),  # after a leap second
        date(2100, 3, 1),  # no leap year
    ],
)
def test_a_price_begins_at_midnight_utc_to_the_second(day: date) -> None:
    prices = schedule(Listing(costing(1)), Listing(costing(2), midnight(day)))
    assert dollars(prices, midnight(day) - 0.001) == 1
    assert dollars(prices, midnight(day)) == 2


def test_a_price_that_ends_is_none_afterwards() -> None:
    end = midnight(date(2026, 2, 1))
    prices = schedule(Listing(costing(1), until=end))
    assert dollars(prices, end - 1) == 1
    assert dollars(prices, end) is None


def test_before_the_first_date_nobody_knows_the_price() -> None:
    prices = schedule(Listing(costing(1), midnight(date(2026, 2, 1))))
    assert dollars(prices, midnight(date(2026, 1, 31))) is None


@pytest.mark.parametrize(
    ("clock", "expected"), [("00:29:59", 1), ("00:30:00", 2), ("16:29:59", 2), ("16:30:00", 1)]
)
def test_a_price_may_hold_at_some_hours_only(clock: str, expected: int) -> None:
    prices = schedule(Listing(costing(1)), Listing(costing(2), hours=(1800, 59_400)))
    moment = datetime.combine(date(2026, 3, 29), time.fromisoformat(clock), UTC)
    assert dollars(prices, moment.timestamp()) == expected


@pytest.mark.parametrize(("hour", "expected"), [(21, 1), (22, 2), (23, 2), (0, 2), (5, 2), (6, 1)])
def test_hours_may_go_over_midnight(hour: int, expected: int) -> None:
    prices = schedule(Listing(costing(1)), Listing(costing(2), hours=(22 * 3600, 6 * 3600)))
    assert dollars(prices, midnight(date(2026, 12, 31)) + hour * 3600) == expected


def test_a_tier_has_its_own_rates_from_its_own_date_on() -> None:
    begin = midnight(date(2026, 10, 12))
    prices = schedule(Listing(costing(4)), Listing(costing(2), begin, tier="flex"))
    assert dollars(prices, begin - 1, "flex") == 4
    assert dollars(prices, begin, "flex") == 2
    assert dollars(prices, begin) == 4


def test_a_tier_keeps_the_standard_rates_that_it_does_not_change() -> None:
    standard = Rates(input=Rate(Decimal(4)), output=Rate(Decimal(9)))
    prices = schedule(Listing(standard), Listing(costing(2), tier="flex"))
    price = prices.at(0, "flex")
    assert price is not None
    assert price.cost(Usage(input=1, output=1)) == 11


def test_the_version_names_edition_date_hours_and_tier() -> None:
    begin = midnight(date(2028, 2, 29))
    prices = schedule(
        Listing(costing(1), begin, hours=(3600, 7200)), Listing(costing(2), tier="flex")
    )
    price = prices.at(begin + 3600, "flex")
    assert price is not None
    assert price.version == "e@2028-02-29[01:00-02:00]#flex"


def editions(*chapters: tuple[int | None, Sequence[Listing]]) -> Schedule:
    made = [Chapter(f"e{n}", since, tuple(found)) for n, (since, found) in enumerate(chapters)]
    return Schedule(lambda: made)


def test_an_edition_counts_from_its_moment_on() -> None:
    prices = editions((None, [Listing(costing(1))]), (1000, [Listing(costing(2))]))
    assert [dollars(prices, at) for at in (999.9, 1000, 10**9)] == [1, 2, 2]


def test_dates_before_an_editions_moment_change_nothing_before_it() -> None:
    prices = editions((None, [Listing(costing(1))]), (1000, [Listing(costing(2), since=500)]))
    assert [dollars(prices, at) for at in (600, 1000)] == [1, 2]


def test_until_an_editions_first_price_the_edition_before_counts() -> None:
    prices = editions((None, [Listing(costing(1))]), (1000, [Listing(costing(2), since=2000)]))
    assert [dollars(prices, at) for at in (1500, 2000)] == [1, 2]


def test_nothing_is_looked_up_before_a_price_is_asked_for_and_then_once() -> None:
    asked = []

    def find() -> Sequence[Chapter]:
        asked.append(1)
        return [Chapter("e", None, (Listing(costing(1)),))]

    prices = Schedule(find)
    assert asked == []
    assert [dollars(prices, at) for at in (1, 10**9, 5)] == [1, 1, 1]
    assert asked == [1]


def test_after_forgetting_it_is_looked_up_again() -> None:
    found = [Chapter("e", None, (Listing(costing(1)),))]
    prices = Schedule(lambda: list(found))
    assert dollars(prices, 0) == 1
    found[0] = Chapter("f", None, (Listing(costing(2)),))
    prices.forget()
    assert dollars(prices, 0) == 2


days = st.integers(0, 40_000).map(lambda n: n * DAY)
hours = st.none() | st.tuples(st.integers(0, DAY - 1), st.integers(0, DAY - 1))
listings = st.lists(
    st.builds(Listing, st.integers(1, 9).map(costing), st.none() | days, st.none() | days, hours),
    min_size=1,
    max_size=4,
)


@given(listings, st.lists(st.floats(0, 40_001 * DAY), min_size=1, max_size=8))
def test_in_whatever_order_moments_are_asked_for_the_answer_is_the_same(
    found: list[Listing], moments: list[float]
) -> None:
    kept = schedule(*found)
    for moment in moments:
        assert dollars(kept, moment) == dollars(schedule(*found), moment)


@given(listings, st.floats(0, 40_001 * DAY))
def test_what_holds_last_counts(found: list[Listing], moment: float) -> None:
    holding = [one for one in found if one.holds(moment)]
    expected = int(holding[-1].rates.input.base) if holding and holding[-1].rates.input else None
    assert dollars(schedule(*found), moment) == expected


def test_a_day_has_as_many_seconds_when_the_clocks_change() -> None:
    begin = datetime(2026, 3, 29, tzinfo=UTC)
    assert midnight(date(2026, 3, 30)) - begin.timestamp() == timedelta(days=1).total_seconds()
