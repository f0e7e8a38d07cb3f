"""Who is asking, and whether the route lets them.

Every route declares one `Access`; a route without one cannot be built. The decision is
made on the parsed route, before the body is read.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from typing_extensions import override

from model_service.kernel.errors import Forbidden, InvalidInput, Unauthenticated
from model_service.kernel.secret import Secret

INTERNAL_HEADER = b"x-internal-secret"


class Role(StrEnum):
    """What a credential makes of its holder."""

    NOBODY = "nobody"
    SERVICE = "service"
    ADMINISTRATOR = "administrator"


class Access(StrEnum):
    """Who may use a route."""

    OPEN = "open"
    """Anybody."""
    SERVICE = "service"
    """An administrator, or a service that knows the internal secret."""
    ADMINISTRATOR = "administrator"
    """An administrator."""
    INTERNAL = "internal"
    """Only who shows the internal secret; being administrator is not enough."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `internal` says that the internal secret was shown and is right."""

    role: Role
    internal: bool = False


NOBODY = Principal(Role.NOBODY)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What callers are checked against; digests only."""

    admin_token: bytes | None
    internal_secrets: tuple[bytes, ...]
    loopback_is_administrator: bool

    @classmethod
    def of(
        cls,
        *,
        admin_token: Secret[str] | None,
        internal_secrets: Sequence[Secret[str]],
        loopback_is_administrator: bool,
    ) -> "Credentials":
        """From the settings' secrets. An empty secret never matches anything."""
        return cls(
            _digest_of(admin_token) if admin_token else None,
            tuple(_digest_of(secret) for secret in internal_secrets if secret),
            loopback_is_administrator,
        )


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Turns a request's headers into a principal."""

    credentials: Credentials

    def principal(self, scope: dict[str, Any]) -> Principal:
        """Who sent the request.

        Raises:
            Unauthenticated: a credential was shown and is wrong, or shown twice.
        """
        authorization = internal = None
        forwarded = False
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = _only(authorization, value)
            elif name == INTERNAL_HEADER:
                internal = _only(internal, value)
            elif name in (b"x-forwarded-for", b"forwarded", b"via"):
                forwarded = True
        knows_secret = internal is not None and self._check_internal(internal)
        if authorization is not None:
            self._check_admin(authorization)
            return Principal(Role.ADMINISTRATOR, internal=knows_secret)
        if self.credentials.loopback_is_administrator and not forwarded and _is_loopback(scope):
            return Principal(Role.ADMINISTRATOR, internal=knows_secret)
        if knows_secret:
            return Principal(Role.SERVICE, internal=True)
        return NOBODY

    def _check_internal(self, value: bytes) -> bool:
        digest = sha256(value).digest()
        # Every candidate is compared, so that the time does not tell which one matched.
        matches = [
            hmac.compare_digest(digest, known) for known in self.credentials.internal_secrets
        ]
        if not any(matches):
            raise Unauthenticated("The internal secret is wrong")
        return True

    def _check_admin(self, value: bytes) -> None:
        scheme, _, token = value.partition(b" ")
        known = self.credentials.admin_token
        digest = sha256(token.strip()).digest()
        if known is None or scheme.lower() != b"bearer" or not hmac.compare_digest(digest, known):
            raise Unauthenticated("The token is wrong")


def authorise(access: Access, principal: Principal) -> None:
    """Let the principal pass, or not.

    Raises:
        Unauthenticated: the route needs a credential and none was shown.
        Forbidden: the credential shown is not enough.
    """
    if access is Access.INTERNAL:
        if not principal.internal:
            raise Unauthenticated("The header x-internal-secret is required")
        return
    if principal.role is Role.ADMINISTRATOR:
        return
    if principal.role is Role.NOBODY:
        raise Unauthenticated
    if access is Access.ADMINISTRATOR:
        raise Forbidden("Only an administrator may do this")


def declare(access: Access) -> dict[str, Any]:
    """What a route says of its access, in the form that OpenAPI shows too."""
    return {"x-access": access.value}


class GuardedRoute(APIRoute):
    """A route that lets only those in whom its declaration names, and parses JSON strictly."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        declared = (options.get("openapi_extra") or {}).get("x-access")
        if declared is None:
            raise TypeError(f"the route {path} declares no access")
        self.access = Access(declared)
        super().__init__(path, endpoint, **options)

    @override
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()
        access = self.access
        takes_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            if access is not Access.OPEN:
                authenticator: Authenticator = request.scope["app"].state.authenticator
                principal = authenticator.principal(request.scope)  # type: ignore[arg-type]
                authorise(access, principal)
                request.scope["principal"] = principal
            strict = StrictRequest(request.scope, request.receive)
            if takes_body:
                await strict.parse()
            return await handle(strict)

        return guarded


class StrictRequest(Request):
    """A request whose JSON body is JSON: no NaN, no bottomless nesting, declared as what it is."""

    async def parse(self) -> None:
        """Read and parse the body now, so that the framework finds it parsed.

        Raises:
            InvalidInput: it is not JSON, or not declared as JSON.
            PayloadTooLarge: it is over the bound.
        """
        data = await self.body()
        if not data:
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise InvalidInput("The content type must be application/json")
        try:
            self._json = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise InvalidInput("The body is not valid JSON") from None


def _only(before: bytes | None, value: bytes) -> bytes:
    if before is not None:
        raise Unauthenticated("A credential was sent twice")
    return value


def _digest_of(secret: Secret[str]) -> bytes:
    return sha256(secret.reveal().encode()).digest()


def _is_loopback(scope: dict[str, Any]) -> bool:
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback
