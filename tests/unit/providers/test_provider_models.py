"""Listing a provider's models over real HTTP: pages, bounds, and what failures say."""

import asyncio
from itertools import count
from typing import Any

import pytest

from model_service.kernel.errors import InvalidInput, KeyRefused, ProviderUnreachable, ServiceError
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.registry import MOST_PAGES, SPECS
from tests.unit.providers.provider_fakes import (
    HTML,
    KEY,
    SILENCE,
    CannedServer,
    answering,
    endpoint_of,
    gzipped,
    http,
    pages,
    providers_at,
)

BRIEFLY = 0.1  # seconds


def google_page(*names: str, then: str | None = None) -> dict[str, Any]:
    models = [
        {"name": f"models/{name}", "supportedGenerationMethods": ["generateContent"]}
        for name in names
    ]
    return {"models": models} | ({"nextPageToken": then} if then else {})


async def list_of(
    provider: Provider, server: CannedServer, key: Secret[str] | None = KEY
) -> list[str]:
    async with providers_at(server) as providers:
        models = await providers.list_models(provider, key, endpoint_of(provider, server))
    return [model.id for model in models]


async def failure_of(
    provider: Provider,
    server: CannedServer,
    key: Secret[str] | None = KEY,
    *,
    patience: float = 10,
) -> ServiceError:
    async with providers_at(server, listing_seconds=patience) as providers:
        with pytest.raises(ServiceError) as failure:
            await providers.list_models(provider, key, endpoint_of(provider, server))
    return failure.value


@pytest.mark.parametrize(
    ("provider", "target"),
    [
        (Provider.OPENAI, "GET /models"),
        (Provider.ANTHROPIC, "GET /v1/models?limit=1000"),
        (Provider.GOOGLE, "GET /v1beta/models?pageSize=1000"),
        (Provider.AZURE, "GET /openai/v1/models"),
        (Provider.OLLAMA, "GET /api/tags"),
        (Provider.CUSTOM, "GET /models"),
    ],
)
async def test_each_provider_is_asked_for_its_own_listing(provider: Provider, target: str) -> None:
    both = {"data": [{"id": "m"}], **google_page("m")}
    async with answering(http(200, both)) as server:
        assert await list_of(provider, server) == (
            ["models/m"] if target.endswith("tags") else ["m"]
        )
    assert server.targets == [target]


async def test_anthropics_pages_are_followed() -> None:
    first = {"data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "b"}
    last = {"data": [{"id": "c"}], "has_more": False, "last_id": "c"}
    async with answering(*pages(first, last)) as server:
        assert await list_of(Provider.ANTHROPIC, server) == ["a", "b", "c"]
    assert server.targets[1:] == ["GET /v1/models?limit=1000&after_id=b"]


async def test_googles_pages_are_followed() -> None:
    documents = [google_page("a", then="1"), {"nextPageToken": "2"}, google_page("b")]
    async with answering(*pages(*documents)) as server:
        assert await list_of(Provider.GOOGLE, server) == ["a", "b"]
    assert [target.partition("&")[2] for target in server.targets] == [
        "",
        "pageToken=1",
        "pageToken=2",
    ]


async def test_pages_without_end_are_an_error_not_a_shorter_list() -> None:
    async with answering(http(200, google_page("a", then="again"))) as server:
        error = await failure_of(Provider.GOOGLE, server)
    assert isinstance(error, ProviderUnreachable)
    assert error.message == "Provider 'GOOGLE' could not be asked (unexpected_answer)"
    assert len(server.requests) == MOST_PAGES


async def test_too_many_models_are_an_error_not_a_shorter_list() -> None:
    numbers = count()
    documents = [
        google_page(*(f"m{next(numbers)}" for _ in range(1700)), then="more") for _ in range(3)
    ]
    async with answering(*pages(*documents)) as server:
        error = await failure_of(Provider.GOOGLE, server)
    assert "unexpected_answer" in error.message
    assert len(server.requests) == 3


async def test_all_pages_share_one_deadline() -> None:
    first, never = http(200, google_page("a", then="2")), SILENCE
    async with answering(first, never) as server:
        began = asyncio.get_running_loop().time()
        error = await failure_of(Provider.GOOGLE, server, patience=BRIEFLY)
        took = asyncio.get_running_loop().time() - began
    assert error.message == "Provider 'GOOGLE' could not be asked (timeout)"
    assert took < 5


async def test_no_page_is_asked_for_after_the_deadline() -> None:
    async with answering(http(200, google_page("a"))) as server:
        error = await failure_of(Provider.GOOGLE, server, patience=0)
    assert "timeout" in error.message
    assert server.requests == []


async def test_a_compressed_listing_is_read() -> None:
    async with answering(gzipped({"data": [{"id": "m"}]})) as server:
        assert await list_of(Provider.OPENAI, server) == ["m"]


@pytest.mark.parametrize("provider", [p for p in SPECS if p is not Provider.OLLAMA])
async def test_a_refused_key_is_an_error_of_its_own(provider: Provider) -> None:
    async with answering(http(401, {"error": {"message": KEY.reveal()}})) as server:
        error = await failure_of(provider, server)
    assert isinstance(error, KeyRefused)
    assert error.message == f"Provider '{provider}' refused the stored key (invalid)"


@pytest.mark.parametrize("key", [None, Secret("*")])
@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
async def test_a_provider_that_wants_a_key_where_none_is_says_so(
    provider: Provider, key: Secret[str] | None
) -> None:
    async with answering(http(401, {"error": "unauthorized"})) as server:
        error = await failure_of(provider, server, key)
    assert isinstance(error, KeyRefused)
    assert error.message == f"Provider '{provider}' wants a key and there is none to send"


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.AZURE, Provider.CUSTOM])
async def test_a_key_that_may_not_list_is_not_asked_about_again(provider: Provider) -> None:
    async with answering(http(403, {"error": {"message": "Missing scopes"}})) as server:
        error = await failure_of(provider, server)
    assert isinstance(error, KeyRefused)
    assert "does not let it list models (restricted)" in error.message


@pytest.mark.parametrize(
    ("canned", "verdict", "retry_after"),
    [
        (http(429, {}, "Retry-After: 42"), "rate_limited", 42),
        (http(429, {}, "Retry-After: 86400"), "rate_limited", 300),
        (http(429, {}), "rate_limited", 10),
        (http(503, HTML, "Retry-After: 0"), "provider_error", 1),
        (http(500, {}), "provider_error", 10),
        (http(200, HTML), "unexpected_answer", 10),
        (http(200, {"data": "none"}), "unexpected_answer", 10),
        (http(200, b"[" * 100_000), "unexpected_answer", 10),
        (http(204), "unexpected_answer", 10),
        (http(302, b"", "Location: http://169.254.169.254/"), "unexpected_answer", 10),
        (http(404, HTML), "unexpected_answer", 10),
        (b"", "unexpected_answer", 10),
    ],
)
@pytest.mark.parametrize("provider", list(SPECS))
async def test_every_other_failure_names_provider_and_verdict(
    provider: Provider, canned: bytes, verdict: str, retry_after: int
) -> None:
    async with answering(canned) as server:
        error = await failure_of(provider, server)
    assert isinstance(error, ProviderUnreachable)
    assert error.message == f"Provider '{provider}' could not be asked ({verdict})"
    assert error.retry_after == retry_after


async def test_an_answer_good_for_a_key_is_none_for_a_listing() -> None:
    refusal = {"type": "error", "error": {"type": "invalid_request_error", "message": "x"}}
    async with answering(http(400, refusal)) as server:
        error = await failure_of(Provider.ANTHROPIC, server)
    assert error.message == "Provider 'ANTHROPIC' could not be asked (unexpected_answer)"


async def test_a_provider_that_is_away_is_unreachable() -> None:
    async with answering(b"") as server:
        pass
    error = await failure_of(Provider.OPENAI, server)
    assert error.message == "Provider 'OPENAI' could not be asked (unreachable)"


@pytest.mark.parametrize("provider", [Provider.AZURE, Provider.CUSTOM])
async def test_a_key_without_the_endpoint_it_needs_is_a_bad_request(provider: Provider) -> None:
    async with answering(http(200, {})) as server, providers_at(server) as providers:
        with pytest.raises(InvalidInput, match=r"has no metadata\.endpoint to ask"):
            await providers.list_models(provider, KEY, None)
    assert server.requests == []


@pytest.mark.parametrize("provider", list(SPECS))
async def test_an_endpoint_that_is_not_allowed_any_more_is_not_asked(provider: Provider) -> None:
    async with answering(http(200, {})) as server, providers_at(server) as providers:
        with pytest.raises(ProviderUnreachable, match=r"\(unreachable\)"):
            await providers.list_models(provider, KEY, "http://10.0.0.1:1")
    assert server.requests == []


@pytest.mark.parametrize(
    ("key", "sent"), [(KEY, True), (Secret("*"), False), (None, False), (Secret("**"), True)]
)
@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
async def test_a_star_is_no_key_and_is_not_sent(
    provider: Provider, key: Secret[str] | None, sent: bool
) -> None:
    async with answering(http(200, {"data": [], "models": []})) as server:
        assert await list_of(provider, server, key) == []
    assert (b"\r\nauthorization: Bearer " in server.requests[0]) is sent
