"""One question to a provider, and as much of the answer as is needed.

Keys and models are asked about here, seldom and in small; the gateway's calls have a way
of their own.
"""

import asyncio
from typing import Final

import orjson

from model_service.kernel.errors import UpstreamTimeout
from model_service.providers.base import Answer, Headers, Question
from model_service.providers.endpoint import Endpoint
from model_service.providers.errors import retry_after_seconds, verdict_by_status
from model_service.providers.transport import Limits, Timeouts, Transport, UpstreamRequest

# Listings known have less than one.
_LIMITS: Final = Limits(body_bytes=8 * 1024 * 1024)
_CONNECT_SECONDS: Final = 5.0
# Some vendors' firewalls turn away whoever does not name a user agent.
_HEADERS: Final[Headers] = (("accept", "application/json"), ("user-agent", "model-service"))


async def ask(
    transport: Transport,
    address: Endpoint,
    question: Question,
    credential: Headers,
    deadline: float,
) -> Answer:
    """The answer, all of it by `deadline` (loop time). Raises UpstreamError."""
    left = deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise UpstreamTimeout("total")
    headers = (*_HEADERS, *question.headers, *credential)
    request = UpstreamRequest(address, question.method, question.path, headers, question.body)
    async with await transport.send(request, _timeouts(left), _LIMITS) as response:
        says_enough = verdict_by_status(response.status) is not None
        return Answer(
            response.status,
            None if says_enough else _parsed(await response.read()),
            retry_after_seconds(response.header("retry-after")),
        )


async def knock(transport: Transport, address: Endpoint, seconds: float) -> None:
    """Get any answer at all, without a key. Raises UpstreamError when there is none in time."""
    request = UpstreamRequest(address, "HEAD", "/", _HEADERS)
    async with await transport.send(request, _timeouts(seconds), _LIMITS):
        pass


def _timeouts(seconds: float) -> Timeouts:
    return Timeouts(
        connect=min(_CONNECT_SECONDS, seconds), first_byte=seconds, idle=seconds, total=seconds
    )


def _parsed(body: bytes) -> object:
    """The body's JSON value, an empty object for none; None for what no API answers with.

    That is a page of HTML, as proxies and captive portals send it, bytes that are no text, and
    JSON that orjson refuses, nested deeper than 1,024 levels.
    """
    try:
        text = body.decode().lstrip()
    except UnicodeDecodeError:
        return None
    if text.startswith("<"):
        return None
    try:
        document: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None if text.startswith(("{", "[")) else {}
    return {} if document is None else document
