"""The routes of access tokens. A token's text is in one answer only: that of its making."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field

from model_service.access.domain import IssuedToken, NewToken, Token
from model_service.access.service import TokenService
from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import (
    Moment,
    MomentIn,
    NoQuery,
    RequestModel,
    ResponseModel,
    Text255,
    UserId,
)
from model_service.kernel.acting import whose
from model_service.kernel.principal import Permission, Role, Scopes

#: Most names in one list of a token's scopes.
MOST_NAMES = 200


class TokenRole(StrEnum):
    """The roles as the API calls them."""

    ADMIN = "admin"
    SERVICE = "service"
    USER = "user"

    @property
    def role(self) -> Role:
        """The same role, as the service calls it."""
        return Role.ADMINISTRATOR if self is TokenRole.ADMIN else Role(self.value)

    @classmethod
    def of(cls, role: Role) -> "TokenRole":
        """The name of a role."""
        return cls.ADMIN if role is Role.ADMINISTRATOR else cls(role.value)


class ScopesIn(RequestModel):
    """What a token is limited to; a list left out does not limit."""

    models: Annotated[list[Text255], Field(min_length=1, max_length=MOST_NAMES)] | None = None
    routes: Annotated[list[Permission], Field(min_length=1, max_length=MOST_NAMES)] | None = None


class CreateToken(RequestModel):
    """A token to be made. `userId` belongs to the role user, and to no other."""

    role: TokenRole
    user_id: UserId | None = None
    label: Text255 | None = None
    scopes: ScopesIn | None = None
    expires_at: MomentIn | None = None

    def to_new(self) -> NewToken:
        """The same in the domain's types."""
        wanted = self.scopes or ScopesIn()
        return NewToken(
            role=self.role.role,
            user_id=self.user_id,
            label=self.label,
            scopes=Scopes.of(models=wanted.models, routes=wanted.routes),
            expires_at=self.expires_at,
        )


class ListTokens(CursorQuery):
    """Whose tokens to list."""

    user_id: UserId | None = None


class ScopesView(ResponseModel):
    """What a token is limited to."""

    models: list[str] | None
    routes: list[Permission] | None


class TokenView(ResponseModel):
    """A token without its text."""

    id: UUID
    role: TokenRole
    user_id: str | None
    label: str | None
    scopes: ScopesView | None
    expires_at: Moment | None
    created_at: Moment
    last_used_at: Moment | None

    @classmethod
    def of(cls, token: Token) -> "TokenView":
        """The view of a token."""
        return cls(
            id=token.id,
            role=TokenRole.of(token.role),
            user_id=token.user_id,
            label=token.label,
            scopes=_scopes_view(token.scopes),
            expires_at=token.expires_at,
            created_at=token.created_at,
            last_used_at=token.last_used_at,
        )


class CreatedTokenView(ResponseModel):
    """A token that was just made, with its text: the only answer that has it."""

    id: UUID
    token: str
    role: TokenRole
    user_id: str | None
    label: str | None
    scopes: ScopesView | None
    expires_at: Moment | None
    created_at: Moment

    @classmethod
    def of(cls, issued: IssuedToken) -> "CreatedTokenView":
        """The view of a token with its text."""
        token = issued.token
        return cls(
            id=token.id,
            token=issued.text.reveal(),
            role=TokenRole.of(token.role),
            user_id=token.user_id,
            label=token.label,
            scopes=_scopes_view(token.scopes),
            expires_at=token.expires_at,
            created_at=token.created_at,
        )


TokenPage = CursorPage[TokenView]


def router(tokens: TokenService) -> APIRouter:
    """The routes under `/api/tokens`."""
    routes = APIRouter(prefix="/api/tokens", tags=["Tokens"], route_class=GuardedRoute)

    @routes.post(
        "",
        status_code=201,
        summary="Make a token; it is shown this once",
        responses=documented(400, 401, 403, 413, 503),
        openapi_extra=declare(Access.ADMINISTRATOR),
    )
    async def create(
        body: CreateToken, _: Annotated[NoQuery, Query()], asker: AskedBy, response: Response
    ) -> CreatedTokenView:
        issued = await tokens.create(body.to_new(), asker)
        response.headers["cache-control"] = "no-store"
        return CreatedTokenView.of(issued)

    @routes.get(
        "",
        summary="List tokens, newest first; users and services see those of their user",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_tokens(query: Annotated[ListTokens, Query()], asker: AskedBy) -> TokenPage:
        user_id = whose(asker, query.user_id)
        found = await tokens.list(user_id, query.before_id(), query.limit + 1)
        return page_of(found, query.limit, TokenView.of, lambda token: token.id)

    @routes.delete(
        "/{token_id}",
        status_code=204,
        response_class=Response,
        summary="Revoke a token, everywhere within a second",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def revoke(token_id: UUID, _: Annotated[NoQuery, Query()], asker: AskedBy) -> None:
        await tokens.revoke(token_id, asker)

    return routes


def _scopes_view(scopes: Scopes) -> ScopesView | None:
    if scopes.models is None and scopes.routes is None:
        return None
    return ScopesView(
        models=None if scopes.models is None else sorted(scopes.models),
        routes=None if scopes.routes is None else sorted(scopes.routes),
    )
