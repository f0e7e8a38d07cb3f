"""The parts of access tokens, put together."""

from dataclasses import dataclass
from functools import partial

from model_service.access.directory import TokenDirectory
from model_service.access.domain import TOPIC, TokenHasher
from model_service.access.last_use import LastUse
from model_service.access.service import TokenService
from model_service.access.store import SqlTokenStore
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail, Denials
from model_service.kernel.events import Announcer
from model_service.kernel.types import Clock


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Access tokens: the use cases, what requests ask, and what goes on beside them."""

    service: TokenService
    directory: TokenDirectory
    last_use: LastUse

    @classmethod
    def build(
        cls,
        database: Database,
        hasher: TokenHasher,
        notices: Notices,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
        denials: Denials,
    ) -> "AccessTokens":
        """Wire them. The directory is empty until it is loaded."""
        store = SqlTokenStore(database)
        directory = TokenDirectory(store, hasher, clock, partial(notices.age, TOPIC))
        notices.subscribe(TOPIC, directory.on_change)
        service = TokenService(database, store, hasher, directory, trail, announcer, clock, denials)
        return cls(service, directory, LastUse(directory, store))
