"""The edge: what happens to every request before and after its route."""

import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_service.http import problem
from model_service.http.metrics import Metrics
from model_service.kernel.errors import PayloadTooLarge
from model_service.kernel.types import uuid7

log = structlog.get_logger("model_service.http")

#: Largest request body of the management API, in bytes.
MAX_BODY = 1024 * 1024
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}")
_LOOPBACK_HOST = re.compile(
    r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE
)
_ORIGIN_SCHEME = re.compile(r"https?://", re.IGNORECASE)
#: Where a link on another site may lead: a page that shows nothing of whoever opens it.
_DOCUMENTATION = "/api/docs"
_OTHER_SITE = "Pages of other sites may not use this service"


@dataclass(frozen=True, slots=True)
class BrowserGuard:
    """Keeps web pages off a development server, where a loopback caller needs no credential.

    A page of another site can make the browser send requests to loopback; they carry that
    site's `Origin`, or (DNS rebinding) its name as `Host`, or `Sec-Fetch-Site`. What another
    program serves on loopback is another site too: only the port tells them apart.
    """

    extra_hosts: Sequence[str] = field(default=())

    def refuses(self, scope: Scope) -> str | None:
        """Why a request is not let through; None when it is."""
        hosts = _values(scope, b"host")
        if not all(_LOOPBACK_HOST.fullmatch(host) or host in self.extra_hosts for host in hosts):
            return "This Host is not served in development mode"
        origins = _values(scope, b"origin")
        if not all(_is_of(origin, hosts) for origin in origins):
            return _OTHER_SITE
        is_elsewhere = {"cross-site", "same-site"}.intersection(_values(scope, b"sec-fetch-site"))
        if is_elsewhere and (origins or not _opens_documentation(scope)):
            return _OTHER_SITE
        return None


class Edge:
    """Request id, bounds, access log, metrics, and the last resort for unexpected errors."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, guard: BrowserGuard | None) -> None:
        self._app = app
        self._metrics = metrics
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self._app, self._metrics, self._guard, scope, receive, send).run()


class _Exchange:
    """One request and its response."""

    __slots__ = (
        "_app", "_guard", "_metrics", "_read", "_receive", "_scope", "_send", "_started", "_status",
        "request_id",
    )  # fmt: skip

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        guard: BrowserGuard | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._guard = guard
        self._scope = scope
        self._receive = receive
        self._send = send
        self._read = 0
        self._started = time.perf_counter()
        self._status = 0
        self.request_id = _request_id(scope)

    async def run(self) -> None:
        scope = self._scope
        scope["request_id"] = self.request_id
        self._metrics.in_flight.inc()
        try:
            refusal = self._guard.refuses(scope) if self._guard else None
            if refusal:
                await self._answer(403, "forbidden", refusal)
            elif _declared_length(scope) > MAX_BODY:
                await self._answer(413, PayloadTooLarge.code, PayloadTooLarge().message)
            else:
                await self._app(self._inner_scope(), self.receive, self.send)
        except ClientDisconnect:
            self._status = self._status or 499  # nginx's number for a client that has gone
        except Exception as error:  # noqa: BLE001 - the last resort: logged once, answered without detail
            self._log_failure(error)
            if not self._status:
                await self._answer(500, "internal_error", "Internal server error")
        finally:
            self._metrics.in_flight.dec()
            self._record()

    def _inner_scope(self) -> Scope:
        # HEAD is GET without the body, which the server leaves out (RFC 9110, section 9.3.2).
        if self._scope["method"] == "HEAD":
            self._scope = {**self._scope, "method": "GET"}
        return self._scope

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > MAX_BODY:
                raise PayloadTooLarge
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message["headers"] = list(message.get("headers", ()))
            headers.append((b"x-request-id", self.request_id.encode()))
            headers.append((b"x-content-type-options", b"nosniff"))
            if self._status == 413:
                headers.append((b"connection", b"close"))  # the rest of the body is not read
        await self._send(message)

    async def _answer(self, status: int, code: str, message: str) -> None:
        content = problem.body(
            status, code, message, path=self._scope["path"], request_id=self.request_id
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    def _record(self) -> None:
        seconds = time.perf_counter() - self._started
        route = self._scope.get("route")
        template = getattr(route, "path", "") or "(none)"
        method = self._scope["method"] if route else "(none)"
        self._metrics.requests.labels(method, template, self._status).observe(seconds)
        client = self._scope.get("client")
        log.info(
            "request",
            method=self._scope["method"],
            path=template,
            status=self._status,
            duration_ms=round(seconds * 1000, 3),
            request_id=self.request_id,
            client=client[0] if client else None,
        )

    def _log_failure(self, error: Exception) -> None:
        # Neither the message nor local values: both may hold what must not be written down.
        log.error(
            "unexpected error",
            error_type=type(error).__qualname__,
            where=_where(error),
            request_id=self.request_id,
        )


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [raw.decode("latin-1") for name, raw in scope["headers"] if name == wanted]


def _is_of(origin: str, hosts: Sequence[str]) -> bool:
    """Whether an origin is that of the very host the request is for, whatever the scheme."""
    scheme = _ORIGIN_SCHEME.match(origin)
    name = origin[scheme.end() :].lower() if scheme else None
    return bool(hosts) and all(name == host.lower() for host in hosts)


def _opens_documentation(scope: Scope) -> bool:
    """Whether somebody followed a link to the documentation, in a tab of its own."""
    return (
        scope["method"] == "GET"
        and scope["path"] == _DOCUMENTATION
        and _values(scope, b"sec-fetch-mode") == ["navigate"]
        and _values(scope, b"sec-fetch-dest") in ([], ["document"])
    )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return str(uuid7())


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _where(error: BaseException) -> str:
    """The innermost frames of our own code, and the chain of error types that led here."""
    frames: list[str] = []
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        for frame, line in traceback.walk_tb(cause.__traceback__):
            module = frame.f_globals.get("__name__", "?")
            if module.startswith("model_service"):
                frames.append(f"{module}:{line}")
        frames.append(type(cause).__qualname__)
        cause = cause.__cause__
    return " > ".join(frames[-12:])
