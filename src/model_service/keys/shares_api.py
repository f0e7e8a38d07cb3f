"""The routes of grants of provider keys."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, ConfigDict, Field

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
from model_service.keys.shares import NewShare, Share, ShareScope
from model_service.keys.sharing import SharingService

#: Most models that one grant can be limited to.
MOST_MODELS = 100


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


class ShareKey(RequestModel):
    """A grant: to whom, and what it allows. Without `models` it holds for every model."""

    grantee_user_id: UserId
    scope: ShareScope = ShareScope.USE
    models: (
        Annotated[
            list[Text255], Field(min_length=1, max_length=MOST_MODELS), AfterValidator(_unique)
        ]
        | None
    ) = None
    expires_at: MomentIn | None = None

    def to_new(self) -> NewShare:
        """What is asked for."""
        return NewShare(
            grantee_user_id=self.grantee_user_id,
            scope=self.scope,
            models=None if self.models is None else tuple(self.models),
            expires_at=self.expires_at,
        )


class ShareView(ResponseModel):
    """A grant as the API shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    key_id: UUID
    owner_user_id: str
    grantee_user_id: str
    scope: ShareScope
    models: list[str] | None
    expires_at: Moment | None
    created_at: Moment

    @classmethod
    def of(cls, share: Share) -> "ShareView":
        """The view of a grant."""
        return cls.model_validate(share)


def router(sharing: SharingService) -> APIRouter:
    """The routes under `/api/api-keys/{key_id}/shares`."""
    routes = APIRouter(
        prefix="/api/api-keys/{key_id}/shares", tags=["API keys"], route_class=GuardedRoute
    )
    user = declare(Access.USER)

    @routes.post(
        "",
        status_code=201,
        summary="Let another user use a key, or have its value too",
        responses=documented(400, 401, 403, 404, 409, 413, 503),
        openapi_extra=user,
    )
    async def share_key(
        key_id: UUID, body: ShareKey, asker: AskedBy, _: Annotated[NoQuery, Query()]
    ) -> ShareView:
        return ShareView.of(await sharing.share(asker, key_id, body.to_new()))

    @routes.get(
        "",
        summary="List the grants of a key, newest first; a grantee sees its own",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=user,
    )
    async def list_shares(
        key_id: UUID, query: Annotated[CursorQuery, Query()], asker: AskedBy
    ) -> CursorPage[ShareView]:
        found = await sharing.page(asker, key_id, query.before_id(), query.limit + 1)
        return page_of(found, query.limit, ShareView.of, lambda share: share.id)

    @routes.delete(
        "/{share_id}",
        status_code=204,
        response_class=Response,
        summary="Take a grant back; from the answer on it gives nothing any more",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=user,
    )
    async def revoke_share(
        key_id: UUID, share_id: UUID, asker: AskedBy, _: Annotated[NoQuery, Query()]
    ) -> None:
        await sharing.revoke(asker, key_id, share_id)

    return routes
