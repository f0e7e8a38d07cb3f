"""The parts of rotation, put together; `app` gives what they stand on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.administration import KeyAdministration
from model_service.kernel.audit import AuditTrail
from model_service.kernel.events import Announcer
from model_service.kernel.sealing import SecretBox
from model_service.kernel.types import Clock, Provider
from model_service.keys.admin_credentials import AdminCredentials
from model_service.keys.admin_credentials_store import SqlAdminCredentialStore
from model_service.keys.automatic_rotation import AutomaticParts, AutomaticRotation, Point
from model_service.keys.domain import KeyStore
from model_service.keys.exchange import Exchange
from model_service.keys.issue_store import SqlIssueStore
from model_service.keys.reminder_store import SqlReminderStore
from model_service.keys.reminders import Reminders, RotationScheduler
from model_service.keys.retirement import Retirer
from model_service.keys.rotation import RotationParts, RotationService
from model_service.keys.rotation_domain import ValueSealer
from model_service.keys.rotation_journal import Journal
from model_service.keys.rotation_store import SqlRotationStore
from model_service.keys.store import Preparation
from model_service.keys.verification import Verifier
from model_service.keys.withdrawal import WithdrawalDesk


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What rotation stands on.

    `prepare` makes ready for opening ciphertexts, `on_value` is the redactor, `at` is told of
    each point that an automatic rotation reaches.
    """

    database: Database
    keys: KeyStore
    sealer: ValueSealer
    box: SecretBox
    verifier: Verifier
    administrations: Mapping[Provider, KeyAdministration]
    trail: AuditTrail
    announcer: Announcer
    clock: Clock
    on_value: Callable[[str], None]
    prepare: Preparation | None = None
    at: Callable[[Point], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Rotation of keys: the use cases, and the jobs that go on beside the requests."""

    service: RotationService
    credentials: AdminCredentials
    retirer: Retirer
    scheduler: RotationScheduler
    automatic: AutomaticRotation
    withdrawals: WithdrawalDesk

    @classmethod
    def build(cls, f: Foundation) -> "KeyRotation":
        """Everything, on one database."""
        store = SqlRotationStore(f.database, f.clock, f.prepare)
        journal = Journal(store, f.trail, f.clock)
        exchange = Exchange(f.database, store, journal, f.sealer, f.announcer, f.clock)
        credentials = AdminCredentials(
            f.database,
            SqlAdminCredentialStore(f.database),
            f.box,
            f.administrations,
            f.trail,
            f.clock,
            f.on_value,
            f.prepare,
        )
        by_hand = RotationParts(
            f.database, store, journal, exchange, f.verifier, f.trail, f.announcer, f.clock
        )
        reminders = Reminders(f.database, SqlReminderStore(f.database), f.announcer, f.clock)
        by_itself = AutomaticParts(
            transactions=f.database,
            keys=f.keys,
            open_value=f.sealer.open,
            store=store,
            issues=SqlIssueStore(f.database, f.clock),
            journal=journal,
            exchange=exchange,
            verifier=f.verifier,
            credentials=credentials,
            reminders=reminders,
            clock=f.clock,
            on_value=f.on_value,
            at=f.at,
        )
        automatic, withdrawals = AutomaticRotation(by_itself), WithdrawalDesk(by_itself)
        return cls(
            RotationService(f.keys, f.sealer.open, by_hand, f.on_value),
            credentials,
            Retirer(f.database, store, journal, f.clock),
            RotationScheduler(reminders, withdrawals, automatic),
            automatic,
            withdrawals,
        )
