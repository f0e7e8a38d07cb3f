"""Who may use a route: declared on it, decided on it once it is parsed. Deny by default."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from model_service.kernel.errors import Forbidden, Unauthenticated
from model_service.kernel.principal import Permission, Principal, Role


class Access(StrEnum):
    """Who may use a route."""

    OPEN = "open"
    """Anybody; no credential is looked at."""
    USER = "user"
    """Whoever showed a credential. What belongs to whom, the slice decides."""
    SERVICE = "service"
    """An administrator or a service."""
    ADMINISTRATOR = "administrator"
    """An administrator."""
    INTERNAL = "internal"
    """Only who shows the internal secret; being administrator is not enough."""
    AUDITOR = "auditor"
    """An administrator, or a token with the scope `auditor`."""


#: What the collections under `/api` are called in scopes.
_RESOURCES: Final[Mapping[str, str]] = {
    "models": "models",
    "api-keys": "keys",
    "provider-admin-credentials": "credentials",
    "tokens": "tokens",
    "webhooks": "webhooks",
    "quotas": "quotas",
    "usage": "usage",
    "billing": "billing",
    "prices": "models",
    "providers": "operations",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What one route asks of its callers; `permission` is None where nobody is asked."""

    access: Access
    permission: Permission | None
    route: str

    @classmethod
    def declared(cls, path: str, methods: Collection[str], extra: Mapping[str, Any]) -> "Rule":
        """The rule of a route from what `declare` put there.

        Raises:
            TypeError: it declares no access, or no permission follows from its path.
        """
        if "x-access" not in extra:
            raise TypeError(f"the route {path} declares no access")
        access = Access(extra["x-access"])
        route = f"{'|'.join(sorted(methods))} {path}"
        if access is Access.OPEN:
            return cls(access, None, route)
        if "x-scope" in extra:
            return cls(access, Permission(extra["x-scope"]), route)
        return cls(access, _implied(access, path, methods), route)


def declare(access: Access, permission: Permission | None = None) -> dict[str, Any]:
    """What a route says of its access, in the form that OpenAPI shows too.

    Without a permission the path gives it: reading or writing the collection it is in.
    """
    declared = {"x-access": access.value}
    return declared if permission is None else declared | {"x-scope": permission.value}


def authorise(rule: Rule, principal: Principal) -> None:
    """Let the principal pass, or not.

    Raises:
        Unauthenticated: the route needs a credential and none was shown.
        Forbidden: the credential shown is not enough.
    """
    access = rule.access
    if access is Access.OPEN:
        return
    if access is Access.INTERNAL and not principal.internal:
        raise Unauthenticated("The header x-internal-secret is required")
    if principal.role is Role.NOBODY:
        raise Unauthenticated
    if rule.permission is None or not principal.scopes.permit(rule.permission):
        raise Forbidden("The token's scopes do not allow this")
    if access is Access.ADMINISTRATOR and not principal.is_administrator:
        raise Forbidden("Only an administrator may do this")
    if access is Access.SERVICE and principal.role is Role.USER:
        raise Forbidden("Only a service or an administrator may do this")
    if access is Access.AUDITOR and not principal.is_auditor:
        raise Forbidden("Only an administrator or an auditor may do this")


def _implied(access: Access, path: str, methods: Collection[str]) -> Permission:
    if access is Access.AUDITOR:
        return Permission.AUDITOR
    parts = path.split("/")
    resource = _RESOURCES.get(parts[2]) if parts[:2] == ["", "api"] and len(parts) > 2 else None
    if resource is None:
        raise TypeError(f"the route {path} declares no permission")
    if access is Access.INTERNAL:
        return Permission.KEYS_REVEAL
    return Permission(f"{resource}:{'read' if set(methods) <= {'GET', 'HEAD'} else 'write'}")
