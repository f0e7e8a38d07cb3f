"""Health and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from model_service.http.auth import Access, GuardedRoute, Permission, declare
from model_service.http.metrics import CONTENT_TYPE, Metrics
from model_service.http.problem import documented
from model_service.http.wire import ResponseModel, format_moment
from model_service.kernel.errors import ServiceError

#: Seconds a dependency has to show that it is ready.
READY_TIMEOUT = 2.0

Check = Callable[[], Awaitable[str | None]]
"""Returns when a dependency is ready; raises `ServiceError` when it is not.

What is ready, yet wants an operator's attention, returns a fixed word that says why.
"""


class Health(ResponseModel):
    """The process is alive."""

    status: str
    service: str
    timestamp: str
    version: str


class Readiness(ResponseModel):
    """Whether the service can do its work, and each dependency's state in a fixed word."""

    status: str
    timestamp: str
    checks: dict[str, str]


def router(*, version: str, checks: Mapping[str, Check], metrics: Metrics) -> APIRouter:
    """The operational routes."""
    routes = APIRouter(tags=["Operations"], route_class=GuardedRoute)

    @routes.get(
        "/api/health",
        response_model=Health,
        summary="Is the process alive?",
        openapi_extra=declare(Access.OPEN),
    )
    async def health() -> Health:
        return Health(status="ok", service="model-service", timestamp=_timestamp(), version=version)

    @routes.get(
        "/api/health/ready",
        response_model=Readiness,
        summary="Can the service do its work?",
        responses={503: {"model": Readiness, "description": "Not ready"}},
        openapi_extra=declare(Access.OPEN),
    )
    async def ready() -> JSONResponse:
        found = await asyncio.gather(*map(_state, checks.values()))
        is_ready = all(passes for passes, _ in found)
        states = dict(zip(checks, (word for _, word in found), strict=True))
        answer = Readiness(
            status="ok" if is_ready else "unavailable", timestamp=_timestamp(), checks=states
        )
        headers = {"cache-control": "no-store"} | ({} if is_ready else {"retry-after": "2"})
        return JSONResponse(answer.model_dump(), 200 if is_ready else 503, headers)

    @routes.get(
        "/metrics",
        response_class=Response,
        summary="Prometheus metrics",
        responses={200: {"content": {"text/plain": {}}}, **documented(401, 403)},
        openapi_extra=declare(Access.SERVICE, Permission.OPERATIONS_READ),
    )
    async def expose() -> Response:
        return Response(metrics.expose(), media_type=CONTENT_TYPE)

    return routes


async def _state(check: Check) -> tuple[bool, str]:
    """Whether a dependency is ready, and its state in a word."""
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            word = await check()
    except TimeoutError:
        return False, "timeout"
    except ServiceError as error:
        return False, error.code
    return True, word or "ok"


def _timestamp() -> str:
    return format_moment(datetime.now(UTC))
