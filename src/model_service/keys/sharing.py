"""What can be done about grants: give one, list them, take one back."""

from uuid import UUID

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import FieldFault, InvalidInput, NotFound
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.principal import Principal
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions
from model_service.keys.domain import ProviderKey, audit_subject
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.ownership import Action
from model_service.keys.shares import NewShare, Share, ShareStore

log = structlog.get_logger(__name__)


class SharingService:
    """The use cases of grants."""

    def __init__(
        self,
        transactions: Transactions,
        store: ShareStore,
        doorkeeper: Doorkeeper,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._doorkeeper = doorkeeper
        self._trail = trail
        self._announcer = announcer
        self._clock = clock

    async def share(self, principal: Principal, key_id: UUID, new: NewShare) -> Share:
        """Grant a key to another user.

        Raises:
            NotFound, Forbidden: as `Doorkeeper.admit`.
            InvalidInput: the grantee is the owner, or the expiry has passed.
            AlreadyExists: a live grant to that user exists.
            AuditUnavailable, DatabaseUnavailable: it was not granted.
        """
        await self._doorkeeper.admit(principal, Action.SHARE, key_id)
        now = self._clock.now()
        if new.expires_at is not None and new.expires_at <= now:
            raise InvalidInput(errors=[FieldFault("expiresAt", "must be in the future")])
        async with self._transactions.transaction():
            key = await self._store.lock(key_id)
            if key is None:
                raise NotFound("No such key")
            if new.grantee_user_id == key.user_id:
                raise InvalidInput(errors=[FieldFault("granteeUserId", "owns the key")])
            share = Share(
                id=uuid7(),
                key_id=key_id,
                owner_user_id=key.user_id,
                grantee_user_id=new.grantee_user_id,
                scope=new.scope,
                models=new.models,
                expires_at=new.expires_at,
                created_at=now,
            )
            await self._store.add(share)
            await self._note("key.share", key, share)
            await self._announcer.announce(EventType.SHARE_GRANTED, _announced(key, share))
        log.info("key shared", key_id=str(key_id), share_id=str(share.id))
        return share

    async def page(
        self, principal: Principal, key_id: UUID, before: UUID | None, most: int
    ) -> list[Share]:
        """A key's grants, newest first; a grantee sees its own alone.

        Raises:
            NotFound, Forbidden: as `Doorkeeper.admit`.
        """
        held = await self._doorkeeper.admit(principal, Action.SEE_SHARES, key_id)
        if held.share is not None and not principal.is_administrator:
            return [held.share]
        return await self._store.of_key(key_id, before, most)

    async def revoke(self, principal: Principal, key_id: UUID, share_id: UUID) -> None:
        """Take a grant back. From the return on it gives nothing any more.

        Raises:
            NotFound: there is no such grant of that key. NotFound, Forbidden: also as
                `Doorkeeper.admit`.
            AuditUnavailable, DatabaseUnavailable: it was not revoked.
        """
        held = await self._doorkeeper.admit(principal, Action.SHARE, key_id)
        async with self._transactions.transaction():
            share = await self._store.remove(key_id, share_id)
            if share is None:
                raise NotFound("No such share")
            await self._note("key.unshare", held.key, share)
        log.info("key unshared", key_id=str(key_id), share_id=str(share_id))

    async def _note(self, what: str, key: ProviderKey, share: Share) -> None:
        await self._trail.record(
            AuditEvent(
                type=what,
                subject=audit_subject(key.id),
                provider=key.provider.value,
                purpose=share.scope.value,
                reason=f"share:{share.id} grantee:{share.grantee_user_id}",
            )
        )


def _announced(key: ProviderKey, share: Share) -> dict[str, str | None]:
    return {
        "shareId": str(share.id),
        "keyId": str(key.id),
        "userId": key.user_id,
        "granteeUserId": share.grantee_user_id,
        "provider": key.provider.value,
        "keyName": key.key_name,
        "scope": share.scope.value,
    }
