"""Health, metrics and the documentation of the API itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response

from model_service.http.auth import Access, GuardedRoute, declare
from model_service.http.metrics import CONTENT_TYPE, Metrics
from model_service.http.problem import documented
from model_service.http.wire import ResponseModel, format_moment
from model_service.kernel.errors import ServiceError

#: Seconds a dependency has to show that it is ready.
READY_TIMEOUT = 2.0

Check = Callable[[], Awaitable[None]]
"""Returns when a dependency is ready; raises `ServiceError` when it is not."""


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
        states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
        is_ready = all(state == "ok" for state in states.values())
        answer = Readiness(
            status="ok" if is_ready else "unavailable", timestamp=_timestamp(), checks=states
        )
        headers = {"cache-control": "no-store"} | ({} if is_ready else {"retry-after": "2"})
        return JSONResponse(answer.model_dump(), 200 if is_ready else 503, headers)

    @routes.get(
        "/metrics",
        response_class=Response,
        summary="Prometheus metrics",
        responses={200: {"content": {"text/plain": {}}}, **documented(401)},
        openapi_extra=declare(Access.SERVICE),
    )
    async def expose() -> Response:
        return Response(metrics.expose(), media_type=CONTENT_TYPE)

    return routes


def documentation(app: FastAPI, *, version: str) -> APIRouter:
    """The routes that show the OpenAPI document, as JSON and as a page."""
    routes = APIRouter(route_class=GuardedRoute, include_in_schema=False)
    guarded = declare(Access.SERVICE)

    @routes.get("/api/openapi.json", openapi_extra=guarded)
    async def document() -> JSONResponse:
        return JSONResponse(openapi(app, version=version))

    @routes.get("/api/docs", openapi_extra=guarded)
    async def page() -> Response:
        return get_swagger_ui_html(openapi_url="/api/openapi.json", title="Model Service API")

    return routes


def openapi(app: FastAPI, *, version: str) -> dict[str, Any]:
    """The OpenAPI document of the routes as they are.

    The framework documents a 422 that this service never gives; it is taken out, and each
    route's declared access becomes its security requirement.
    """
    document = get_openapi(
        title="Model Service",
        version=version,
        summary="LLM models and provider API keys, kept in one place.",
        routes=app.routes,
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.get("responses", {}).pop("422", None)
            operation["security"] = _SECURITY[Access(operation["x-access"])]
    components = document.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):
        components.get("schemas", {}).pop(name, None)
    components["securitySchemes"] = {
        "administrator": {"type": "http", "scheme": "bearer"},
        "internal": {"type": "apiKey", "in": "header", "name": "x-internal-secret"},
    }
    return document


_SECURITY: Mapping[Access, list[dict[str, list[str]]]] = {
    Access.OPEN: [],
    Access.SERVICE: [{"administrator": []}, {"internal": []}],
    Access.ADMINISTRATOR: [{"administrator": []}],
    Access.INTERNAL: [{"internal": []}],
}


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            await check()
    except TimeoutError:
        return "timeout"
    except ServiceError as error:
        return error.code
    return "ok"


def _timestamp() -> str:
    return format_moment(datetime.now(UTC))
