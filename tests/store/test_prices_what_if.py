"""A past period at another model's prices, from real sums."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.errors import NotFound
from model_service.providers.price_schedule import Chapter, Listing, Schedule
from model_service.providers.pricing import Rate, Rates
from model_service.usage.domain import UsageFilter
from model_service.usage.reading import SqlUsageReader
from model_service.usage.what_if import Assumption, WhatIf, what_if
from tests.usage_events import event, sink_on, without_usage

FEBRUARY = datetime(2028, 2, 1, tzinfo=UTC)
MARCH = datetime(2028, 3, 1, tzinfo=UTC)
LEAP_DAY = datetime(2028, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)


def rate(dollars: str) -> Rate:
    return Rate(Decimal(dollars))


class Priced:
    """`Targets` that know one model."""

    def __init__(self, *listings: Listing) -> None:
        self._listings = listings

    async def schedule_of(self, name: str) -> Schedule:
        if name != "other":
            raise NotFound
        return Schedule(lambda: [Chapter("e", None, self._listings)])


PLAIN = Listing(Rates(input=rate("0.01"), output=rate("0.1")))


@pytest_asyncio.fixture
async def reader(database: Database) -> SqlUsageReader:
    """What was used: two models, two users, from the first moment of a month to its last."""
    await without_usage(database)
    await sink_on(database).keep(
        [
            event(time=FEBRUARY, model="fast", cost=Decimal("0.5")),
            event(time=LEAP_DAY, model="fast", user_id="bob", cost=None, price_version=None),
            event(time=LEAP_DAY, model="best", cost=Decimal("0.25")),
            event(time=MARCH, model="best"),
            event(time=FEBRUARY - timedelta(milliseconds=1), model="best"),
        ]
    )
    return SqlUsageReader(database)


async def reckoned(
    reader: SqlUsageReader, *listings: Listing, user_id: str | None = None
) -> WhatIf:
    wanted = UsageFilter(since=FEBRUARY, until=MARCH, user_id=user_id)
    return await what_if(reader, Priced(*(listings or (PLAIN,))), "other", wanted)


async def test_calls_are_reckoned_at_the_other_models_prices(reader: SqlUsageReader) -> None:
    outcome = await reckoned(reader)
    # Each call: 11 + 5 + 3 + 2 tokens of input at a cent, 7 of output at ten.
    assert outcome.would_cost == 3 * (21 * Decimal("0.01") + 7 * Decimal("0.1"))


async def test_what_was_paid_stays_what_it_was(reader: SqlUsageReader) -> None:
    outcome = await reckoned(reader)
    assert (outcome.cost, outcome.requests, outcome.unpriced_before) == (Decimal("0.75"), 3, 1)


async def test_each_model_that_answered_has_its_share(reader: SqlUsageReader) -> None:
    outcome = await reckoned(reader)
    shares = [(share.model, share.sums.requests, share.would_cost) for share in outcome.shares]
    assert shares == [("best", 1, Decimal("0.91")), ("fast", 2, Decimal("1.82"))]


async def test_one_users_calls_may_be_reckoned_alone(reader: SqlUsageReader) -> None:
    outcome = await reckoned(reader, user_id="bob")
    assert (outcome.requests, outcome.would_cost) == (1, Decimal("0.91"))


async def test_cached_tokens_cost_what_the_other_model_asks_for_them(
    reader: SqlUsageReader,
) -> None:
    rates = Rates(
        input=rate("1"),
        cached_input=rate("0.1"),
        cache_write=rate("1.25"),
        cache_write_1h=rate("2"),
        output=rate("0"),
    )
    outcome = await reckoned(reader, Listing(rates))
    # 11 fresh, 5 read, 3 written for five minutes, 2 for an hour.
    assert outcome.would_cost == 3 * (11 + Decimal("0.5") + Decimal("3.75") + 4)
    assert Assumption.CACHES not in outcome.assumptions


async def test_that_caches_cost_as_much_as_input_is_said(reader: SqlUsageReader) -> None:
    assert Assumption.CACHES in (await reckoned(reader)).assumptions


async def test_each_day_is_reckoned_at_its_own_price(reader: SqlUsageReader) -> None:
    begin = int(datetime(2028, 2, 29, tzinfo=UTC).timestamp())
    dearer = Listing(Rates(input=rate("0.02"), output=rate("0.2")), begin)
    outcome = await reckoned(reader, PLAIN, dearer)
    assert outcome.would_cost == Decimal("0.91") + 2 * Decimal("1.82")
    assert outcome.versions == ["e", "e@2028-02-29"]


async def test_days_without_a_price_are_counted_and_left_out(reader: SqlUsageReader) -> None:
    begin = int(datetime(2028, 2, 29, tzinfo=UTC).timestamp())
    outcome = await reckoned(reader, Listing(PLAIN.rates, begin))
    assert (outcome.unpriced, outcome.would_cost) == (1, Decimal("1.82"))


async def test_long_prompts_are_said_to_be_reckoned_as_short_ones(reader: SqlUsageReader) -> None:
    steps = Rates(input=Rate(Decimal(1), ((10, Decimal(2)),)))
    outcome = await reckoned(reader, Listing(steps))
    assert Assumption.LONG_CONTEXT in outcome.assumptions
    assert outcome.would_cost == 3 * 21


async def test_an_unknown_model_is_not_found(reader: SqlUsageReader) -> None:
    wanted = UsageFilter(since=FEBRUARY, until=MARCH)
    with pytest.raises(NotFound):
        await what_if(reader, Priced(PLAIN), "nobody", wanted)


async def test_every_assumption_is_told_in_a_sentence() -> None:
    texts: Sequence[str] = [one.text for one in Assumption]
    assert all(text.endswith(".") for text in texts)
