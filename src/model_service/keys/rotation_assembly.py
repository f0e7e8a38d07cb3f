"""The parts of rotation, put together; `app` gives what they stand on."""

from collections.abc import Callable
from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock
from model_service.keys.domain import KeyStore
from model_service.keys.exchange import Exchange
from model_service.keys.reminder_store import SqlReminderStore
from model_service.keys.reminders import Reminders, RotationScheduler
from model_service.keys.retirement import Retirer
from model_service.keys.rotation import RotationParts, RotationService
from model_service.keys.rotation_domain import RotationStore, ValueSealer
from model_service.keys.rotation_journal import Journal
from model_service.keys.verification import Verifier


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Rotation of keys: the use cases, and the jobs that go on beside the requests."""

    service: RotationService
    retirer: Retirer
    scheduler: RotationScheduler

    @classmethod
    def build(
        cls,
        database: Database,
        keys: KeyStore,
        store: RotationStore,
        sealer: ValueSealer,
        trail: AuditTrail,
        announcer: Announcer,
        verifier: Verifier,
        on_value: Callable[[str], None],
        clock: Clock,
    ) -> "KeyRotation":
        """Everything, on one database."""
        journal = Journal(store, trail, clock)
        exchange = Exchange(database, store, journal, sealer, announcer, clock)
        parts = RotationParts(database, store, journal, exchange, verifier, trail, announcer, clock)
        reminders = Reminders(database, SqlReminderStore(database), announcer, clock)
        return cls(
            RotationService(keys, sealer.open, parts, on_value),
            Retirer(database, store, journal, clock),
            RotationScheduler(reminders),
        )
