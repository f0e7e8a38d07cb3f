"""Routes that let only those in whom they name, and parse JSON strictly.

Every route declares one `Access`; a route without one cannot be built. The decision is
made on the parsed route, before the body is read.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from typing_extensions import override

from model_service.http.authenticator import Authenticator
from model_service.http.credentials import Credentials
from model_service.http.rules import Access, Rule, declare
from model_service.kernel.errors import Forbidden, InvalidInput
from model_service.kernel.principal import Permission, Principal, Role

__all__ = [
    "Access",
    "AskedBy",
    "Authenticator",
    "Credentials",
    "GuardedRoute",
    "Permission",
    "Principal",
    "Role",
    "StrictRequest",
    "declare",
]


class GuardedRoute(APIRoute):
    """A route that lets only those in whom its declaration names, and parses JSON strictly.

    Within it `request.scope["principal"]` (or a parameter of type `AskedBy`) says who asks,
    and `kernel.caller.current_caller` says it to everything that is called.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401
        methods = options.get("methods") or ("GET",)
        self.rule = Rule.declared(path, methods, options.get("openapi_extra") or {})
        super().__init__(path, endpoint, **options)

    @property
    def access(self) -> Access:
        """Who may use the route."""
        return self.rule.access

    @override
    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()
        rule = self.rule
        takes_body = self.body_field is not None

        async def guarded(request: Request) -> Response:
            scope: dict[str, Any] = request.scope  # type: ignore[assignment]
            authenticator: Authenticator = scope["app"].state.authenticator
            scope["principal"] = await authenticator.admit(scope, rule)
            strict = StrictRequest(request.scope, request.receive)
            if takes_body:
                await strict.parse()
            try:
                return await handle(strict)
            except Forbidden as refusal:
                await authenticator.note_denial(rule, refusal)
                raise

        return guarded


async def _principal(request: Request) -> Principal:
    principal: Principal = request.scope["principal"]
    return principal


AskedBy = Annotated[Principal, Depends(_principal)]
"""Who makes the request, as a parameter of its handler."""


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
