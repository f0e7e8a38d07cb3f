"""Whether the providers can be reached from here. Asks without any key, and only for an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from model_service.cli.findings import Finding, fail, ok, warn
from model_service.kernel.errors import EgressRefused, UpstreamError
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import Endpoint, parse_endpoint
from model_service.providers.transport import Limits, Timeouts, Transport, UpstreamRequest
from model_service.settings import Settings

#: Seconds that all of them together have.
PATIENCE: Final = 5.0

Ask = Callable[[Endpoint], Awaitable[int]]


async def providers(settings: Settings) -> list[Finding]:
    """Each operator-set origin, asked at the same time."""
    # The operator's origins are trusted, so the policy's exceptions do not matter to them.
    transport = Transport(EgressPolicy())

    async def ask(endpoint: Endpoint) -> int:
        request = UpstreamRequest(endpoint, "GET", "/")
        timeouts = Timeouts(PATIENCE, PATIENCE, PATIENCE, PATIENCE)
        async with await transport.send(request, timeouts, Limits()) as response:
            return response.status

    origins = {
        "OPENAI": settings.openai_base_url,
        "ANTHROPIC": settings.anthropic_base_url,
        "GOOGLE": settings.google_base_url,
        "OLLAMA": settings.ollama_base_url,
    }
    try:
        return list(await asyncio.gather(*(reach(*origin, ask) for origin in origins.items())))
    finally:
        await transport.aclose()


async def reach(provider: str, url: str, ask: Ask) -> Finding:
    """Whether anything answers there; of whatever status, for no key is sent along."""
    check = f"provider {provider}"
    try:
        endpoint = parse_endpoint(url, trusted=True)
    except EgressRefused as error:
        return fail(check, f"{provider}_BASE_URL is no good: {error.message}", "correct it")
    remedy = (
        f"check that this machine may reach {endpoint.origin}, or set {provider}_BASE_URL;"
        f" without {provider} models nothing needs doing"
    )
    try:
        async with asyncio.timeout(PATIENCE):
            status = await ask(endpoint)
    except TimeoutError:
        return warn(check, f"{endpoint.origin} did not answer in {PATIENCE:g} s", remedy)
    except UpstreamError as error:
        return warn(check, f"{endpoint.origin}: {error.message}", remedy)
    return ok(check, f"{endpoint.origin} answers ({status})")
