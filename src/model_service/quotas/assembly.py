"""The parts of quotas and limits, put together; `app` gives what they stand on."""

from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock
from model_service.quotas.counters_store import SqlCounterStore
from model_service.quotas.domain import QuotaStore
from model_service.quotas.ledger import UsageLedger
from model_service.quotas.service import QuotaService
from model_service.quotas.store import SqlQuotaStore
from model_service.quotas.thresholds import Thresholds
from model_service.quotas.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Quotas:
    """Quotas: the use cases, this worker's way to the shared counters, and two jobs."""

    service: QuotaService
    store: QuotaStore
    counters: SqlCounterStore
    thresholds: Thresholds
    upkeep: Upkeep

    @classmethod
    def build(
        cls, database: Database, trail: AuditTrail, announcer: Announcer, clock: Clock
    ) -> "Quotas":
        """Wire them. Whoever limits calls says `service.before_showing(limiter.flush)`."""
        store = SqlQuotaStore(database)
        thresholds = Thresholds(database, announcer)
        return cls(
            QuotaService(database, store, trail, clock),
            store,
            SqlCounterStore(database, thresholds.observe),
            thresholds,
            Upkeep(database, store, UsageLedger(database)),
        )
