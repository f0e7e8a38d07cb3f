"""The rule over keys as a table, and that nothing beside the table is allowed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.acting import names_nobody, where_values_leave, whose
from model_service.kernel.errors import Forbidden, InvalidInput
from model_service.kernel.principal import NOBODY, Principal, Role
from model_service.kernel.types import Provider, uuid7
from model_service.keys.domain import ProviderKey
from model_service.keys.ownership import MAY, Action, Decision, Relation, decide, relation
from model_service.keys.shares import HeldKey, Share, ShareScope

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = ProviderKey(
    id=uuid7(),
    user_id="owner",
    provider=Provider.OPENAI,
    key_name="main",
    key_version=1,
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
MANAGE = {
    Action.SEE,
    Action.VALIDATE,
    Action.CHANGE,
    Action.ROTATE,
    Action.DELETE,
    Action.SHARE,
    Action.SEE_SHARES,
}
LOOK = {Action.SEE, Action.SEE_SHARES}


def user(name: str) -> Principal:
    return Principal(Role.USER, user_id=name)


def service(name: str | None = None, *, internal: bool = False) -> Principal:
    return Principal(Role.SERVICE, user_id=name, internal=internal)


def grant(
    grantee: str = "grantee",
    scope: ShareScope = ShareScope.USE,
    models: tuple[str, ...] | None = None,
    expires_at: datetime | None = None,
) -> Share:
    return Share(uuid7(), KEY.id, "owner", grantee, scope, models, expires_at, NOW)


REVEAL = ShareScope.REVEAL
EXPIRED = grant(scope=REVEAL, expires_at=NOW)
OF_ANOTHER_KEY = Share(uuid7(), uuid7(), "owner", "grantee", REVEAL, None, None, NOW)

#: Who asks, by which grant, and how they then stand to the key.
STANDINGS: Mapping[str, tuple[Principal, Share | None, Relation]] = {
    "nobody": (NOBODY, None, Relation.STRANGER),
    "somebody without a role who names the owner": (
        Principal(Role.NOBODY, user_id="owner"),
        None,
        Relation.STRANGER,
    ),
    "the owner": (user("owner"), None, Relation.OWNER),
    "a service for the owner": (service("owner"), None, Relation.OWNER),
    "a grantee": (user("grantee"), grant(), Relation.USER),
    "a service for a grantee": (service("grantee"), grant(), Relation.USER),
    "a grantee until later": (
        user("grantee"),
        grant(expires_at=NOW + timedelta(milliseconds=1)),
        Relation.USER,
    ),
    "a grantee until now": (user("grantee"), EXPIRED, Relation.STRANGER),
    "a revealing grantee": (user("grantee"), grant(scope=REVEAL), Relation.REVEALER),
    "a grantee revealing for a model": (
        user("grantee"),
        grant(scope=REVEAL, models=("m",)),
        Relation.MODEL_REVEALER,
    ),
    "another user": (user("other"), None, Relation.STRANGER),
    "another user, by somebody's grant": (user("other"), grant(scope=REVEAL), Relation.STRANGER),
    "a grantee of another key": (user("grantee"), OF_ANOTHER_KEY, Relation.STRANGER),
    "a user of nearly the owner's name": (user("Owner"), None, Relation.STRANGER),
    "a service for another user": (service("other"), None, Relation.STRANGER),
    "a service that names nobody": (service(), None, Relation.UNNAMED),
    "an administrator": (Principal(Role.ADMINISTRATOR), None, Relation.ADMINISTRATOR),
    "an administrator who names somebody": (
        Principal(Role.ADMINISTRATOR, user_id="other"),
        None,
        Relation.ADMINISTRATOR,
    ),
}

#: What they may do without and with the internal secret.
ALLOWED: Mapping[Relation, tuple[set[Action], set[Action]]] = {
    Relation.ADMINISTRATOR: (MANAGE, MANAGE),
    Relation.OWNER: (MANAGE, MANAGE | {Action.REVEAL}),
    Relation.REVEALER: (LOOK, LOOK | {Action.REVEAL}),
    Relation.MODEL_REVEALER: (LOOK, LOOK),
    Relation.USER: (LOOK, LOOK),
    Relation.UNNAMED: (set(), {Action.REVEAL}),
    Relation.STRANGER: (set(), set()),
}


@pytest.mark.parametrize("who", STANDINGS)
def test_how_somebody_stands_to_a_key(who: str) -> None:
    principal, share, expected = STANDINGS[who]
    assert relation(principal, HeldKey(KEY, share), NOW) is expected


@pytest.mark.parametrize("internal", [False, True])
@pytest.mark.parametrize("standing", Relation)
def test_what_each_may_do(standing: Relation, internal: bool) -> None:
    allowed = {
        action for action in Action if decide(standing, action, internal=internal) is Decision.ALLOW
    }
    assert allowed == ALLOWED[standing][internal]


def test_actions_are_called_in_the_audit_trail_as_ever() -> None:
    assert sorted(Action) == [
        "change", "delete", "reveal", "rotate", "see", "see_shares", "share", "validate",
    ]  # fmt: skip


def test_scopes_of_grants_are_called_as_the_contract_says() -> None:
    assert sorted(ShareScope) == ["reveal", "use"]


def test_the_rule_names_every_relation() -> None:
    assert MAY.keys() == set(Relation)


@pytest.mark.parametrize("action", Action)
def test_a_stranger_does_not_learn_that_the_key_exists(action: Action) -> None:
    assert decide(Relation.STRANGER, action, internal=False) is Decision.HIDE


def test_who_knows_the_internal_secret_is_told_that_the_user_may_not_have_the_value() -> None:
    assert decide(Relation.STRANGER, Action.REVEAL, internal=True) is Decision.REFUSE


@pytest.mark.parametrize("action", sorted(MANAGE))
def test_a_service_that_names_nobody_is_asked_for_a_name(action: Action) -> None:
    assert decide(Relation.UNNAMED, action, internal=True) is Decision.ASK_FOR_NAME


def test_an_administrator_with_the_internal_secret_is_a_service_where_values_leave() -> None:
    administrator = Principal(Role.ADMINISTRATOR, internal=True)
    assert names_nobody(where_values_leave(administrator))
    naming = Principal(Role.ADMINISTRATOR, user_id="other", internal=True)
    standing = relation(where_values_leave(naming), HeldKey(KEY), NOW)
    assert decide(standing, Action.REVEAL, internal=True) is Decision.REFUSE


def test_an_administrator_without_it_is_not() -> None:
    administrator = Principal(Role.ADMINISTRATOR)
    assert where_values_leave(administrator) is administrator


NAMES = st.sampled_from(["owner", "grantee", "other"])
PRINCIPALS = st.one_of(
    st.builds(user, NAMES),
    st.builds(service, st.none() | NAMES, internal=st.booleans()),
    st.builds(
        Principal,
        st.sampled_from([Role.ADMINISTRATOR, Role.NOBODY]),
        user_id=st.none() | NAMES,
        internal=st.booleans(),
    ),
)
GRANTS = st.none() | st.builds(
    Share,
    st.just(uuid7()),
    st.sampled_from([KEY.id, uuid7()]),
    st.just("owner"),
    NAMES,
    st.sampled_from(ShareScope),
    st.none() | st.just(("m",)),
    st.none() | st.sampled_from([NOW - timedelta(days=1), NOW, NOW + timedelta(days=1)]),
    st.just(NOW),
)


@given(PRINCIPALS, GRANTS, st.sampled_from(Action))
def test_whatever_is_not_granted_is_refused(
    principal: Principal, share: Share | None, action: Action
) -> None:
    standing = relation(principal, HeldKey(KEY, share), NOW)
    if decide(standing, action, internal=principal.internal) is not Decision.ALLOW:
        return
    if action is Action.REVEAL:
        assert principal.internal
        assert principal.role in (Role.SERVICE, Role.USER), "an administrator has no values"
        if principal.user_id is None:
            return
    if principal.role is Role.ADMINISTRATOR or principal.user_id == "owner":
        assert principal.role is not Role.NOBODY
        return
    assert share is not None, "somebody else has something only by a grant"
    assert share.key_id == KEY.id
    assert share.grantee_user_id == principal.user_id
    assert share.expires_at is None or share.expires_at > NOW
    assert action in LOOK or (
        action is Action.REVEAL and share.scope is REVEAL and share.models is None
    )


@given(PRINCIPALS, st.none() | NAMES)
def test_a_name_in_a_request_widens_nothing(principal: Principal, named: str | None) -> None:
    try:
        meant = whose(principal, named)
    except (Forbidden, InvalidInput):
        return
    if principal.role is Role.ADMINISTRATOR:
        assert meant in (named, principal.user_id)
        return
    assert meant is not None, "everybody's things are an administrator's alone"
    if not names_nobody(principal):
        assert meant == principal.user_id
    else:
        assert meant == named


@pytest.mark.parametrize(
    ("principal", "named", "expected"),
    [
        (user("u"), None, "u"),
        (user("u"), "u", "u"),
        (user("u"), "v", Forbidden),
        (service(), None, InvalidInput),
        (service(), "v", "v"),
        (service("u"), None, "u"),
        (service("u"), "u", "u"),
        (service("u"), "v", Forbidden),
        (Principal(Role.ADMINISTRATOR), None, None),
        (Principal(Role.ADMINISTRATOR), "v", "v"),
        (Principal(Role.ADMINISTRATOR, user_id="u"), None, "u"),
        (Principal(Role.ADMINISTRATOR, user_id="u"), "v", "v"),
        (NOBODY, None, Forbidden),
        (NOBODY, "v", Forbidden),
    ],
)
def test_whose_things_are_meant(
    principal: Principal, named: str | None, expected: str | type[Exception] | None
) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            whose(principal, named)
    else:
        assert whose(principal, named) == expected
