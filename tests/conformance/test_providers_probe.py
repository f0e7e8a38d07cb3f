"""Asking the stand-ins for a sign of life, without a key and at no cost in tokens."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from model_service.kernel.types import Provider
from model_service.providers.egress import EgressPolicy, vetted_endpoint
from model_service.providers.probing import Probe
from model_service.providers.transport import Transport
from model_service.sandbox.server import Sandbox

BY_OPERATOR = [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.OLLAMA]


@pytest_asyncio.fixture(loop_scope="session")
async def probe(sandbox: Sandbox) -> AsyncIterator[Probe]:
    policy = EgressPolicy.parse("", loopback_allowed=True)
    addresses = {
        provider: vetted_endpoint(sandbox.of(provider).base_url, policy, trusted=True)
        for provider in BY_OPERATOR
    }
    transport = Transport(policy)
    yield Probe(transport, policy, addresses)
    await transport.aclose()


@pytest.mark.parametrize("provider", [*BY_OPERATOR, Provider.AZURE])
async def test_a_provider_that_refuses_for_want_of_a_key_is_there(
    sandbox: Sandbox, probe: Probe, provider: Provider
) -> None:
    assert await probe(provider, sandbox.of(provider).origin) is None


async def test_a_models_own_endpoint_is_asked_too(sandbox: Sandbox, probe: Probe) -> None:
    assert await probe(Provider.CUSTOM, sandbox.openai.origin) is None


async def test_a_place_without_an_answer_is_not_there(probe: Probe, unused_tcp_port: int) -> None:
    reason = await probe(Provider.CUSTOM, f"http://127.0.0.1:{unused_tcp_port}")
    assert reason == "asked for its models it gave no answer (unreachable)"


async def test_nothing_is_asked_where_nothing_may_be_sent(probe: Probe) -> None:
    assert await probe(Provider.CUSTOM, "http://169.254.169.254") is not None
    assert await probe(Provider.OPENAI, "https://elsewhere.example.com") is not None
