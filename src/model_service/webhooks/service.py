"""What an administrator can do with webhooks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import EgressRefused, FieldFault, InvalidInput, NotFound
from model_service.kernel.events import EventType
from model_service.kernel.sealing import SecretBox
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions
from model_service.webhooks.announcer import make_event
from model_service.webhooks.domain import (
    GONE,
    PLACE,
    Attempt,
    Created,
    Delivery,
    DeliveryState,
    NewWebhook,
    Outcome,
    SealedSecret,
    Sender,
    Settlement,
    Webhook,
    WebhookStore,
)
from model_service.webhooks.signing import new_secret

log = structlog.get_logger(__name__)

#: How long a replaced secret signs beside the new one.
PREVIOUS_SECRET_SIGNS: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class WebhookSeams:
    """What the use cases need of the rest of the service.

    `origin_of` gives the origin of a URL that events may be sent to, and raises
    `EgressRefused` for another. `on_value` hears every secret that is made.
    """

    origin_of: Callable[[str], str]
    on_value: Callable[[str], None]


class WebhookService:
    """The use cases of webhooks."""

    def __init__(
        self,
        unit: Transactions,
        store: WebhookStore,
        sender: Sender,
        box: SecretBox,
        trail: AuditTrail,
        clock: Clock,
        seams: WebhookSeams,
    ) -> None:
        self._unit = unit
        self._store = store
        self._sender = sender
        self._box = box
        self._trail = trail
        self._clock = clock
        self._seams = seams

    async def create(self, new: NewWebhook) -> Created:
        """Tell a receiver of events from now on.

        Raises:
            InvalidInput: events may not be sent to its URL.
            AuditUnavailable, DatabaseUnavailable: nothing is stored.
        """
        origin = self._checked_origin(new.url)
        now = self._clock.now()
        webhook = Webhook(
            id=uuid7(),
            url=new.url,
            events=new.events,
            description=new.description,
            is_active=new.is_active,
            disabled_reason=None,
            created_at=now,
            updated_at=now,
        )
        created, sealed = self._with_new_secret(webhook)
        async with self._unit.transaction():
            await self._store.add(webhook, sealed)
            await self._record("webhook.create", webhook.id, purpose=origin)
        return created

    async def get(self, webhook_id: UUID) -> Webhook:
        """One webhook. Raises `NotFound`."""
        return _found(await self._store.get(webhook_id))

    async def page(self, before: UUID | None, limit: int) -> Sequence[Webhook]:
        """Webhooks newest first, those after `before` in that order."""
        return await self._store.page(before, limit)

    async def change(self, webhook_id: UUID, changes: Mapping[str, Any]) -> Webhook:
        """Set some of `url`, `events`, `description`, `is_active`.

        Deliveries that wait while a webhook is inactive go on when it is active again.

        Raises:
            NotFound, InvalidInput, AuditUnavailable, DatabaseUnavailable.
        """
        if not changes:
            return await self.get(webhook_id)
        origin = self._checked_origin(changes["url"]) if "url" in changes else None
        if "is_active" in changes:
            changes = {**changes, "disabled_reason": None}
        async with self._unit.transaction():
            changed = _found(await self._store.change(webhook_id, changes, self._clock.now()))
            await self._record("webhook.update", webhook_id, purpose=origin)
        return changed

    async def rotate_secret(self, webhook_id: UUID) -> Created:
        """Sign with a new secret; for a day the one before signs too, so that nothing is lost.

        Raises:
            NotFound, AuditUnavailable, DatabaseUnavailable.
        """
        created, sealed = self._with_new_secret(await self.get(webhook_id))
        until = self._clock.now() + PREVIOUS_SECRET_SIGNS
        async with self._unit.transaction():
            if not await self._store.replace_secret(webhook_id, sealed, previous_until=until):
                raise NotFound("No such webhook")
            await self._record("webhook.rotate_secret", webhook_id)
        return created

    async def delete(self, webhook_id: UUID) -> None:
        """Tell a receiver nothing any more, pending deliveries included. Raises `NotFound`."""
        async with self._unit.transaction():
            if not await self._store.delete(webhook_id):
                raise NotFound("No such webhook")
            await self._record("webhook.delete", webhook_id)

    async def test(self, webhook_id: UUID) -> tuple[UUID, Attempt]:
        """Send a `webhook.test` event now, once, whatever the webhook subscribed to.

        Gives the event's id and what came of it.

        Raises:
            NotFound, DatabaseUnavailable.
        """
        target = await self._store.target(webhook_id, self._clock.now())
        if target is None:
            raise NotFound("No such webhook")
        event = make_event(EventType.WEBHOOK_TEST, {"webhookId": str(webhook_id)}, self._clock)
        attempt = (await self._sender.send(target, event, 1)).attempt
        delivered = attempt.outcome is Outcome.DELIVERED
        settlement = Settlement(
            DeliveryState.DELIVERED if delivered else DeliveryState.FAILED,
            self._clock.now(),
            disables=GONE if attempt.outcome is Outcome.GONE else None,
        )
        if not await self._store.log_test(webhook_id, event, attempt, settlement):
            raise NotFound("No such webhook")
        return event.id, attempt

    async def deliveries(
        self, webhook_id: UUID, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """What was sent to a webhook and what came of it, newest event first. Raises `NotFound`."""
        await self.get(webhook_id)
        return await self._store.deliveries(webhook_id, before, limit)

    def _checked_origin(self, url: str) -> str:
        try:
            return self._seams.origin_of(url)
        except EgressRefused as refused:
            raise InvalidInput(errors=[FieldFault("url", refused.message)]) from None

    def _with_new_secret(self, webhook: Webhook) -> tuple[Created, SealedSecret]:
        secret, secret_id = new_secret(), uuid7()
        self._seams.on_value(secret.reveal())
        sealed = SealedSecret(secret_id, self._box.seal(PLACE, secret_id, secret))
        return Created(webhook, secret), sealed

    async def _record(self, type_: str, webhook_id: UUID, *, purpose: str | None = None) -> None:
        """Record a change; the receiver's origin is its purpose, never a path or query."""
        await self._trail.record(
            AuditEvent(type=type_, subject=f"webhook:{webhook_id}", purpose=purpose)
        )
        log.info("webhook changed", change=type_, webhook_id=str(webhook_id))


def _found(webhook: Webhook | None) -> Webhook:
    if webhook is None:
        raise NotFound("No such webhook")
    return webhook
