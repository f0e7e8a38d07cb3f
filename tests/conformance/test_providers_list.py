"""Listing the stand-ins' models through the real transport: all of them, and only the facts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from model_service.kernel.errors import KeyRefused, ProviderUnreachable
from model_service.kernel.provider import OfferedModel, Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import BaseUrls, Providers
from model_service.providers.transport import Transport
from model_service.sandbox import Behaviour, Sandbox, serve
from model_service.sandbox.anthropic import Anthropic
from model_service.sandbox.anthropic_models import AnthropicModel
from model_service.sandbox.google import Google
from model_service.sandbox.google_models import GoogleModel

KEY = Secret("sk-sandbox-0123456789abcdef")
ALL = [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE, Provider.OLLAMA]


@asynccontextmanager
async def asking(sandbox: Sandbox, listing_seconds: float = 30.0) -> AsyncIterator[Providers]:
    """The registry as production has it, pointed at a sandbox."""
    environment = sandbox.environment()
    allowed = [environment["UPSTREAM_ALLOWED_HOSTS"], sandbox.openai.origin.removeprefix("http://")]
    policy = EgressPolicy.parse(" ".join(allowed), loopback_allowed=False)
    transport = Transport(policy)
    urls = BaseUrls(
        openai=environment["OPENAI_BASE_URL"],
        anthropic=environment["ANTHROPIC_BASE_URL"],
        google=environment["GOOGLE_BASE_URL"],
        ollama=environment["OLLAMA_BASE_URL"],
    )
    try:
        yield Providers(transport, policy, urls, listing_seconds=listing_seconds)
    finally:
        await transport.aclose()


def endpoint_for(provider: Provider, sandbox: Sandbox) -> str | None:
    return sandbox.azure.origin if provider is Provider.AZURE else None


async def listed(
    sandbox: Sandbox, provider: Provider, key: Secret[str] | None = KEY
) -> list[OfferedModel]:
    async with asking(sandbox) as providers:
        return await providers.list_models(provider, key, endpoint_for(provider, sandbox))


async def test_openais_models_are_listed(sandbox: Sandbox) -> None:
    models = await listed(sandbox, Provider.OPENAI)
    assert [model.id for model in models] == [model.id for model in sandbox.openai.models]
    first = sandbox.openai.models[0]
    made = datetime.fromtimestamp(first.created, UTC)
    assert models[0] == OfferedModel(id=first.id, name=first.id, created=made)


async def test_anthropics_models_are_listed_with_their_limits(sandbox: Sandbox) -> None:
    models = await listed(sandbox, Provider.ANTHROPIC)
    assert [model.id for model in models] == [model.id for model in sandbox.anthropic.models]
    haiku = next(model for model in models if model.id == "claude-haiku-4-5-20251001")
    assert haiku == OfferedModel(
        id="claude-haiku-4-5-20251001",
        name="Claude Haiku 4.5",
        max_tokens=64_000,
        context_window=200_000,
        created=datetime(2025, 10, 15, tzinfo=UTC),
    )
    assert models[0].created is None, "1970 is what it gives for a date it does not know"


async def test_googles_models_are_listed_without_their_collection(sandbox: Sandbox) -> None:
    models = await listed(sandbox, Provider.GOOGLE)
    assert [model.id for model in models] == [model.name for model in sandbox.google.models]
    first = sandbox.google.models[0]
    assert models[0] == OfferedModel(
        id=first.name,
        name=first.display_name,
        description=first.description,
        max_tokens=first.output_token_limit,
        context_window=first.input_token_limit,
    )


async def test_azures_base_models_are_listed(sandbox: Sandbox) -> None:
    models = await listed(sandbox, Provider.AZURE)
    assert [model.id for model in models] == [model.id for model in sandbox.azure.models]


async def test_ollamas_pulled_models_are_listed_without_a_key(sandbox: Sandbox) -> None:
    models = await listed(sandbox, Provider.OLLAMA, None)
    assert [model.id for model in models] == [model.name for model in sandbox.ollama.models]
    assert sandbox.ollama.requests[0].credential is None


async def test_custom_endpoints_are_asked_as_openai_is(sandbox: Sandbox) -> None:
    async with asking(sandbox) as providers:
        models = await providers.list_models(Provider.CUSTOM, KEY, sandbox.openai.base_url)
        with pytest.raises(KeyRefused):
            await providers.list_models(Provider.CUSTOM, Secret("*"), sandbox.openai.base_url)
    assert len(models) == len(sandbox.openai.models)
    first, second = sandbox.openai.requests
    assert first.credential is not None
    assert second.credential is None


async def test_listings_of_many_pages_are_read_to_their_end() -> None:
    names = [f"m{number:04}" for number in range(2500)]
    many = Sandbox(
        anthropic=Anthropic([AnthropicModel(name, name, "made-up") for name in names]),
        google=Google([GoogleModel(name, name, "Made up.") for name in names]),
    )
    async with serve(sandbox=many) as sandbox:
        for provider in (Provider.ANTHROPIC, Provider.GOOGLE):
            models = await listed(sandbox, provider)
            assert [model.id for model in models] == names
            assert len(sandbox.of(provider).requests) == 3


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("behaviour", "verdict", "retry_after"),
    [
        (Behaviour.LIMITED, Verdict.RATE_LIMITED, 7),
        (Behaviour.BROKEN, Verdict.PROVIDER_ERROR, 10),
        (Behaviour.HTML, Verdict.PROVIDER_ERROR, 10),
        (Behaviour.REDIRECT, Verdict.UNEXPECTED_ANSWER, 10),
    ],
)
async def test_a_provider_that_misbehaves_is_named_with_the_verdict(
    sandbox: Sandbox,
    provider: Provider,
    behaviour: Behaviour,
    verdict: Verdict,
    retry_after: int,
) -> None:
    sandbox.of(provider).always = behaviour
    with pytest.raises(ProviderUnreachable) as failure:
        await listed(sandbox, provider)
    assert failure.value.message == f"Provider '{provider}' could not be asked ({verdict.value})"
    assert failure.value.retry_after == retry_after


@pytest.mark.parametrize("provider", ALL)
async def test_a_silent_provider_is_given_up(sandbox: Sandbox, provider: Provider) -> None:
    sandbox.of(provider).always = Behaviour.SILENT
    async with asking(sandbox, listing_seconds=0.2) as providers:
        with pytest.raises(ProviderUnreachable, match=r"\(timeout\)"):
            await providers.list_models(provider, KEY, endpoint_for(provider, sandbox))


@pytest.mark.parametrize("provider", [p for p in ALL if p is not Provider.OLLAMA])
async def test_a_key_the_provider_does_not_know_is_refused(
    sandbox: Sandbox, provider: Provider
) -> None:
    with pytest.raises(KeyRefused) as refusal:
        await listed(sandbox, provider, Secret("0123456789abcdef0123456789abcdef"))
    assert refusal.value.message == f"Provider '{provider}' refused the stored key (invalid)"


@pytest.mark.parametrize("provider", [p for p in ALL if p is not Provider.OLLAMA])
async def test_a_restricted_key_is_refused_the_listing(
    sandbox: Sandbox, provider: Provider
) -> None:
    sandbox.of(provider).always = Behaviour.RESTRICTED
    with pytest.raises(KeyRefused) as refusal:
        await listed(sandbox, provider)
    assert provider in refusal.value.message


@pytest.mark.parametrize("provider", [p for p in ALL if p is not Provider.AZURE])
async def test_every_provider_with_an_address_can_be_reached(
    sandbox: Sandbox, provider: Provider
) -> None:
    async with asking(sandbox) as providers:
        assert providers.origins()[provider] == sandbox.of(provider).origin
        assert await providers.reachable(provider) is Verdict.VALID
    (request,) = sandbox.of(provider).requests
    assert request.credential is None
