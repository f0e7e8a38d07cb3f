"""A receiver of webhooks on loopback that checks what it gets, and the parts that send to it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from standardwebhooks import Webhook as ReferenceVerifier

from model_service.db.uow import Database
from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from model_service.providers.egress import EgressPolicy, Resolver, system_resolver
from model_service.providers.transport import Transport
from model_service.webhooks.address import parse_address
from model_service.webhooks.announcer import OutboxAnnouncer
from model_service.webhooks.delivery import Deliverer
from model_service.webhooks.domain import Created, NewWebhook, Outbox, Outcome
from model_service.webhooks.outbox import SqlOutbox
from model_service.webhooks.sending import HttpSender
from model_service.webhooks.service import WebhookSeams, WebhookService
from model_service.webhooks.store import SqlWebhookStore
from tests.fakes import RecordingTrail
from tests.faults import hostile


def answer(status: int, *headers: str) -> bytes:
    """An answer without a body."""
    return "\r\n".join(
        [f"HTTP/1.1 {status} Canned", "Content-Length: 0", *headers, "", ""]
    ).encode()


class Mailbox:
    """The requests a receiver got."""

    def __init__(self, server: hostile.Server) -> None:
        self._server = server

    @property
    def requests(self) -> list[hostile.Received]:
        return self._server.requests

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of each request."""
        return [request.header("webhook-id")[0] for request in self.requests]

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The bodies."""
        return [orjson.loads(request.body) for request in self.requests]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}/hook"


def is_genuine(request: hostile.Received, secret: Secret[str]) -> bool:
    """Whether one of the signatures is that of the specification's own package."""
    (message_id,) = request.header("webhook-id")
    (timestamp,) = request.header("webhook-timestamp")
    (signatures,) = request.header("webhook-signature")
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    expected = ReferenceVerifier(secret.reveal()).sign(message_id, moment, request.body.decode())
    return expected in signatures.split(" ")


@contextlib.asynccontextmanager
async def receiver(script: hostile.Script, *, port: int = 0) -> AsyncIterator[Mailbox]:
    """A receiver that does as scripted."""
    async with hostile.serve(script, port=port) as server:
        yield Mailbox(server)


def answering(*answers: bytes) -> hostile.Script:
    """Give these answers in turn over all connections, the last one for ever."""
    left = list(answers)

    async def script(wire: hostile.Wire) -> None:
        while True:
            await wire.request()
            await wire.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def after(gate: Callable[[], Awaitable[object]], given: bytes) -> hostile.Script:
    """Take a request, wait for the gate, then answer."""

    async def script(wire: hostile.Wire) -> None:
        while True:
            await wire.request()
            await gate()
            await wire.send(given)

    return script


class MovingClock:
    """A clock that tests advance. It begins now, as receivers look at the time too."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self.moment = now.replace(microsecond=now.microsecond // 1000 * 1000)

    def now(self) -> datetime:
        return self.moment

    def advance(self, by: timedelta) -> None:
        self.moment += by


class PlainBox:
    """`SecretBox` without cryptography: it remembers what was put where."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, UUID, str], Secret[str]] = {}

    def seal(self, place: str, record_id: UUID, value: Secret[str]) -> str:
        stored = f"sealed-{uuid7()}"
        self._kept[place, record_id, stored] = value
        return stored

    def open(self, place: str, record_id: UUID, stored: str) -> Secret[str]:
        if (place, record_id, stored) not in self._kept:
            raise IntegrityFailure
        return self._kept[place, record_id, stored]


@dataclass(slots=True)
class Parts:
    """Everything of the slice, wired, with the clock and the trail of a test."""

    clock: MovingClock
    trail: RecordingTrail
    service: WebhookService
    announcer: OutboxAnnouncer
    outbox: SqlOutbox
    sender: HttpSender
    outcomes: list[Outcome] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def deliverer(self, outbox: Outbox | None = None, chance: float = 0.5) -> Deliverer:
        """One process's background work; a chance of one half leaves waits as they are."""
        return Deliverer(
            outbox or self.outbox,
            self.sender,
            self.clock,
            chance=lambda: chance,
            on_attempt=self.outcomes.append,
        )

    async def subscribe(self, url: str, *events: Any) -> Created:
        """A webhook for these events, or for all."""
        return await self.service.create(NewWebhook(url, events or None))

    async def states(self, created: Created) -> list[str]:
        """The states of a webhook's deliveries, oldest event first."""
        log = await self.service.deliveries(created.webhook.id, None, 500)
        return [delivery.state.value for delivery in reversed(log)]


@contextlib.asynccontextmanager
async def parts(
    database: Database,
    policy: EgressPolicy | None = None,
    *,
    seconds: float = 10,
    resolver: Resolver = system_resolver,
) -> AsyncIterator[Parts]:
    """The slice on a database; the policy is development's unless given."""
    policy = policy or EgressPolicy(loopback_allowed=True)
    transport = Transport(policy, resolver=resolver)
    clock, trail, box = MovingClock(), RecordingTrail(), PlainBox()
    outbox = SqlOutbox(database)
    opened: list[str] = []
    sender = HttpSender(transport, box, clock, opened.append, seconds=seconds)
    seams = WebhookSeams(lambda url: parse_address(url, policy)[0].origin, opened.append)
    service = WebhookService(database, SqlWebhookStore(database), sender, box, trail, clock, seams)
    try:
        yield Parts(
            clock,
            trail,
            service,
            OutboxAnnouncer(outbox, clock),
            outbox,
            sender,
            opened=opened,
        )
    finally:
        await transport.aclose()
