"""Grants on a real database, with a clock, an audit trail and receivers that tests hold."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import func, insert, select

from model_service.db.tables import api_keys, key_shares
from model_service.db.uow import Database
from model_service.http.abuse import Refusals
from model_service.kernel.principal import Principal, Role
from model_service.kernel.types import Provider, uuid7
from model_service.keys.domain import ProviderKey
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.shares import NewShare, Share, ShareScope
from model_service.keys.shares_store import SqlShareStore
from model_service.keys.sharing import SharingService
from model_service.keys.store import SqlKeyStore, key_of
from tests.fakes import RecordingAnnouncer, RecordingTrail
from tests.rotation import START, SetClock

OWNER = Principal(Role.USER, user_id="owner")
GRANTEE = Principal(Role.USER, user_id="grantee")


@dataclass
class Bench:
    """Sharing, whole but for the routes, the audit trail and the webhooks."""

    database: Database
    clock: SetClock = field(default_factory=SetClock)
    trail: RecordingTrail = field(default_factory=RecordingTrail)
    announcer: RecordingAnnouncer = field(default_factory=RecordingAnnouncer)
    denials: Refusals = field(default_factory=lambda: Refusals(RecordingTrail()))

    def __post_init__(self) -> None:
        self.keys = SqlKeyStore(self.database, self.clock)
        self.store = SqlShareStore(self.database, self.clock)
        self.doorkeeper = Doorkeeper(self.store, self.clock, self.denials)
        self.sharing = SharingService(
            self.database,
            self.store,
            self.doorkeeper,
            self.trail,
            self.announcer,
            self.clock,
        )

    async def key(self, user_id: str = "owner", name: str = "main") -> ProviderKey:
        """A stored key; its ciphertext is none, for nobody opens it."""
        values = {
            "id": uuid7(), "user_id": user_id, "provider": Provider.OPENAI.value,
            "key_name": name, "key_version": 1, "key_prefix": "***", "usage_count": 0,
            "is_active": True, "is_valid": True, "created_at": START, "updated_at": START,
            "encrypted_key": "",
        }  # fmt: skip
        async with self.database.single() as connection:
            made = insert(api_keys).values(values).returning(*api_keys.columns)
            return key_of((await connection.execute(made)).one())

    async def share(
        self,
        key: ProviderKey,
        to: str = "grantee",
        *,
        scope: ShareScope = ShareScope.USE,
        models: tuple[str, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> Share:
        """A grant by the key's owner."""
        new = NewShare(grantee_user_id=to, scope=scope, models=models, expires_at=expires_at)
        return await self.sharing.share(replace(OWNER, user_id=key.user_id), key.id, new)

    async def count(self) -> int:
        """How many grants are stored."""
        async with self.database.single() as connection:
            query = select(func.count()).select_from(key_shares)
            return int(await connection.scalar(query) or 0)
