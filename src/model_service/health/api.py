"""The routes of how providers are doing."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from model_service.health.domain import ChangeFilter, PastChange, Standing
from model_service.health.service import HealthService
from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.paging import CursorPage, CursorQuery, page_of
from model_service.http.problem import documented
from model_service.http.wire import Moment, MomentIn, NoQuery, ResponseModel, Text255
from model_service.kernel.types import Provider
from model_service.providers.condition import State


class HealthView(ResponseModel):
    """How a model is doing at its provider, over the last five minutes.

    `model` is the registered name, `upstreamModel` the provider's; several registered models may
    share one place, and then its numbers. Times are in milliseconds, null without calls.
    """

    provider: Provider
    model: str
    upstream_model: str
    endpoint: str
    state: State
    calls: int
    error_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None
    last_error: str | None
    last_error_at: Moment | None
    why: str | None
    since: Moment
    retry_at: Moment | None

    @classmethod
    def of(cls, standing: Standing, name: str) -> "HealthView":
        """The view of a place under one of its names."""
        rate = standing.error_rate
        return cls(
            provider=standing.place.provider,
            model=name,
            upstream_model=standing.place.model,
            endpoint=standing.place.endpoint,
            state=standing.state,
            calls=standing.calls,
            error_rate=None if rate is None else round(rate, 4),
            p50_ms=_rounded(standing.p50),
            p95_ms=_rounded(standing.p95),
            first_token_p50_ms=_rounded(standing.first_token_p50),
            first_token_p95_ms=_rounded(standing.first_token_p95),
            last_error=standing.last_error,
            last_error_at=standing.last_error_at,
            why=standing.why or None,
            since=standing.since,
            retry_at=standing.retry_at,
        )


class HealthList(ResponseModel):
    """All of them."""

    data: list[HealthView]


class ListChanges(CursorQuery):
    """Which changes to list. `model` is a registered name, or the provider's."""

    provider: Provider | None = None
    model: Text255 | None = None
    since: Annotated[MomentIn | None, Field(alias="from")] = None
    until: Annotated[MomentIn | None, Field(alias="to")] = None


class ChangeView(ResponseModel):
    """Calls to a place were stopped, or let go there again."""

    id: str
    at: Moment
    provider: Provider
    models: list[str]
    upstream_model: str
    endpoint: str
    state: State
    last_error: str | None
    why: str | None
    instance: str

    @classmethod
    def of(cls, change: PastChange) -> "ChangeView":
        """The view of a change."""
        return cls(
            id=str(change.id),
            at=change.at,
            provider=change.place.provider,
            models=list(change.names),
            upstream_model=change.place.model,
            endpoint=change.place.endpoint,
            state=change.state,
            last_error=change.error,
            why=change.why or None,
            instance=change.instance,
        )


def router(health: HealthService) -> APIRouter:
    """The routes under `/api/providers/health`."""
    routes = APIRouter(prefix="/api/providers/health", tags=["Providers"], route_class=GuardedRoute)
    service = declare(Access.SERVICE)

    @routes.get(
        "",
        summary="How providers are doing, as all processes saw it in the last five minutes",
        responses=documented(400, 401, 403, 503),
        openapi_extra=service,
    )
    async def list_health(_: Annotated[NoQuery, Query()]) -> HealthList:
        return HealthList(
            data=[
                HealthView.of(standing, name)
                for standing in await health.standings()
                for name in standing.names or (standing.place.model,)
            ]
        )

    @routes.get(
        "/history",
        summary="When calls to providers were stopped and let go again, newest first",
        description="Kept for 30 days.",
        responses=documented(400, 401, 403, 503),
        openapi_extra=service,
    )
    async def list_changes(query: Annotated[ListChanges, Query()]) -> CursorPage[ChangeView]:
        wanted = ChangeFilter(
            provider=query.provider,
            model=query.model,
            since=query.since,
            until=query.until,
            before=query.before_id(),
        )
        found = await health.changes(wanted, query.limit + 1)
        return page_of(found, query.limit, ChangeView.of, lambda change: change.id)

    return routes


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 1)
