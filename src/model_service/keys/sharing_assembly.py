"""The parts of ownership and sharing, put together; `app` gives what they stand on."""

from dataclasses import dataclass

from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail, Denials
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.holdings import Fallbacks, Holdings
from model_service.keys.service import KeyService
from model_service.keys.shares_store import SqlShareStore
from model_service.keys.sharing import SharingService


@dataclass(frozen=True, slots=True)
class KeySharing:
    """Who may do what with which key: the rules applied, what users have, and grants."""

    doorkeeper: Doorkeeper
    holdings: Holdings
    service: SharingService

    @classmethod
    def build(
        cls,
        database: Database,
        keys: KeyService,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
        denials: Denials,
        fallbacks: Fallbacks,
    ) -> "KeySharing":
        """All of it on one database."""
        store = SqlShareStore(database, clock)
        doorkeeper = Doorkeeper(store, clock, denials)
        return cls(
            doorkeeper,
            Holdings(keys, store, trail, fallbacks),
            SharingService(database, store, doorkeeper, trail, announcer, clock),
        )
