"""The vendors that presets name: their rows, how they are asked, and what they are sent."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from model_service.kernel.errors import InvalidInput, KeyRefused, ProviderUnreachable
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from model_service.providers.key_endpoints import any_allowed, canonical
from model_service.providers.registry import BaseUrls, Providers
from model_service.providers.transport import Transport
from model_service.providers.vendors import VENDORS, Vendor, base_urls, books
from tests.unit.providers.provider_fakes import HTML, KEY, CannedServer, answering, http

GUIDE = (Path(__file__).parents[3] / "docs" / "adding-a-provider.md").read_text()
OTHERS = sorted(VENDORS.keys() - {"xai"})
MODELS = http(200, {"object": "list", "data": [{"id": "large"}, {"id": "small"}]})


@contextlib.asynccontextmanager
async def vendor_at(
    server: CannedServer, preset: str, row: Vendor | None = None
) -> AsyncIterator[tuple[Providers, str]]:
    """The registry in production, with that vendor at the server, and the vendor's endpoint."""
    row = row or VENDORS[preset]
    path = parse_endpoint(row.base_url).path_prefix
    vendor = replace(row, base_url=server.origin + path)
    policy = EgressPolicy.parse(server.allowed, loopback_allowed=False)
    transport = Transport(policy)
    urls = BaseUrls(*(server.origin for _ in range(4)))
    try:
        yield Providers(transport, policy, urls, vendors={preset: vendor}), vendor.base_url
    finally:
        await transport.aclose()


def adapted(preset: str, **body: Any) -> dict[str, Any]:
    VENDORS[preset].adapt(body)
    return body


def test_the_vendors_are_those_that_are_documented() -> None:
    assert set(VENDORS) == {
        "mistral", "deepseek", "xai", "groq", "openrouter", "together", "fireworks",
    }  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_a_base_url_is_as_a_keys_endpoint_is_stored(vendor: Vendor) -> None:
    endpoint = any_allowed(vendor.base_url, EgressPolicy())
    assert canonical(endpoint) == vendor.base_url
    assert endpoint.scheme == "https"


def test_no_two_vendors_are_at_one_place() -> None:
    assert len(set(base_urls(VENDORS).values())) == len(VENDORS)


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_the_price_book_knows_every_vendor(vendor: Vendor) -> None:
    assert vendor.book in {provider.id for provider in get_snapshot().providers}
    assert books(VENDORS)[vendor.base_url] == vendor.book


@pytest.mark.parametrize(
    ("preset", "target"),
    [
        ("mistral", "GET /v1/models"),
        ("deepseek", "GET /models"),
        ("xai", "GET /v1/models"),
        ("groq", "GET /openai/v1/models"),
        ("openrouter", "GET /api/v1/key"),
        ("together", "GET /v1/models"),
        ("fireworks", "GET /v1/accounts?pageSize=1"),
    ],
)
async def test_a_vendor_is_asked_about_a_key_where_only_good_ones_get_an_answer(
    preset: str, target: str
) -> None:
    async with answering(MODELS) as server, vendor_at(server, preset) as (providers, endpoint):
        assert await providers.validate(Provider.CUSTOM, KEY, endpoint) is Verdict.VALID
    assert server.targets == [target]
    assert f"authorization: Bearer {KEY.reveal()}".encode() in server.requests[0]


@pytest.mark.parametrize("preset", VENDORS)
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (http(200, {}), Verdict.VALID),
        (http(401, {"detail": "Unauthorized"}), Verdict.INVALID),
        (http(403, {"error": "no"}), Verdict.UNEXPECTED_ANSWER),
        (http(404, {}), Verdict.UNEXPECTED_ANSWER),
        (http(429, {}), Verdict.RATE_LIMITED),
        (http(500, b"Error listing deployed models"), Verdict.PROVIDER_ERROR),
        (http(200, HTML), Verdict.UNEXPECTED_ANSWER),
    ],
)
async def test_a_key_is_good_or_bad_only_when_the_vendor_says_so(
    preset: str, answer: bytes, verdict: Verdict
) -> None:
    async with answering(answer) as server, vendor_at(server, preset) as (providers, endpoint):
        assert await providers.validate(Provider.CUSTOM, KEY, endpoint) is verdict


WRONG_KEY = {
    "code": "Client specified an invalid argument",
    "error": "Incorrect API key provided: ma***ef.",
}


async def test_xai_says_of_a_wrong_key_that_the_request_is_bad() -> None:
    async with (
        answering(http(400, WRONG_KEY)) as server,
        vendor_at(server, "xai") as (
            providers,
            endpoint,
        ),
    ):
        assert await providers.validate(Provider.CUSTOM, KEY, endpoint) is Verdict.INVALID
        with pytest.raises(KeyRefused):
            await providers.list_models(Provider.CUSTOM, KEY, endpoint)


@pytest.mark.parametrize("preset", OTHERS)
async def test_no_other_vendor_says_anything_of_a_key_by_that(preset: str) -> None:
    async with (
        answering(http(400, WRONG_KEY)) as server,
        vendor_at(server, preset) as (
            providers,
            endpoint,
        ),
    ):
        verdict = await providers.validate(Provider.CUSTOM, KEY, endpoint)
    assert verdict is Verdict.UNEXPECTED_ANSWER


@pytest.mark.parametrize("preset", VENDORS)
async def test_a_vendors_models_are_listed(preset: str) -> None:
    async with answering(MODELS) as server, vendor_at(server, preset) as (providers, endpoint):
        models = await providers.list_models(Provider.CUSTOM, KEY, endpoint)
    assert [model.id for model in models] == ["large", "small"]
    prefix = parse_endpoint(VENDORS[preset].base_url).path_prefix
    assert server.targets == [f"GET {prefix}/models"]


async def test_a_vendor_that_lists_no_models_is_an_error() -> None:
    async with (
        answering(http(500, b"Error listing deployed models")) as server,
        vendor_at(server, "fireworks") as (providers, endpoint),
    ):
        with pytest.raises(ProviderUnreachable):
            await providers.list_models(Provider.CUSTOM, KEY, endpoint)


async def test_a_custom_key_for_anywhere_else_is_not_asked_about() -> None:
    async with answering(http(401)) as server, vendor_at(server, "groq") as (providers, endpoint):
        for elsewhere in (None, server.origin, f"{endpoint}/other"):
            verdict = await providers.validate(Provider.CUSTOM, Secret("*"), elsewhere)
            assert verdict is Verdict.VALID
    assert server.requests == []


async def test_another_providers_key_is_no_vendors() -> None:
    async with answering(http(401)) as server, vendor_at(server, "groq") as (providers, endpoint):
        assert await providers.validate(Provider.OLLAMA, KEY, endpoint) is Verdict.VALID
    assert server.requests == []


async def test_a_preset_stands_for_the_vendors_endpoint() -> None:
    async with answering(b"") as server, vendor_at(server, "groq") as (providers, endpoint):
        assert providers.preset_endpoint("groq") == endpoint


async def test_of_an_unknown_preset_the_known_are_listed() -> None:
    transport, policy = Transport(EgressPolicy()), EgressPolicy()
    urls = BaseUrls(*("https://api.example.com" for _ in range(4)))
    providers = Providers(transport, policy, urls)
    with pytest.raises(InvalidInput) as caught:
        providers.preset_endpoint("openai")
    await transport.aclose()
    (fault,) = caught.value.errors
    assert fault.field == "metadata.preset"
    assert fault.message == f"must be one of {', '.join(sorted(VENDORS))}"


@pytest.mark.parametrize("preset", ["xai", "groq"])
def test_those_with_openais_newer_name_for_the_bound_get_it(preset: str) -> None:
    assert adapted(preset, max_tokens=5) == {"max_completion_tokens": 5}
    assert adapted(preset, max_completion_tokens=5) == {"max_completion_tokens": 5}


@pytest.mark.parametrize("preset", ["mistral", "deepseek", "openrouter", "together", "fireworks"])
def test_the_others_get_the_older_name(preset: str) -> None:
    assert adapted(preset, max_completion_tokens=5) == {"max_tokens": 5}
    assert adapted(preset, max_tokens=5) == {"max_tokens": 5}


def test_of_both_names_the_vendors_own_stands() -> None:
    assert adapted("mistral", max_tokens=5, max_completion_tokens=9) == {"max_tokens": 5}


def test_a_request_without_a_bound_gets_none() -> None:
    assert adapted("groq", model="m") == {"model": "m"}


def test_mistral_knows_a_seed_by_another_name_and_reports_usage_unasked() -> None:
    body = adapted("mistral", seed=0, stream=True, stream_options={"include_usage": True})
    assert body == {"random_seed": 0, "stream": True}


@pytest.mark.parametrize("preset", sorted(VENDORS.keys() - {"mistral"}))
def test_what_a_vendor_knows_is_left_alone(preset: str) -> None:
    body = {"seed": 1, "stream_options": {"include_usage": True}, "tomorrow": "x"}
    assert adapted(preset, **body) == body


def example() -> Vendor:
    """The row that the guide shows."""
    found = re.search(r'```python\n +"\w+": (Vendor\(.*\)),\n```', GUIDE)
    assert found is not None
    vendor: Vendor = eval(found.group(1), {"Vendor": Vendor})  # noqa: S307 - a line of our own
    return vendor


async def test_the_guides_example_of_a_vendor_is_one_line_that_works() -> None:
    async with (
        answering(MODELS) as server,
        vendor_at(server, "example", example()) as (
            providers,
            endpoint,
        ),
    ):
        assert await providers.validate(Provider.CUSTOM, KEY, endpoint) is Verdict.VALID
        models = await providers.list_models(Provider.CUSTOM, KEY, endpoint)
    assert [model.id for model in models] == ["large", "small"]


def test_the_guides_example_is_a_vendor_that_the_price_book_knows() -> None:
    assert example().book in {provider.id for provider in get_snapshot().providers}


@pytest.mark.parametrize("preset", VENDORS)
def test_the_guide_tells_every_vendor_and_how_it_is_asked(preset: str) -> None:
    vendor = VENDORS[preset]
    (row,) = [line for line in GUIDE.splitlines() if line.startswith(f"| `{preset}` |")]
    assert f"`{vendor.base_url}`" in row
    assert f"`{vendor.validation.partition('?')[0]}`" in row
    for name in (*vendor.renamed, *vendor.renamed.values(), *vendor.omitted):
        assert f"`{name}`" in row
    assert ("max_completion_tokens" in row) is (vendor.max_tokens_field != "max_tokens")
    assert ("cache_control" in row) is vendor.cache_marks


@pytest.mark.parametrize("field", fields(Vendor), ids=lambda field: field.name)
def test_the_guide_explains_every_field_of_a_row(field: Field[Any]) -> None:
    assert f"`{field.name}`" in GUIDE
