"""Who makes a request, and what the credential shown allows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID


class Role(StrEnum):
    """What a credential makes of its holder."""

    NOBODY = "nobody"
    USER = "user"
    """Manages what belongs to one user."""
    SERVICE = "service"
    """Acts for the users it names."""
    ADMINISTRATOR = "administrator"


class Permission(StrEnum):
    """What a token can be limited to: the words of `scopes.routes`."""

    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    KEYS_REVEAL = "keys:reveal"
    """Read a key's value; takes the internal secret as well."""
    CREDENTIALS_READ = "credentials:read"
    CREDENTIALS_WRITE = "credentials:write"
    """Administrative credentials of providers."""
    TOKENS_READ = "tokens:read"
    TOKENS_WRITE = "tokens:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    QUOTAS_READ = "quotas:read"
    QUOTAS_WRITE = "quotas:write"
    USAGE_READ = "usage:read"
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    OPERATIONS_READ = "operations:read"
    """Metrics, the providers' health and the API's documentation."""
    GATEWAY_CALL = "gateway:call"
    AUDITOR = "auditor"
    """Read the audit trail. The one permission that adds to a role instead of limiting it."""


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a credential is limited to; None means no limit beyond the role's."""

    models: frozenset[str] | None = None
    routes: frozenset[Permission] | None = None

    @classmethod
    def of(
        cls, *, models: Iterable[str] | None = None, routes: Iterable[Permission] | None = None
    ) -> "Scopes":
        """From any collections of model names and permissions."""
        return cls(
            None if models is None else frozenset(models),
            None if routes is None else frozenset(routes),
        )

    def permit(self, permission: Permission) -> bool:
        """Whether the routes that need this permission may be used."""
        return self.routes is None or permission in self.routes

    def allow_model(self, name: str) -> bool:
        """Whether the model of that name may be seen and called."""
        return self.models is None or name in self.models

    def cover(self, other: "Scopes") -> bool:
        """Whether everything that `other` allows is allowed here too."""
        return _covers(self.models, other.models) and _covers(self.routes, other.routes)


EVERYTHING: Final = Scopes()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    `user_id` is the user acted for: a user's own id, or the one that a service or an
    administrator named in `x-user-id`. `token_id` is None for the bootstrap administrator,
    for callers with the internal secret alone, and for development's loopback callers.
    `expires_at` is when the token expires, if ever. `internal` says that the internal secret
    was shown and is right.
    """

    role: Role
    user_id: str | None = None
    token_id: UUID | None = None
    scopes: Scopes = EVERYTHING
    expires_at: datetime | None = None
    internal: bool = False

    @property
    def is_administrator(self) -> bool:
        """Whether everything belongs to it, as far as its scopes go."""
        return self.role is Role.ADMINISTRATOR

    @property
    def is_auditor(self) -> bool:
        """Whether it may read the audit trail: an administrator, or by an explicit scope."""
        if self.role is Role.ADMINISTRATOR:
            return self.scopes.permit(Permission.AUDITOR)
        return self.scopes.routes is not None and Permission.AUDITOR in self.scopes.routes

    def may_act_for(self, user_id: str) -> bool:
        """Whether what belongs to that user may be seen and managed.

        An administrator may for anybody; a user for itself; a service for the user it named,
        and for nobody while it named none.
        """
        return self.role is Role.ADMINISTRATOR or (
            self.role is not Role.NOBODY and self.user_id == user_id
        )

    @property
    def actor(self) -> str:
        """How the audit trail names it; see `kernel.caller.Caller`."""
        match self.role:
            case Role.NOBODY:
                return "anonymous"
            case Role.USER:
                return f"user:{self.user_id}"
            case Role.SERVICE if self.token_id is None:
                return "internal"
            case _:
                return self.role.value if self.token_id is None else f"{self.role}:{self.token_id}"


NOBODY: Final = Principal(Role.NOBODY)


def _covers(wider: frozenset[object] | None, narrower: frozenset[object] | None) -> bool:
    if wider is None:
        return True
    return narrower is not None and narrower <= wider
