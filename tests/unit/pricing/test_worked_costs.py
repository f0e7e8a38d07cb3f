"""Costs worked out by hand, from what a provider reports to dollars."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from model_service.catalog.price_file import read_price_file
from model_service.catalog.prices import PriceBook
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.dialects.anthropic.usage import read_usage as of_messages
from model_service.providers.dialects.google.words import usage_of as of_gemini
from model_service.providers.dialects.openai_chat.usage import read_usage as of_chat
from model_service.providers.dialects.openai_responses.usage import read_usage as of_response
from model_service.providers.price_schedule import Chapter, Schedule
from model_service.providers.pricing import Price
from tests.unit.pricing.worked import WORKED, Worked

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
READERS = {
    "openai_chat": of_chat,
    "openai_responses": of_response,
    "anthropic": of_messages,
    "google": of_gemini,
}

every_case = pytest.mark.parametrize("case", WORKED, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def used(case: Worked) -> Usage:
    usage = READERS[case.dialect](case.reported)
    assert usage is not None
    return usage


def price_of(case: Worked) -> Price:
    """The price by a file with the case's own prices."""
    file = {
        "format": "model-service-prices/1",
        "edition": "worked",
        "models": [{"provider": "OPENAI", "model": "m", "prices": [case.prices]}],
    }
    listings = read_price_file(json.dumps(file).encode()).models.listings(Provider.OPENAI, "m")
    price = Schedule(lambda: [Chapter("worked", None, listings)]).at(NOW, case.tier)
    assert price is not None
    return price


@every_case
def test_the_arithmetic_shown_is_right(case: Worked) -> None:
    for tokens, rate, dollars in case.lines:
        assert tokens * Fraction(rate) / 1_000_000 == Fraction(dollars)
    assert sum(Fraction(dollars) for _, _, dollars in case.lines) == Fraction(case.dollars)


@every_case
def test_all_tokens_that_were_reported_are_in_the_sum_once(case: Worked) -> None:
    assert sum(tokens for tokens, _, _ in case.lines) == used(case).total


@every_case
def test_the_cost_is_the_sum(case: Worked) -> None:
    assert price_of(case).cost(used(case)) == Decimal(case.dollars)


@every_case
def test_the_bundled_book_says_the_same(case: Worked, book: PriceBook) -> None:
    provider, model_id = case.book
    listings = book.listings(Provider(provider), model_id)
    price = Schedule(lambda: [Chapter("book", None, listings)]).at(NOW, case.tier)
    assert price is not None
    assert price.cost(used(case)) == Decimal(case.dollars)
