"""The clients of all doors, one each for the whole run."""

import secrets
from collections.abc import AsyncIterator, Callable

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio
from google import genai
from google.genai import types

from model_service.gateway import circuit
from model_service.kernel.types import Provider
from model_service.sandbox.server import Sandbox
from tests.conformance.gateway.anthropic_door import Anthropic
from tests.conformance.gateway.cells import Cell, Registered
from tests.conformance.gateway.doors import Door
from tests.conformance.gateway.google_door import Google
from tests.conformance.gateway.openai_chat import AzureStyle, OpenAIChat
from tests.conformance.gateway.openai_responses import OpenAIResponses
from tests.conformance.gateway.upstreams import UPSTREAMS, Upstream
from tests.conformance.gateway.vendor import Vendor, serving
from tests.gateway_world import GatewayWorld

MakeCell = Callable[[str, Upstream], Cell]
_SECONDS = 20


@pytest.fixture(autouse=True)
def _cells_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No circuit opens because of what other cells saw of the same model."""
    monkeypatch.setattr(circuit, "STREAK", 1_000_000)
    monkeypatch.setattr(circuit, "VOLUME", 1_000_000)


@pytest_asyncio.fixture(scope="session")
async def vendor() -> AsyncIterator[Vendor]:
    async with serving() as vendor:
        yield vendor


@pytest_asyncio.fixture(scope="session")
async def registered(shared_world: GatewayWorld, vendor: Vendor) -> Registered:
    return Registered(shared_world, vendor.base_url)


@pytest.fixture(scope="session")
def headers() -> dict[str, str]:
    """The headers of the last answer that any client got."""
    return {}


@pytest_asyncio.fixture(scope="session")
async def doors(
    shared_world: GatewayWorld, headers: dict[str, str]
) -> AsyncIterator[dict[str, Door]]:
    world, user = shared_world, f"conformance-{secrets.token_hex(4)}"
    for provider in Provider:
        if provider is not Provider.OLLAMA:
            await world.key(provider, f"sk-sandbox-{secrets.token_hex(8)}", user=user)
    token = await world.token(user)

    async def note(response: httpx2.Response) -> None:
        headers.clear()
        headers.update(response.headers)

    async with httpx2.AsyncClient(event_hooks={"response": [note]}, timeout=_SECONDS) as http:
        plain = openai.AsyncOpenAI(
            base_url=f"{world.url}/v1", api_key=token, http_client=http, max_retries=0
        )
        azure = openai.AsyncAzureOpenAI(
            azure_endpoint=world.url,
            api_key=token,
            api_version="2024-10-21",
            http_client=http,
            max_retries=0,
        )
        claude = anthropic.AsyncAnthropic(
            base_url=world.url, api_key=token, http_client=http, max_retries=0
        )
        options = types.HttpOptions(base_url=world.url, httpx_async_client=http)
        with genai.Client(api_key=token, http_options=options) as gemini:
            made = (
                OpenAIChat(plain),
                OpenAIResponses(plain),
                Anthropic(claude),
                Google(gemini.aio),
                AzureStyle(azure),
            )
            yield {door.name: door for door in made}


@pytest.fixture
def cell(
    sandbox: Sandbox,
    vendor: Vendor,
    doors: dict[str, Door],
    registered: Registered,
    headers: dict[str, str],
) -> MakeCell:
    """Makes a cell, with empty ledgers at all providers."""

    vendor.clear()

    def make(door: str, upstream: Upstream) -> Cell:
        headers.clear()
        is_custom = upstream.provider is Provider.CUSTOM
        stand_in = vendor if is_custom else sandbox.of(upstream.provider)
        other = next(
            one
            for one in UPSTREAMS
            if one.provider in (Provider.ANTHROPIC, Provider.GOOGLE)
            and one.provider is not upstream.provider
        )
        return Cell(doors[door], upstream, other, registered, stand_in, headers)

    return make
