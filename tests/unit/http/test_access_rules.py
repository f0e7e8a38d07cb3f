"""What a route declares, and what a principal may do there: by role, scope and secret."""

import re
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi.routing import APIRoute

from model_service.http.auth import GuardedRoute
from model_service.http.rules import Access, Rule, authorise, declare
from model_service.kernel.errors import Forbidden, Unauthenticated
from model_service.kernel.principal import NOBODY, Permission, Principal, Role, Scopes

TOKEN_ID = UUID("0198c1de-0000-7000-8000-000000000001")
USER = Principal(Role.USER, "alice", TOKEN_ID)
SERVICE = Principal(Role.SERVICE, None, TOKEN_ID)
ADMINISTRATOR = Principal(Role.ADMINISTRATOR, None, TOKEN_ID)
BOOTSTRAP = Principal(Role.ADMINISTRATOR)
INTERNAL = Principal(Role.SERVICE, internal=True)
AUDITOR = Principal(
    Role.USER, "alice", TOKEN_ID, Scopes.of(routes=[Permission.AUDITOR, Permission.KEYS_READ])
)

EVERYBODY = (NOBODY, USER, SERVICE, ADMINISTRATOR, BOOTSTRAP, INTERNAL, AUDITOR)

#: Who passes; None stands for nobody's credential being asked for.
PASSES: dict[Access, set[Principal]] = {
    Access.OPEN: set(EVERYBODY),
    Access.USER: {USER, SERVICE, ADMINISTRATOR, BOOTSTRAP, INTERNAL},
    Access.SERVICE: {SERVICE, ADMINISTRATOR, BOOTSTRAP, INTERNAL},
    Access.ADMINISTRATOR: {ADMINISTRATOR, BOOTSTRAP},
    Access.INTERNAL: {INTERNAL},
    Access.AUDITOR: {ADMINISTRATOR, BOOTSTRAP, AUDITOR},
}


def rule(access: Access, permission: Permission | None = None) -> Rule:
    return Rule(access, permission or Permission.MODELS_READ, "GET /somewhere")


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("principal", EVERYBODY, ids=lambda principal: principal.actor)
def test_each_access_lets_exactly_those_pass(access: Access, principal: Principal) -> None:
    permission = Permission.AUDITOR if access is Access.AUDITOR else Permission.MODELS_READ
    if principal in PASSES[access]:
        authorise(rule(access, permission), principal)
        return
    stopped = Forbidden if principal.role is not Role.NOBODY else Unauthenticated
    if access is Access.INTERNAL:
        stopped = Unauthenticated
    with pytest.raises(stopped):
        authorise(rule(access, permission), principal)


@pytest.mark.parametrize("granted", Permission)
@pytest.mark.parametrize("role", [Role.USER, Role.SERVICE, Role.ADMINISTRATOR])
def test_a_token_with_route_scopes_passes_where_one_of_them_is_needed(
    role: Role, granted: Permission
) -> None:
    principal = Principal(role, "alice", TOKEN_ID, Scopes.of(routes=[granted]), internal=True)
    for access, needed in product((Access.USER, Access.INTERNAL, Access.AUDITOR), Permission):
        if granted is needed and (access is not Access.AUDITOR or principal.is_auditor):
            authorise(rule(access, needed), principal)
        else:
            with pytest.raises(Forbidden):
                authorise(rule(access, needed), principal)


def test_no_scope_makes_a_user_more_than_a_user() -> None:
    everything = Principal(Role.USER, "alice", TOKEN_ID, Scopes.of(routes=list(Permission)))
    for access in (Access.SERVICE, Access.ADMINISTRATOR):
        with pytest.raises(Forbidden):
            authorise(rule(access), everything)


def test_an_administrator_with_scopes_is_an_auditor_only_when_they_say_so() -> None:
    limited = Principal(
        Role.ADMINISTRATOR, None, TOKEN_ID, Scopes.of(routes=[Permission.KEYS_READ])
    )
    assert not limited.is_auditor
    assert ADMINISTRATOR.is_auditor
    assert BOOTSTRAP.is_auditor
    assert not SERVICE.is_auditor


def test_who_may_act_for_a_user() -> None:
    acting = Principal(Role.SERVICE, "alice", TOKEN_ID)
    assert all(p.may_act_for("alice") for p in (USER, acting, ADMINISTRATOR, BOOTSTRAP))
    assert not any(p.may_act_for("alice") for p in (NOBODY, SERVICE, INTERNAL))
    assert not any(p.may_act_for("bob") for p in (USER, acting, NOBODY))


def test_how_the_audit_trail_names_them() -> None:
    assert [p.actor for p in (NOBODY, USER, SERVICE, ADMINISTRATOR, BOOTSTRAP, INTERNAL)] == [
        "anonymous",
        "user:alice",
        f"service:{TOKEN_ID}",
        f"administrator:{TOKEN_ID}",
        "administrator",
        "internal",
    ]


@pytest.mark.parametrize(
    ("access", "method", "path", "permission"),
    [
        (Access.USER, "GET", "/api/models/{model_id}", Permission.MODELS_READ),
        (Access.ADMINISTRATOR, "POST", "/api/models", Permission.MODELS_WRITE),
        (Access.USER, "PUT", "/api/api-keys/{key_id}", Permission.KEYS_WRITE),
        (Access.USER, "POST", "/api/api-keys/{key_id}/validate", Permission.KEYS_WRITE),
        (Access.INTERNAL, "GET", "/api/api-keys/{key_id}/decrypt", Permission.KEYS_REVEAL),
        (Access.AUDITOR, "GET", "/api/api-keys/{key_id}/audit", Permission.AUDITOR),
        (Access.AUDITOR, "GET", "/api/audit", Permission.AUDITOR),
        (Access.USER, "DELETE", "/api/tokens/{token_id}", Permission.TOKENS_WRITE),
    ],
)
def test_the_permission_follows_from_where_the_route_is(
    access: Access, method: str, path: str, permission: Permission
) -> None:
    assert Rule.declared(path, [method], declare(access)).permission is permission


def test_permissions_are_called_in_scopes_as_the_documents_say() -> None:
    documented = Path("docs/routes.md").read_text()
    for permission in Permission:
        assert re.fullmatch(r"[a-z]+:(read|write|reveal|call)|auditor", permission)
    for name in ("keys:reveal", "keys:write", "tokens:read", "operations:read", "auditor"):
        assert f"| `{name}` |" in documented
        assert Permission(name)
    assert {"quotas:read", "quotas:write", "usage:read", "gateway:call"} <= set(Permission)


def test_a_permission_that_is_declared_wins() -> None:
    declared = declare(Access.SERVICE, Permission.OPERATIONS_READ)
    assert Rule.declared("/metrics", ["GET"], declared).permission is Permission.OPERATIONS_READ


@pytest.mark.parametrize(
    ("path", "extra", "lacking"),
    [
        ("/api/models", {}, "access"),
        ("/metrics", declare(Access.SERVICE), "permission"),
        ("/api/unheard-of", declare(Access.ADMINISTRATOR), "permission"),
        ("/models", declare(Access.USER), "permission"),
    ],
)
def test_a_route_that_does_not_say_who_may_use_it_cannot_be_built(
    path: str, extra: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(TypeError, match=f"declares no {lacking}"):
        GuardedRoute(path, lambda: None, openapi_extra=extra)
    assert issubclass(GuardedRoute, APIRoute)
