"""The routes of quotas: administrators set them, everybody sees those that are about them."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field

from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import (
    Moment,
    Money,
    NoQuery,
    RequestModel,
    ResponseModel,
    Text255,
    UserId,
)
from model_service.kernel.acting import whose
from model_service.kernel.counting import Metric, Window
from model_service.quotas.domain import Change, NewQuota, from_units
from model_service.quotas.service import QuotaService, Shown

Limit = Annotated[
    float, Field(strict=True, ge=0, le=1e18), AfterValidator(lambda value: Decimal(repr(value)))
]
"""Requests, tokens, or US dollars down to a billionth; becomes a Decimal."""


class CreateQuota(RequestModel):
    """A quota to be set: for a user, a token, a model, or what is of all that are named."""

    user_id: UserId | None = None
    token_id: UUID | None = None
    model: Text255 | None = None
    metric: Metric
    window: Window
    limit: Limit

    def to_new(self) -> NewQuota:
        """The same in the domain's types."""
        return NewQuota(
            metric=self.metric,
            window=self.window,
            limit=Decimal(self.limit),
            user_id=self.user_id,
            token_id=self.token_id,
            model=self.model,
        )


class ChangeQuota(RequestModel):
    """Another limit. The other fields may be named, as they are."""

    user_id: UserId | None = None
    token_id: UUID | None = None
    model: Text255 | None = None
    metric: Annotated[Metric, Field(default=None)]
    window: Annotated[Window, Field(default=None)]
    limit: Annotated[Limit, Field(default=None)]

    def to_change(self) -> Change:
        """The same in the domain's types."""
        given = self.model_fields_set
        names = {"user_id": "userId", "token_id": "tokenId"}
        named = {names.get(one, one): getattr(self, one) for one in given if one != "limit"}
        return Change(Decimal(self.limit) if "limit" in given else None, named)


class ListQuotas(CursorQuery):
    """Whose quotas to list."""

    user_id: UserId | None = None


class QuotaView(ResponseModel):
    """A quota and how it stands in its present window, in requests, tokens or US dollars.

    `reserved` is held for calls under way beside what is `used`; `projectedExhaustionAt` is when
    the quota will be used up at the window's pace so far, null if not before it resets.
    """

    id: UUID
    user_id: str | None
    token_id: UUID | None
    model: str | None
    metric: Metric
    window: Window
    limit: Money
    used: Money
    reserved: Money
    remaining: Money
    resets_at: Moment
    projected_exhaustion_at: Moment | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, shown: Shown) -> "QuotaView":
        """The view of a quota."""
        stored, standing = shown
        quota = stored.quota

        def amount(units: int) -> Decimal:
            return from_units(quota.metric, units)

        return cls(
            id=quota.id,
            user_id=quota.user_id,
            token_id=quota.token_id,
            model=quota.model,
            metric=quota.metric,
            window=quota.window,
            limit=stored.limit,
            used=amount(standing.used),
            reserved=amount(standing.reserved),
            remaining=amount(max(0, quota.limit - standing.used)),
            resets_at=standing.resets_at,
            projected_exhaustion_at=standing.exhausted_at(quota.limit, stored.created_at),
            created_at=stored.created_at,
            updated_at=stored.updated_at,
        )


def router(quotas: QuotaService) -> APIRouter:
    """The routes under `/api/quotas`."""
    routes = APIRouter(prefix="/api/quotas", tags=["Quotas"], route_class=GuardedRoute)
    _add_reading_routes(routes, quotas)
    _add_managing_routes(routes, quotas)
    return routes


def _add_reading_routes(routes: APIRouter, quotas: QuotaService) -> None:
    user = declare(Access.USER)

    @routes.get(
        "",
        summary="List quotas and how they stand, newest first",
        description="An administrator sees all, or those of `userId`; others those that are for "
        "their user or for one of its tokens.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=user,
    )
    async def list_quotas(
        query: Annotated[ListQuotas, Query()], by: AskedBy
    ) -> CursorPage[QuotaView]:
        user_id = whose(by, query.user_id)
        found = await quotas.page(user_id, query.before_id(), query.limit + 1)
        return page_of(found, query.limit, QuotaView.of, lambda shown: shown[0].quota.id)

    @routes.get(
        "/{quota_id}",
        summary="One quota and how it stands",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=user,
    )
    async def get_quota(quota_id: UUID, _: Annotated[NoQuery, Query()], by: AskedBy) -> QuotaView:
        return QuotaView.of(await quotas.get(quota_id, by))


def _add_managing_routes(routes: APIRouter, quotas: QuotaService) -> None:
    administrator = declare(Access.ADMINISTRATOR)

    @routes.post(
        "",
        status_code=201,
        summary="Set a quota",
        description="At least one of `userId`, `tokenId` and `model`. It counts from now on.",
        responses=documented(400, 401, 403, 413, 503),
        openapi_extra=administrator,
    )
    async def create_quota(body: CreateQuota, _: Annotated[NoQuery, Query()]) -> QuotaView:
        return QuotaView.of(await quotas.create(body.to_new()))

    @routes.put(
        "/{quota_id}",
        summary="Set another limit",
        description="What is used in the present window stays used.",
        responses=documented(400, 401, 403, 404, 413, 503),
        openapi_extra=administrator,
    )
    async def change_quota(
        quota_id: UUID, body: ChangeQuota, _: Annotated[NoQuery, Query()]
    ) -> QuotaView:
        return QuotaView.of(await quotas.change(quota_id, body.to_change()))

    @routes.delete(
        "/{quota_id}",
        status_code=204,
        response_class=Response,
        summary="Remove a quota",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=administrator,
    )
    async def delete_quota(quota_id: UUID, _: Annotated[NoQuery, Query()]) -> None:
        await quotas.delete(quota_id)
