"""The bundled price book and the table of capabilities."""

import subprocess
import sys
from decimal import Decimal

import pytest
import pytest_asyncio

from model_service.catalog.capabilities import capabilities_of
from model_service.catalog.domain import ModelFacts
from model_service.catalog.prices import PriceBook
from model_service.kernel.types import Provider
from model_service.providers.pricing import Rate, Rates

GROQ = "https://api.groq.com/openai/v1"
TOGETHER = "https://api.together.ai/v1"


@pytest_asyncio.fixture(scope="module")
async def book() -> PriceBook:
    book = PriceBook()
    await book.load()
    await book.load()
    return book


def rates(book: PriceBook, provider: Provider, model_id: str, base_url: str | None = None) -> Rates:
    """The standard ones of a model with one listing."""
    (listing,) = (one for one in book.listings(provider, model_id, base_url) if one.tier is None)
    return listing.rates


def test_listings_are_exact_dollars_for_a_token(book: PriceBook) -> None:
    assert rates(book, Provider.OPENAI, "gpt-4o") == Rates(
        input=Rate(Decimal("0.0000025")),
        cached_input=Rate(Decimal("0.00000125")),
        output=Rate(Decimal("0.00001")),
    )


def test_the_version_names_the_package(book: PriceBook) -> None:
    assert book.version.startswith("genai-prices ")


def test_where_long_prompts_cost_more_that_is_listed(book: PriceBook) -> None:
    listed = rates(book, Provider.ANTHROPIC, "claude-sonnet-4-5-20250929")
    assert listed.input == Rate(Decimal("0.000003"), ((200_000, Decimal("0.000006")),))


def test_a_book_that_nobody_read_reads_itself() -> None:
    assert PriceBook().listings(Provider.OPENAI, "gpt-4o")


@pytest.mark.parametrize(
    ("provider", "model_id", "window"),
    [
        (Provider.OPENAI, "gpt-4o", 128_000),
        (Provider.AZURE, "gpt-4o", 128_000),
        (Provider.ANTHROPIC, "claude-sonnet-4-5", 200_000),
        (Provider.GOOGLE, "gemini-2.5-flash", 1_048_576),
        (Provider.GOOGLE, "models/gemini-2.5-flash", 1_048_576),
    ],
)
def test_the_context_window_is_known(
    book: PriceBook, provider: Provider, model_id: str, window: int
) -> None:
    facts = book.facts(provider, model_id)
    assert facts.context_window == window
    assert facts.capabilities is not None


def test_a_custom_model_is_known_by_its_vendors_address(book: PriceBook) -> None:
    known = rates(book, Provider.CUSTOM, "llama-3.3-70b-versatile", GROQ)
    assert known.input == Rate(Decimal("0.00000059"))
    openai = book.facts(Provider.CUSTOM, "gpt-4o", "https://api.openai.com/v1")
    assert openai == book.facts(Provider.OPENAI, "gpt-4o")


async def test_a_vendor_is_known_where_the_book_has_another_address() -> None:
    book = PriceBook({TOGETHER: "together"})
    await book.load()
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    known = book.listings(Provider.CUSTOM, model, TOGETHER)
    assert known
    assert known == book.listings(Provider.CUSTOM, model, "https://api.together.xyz/v1")


@pytest.mark.parametrize(
    ("provider", "model_id", "base_url"),
    [
        (Provider.OPENAI, "no-such-model", None),
        (Provider.OLLAMA, "llama3.2", None),
        (Provider.CUSTOM, "gpt-4o", None),
        (Provider.CUSTOM, "gpt-4o", "http://127.0.0.1:8000/v1"),
        (Provider.CUSTOM, "gpt-4o", "%" * 1000),
    ],
)
def test_of_an_unknown_model_nothing_is_claimed(
    book: PriceBook, provider: Provider, model_id: str, base_url: str | None
) -> None:
    assert book.facts(provider, model_id, base_url) == ModelFacts(None, None)
    assert book.listings(provider, model_id, base_url) == ()


def test_the_book_is_not_read_before_it_is_needed() -> None:
    program = (
        "import sys, model_service.catalog.prices as prices; prices.PriceBook();"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("model_id", "name", "expected"),
    [
        ("gpt-4o", "structuredOutput", True),
        ("gpt-4o-2024-11-20", "structuredOutput", True),
        ("gpt-4o-2024-05-13", "structuredOutput", False),
        ("gpt-4o", "reasoning", False),
        ("gpt-5-mini", "reasoning", True),
        ("o3-mini", "vision", False),
        ("o4-mini-2025-04-16", "vision", True),
        ("o3", "parallelTools", None),
        ("gpt-3.5-turbo", "vision", False),
        ("text-embedding-3-small", "embeddings", True),
        ("text-embedding-3-small", "streaming", False),
        ("claude-3-5-sonnet-20241022", "reasoning", False),
        ("claude-3-7-sonnet-latest", "reasoning", True),
        ("claude-sonnet-4-20250514", "structuredOutput", None),
        ("claude-opus-4-1-20250805", "reasoning", True),
        ("claude-haiku-4-5", "structuredOutput", True),
        ("gemini-2.0-flash-001", "reasoning", False),
        ("gemini-2.5-pro", "reasoning", True),
        ("gemini-embedding-001", "embeddings", True),
    ],
)
def test_capabilities_are_those_of_the_documentation(
    model_id: str, name: str, expected: bool | None
) -> None:
    facts = capabilities_of(model_id)
    assert facts is not None
    assert facts[name] is expected


@pytest.mark.parametrize(
    "model_id",
    [
        "",
        "gpt-4o-audio-preview",
        "gpt-4o-realtime-preview",
        "my-gpt-4o",
        "gpt-4o-turbo",
        "gpt-99",
        "o1-mini",
        "claude-opus-9",
        "claude-2",
        "gemini-2.5-flash-image",
        "gemini-2.5-pro-tts",
        "llama3.2",
    ],
)
def test_of_models_that_nobody_looked_up_no_capability_is_guessed(model_id: str) -> None:
    assert capabilities_of(model_id) is None


def test_capabilities_are_the_callers_own_copy() -> None:
    facts = capabilities_of("gpt-4o")
    assert isinstance(facts, dict)
    facts["tools"] = False
    again = capabilities_of("gpt-4o")
    assert again is not None
    assert again["tools"] is True
