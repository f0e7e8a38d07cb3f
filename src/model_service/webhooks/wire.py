"""What the routes of webhooks take and give."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from model_service.http.wire import Flag, Moment, RequestModel, ResponseModel, Text10k
from model_service.kernel.events import EventType
from model_service.webhooks.address import MAX_URL
from model_service.webhooks.domain import (
    Attempt,
    Created,
    Delivery,
    DeliveryState,
    NewWebhook,
    Outcome,
    Webhook,
)


def _each_once(events: list[EventType]) -> tuple[EventType, ...]:
    return tuple(dict.fromkeys(events))


Url = Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL, strict=True)]
"""Where events are sent; https, or a host that the operator allows."""

Events = Annotated[list[EventType], Field(min_length=1, max_length=100), AfterValidator(_each_once)]
"""The types wanted."""


class CreateWebhook(RequestModel):
    """A receiver. Without `events` it is told of everything."""

    url: Url
    events: Events | None = None
    description: Text10k | None = None
    is_active: Flag = True

    def to_new(self) -> NewWebhook:
        """What the service stores."""
        events = None if self.events is None else tuple(self.events)
        return NewWebhook(self.url, events, self.description, self.is_active)


class ChangeWebhook(RequestModel):
    """What may be changed; null `events` means all, null `description` clears it."""

    url: Annotated[Url, Field(default=None)]
    events: Events | None = None
    description: Text10k | None = None
    is_active: Annotated[Flag, Field(default=None)]

    def to_changes(self) -> dict[str, object]:
        """The named fields alone."""
        changes = {name: getattr(self, name) for name in self.model_fields_set}
        if changes.get("events") is not None:
            changes["events"] = list(changes["events"])
        return changes


class WebhookView(ResponseModel):
    """A webhook as the API shows it, without its secret.

    `disabledReason` is `gone` when the service switched it off because its receiver
    answered 410.
    """

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    url: str
    events: list[EventType] | None
    description: str | None
    is_active: bool
    disabled_reason: str | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookView":
        """The view of a webhook."""
        return cls.model_validate(webhook)


class WebhookWithSecret(WebhookView):
    """A webhook with the secret that signs for it. The only answers that carry one."""

    secret: str

    @classmethod
    def revealing(cls, created: Created) -> "WebhookWithSecret":
        """The view that is given once."""
        plain = WebhookView.of(created.webhook)
        return cls(**dict(plain), secret=created.secret.reveal())


class AttemptView(ResponseModel):
    """One attempt; `status` is null when there was no answer, `latencyMs` in milliseconds."""

    model_config = ConfigDict(from_attributes=True)

    number: int
    at: Moment
    outcome: Outcome
    status: int | None
    latency_ms: int


class DeliveryView(ResponseModel):
    """One event's way to the receiver. `nextAttemptAt` is null when there is none to come."""

    event_id: UUID
    type: EventType
    created_at: Moment
    state: DeliveryState
    next_attempt_at: Moment | None
    attempts: list[AttemptView]

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryView":
        """The view of a delivery."""
        pending = delivery.state is DeliveryState.PENDING
        return cls(
            event_id=delivery.event_id,
            type=delivery.type,
            created_at=delivery.created_at,
            state=delivery.state,
            next_attempt_at=delivery.due_at if pending else None,
            attempts=[AttemptView.model_validate(attempt) for attempt in delivery.attempts],
        )


class TestView(ResponseModel):
    """What came of a test."""

    __test__ = False  # the name is the domain's; pytest need not collect it

    event_id: UUID
    outcome: Outcome
    status: int | None
    latency_ms: int

    @classmethod
    def of(cls, event_id: UUID, attempt: Attempt) -> "TestView":
        """The view of a test's attempt."""
        return cls(
            event_id=event_id,
            outcome=attempt.outcome,
            status=attempt.status,
            latency_ms=attempt.latency_ms,
        )
