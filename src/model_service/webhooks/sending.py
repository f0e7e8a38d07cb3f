"""Sending one event to one receiver, once, and naming what came of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final

import structlog

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    IntegrityFailure,
    UpstreamError,
    UpstreamTimeout,
)
from model_service.kernel.sealing import SecretBox
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock
from model_service.providers.errors import retry_after_seconds
from model_service.providers.transport import Limits, Timeouts, Transport, UpstreamRequest
from model_service.webhooks.address import parse_address
from model_service.webhooks.domain import PLACE, Attempt, Event, Outcome, Sent, Target
from model_service.webhooks.signing import signed_headers

log = structlog.get_logger(__name__)

#: Seconds for an attempt, all of it; "somewhere between 15 and 30s" is recommended.
SECONDS: Final = 15.0
# Of an answer only the status and one header are looked at.
_LIMITS: Final = Limits(body_bytes=64 * 1024, header_bytes=16 * 1024)
_HEADERS: Final = (("content-type", "application/json"), ("user-agent", "model-service"))

Preparation = Callable[[Iterable[str]], Awaitable[object]]
"""Is given sealed texts before they are opened, to learn of new terms they may be of."""


class HttpSender:
    """`Sender` over the providers' transport, by its rules for addresses that users set."""

    def __init__(
        self,
        transport: Transport,
        box: SecretBox,
        clock: Clock,
        on_value: Callable[[str], None],
        *,
        prepare: Preparation | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """`on_value` hears every signing secret that is opened; `seconds` bound an attempt."""
        self._transport = transport
        self._box = box
        self._clock = clock
        self._on_value = on_value
        self._prepare = prepare
        self._timeouts = Timeouts(
            connect=min(5.0, seconds), first_byte=seconds, idle=seconds, total=seconds
        )

    async def send(self, target: Target, event: Event, number: int) -> Sent:
        """Attempt it. Never raises for what a receiver does or is.

        Raises:
            DatabaseUnavailable: nothing was sent, as the keyring could not be brought up to date.
        """
        at = self._clock.now()
        loop = asyncio.get_running_loop()
        start = loop.time()
        status = retry_after = None
        try:
            secrets = await self._opened(target)
            status, retry_after = await self._exchange(target.url, secrets, event, at)
            outcome = outcome_of_status(status)
        except IntegrityFailure:
            log.error("the secret of a webhook does not open", webhook_id=str(target.webhook_id))
            outcome = Outcome.UNSIGNABLE
        except UpstreamError as error:
            outcome = outcome_of_error(error)
        latency = round((loop.time() - start) * 1000)
        return Sent(Attempt(number, at, outcome, status, latency), retry_after)

    async def _opened(self, target: Target) -> list[Secret[str]]:
        if self._prepare is not None:
            await self._prepare(secret.sealed for secret in target.secrets)
        secrets = [self._box.open(PLACE, secret.id, secret.sealed) for secret in target.secrets]
        for secret in secrets:
            self._on_value(secret.reveal())
        return secrets

    async def _exchange(
        self, url: str, secrets: list[Secret[str]], event: Event, at: datetime
    ) -> tuple[int, int | None]:
        endpoint, path = parse_address(url, self._transport.policy)
        body = event.body.encode()
        signed = signed_headers(secrets, str(event.id), at, body)
        request = UpstreamRequest(endpoint, "POST", path, (*_HEADERS, *signed), body)
        async with await self._transport.send(request, self._timeouts, _LIMITS) as answer:
            return answer.status, retry_after_seconds(answer.header("retry-after"))


def outcome_of_status(status: int) -> Outcome:
    """What an answer's status means, by the specification's "Delivery success and failure"."""
    if 200 <= status <= 299:
        return Outcome.DELIVERED
    if status <= 399:
        return Outcome.REDIRECTED
    named = {410: Outcome.GONE, 429: Outcome.THROTTLED}.get(status)
    if named is not None:
        return named
    return Outcome.REFUSED if status <= 499 else Outcome.RECEIVER_ERROR


def outcome_of_error(error: UpstreamError) -> Outcome:
    """What it means that no answer came."""
    if isinstance(error, EgressRefused):
        return Outcome.ADDRESS_REFUSED
    if isinstance(error, UpstreamTimeout):
        return Outcome.TIMEOUT
    if isinstance(error, ConnectFailed):
        return Outcome.UNREACHABLE
    return Outcome.NOT_HTTP
