"""Giving a grant and taking it back: what is refused, recorded and told, without a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import pytest

from model_service.kernel.audit import AuditEvent
from model_service.kernel.errors import AuditUnavailable, Forbidden, InvalidInput, NotFound
from model_service.kernel.principal import Principal, Role
from model_service.kernel.types import Provider, uuid7
from model_service.keys.domain import ProviderKey
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.shares import HeldKey, NewShare, Share, ShareScope, ShareStore
from model_service.keys.sharing import SharingService
from tests.fakes import RecordingAnnouncer, RecordingTrail
from tests.unit.keys.test_doorkeeper import ADMINISTRATOR, KEY, NOW, OWNER, STRANGER

GRANTEE = Principal(Role.USER, user_id="grantee")


class Grants:
    """`ShareStore` with one key, in memory."""

    def __init__(self) -> None:
        self.key: ProviderKey | None = KEY
        self.shares: list[Share] = []
        self.pages: list[tuple[UUID, UUID | None, int]] = []

    async def lock(self, key_id: UUID) -> ProviderKey | None:
        return self.key if self.key is not None and key_id == self.key.id else None

    async def add(self, share: Share) -> None:
        self.shares.append(share)

    async def remove(self, key_id: UUID, share_id: UUID) -> Share | None:
        for share in self.shares:
            if (share.key_id, share.id) == (key_id, share_id):
                self.shares.remove(share)
                return share
        return None

    async def of_key(self, key_id: UUID, before: UUID | None, most: int) -> list[Share]:
        self.pages.append((key_id, before, most))
        return self.shares[:most]

    async def held(self, key_id: UUID, user_id: str | None) -> HeldKey | None:
        if key_id != KEY.id:
            return None
        grants = [share for share in self.shares if share.grantee_user_id == user_id]
        return HeldKey(KEY, grants[0] if grants else None)


class Desk:
    """A `SharingService` on memory, with everything it tells others."""

    def __init__(self) -> None:
        self.grants = Grants()
        self.trail = RecordingTrail()
        self.announcer = RecordingAnnouncer()
        store = cast("ShareStore", self.grants)
        self.sharing = SharingService(
            self, store, Doorkeeper(store, self, self), self.trail, self.announcer, self
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        before = list(self.grants.shares)
        try:
            yield
        except Exception:
            self.grants.shares = before
            raise

    def now(self) -> datetime:
        return NOW

    async def note(self, event: AuditEvent) -> None:
        """Denials are the doorkeeper's."""


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_grant_is_stored_recorded_and_told_of(desk: Desk) -> None:
    expires_at = NOW + timedelta(milliseconds=1)
    new = NewShare(
        grantee_user_id="grantee", scope=ShareScope.REVEAL, models=("m",), expires_at=expires_at
    )
    share = await desk.sharing.share(OWNER, KEY.id, new)
    assert share == Share(
        share.id, KEY.id, "owner", "grantee", ShareScope.REVEAL, ("m",), expires_at, NOW
    )
    assert desk.grants.shares == [share]
    assert desk.trail.events == [
        AuditEvent(
            type="key.share",
            subject=f"key:{KEY.id}",
            provider="OPENAI",
            purpose="reveal",
            reason=f"share:{share.id} grantee:grantee",
        )
    ]
    assert desk.announcer.told == [
        (
            "share.granted",
            {
                "shareId": str(share.id),
                "keyId": str(KEY.id),
                "userId": "owner",
                "granteeUserId": "grantee",
                "provider": Provider.OPENAI.value,
                "keyName": "main",
                "scope": "reveal",
            },
        )
    ]


async def test_a_grant_that_cannot_be_recorded_is_none(desk: Desk) -> None:
    desk.trail.available = False
    with pytest.raises(AuditUnavailable):
        await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id="grantee"))
    assert desk.grants.shares == []


@pytest.mark.parametrize(
    ("new", "field", "said"),
    [
        (NewShare(grantee_user_id="owner"), "granteeUserId", "owns the key"),
        (
            NewShare(grantee_user_id="grantee", expires_at=NOW),
            "expiresAt",
            "must be in the future",
        ),
    ],
)
async def test_a_grant_that_would_give_nothing_is_bad_input(
    desk: Desk, new: NewShare, field: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.sharing.share(OWNER, KEY.id, new)
    assert [(fault.field, fault.message) for fault in refused.value.errors] == [(field, said)]
    assert desk.grants.shares == []


async def test_a_key_that_was_deleted_meanwhile_is_not_shared(desk: Desk) -> None:
    desk.grants.key = None
    with pytest.raises(NotFound, match=r"^No such key$"):
        await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id="grantee"))
    assert (desk.grants.shares, desk.trail.events, desk.announcer.told) == ([], [], [])


async def test_a_grantee_gives_the_key_to_nobody_and_a_stranger_sees_none(desk: Desk) -> None:
    await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id="grantee"))
    with pytest.raises(Forbidden):
        await desk.sharing.share(GRANTEE, KEY.id, NewShare(grantee_user_id="stranger"))
    with pytest.raises(NotFound):
        await desk.sharing.share(STRANGER, KEY.id, NewShare(grantee_user_id="stranger"))
    assert len(desk.grants.shares) == 1


async def test_a_revoked_grant_is_gone_and_recorded(desk: Desk) -> None:
    share = await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id="grantee"))
    desk.trail.events.clear()
    await desk.sharing.revoke(OWNER, KEY.id, share.id)
    assert desk.grants.shares == []
    assert desk.trail.events == [
        AuditEvent(
            type="key.unshare",
            subject=f"key:{KEY.id}",
            provider="OPENAI",
            purpose="use",
            reason=f"share:{share.id} grantee:grantee",
        )
    ]


async def test_what_is_no_grant_of_the_key_is_not_revoked(desk: Desk) -> None:
    share = await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id="grantee"))
    desk.trail.events.clear()
    with pytest.raises(NotFound, match=r"^No such share$"):
        await desk.sharing.revoke(OWNER, KEY.id, uuid7())
    with pytest.raises(Forbidden):
        await desk.sharing.revoke(GRANTEE, KEY.id, share.id)
    assert (desk.grants.shares, desk.trail.events) == ([share], [])


async def test_owners_and_administrators_see_all_grants_page_by_page_a_grantee_its_own(
    desk: Desk,
) -> None:
    first, second = [
        await desk.sharing.share(OWNER, KEY.id, NewShare(grantee_user_id=name))
        for name in ("somebody", "grantee")
    ]
    assert await desk.sharing.page(OWNER, KEY.id, None, 5) == [first, second]
    assert await desk.sharing.page(ADMINISTRATOR, KEY.id, second.id, 1) == [first]
    assert desk.grants.pages == [(KEY.id, None, 5), (KEY.id, second.id, 1)]
    assert await desk.sharing.page(GRANTEE, KEY.id, None, 5) == [second]
    for_grantee = replace(ADMINISTRATOR, user_id="grantee")
    assert await desk.sharing.page(for_grantee, KEY.id, None, 5) == [first, second]
    with pytest.raises(NotFound):
        await desk.sharing.page(STRANGER, KEY.id, None, 5)
    assert len(desk.grants.pages) == 3
