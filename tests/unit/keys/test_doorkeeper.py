"""The one door to a key: who passes, who is told why not, and who learns nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.caller import current_caller
from model_service.kernel.errors import Forbidden, InvalidInput, NotFound
from model_service.kernel.principal import Principal, Role
from model_service.kernel.types import Provider, uuid7
from model_service.keys.domain import ProviderKey
from model_service.keys.doorkeeper import Doorkeeper
from model_service.keys.ownership import Action
from model_service.keys.shares import HeldKey, KeyRef, Share, ShareScope, ShareStore

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = ProviderKey(
    id=uuid7(),
    user_id="owner",
    provider=Provider.OPENAI,
    key_name="main",
    key_version=3,
    key_prefix="***",
    last_used_at=None,
    usage_count=0,
    is_active=True,
    is_valid=True,
    metadata=None,
    created_at=NOW,
    updated_at=NOW,
    expires_at=None,
    validated_at=None,
)
GRANT = Share(
    uuid7(), KEY.id, "owner", "grantee", ShareScope.USE, None, NOW + timedelta(minutes=1), NOW
)
OWNER = Principal(Role.USER, user_id="owner")
GRANTEE = Principal(Role.USER, user_id="grantee")
STRANGER = Principal(Role.USER, user_id="stranger")
SERVICE = Principal(Role.SERVICE)
INTERNAL = Principal(Role.SERVICE, internal=True)
ADMINISTRATOR = Principal(Role.ADMINISTRATOR)


class OneKey:
    """`ShareStore` that knows one key and one grant of it; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[UUID, str | None]] = []

    async def held(self, key_id: UUID, user_id: str | None) -> HeldKey | None:
        self.asked.append((key_id, user_id))
        if key_id != KEY.id:
            return None
        return HeldKey(KEY, GRANT if user_id == "grantee" else None)


class Door:
    """A doorkeeper, and what it noted."""

    def __init__(self) -> None:
        self.moment = NOW
        self.store = OneKey()
        self.noted: list[AuditEvent] = []
        self.keeper = Doorkeeper(cast("ShareStore", self.store), self, self)

    def now(self) -> datetime:
        return self.moment

    async def note(self, event: AuditEvent) -> None:
        self.noted.append(event)

    async def admit(
        self, who: Principal, action: Action = Action.SEE, key_id: UUID = KEY.id
    ) -> HeldKey:
        return await self.keeper.admit(who, action, key_id)


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.mark.parametrize(
    ("who", "share"),
    [
        (OWNER, None),
        (GRANTEE, GRANT),
        (ADMINISTRATOR, None),
        (replace(SERVICE, user_id="owner"), None),
    ],
)
async def test_who_may_has_the_key_with_the_grant(
    door: Door, who: Principal, share: Share | None
) -> None:
    assert await door.admit(who) == HeldKey(KEY, share)
    assert door.store.asked == [(KEY.id, who.user_id)]
    assert door.noted == []


async def test_a_grant_holds_until_the_clock_says_otherwise(door: Door) -> None:
    door.moment = NOW + timedelta(seconds=59.999)
    assert (await door.admit(GRANTEE)).share_id == GRANT.id
    door.moment = NOW + timedelta(minutes=1)
    with pytest.raises(NotFound):
        await door.admit(GRANTEE)


@pytest.mark.parametrize("key_id", [KEY.id, uuid7()])
async def test_to_a_stranger_a_key_is_as_unknown_as_one_that_is_not_there(
    door: Door, key_id: UUID
) -> None:
    with pytest.raises(NotFound, match=r"^No such key$"):
        await door.admit(STRANGER, Action.DELETE, key_id)
    assert door.store.asked == [(key_id, "stranger")]
    assert door.noted == [
        AuditEvent(
            type="auth.denied",
            decision=Decision.DENY,
            subject=f"key:{key_id}",
            purpose="delete",
            reason="no_such_key_for_them",
            caller=current_caller(),
        )
    ]


async def test_an_administrator_who_asks_for_what_is_not_there_was_refused_nothing(
    door: Door,
) -> None:
    with pytest.raises(NotFound, match=r"^No such key$"):
        await door.admit(ADMINISTRATOR, key_id=uuid7())
    assert door.noted == []


@pytest.mark.parametrize("who", [SERVICE, INTERNAL])
async def test_a_service_first_says_for_whom_and_nothing_is_looked_up(
    door: Door, who: Principal
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await door.admit(who)
    assert [fault.field for fault in refused.value.errors] == ["userId"]
    assert door.store.asked == []


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (Action.CHANGE, "Only the owner of this key may do this"),
        (Action.REVEAL, "This user may not have the value of this key"),
    ],
)
async def test_who_knows_of_the_key_is_told_why_not(door: Door, action: Action, told: str) -> None:
    with pytest.raises(Forbidden, match=f"^{told}$"):
        await door.admit(GRANTEE, action)
    assert door.noted == [], "its route notes what is refused openly"


async def test_the_value_is_for_the_internal_secret_whether_the_key_is_there_or_not(
    door: Door,
) -> None:
    for key_id in (KEY.id, uuid7()):
        assert await door.keeper.admit_to_value(INTERNAL, key_id) == KeyRef(key_id)
    assert door.store.asked == []


async def test_the_value_of_a_named_user_is_as_the_rule_says(door: Door) -> None:
    for_owner = replace(INTERNAL, user_id="owner")
    assert await door.keeper.admit_to_value(for_owner, KEY.id) == HeldKey(KEY)
    with pytest.raises(Forbidden):
        await door.keeper.admit_to_value(replace(INTERNAL, user_id="grantee"), KEY.id)
    with pytest.raises(Forbidden):
        await door.keeper.admit_to_value(replace(ADMINISTRATOR, user_id="stranger"), KEY.id)


async def test_without_the_internal_secret_there_is_no_value(door: Door) -> None:
    with pytest.raises(InvalidInput):
        await door.keeper.admit_to_value(SERVICE, KEY.id)
    with pytest.raises(Forbidden):
        await door.keeper.admit_to_value(ADMINISTRATOR, KEY.id)
    with pytest.raises(Forbidden):
        await door.keeper.admit_to_value(OWNER, KEY.id)


def test_a_held_key_shows_what_it_is_held_by() -> None:
    changes: dict[str, Any] = {"metadata": {"endpoint": "https://r.openai.azure.com"}}
    key = replace(KEY, is_valid=False, provider=Provider.AZURE, **changes)
    limited = replace(GRANT, models=("m",))
    own, lent = HeldKey(key), HeldKey(key, limited)
    assert (own.id, own.key_version, own.is_valid) == (KEY.id, 3, False)
    assert own.endpoint == key.endpoint == "https://r.openai.azure.com"
    assert (own.share_id, own.models) == (None, None)
    assert (lent.share_id, lent.models) == (GRANT.id, ("m",))
