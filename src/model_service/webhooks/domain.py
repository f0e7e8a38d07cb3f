"""What a webhook, an event and a delivery are, and what the slice needs from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from model_service.kernel.events import EventType
from model_service.kernel.secret import Secret

#: The place that webhooks' secrets are sealed to.
PLACE = "webhooks"

#: Why a webhook was switched off by the service: its receiver answered 410.
GONE = "gone"


class DeliveryState(StrEnum):
    """Where the telling of one event to one receiver stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Outcome(StrEnum):
    """What came of one attempt, in a fixed word: nothing a receiver said is repeated."""

    DELIVERED = "delivered"
    """It answered 2xx."""
    REDIRECTED = "redirected"
    """It answered 3xx, which is not followed."""
    GONE = "gone"
    """It answered 410: it wants no more."""
    THROTTLED = "throttled"
    """It answered 429."""
    REFUSED = "refused"
    """It answered another 4xx."""
    RECEIVER_ERROR = "receiver_error"
    """It answered 5xx."""
    TIMEOUT = "timeout"
    """It did not answer in time."""
    UNREACHABLE = "unreachable"
    """There was no connection to it."""
    ADDRESS_REFUSED = "address_refused"
    """Its name leads where this service may not connect to."""
    NOT_HTTP = "not_http"
    """What it answered was no HTTP, or it broke off."""
    UNSIGNABLE = "unsignable"
    """Nothing was sent: the stored secret does not open."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver. `events` None means all; `disabled_reason` is set when the service did it."""

    id: UUID
    url: str
    events: tuple[EventType, ...] | None
    description: str | None
    is_active: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A receiver to be told from now on."""

    url: str
    events: tuple[EventType, ...] | None = None
    description: str | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A signing secret as stored. `expires_at` None marks the one in use."""

    id: UUID
    sealed: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `body` is the JSON document every receiver is sent."""

    id: UUID
    type: EventType
    body: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to send: a webhook's address and the secrets that sign for it."""

    webhook_id: UUID
    url: str
    secrets: tuple[SealedSecret, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery that this process may attempt until its lease ends.

    `attempt` counts from 1 and is the claim's token: a result is stored only while the
    delivery's last attempt is still this one.
    """

    target: Target
    event: Event
    attempt: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending one event once. `status` is None when there was no answer."""

    number: int
    at: datetime
    outcome: Outcome
    status: int | None
    latency_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """Where a delivery stands after an attempt; `due_at` is when the next one is.

    `disables` says why the webhook is to be switched off, if it is.
    """

    state: DeliveryState
    due_at: datetime
    disables: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The log of telling one event to one receiver, its attempts in order."""

    event_id: UUID
    type: EventType
    created_at: datetime
    state: DeliveryState
    due_at: datetime
    attempts: tuple[Attempt, ...]


class WebhookStore(Protocol):
    """Where webhooks and their log are kept."""

    async def add(self, webhook: Webhook, secret: SealedSecret) -> None:
        """Store a new webhook with its secret."""
        ...

    async def get(self, webhook_id: UUID) -> Webhook | None:
        """One webhook."""
        ...

    async def target(self, webhook_id: UUID, now: datetime) -> Target | None:
        """A webhook's address and the secrets that sign now, the one in use first."""
        ...

    async def page(self, before: UUID | None, limit: int) -> Sequence[Webhook]:
        """Webhooks newest first, those older than `before`."""
        ...

    async def change(
        self, webhook_id: UUID, changes: Mapping[str, Any], now: datetime
    ) -> Webhook | None:
        """Set the named fields; None when there is no such webhook."""
        ...

    async def replace_secret(
        self, webhook_id: UUID, secret: SealedSecret, *, previous_until: datetime
    ) -> bool:
        """Put a new secret in use; the one before signs too until then, older ones no more.

        False when there is no such webhook.
        """
        ...

    async def delete(self, webhook_id: UUID) -> bool:
        """Remove a webhook with its secrets, deliveries and log; False when there was none."""
        ...

    async def deliveries(
        self, webhook_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """A webhook's log, newest event first, those older than the event `before`."""
        ...

    async def log_test(
        self, webhook_id: UUID, event: Event, attempt: Attempt, settlement: Settlement
    ) -> bool:
        """Log an event that was sent to one webhook alone; False when that is gone meanwhile."""
        ...


class Outbox(Protocol):
    """Events that wait to be told, as the background work sees them."""

    async def publish(self, event: Event) -> bool:
        """Store an event for every active webhook that wants it; False when none does."""
        ...

    async def due_webhooks(self, now: datetime) -> Sequence[UUID]:
        """The active webhooks with a delivery due, the longest waiting first."""
        ...

    async def claim(
        self, webhook_id: UUID, *, limit: int, now: datetime, leased_until: datetime
    ) -> Sequence[Claim]:
        """Take due deliveries of a webhook that no other process holds; counts an attempt."""
        ...

    async def settle(self, claim: Claim, attempt: Attempt, settlement: Settlement) -> bool:
        """Log an attempt and what follows; False when the claim was lost meanwhile."""
        ...

    async def sweep(self, *, give_up_before: datetime, forget_before: datetime) -> int:
        """Give up deliveries of events older than the one, forget events older than the other.

        Gives how many events were forgotten.
        """
        ...


class Sender(Protocol):
    """Sends one event to one receiver, once."""

    async def send(self, target: Target, event: Event, number: int) -> "Sent":
        """Attempt it. Never raises for what a receiver does or is.

        Raises:
            DatabaseUnavailable: nothing was sent.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt, and how long its receiver asked to be left alone, in seconds."""

    attempt: Attempt
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """A webhook with its secret, which is shown this once."""

    webhook: Webhook
    secret: Secret[str]
