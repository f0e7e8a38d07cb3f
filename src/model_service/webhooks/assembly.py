"""The parts of webhooks, put together; `app` gives what they stand on."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.sealing import SecretBox
from model_service.kernel.types import Clock
from model_service.providers.transport import Transport
from model_service.webhooks.address import parse_address
from model_service.webhooks.delivery import Deliverer
from model_service.webhooks.domain import Outcome
from model_service.webhooks.outbox import SqlOutbox
from model_service.webhooks.sending import HttpSender, Preparation
from model_service.webhooks.service import WebhookSeams, WebhookService
from model_service.webhooks.store import SqlWebhookStore


@dataclass(frozen=True, slots=True)
class WebhookObservers:
    """Who hears of what happens: the redactor of every secret, the meters of every attempt."""

    on_value: Callable[[str], None]
    on_attempt: Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Webhooks: the use cases, and the job that goes on beside the requests."""

    service: WebhookService
    deliverer: Deliverer

    @classmethod
    def build(
        cls,
        database: Database,
        transport: Transport,
        box: SecretBox,
        trail: AuditTrail,
        clock: Clock,
        observers: WebhookObservers,
        *,
        prepare: Preparation | None = None,
    ) -> "Webhooks":
        """Everything, on one database and one transport."""
        sender = HttpSender(transport, box, clock, observers.on_value, prepare=prepare)

        def origin_of(url: str) -> str:
            return parse_address(url, transport.policy)[0].origin

        return cls(
            WebhookService(
                database,
                SqlWebhookStore(database),
                sender,
                box,
                trail,
                clock,
                WebhookSeams(origin_of, observers.on_value),
            ),
            Deliverer(
                SqlOutbox(database),
                sender,
                clock,
                chance=random.SystemRandom().random,
                on_attempt=observers.on_attempt,
            ),
        )
