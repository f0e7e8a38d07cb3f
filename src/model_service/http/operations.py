"""Health and metrics."""

import asyncio
import time
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
#: Seconds for which what was found is believed. Anybody may ask, and asking takes connections
#: to the database, of which there are few.
READY_SECONDS = 1.0

Check = Callable[[], Awaitable[str | None]]
"""Returns when a dependency is ready; raises `ServiceError` when it is not.

What is ready, yet wants an operator's attention, returns a fixed word that says why.
"""


State = tuple[bool, str]
"""Whether a dependency is ready, and its state in a word."""


class ReadinessProbe:
    """Runs the checks for all who ask: one run at a time, shared by those who wait for it."""

    def __init__(
        self, checks: Mapping[str, Check], now: Callable[[], float] = time.monotonic
    ) -> None:
        """`now` gives seconds that never go back."""
        self._checks = checks
        self._now = now
        self._found: Mapping[str, State] = {}
        self._found_until = now()
        self._under_way: asyncio.Task[Mapping[str, State]] | None = None

    async def states(self) -> Mapping[str, State]:
        """Each dependency's state, at most `READY_SECONDS` old."""
        if self._now() < self._found_until:
            return self._found
        if self._under_way is None:
            # A task of its own: whoever asked first may go away before it ends.
            self._under_way = asyncio.create_task(self._run())
            self._under_way.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._under_way)

    async def _run(self) -> Mapping[str, State]:
        try:
            found = await asyncio.gather(*map(_state, self._checks.values()))
            self._found = dict(zip(self._checks, found, strict=True))
            self._found_until = self._now() + READY_SECONDS
            return self._found
        finally:
            self._under_way = None


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
    probe = ReadinessProbe(checks)
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
        found = await probe.states()
        is_ready = all(passes for passes, _ in found.values())
        answer = Readiness(
            status="ok" if is_ready else "unavailable",
            timestamp=_timestamp(),
            checks={name: word for name, (_, word) in found.items()},
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


async def _state(check: Check) -> State:
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
