"""The routes of usage: calls, their sums, and why each went as it did."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.paging import page_of
from model_service.http.problem import documented
from model_service.http.wire import Text255
from model_service.kernel.acting import whose
from model_service.kernel.errors import NotFound
from model_service.usage.domain import UsageReader
from model_service.usage.export import MEDIA_TYPES, export
from model_service.usage.wire import (
    ExplainedView,
    ExportQuery,
    ListUsage,
    Summary,
    SummaryQuery,
    SumsView,
    UsagePage,
    UsageView,
    WhoseQuery,
    WhyView,
    cursor_of,
    fields_of,
)

_OWN = "Users, and services for the user they name, see that user's calls alone."


def router(usage: UsageReader) -> APIRouter:
    """`/api/usage` and what has a fixed name below it."""
    routes = APIRouter(prefix="/api/usage", tags=["Usage"], route_class=GuardedRoute)

    @routes.get(
        "",
        response_model=UsagePage,
        summary="Calls, newest first",
        description=_OWN,
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_usage(query: Annotated[ListUsage, Query()], asker: AskedBy) -> UsagePage:
        wanted = query.wanted(whose(asker, query.user_id))
        found = await usage.page(wanted, query.before(), query.limit + 1)
        return page_of(found, query.limit, UsageView.of, cursor_of)

    @routes.get(
        "/summary",
        response_model=Summary,
        response_model_exclude_unset=True,
        summary="What calls came to, by one dimension",
        description=f"Sums are exact. Days and hours are those of UTC. {_OWN}",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.USER),
    )
    async def summary(query: Annotated[SummaryQuery, Query()], asker: AskedBy) -> Summary:
        wanted = query.wanted(whose(asker, query.user_id))
        by = () if query.group_by is None else (query.group_by,)
        found = await usage.groups(wanted, by, limit=query.limit + 1)
        views = [SumsView.of(group, query.group_by) for group in found[: query.limit]]
        return Summary(data=views, truncated=len(found) > query.limit)

    @routes.get(
        "/export",
        response_class=StreamingResponse,
        summary="Calls, newest first, as CSV or as lines of JSON",
        description=f"A document that ends early was cut off by a failure. {_OWN}",
        responses=documented(400, 401, 403, 503)
        | {
            200: {
                "description": "The document",
                "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
            }
        },
        openapi_extra=declare(Access.USER),
    )
    async def export_usage(
        query: Annotated[ExportQuery, Query()], asker: AskedBy
    ) -> StreamingResponse:
        wanted = query.wanted(whose(asker, query.user_id))
        return StreamingResponse(
            await export(usage, wanted, query.format),
            media_type=MEDIA_TYPES[query.format],
            headers={
                "content-disposition": f'attachment; filename="usage.{query.format}"',
                "cache-control": "no-store",
            },
        )

    return routes


def why_router(usage: UsageReader) -> APIRouter:
    """`/api/usage/{requestId}`. Comes after every other route below `/api/usage`."""
    routes = APIRouter(prefix="/api/usage", tags=["Usage"], route_class=GuardedRoute)

    @routes.get(
        "/{request_id}",
        response_model=WhyView,
        summary="Why a call went as it did",
        description="By the x-request-id of its answer. Callers may give the same id to several"
        f" calls: the newest one is shown, the others in `earlier`. {_OWN}",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def why(
        request_id: Annotated[Text255, Path()],
        query: Annotated[WhoseQuery, Query()],
        asker: AskedBy,
    ) -> WhyView:
        found = await usage.of_request(request_id, whose(asker, query.user_id))
        if not found:
            raise NotFound("No call with this request id is kept")
        newest = ExplainedView.explaining(found[0])
        return WhyView(
            **fields_of(found[0]),
            why=newest.why,
            earlier=[ExplainedView.explaining(event) for event in found[1:]],
        )

    return routes
