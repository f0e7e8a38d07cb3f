"""Asking the stand-ins about keys: API.md's table, row by row, through the real transport."""

import logging
import traceback
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
import structlog

from model_service.kernel.errors import KeyRefused
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.egress import EgressPolicy
from model_service.providers.registry import BaseUrls, Providers
from model_service.providers.transport import Transport
from model_service.sandbox import Behaviour, Sandbox, serve
from model_service.sandbox.anthropic import Anthropic
from model_service.sandbox.anthropic_models import MODELS
from model_service.sandbox.stand_in import KeyedStandIn, StandIn

KEYED = [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE]
BRIEFLY = 0.2  # seconds: patience where the stand-in says nothing
UNKNOWN = Secret("0123456789abcdef0123456789abcdef")


def keyed(sandbox: Sandbox, provider: Provider) -> KeyedStandIn:
    stand_in = sandbox.of(provider)
    assert isinstance(stand_in, KeyedStandIn)
    return stand_in


def endpoint_for(stand_in: StandIn) -> str | None:
    return stand_in.origin if stand_in.provider is Provider.AZURE else None


def providers_of(sandbox: Sandbox, transport: Transport, policy: EgressPolicy) -> Providers:
    urls = BaseUrls(
        openai=sandbox.openai.base_url,
        anthropic=sandbox.anthropic.base_url,
        google=sandbox.google.base_url,
        ollama=sandbox.ollama.base_url,
    )
    return Providers(transport, policy, urls, validation_seconds=5)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def providers(shared_sandbox: Sandbox) -> AsyncIterator[Providers]:
    """The registry as production has it, with the stand-ins for providers."""
    policy = EgressPolicy.parse(
        shared_sandbox.environment()["UPSTREAM_ALLOWED_HOSTS"], loopback_allowed=False
    )
    transport = Transport(policy)
    yield providers_of(shared_sandbox, transport, policy)
    await transport.aclose()


@pytest.mark.parametrize("provider", KEYED)
@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (None, Verdict.VALID),
        (Behaviour.LIMITED, Verdict.RATE_LIMITED),
        (Behaviour.BROKEN, Verdict.PROVIDER_ERROR),
        (Behaviour.HTML, Verdict.PROVIDER_ERROR),
        (Behaviour.ECHO, Verdict.INVALID),
        (Behaviour.REDIRECT, Verdict.UNEXPECTED_ANSWER),
    ],
)
async def test_each_kind_of_key_gets_its_verdict(
    sandbox: Sandbox,
    providers: Providers,
    provider: Provider,
    behaviour: Behaviour | None,
    verdict: Verdict,
) -> None:
    stand_in = keyed(sandbox, provider)
    key = Secret(stand_in.sample_key(behaviour))
    assert await providers.validate(provider, key, endpoint_for(stand_in)) is verdict
    assert len(stand_in.requests) == 1


@pytest.mark.parametrize(
    ("provider", "verdict"),
    [
        (Provider.OPENAI, Verdict.VALID),
        (Provider.ANTHROPIC, Verdict.VALID),
        (Provider.GOOGLE, Verdict.INVALID),
        (Provider.AZURE, Verdict.VALID),
    ],
)
async def test_a_restricted_key_is_valid_save_with_google(
    sandbox: Sandbox, providers: Providers, provider: Provider, verdict: Verdict
) -> None:
    stand_in = keyed(sandbox, provider)
    key = Secret(stand_in.sample_key(Behaviour.RESTRICTED))
    assert await providers.validate(provider, key, endpoint_for(stand_in)) is verdict


@pytest.mark.parametrize("provider", KEYED)
async def test_a_key_the_provider_does_not_know_is_invalid(
    sandbox: Sandbox, providers: Providers, provider: Provider
) -> None:
    endpoint = endpoint_for(sandbox.of(provider))
    assert await providers.validate(provider, UNKNOWN, endpoint) is Verdict.INVALID


@pytest.mark.parametrize("provider", KEYED)
async def test_a_provider_that_is_down_tells_nothing(
    sandbox: Sandbox, providers: Providers, provider: Provider
) -> None:
    stand_in = keyed(sandbox, provider)
    stand_in.down = True
    key = Secret(stand_in.sample_key())
    verdict = await providers.validate(provider, key, endpoint_for(stand_in))
    assert verdict is Verdict.PROVIDER_ERROR


@pytest.mark.parametrize("provider", KEYED)
async def test_a_silent_provider_is_a_timeout(
    sandbox: Sandbox,
    providers: Providers,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(providers, "_validation_seconds", BRIEFLY)
    stand_in = keyed(sandbox, provider)
    key = Secret(stand_in.sample_key(Behaviour.SILENT))
    verdict = await providers.validate(provider, key, endpoint_for(stand_in))
    assert verdict is Verdict.TIMEOUT


@pytest.mark.parametrize(
    ("provider", "asked", "header"),
    [
        (Provider.OPENAI, ("GET", "/v1/models", {}), "authorization"),
        (Provider.ANTHROPIC, ("POST", "/v1/messages", {}), "x-api-key"),
        (Provider.GOOGLE, ("GET", "/v1beta/models", {"pageSize": "1"}), "x-goog-api-key"),
        (Provider.AZURE, ("GET", "/openai/v1/models", {}), "api-key"),
    ],
)
async def test_the_question_is_the_documented_one_with_the_key_in_its_header_alone(
    sandbox: Sandbox,
    providers: Providers,
    provider: Provider,
    asked: tuple[str, str, dict[str, str]],
    header: str,
) -> None:
    stand_in = keyed(sandbox, provider)
    key = stand_in.sample_key()
    await providers.validate(provider, Secret(key), endpoint_for(stand_in))
    (request,) = stand_in.requests
    assert (request.method, request.path, dict(request.query)) == asked
    assert request.credential is not None
    assert not request.credential.in_query
    carrying = [name for name, value in request.headers.items() if key in value]
    assert carrying == [header]
    assert key.encode() not in request.body


async def test_anthropic_is_asked_for_one_token(sandbox: Sandbox, providers: Providers) -> None:
    await providers.validate(Provider.ANTHROPIC, Secret("sk-ant-sandbox-valid"), None)
    (request,) = sandbox.anthropic.requests
    body = orjson.loads(request.body)
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert body["max_tokens"] == 1
    assert request.headers["anthropic-version"] == "2023-06-01"


async def test_a_good_anthropic_key_stays_valid_when_the_model_asked_for_is_gone() -> None:
    asked = "claude-haiku-5-5"
    without = Anthropic([model for model in MODELS if model.id != asked])
    async with serve(sandbox=Sandbox(anthropic=without)) as sandbox:
        policy = EgressPolicy()
        transport = Transport(policy)
        providers = providers_of(sandbox, transport, policy)
        good, bad = Secret("sk-ant-sandbox-valid"), UNKNOWN
        assert await providers.validate(Provider.ANTHROPIC, good, None) is Verdict.VALID
        assert await providers.validate(Provider.ANTHROPIC, bad, None) is Verdict.INVALID
        await transport.aclose()


async def test_an_anthropic_base_url_with_a_version_too_many_is_noticed(sandbox: Sandbox) -> None:
    policy = EgressPolicy()
    transport = Transport(policy)
    urls = BaseUrls(
        openai=sandbox.openai.base_url,
        anthropic=f"{sandbox.anthropic.base_url}/v1",
        google=sandbox.google.base_url,
        ollama=sandbox.ollama.base_url,
    )
    providers = Providers(transport, policy, urls)
    key = Secret("sk-ant-sandbox-valid")
    verdict = await providers.validate(Provider.ANTHROPIC, key, None)
    await transport.aclose()
    assert verdict is Verdict.UNEXPECTED_ANSWER


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
@pytest.mark.parametrize("key", ["*", "anything"])
async def test_ollama_and_custom_keys_are_valid_without_asking(
    sandbox: Sandbox, providers: Providers, provider: Provider, key: str
) -> None:
    assert await providers.validate(provider, Secret(key), None) is Verdict.VALID
    assert not any(stand_in.requests for stand_in in sandbox.stand_ins)


async def test_an_azure_key_without_an_endpoint_is_not_asked_about(
    sandbox: Sandbox, providers: Providers
) -> None:
    assert await providers.validate(Provider.AZURE, UNKNOWN, None) is Verdict.VALID
    assert await providers.validate(Provider.AZURE, Secret("short"), None) is Verdict.INVALID
    assert not sandbox.azure.requests


@pytest.mark.parametrize("provider", [*KEYED, Provider.OLLAMA])
async def test_a_key_that_is_echoed_back_appears_nowhere(
    sandbox: Sandbox,
    providers: Providers,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stand_in = sandbox.of(provider)
    stand_in.always = Behaviour.ECHO
    canary = "sk-sandbox-echo-canary-5f2d8c"
    key, endpoint = Secret(canary), endpoint_for(stand_in)
    with structlog.testing.capture_logs() as logged, caplog.at_level(logging.DEBUG):
        verdict = await providers.validate(provider, key, endpoint)
        with pytest.raises(KeyRefused) as refusal:
            await providers.list_models(provider, key, endpoint)
    written = [verdict, refusal.value.message, repr(refusal.value), caplog.text, repr(logged)]
    written += traceback.format_exception(refusal.value)
    written += capfd.readouterr()
    error: BaseException | None = refusal.value
    while error is not None:  # what hangs on the error unseen, too
        written.append(repr(vars(error)))
        error = error.__cause__ or error.__context__
    assert not any(canary in text for text in written)
