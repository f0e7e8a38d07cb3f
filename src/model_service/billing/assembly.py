"""The parts of billing, put together; `app` gives what they stand on."""

import random
from dataclasses import dataclass, field

from model_service.billing.closing import Closer, StatementService
from model_service.billing.domain import UsageSums
from model_service.billing.meter_store import SqlMeterStore
from model_service.billing.metering import MeterService
from model_service.billing.meters import Collector
from model_service.billing.outbox import Exporter
from model_service.billing.service import AccountService
from model_service.billing.statement_store import SqlStatementStore
from model_service.billing.store import SqlAccountStore
from model_service.billing.stripe_meter import StripeMeters
from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.events import Announcer
from model_service.kernel.secret import Secret
from model_service.kernel.types import Clock
from model_service.providers.endpoint import Endpoint
from model_service.providers.transport import Transport


@dataclass(frozen=True, slots=True)
class StripeAccess:
    """The way to Stripe: where it is, the secret key, and what the meter is called there."""

    address: Endpoint
    key: Secret[str] = field(repr=False)
    event_name: str


@dataclass(frozen=True, slots=True)
class Billing:
    """Billing: the use cases, and the jobs that go on beside the requests."""

    accounts: AccountService
    statements: StatementService
    meters: MeterService
    closer: Closer
    collector: Collector
    exporter: Exporter

    @classmethod
    def build(
        cls,
        database: Database,
        usage: UsageSums,
        transport: Transport,
        stripe: StripeAccess | None,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
    ) -> "Billing":
        """Everything, on one database. Without access to Stripe meters for it wait."""
        accounts, kept = SqlAccountStore(database), SqlStatementStore(database)
        meters = SqlMeterStore(database)
        statements = StatementService(database, accounts, kept, usage, trail, announcer, clock)
        sender = None
        if stripe is not None:
            sender = StripeMeters(transport, stripe.address, stripe.key, stripe.event_name)
        return cls(
            AccountService(database, accounts, trail, clock),
            statements,
            MeterService(database, meters, trail, clock),
            Closer(statements, accounts, clock),
            Collector(database, accounts, kept, meters, usage, announcer, clock),
            Exporter(meters, sender, clock, chance=random.SystemRandom().random),
        )
