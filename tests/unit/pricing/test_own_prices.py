"""A model's own prices over the book's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from model_service.catalog.domain import Model
from model_service.catalog.model_prices import Prices
from model_service.catalog.prices import PriceBook
from model_service.kernel.types import Provider, uuid7
from model_service.providers.chat import Usage
from model_service.providers.price_schedule import Chapter
from model_service.providers.pricing import Price

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
M = 1_000_000
NAMES = {
    "input": "input_cost_per_1k_tokens",
    "cached": "cached_input_cost_per_1k_tokens",
    "write": "cache_write_cost_per_1k_tokens",
    "output": "output_cost_per_1k_tokens",
}


@pytest.fixture(scope="module")
def prices() -> Prices:
    book = PriceBook()

    def bundled_alone(provider: Provider, model_id: str, base_url: str | None) -> Sequence[Chapter]:
        listings = book.listings(provider, model_id, base_url)
        return (Chapter(book.version, None, listings),) if listings else ()

    return Prices(bundled_alone)


def model(provider: Provider, model_id: str, **values: Any) -> Model:
    return Model(
        id=uuid7(),
        name="m",
        provider=provider,
        model_id=model_id,
        created_at=AT,
        updated_at=AT,
        **values,
    )


def price(
    prices: Prices, provider: Provider, model_id: str, tier: str | None = None, **own: str
) -> Price:
    """The price of a model with its own ones, in US dollars for 1,000 tokens."""
    costs = {NAMES[name]: Decimal(cost) for name, cost in own.items()}
    found = prices.schedule_of(model(provider, model_id, **costs)).at(AT.timestamp(), tier)
    assert found is not None
    return found


def test_own_prices_come_before_the_book(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-4o", input="0.002", cached="0.0005", output="0.008")
    assert own.cost(Usage(input=M, cached_input=M, output=M)) == Decimal("10.5")


def test_own_prices_hold_in_every_tier_and_for_every_length(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-5.4", "flex", input="0.002", output="0.008")
    assert own.cost(Usage(input=M, output=M)) == 10


def test_output_without_an_own_price_costs_what_the_book_says(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-4o", input="0.002")
    assert own.cost(Usage(output=M)) == 10


def test_input_without_an_own_price_costs_what_the_book_says(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-4o", output="0.001")
    assert own.cost(Usage(input=M, cached_input=M)) == Decimal("3.75")


def test_cached_input_keeps_its_proportion_to_the_input(prices: Prices) -> None:
    # gpt-4o: 1.25 against 2.50, so half; of two dollars a million that is one.
    own = price(prices, Provider.OPENAI, "gpt-4o", input="0.002", output="0.008")
    assert own.cost(Usage(cached_input=M)) == 1


def test_cache_writes_keep_their_proportion_to_the_input(prices: Prices) -> None:
    # claude-haiku-4-5: 1.25 and 2 against 1.
    own = price(prices, Provider.ANTHROPIC, "claude-haiku-4-5", input="0.0008", output="0.004")
    assert own.cost(Usage(cache_write=M)) == 1
    assert own.cost(Usage(cache_write_1h=M)) == Decimal("1.6")


def test_writes_for_an_hour_keep_their_proportion_to_shorter_ones(prices: Prices) -> None:
    own = price(prices, Provider.ANTHROPIC, "claude-haiku-4-5", write="0.001")
    assert own.cost(Usage(cache_write_1h=M)) == Decimal("1.6")


def test_a_claude_that_the_book_does_not_know_keeps_anthropics_multiples(prices: Prices) -> None:
    own = price(prices, Provider.ANTHROPIC, "claude-of-tomorrow", input="0.001", output="0.005")
    costs = [
        own.cost(usage)
        for usage in (Usage(cached_input=M), Usage(cache_write=M), Usage(cache_write_1h=M))
    ]
    assert costs == [Decimal("0.1"), Decimal("1.25"), 2]


def test_without_a_proportion_caches_cost_as_much_as_input(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "of-my-own", input="0.001", output="0.005")
    assert own.cost(Usage(cached_input=M)) == 1
    assert own.cost(Usage(cache_write=M)) == 1
    assert own.cost(Usage(cache_write_1h=M)) == 1


def test_a_price_of_nothing_is_an_own_price(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-4o", input="0", output="0")
    assert own.cost(Usage(input=M, cached_input=M, output=M)) == 0


def test_the_version_says_when_own_prices_were_set(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "of-my-own", input="0.001", output="0.005")
    assert own.version == "own@2026-11-25T12:00:00.000000Z"


def test_the_version_names_the_book_too_where_it_fills_up(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "gpt-4o", input="0.001")
    assert own.version.startswith("own@2026-11-25T12:00:00.000000Z+genai-prices ")


def test_a_model_without_any_price_is_unpriced(prices: Prices) -> None:
    assert prices.schedule_of(model(Provider.OPENAI, "of-my-own")).at(AT.timestamp()) is None


def test_a_model_on_ones_own_machine_is_free_rather_than_unpriced(prices: Prices) -> None:
    own = price(prices, Provider.OLLAMA, "llama")
    assert own.version == "local"
    assert own.cost(Usage(input=M, output=M)) == 0


def test_a_model_on_ones_own_machine_may_have_own_prices(prices: Prices) -> None:
    own = price(prices, Provider.OLLAMA, "llama", input="0.001", output="0.002")
    assert own.cost(Usage(input=M, output=M)) == 3


def test_models_of_one_id_share_a_schedule(prices: Prices) -> None:
    one, other = model(Provider.OPENAI, "gpt-4o"), model(Provider.OPENAI, "gpt-4o")
    assert prices.schedule_of(one) is prices.schedule_of(other)


def test_a_model_with_own_prices_shares_with_none_without(prices: Prices) -> None:
    one = model(Provider.OPENAI, "gpt-4o")
    other = model(Provider.OPENAI, "gpt-4o", input_cost_per_1k_tokens=Decimal(1))
    assert prices.schedule_of(one) is not prices.schedule_of(other)


def test_an_embedding_model_with_an_own_price_for_input_needs_no_other(prices: Prices) -> None:
    own = price(prices, Provider.OPENAI, "my-embeddings", input="0.00002")
    assert own.cost(Usage(input=M)) == Decimal("0.02")


def test_the_hours_of_a_vendor_hold_for_a_model_at_its_address(prices: Prices) -> None:
    settings = {"baseUrl": "https://api.deepseek.com/v1"}
    schedule = prices.schedule_of(
        model(Provider.CUSTOM, "deepseek-chat", provider_settings=settings)
    )
    night, day = AT.replace(hour=20), AT.replace(hour=8)
    costs = [schedule.at(moment.timestamp()) for moment in (night, day)]
    assert [one and one.cost(Usage(output=M)) for one in costs] == [
        Decimal("0.55"),
        Decimal("1.1"),
    ]
