"""The parts of health, put together; `app` gives what they stand on."""

from dataclasses import dataclass

from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.health.domain import Board
from model_service.health.service import HealthService
from model_service.health.sharing import Sharing
from model_service.health.store import TOPIC, SqlHealthStore
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """Health: what is read of it, and the job that shares it."""

    service: HealthService
    sharing: Sharing

    @classmethod
    def build(
        cls,
        database: Database,
        notices: Notices,
        announcer: Announcer,
        board: Board,
        clock: Clock,
        instance: str,
    ) -> "ProviderHealth":
        """Everything, on one database. `instance` names the process; no other ever has its name.

        `sharing.note` has to hear of the changes of `board`.
        """
        store = SqlHealthStore(database, announcer)
        sharing = Sharing(store, board, clock, instance)
        notices.subscribe(TOPIC, sharing.on_change)
        return cls(HealthService(store, board, clock, instance), sharing)
