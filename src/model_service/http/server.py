"""The HTTP server: uvicorn, configured once, with every answer in the one error shape."""

import asyncio
import math
import resource
import socket
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
import structlog
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from model_service.http import problem
from model_service.kernel.errors import StartupFault
from model_service.kernel.types import uuid7

log = structlog.get_logger(__name__)

#: Seconds that a request's head, and after it its body, may take to arrive.
HEAD_SECONDS = 15.0
BODY_SECONDS = 30.0
#: Largest head of a request, in bytes.
MAX_HEAD = 65_536
#: File descriptors kept for everything but clients: database, upstreams, files.
RESERVED_DESCRIPTORS = 256
#: Seconds that requests under way are given to finish when the service stops.
GRACE = 25
#: Seconds an idle connection is kept for the next request.
KEEP_ALIVE = 75
#: Seconds in which a client has to take at least a part of what it was sent.
UNREAD_SECONDS = 60.0
#: Requests that may wait behind one on their connection: a piece can hold ten thousand.
MAX_PIPELINED = 1000
#: Seconds that a timer may ring too early: uvloop keeps time in whole milliseconds.
TIMER_GRAIN = 0.001
#: Length of the queue of connections not yet accepted.
BACKLOG = 2048


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds, and with refusals in the one error shape.

    A connection has `HEAD_SECONDS` to send its first request's head, and each further one
    from its first byte, then `BODY_SECONDS` for the body; a head may have `MAX_HEAD` bytes.
    Beyond `max_connections` new ones are closed at once, so that those there are go on.

    A client that does not read its answers is answered nothing more until it does: what waits to
    be sent is kept in memory. After `UNREAD_SECONDS` in which it took none of it, it is gone.
    """

    max_connections = 10_000
    _head_bytes = 0
    _in_head = True
    _refused = False
    # One timer serves all that is waited for, one after the other. It is only ever moved
    # forward: when it rings too early for what is waited for by then, it is set again.
    _timer: asyncio.TimerHandle | None = None
    _timer_at = math.inf
    _deadline = math.inf
    _is_idle = False
    # The bytes that the client had not taken when that was looked at last; 0: it is not looked at.
    _unread = 0
    _holds_back = False
    # The bytes being parsed, and whether the request in them asks for another protocol.
    _piece = b""
    _asks_upgrade = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            log.warning("too many connections; closing a new one", count=len(self.connections))
            transport.abort()
        else:
            self._wait(HEAD_SECONDS)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._piece = data
        super().data_received(data)
        self._piece = b""
        # Counted here, since the parser hands a header over only when it is whole. What follows
        # a complete head in the same piece is not part of one.
        if self._in_head:
            if self._head_bytes < 0:  # it begins here, perhaps behind other requests
                before = data.rfind(b"\r\n\r\n")
                self._head_bytes = len(data) - (before + 4 if before >= 0 else 0)
            else:
                self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, "headers_too_large", f"The head is larger than {MAX_HEAD} bytes")

    @override
    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise httptools.HttpParserError("too many requests at once")
        super().on_message_begin()
        self._in_head, self._head_bytes = True, -1
        self._wait(HEAD_SECONDS)

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._ignores_upgrade():
            return
        self._wait(BODY_SECONDS)
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        if self._asks_upgrade:
            return
        self._stop_waiting()
        super().on_message_complete()

    def _ignores_upgrade(self) -> bool:
        """Whether the request asks for another protocol, and is put aside to be read without that.

        The parser takes whatever follows such a head for the other protocol: the request's own
        body would be lost, or be read as the next request.
        """
        asks = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        self._asks_upgrade = asks
        return asks

    @override
    def _unsupported_upgrade_warning(self) -> None:
        """Read the request once more as one that does not ask (RFC 9110, section 7.8)."""
        error = sys.exc_info()[1]
        if not self._asks_upgrade or not isinstance(error, httptools.HttpParserUpgrade):
            return
        self._asks_upgrade = False
        version = self.parser.get_http_version().encode()
        head = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
            if name != b"upgrade":
                head.append(b"%b: %b" % (name, value))
        rest = self._piece[error.args[0] :]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    @override
    def on_response_complete(self) -> None:
        """As uvicorn's, whose timer for idle connections would be another one each time."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._watch()
        elif self.flow.write_paused:
            self._holds_back = True
            self.flow.pause_reading()
            self._watch()
        else:
            self._go_on()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._holds_back:
            self._holds_back = False
            if not self.transport.is_closing():
                self._go_on()

    def _go_on(self) -> None:
        """Take the next request; read on only when none is left, save for its body."""
        following = self.pipeline.pop() if self.pipeline else None
        if not self.pipeline:
            self.flow.resume_reading()
        if following is not None:
            # Not at once: it may be answered at once, and so may all that are behind it.
            self.loop.call_soon(self._start_following, *following)
        else:
            self._wait(KEEP_ALIVE)
            self._is_idle = True

    def _start_following(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        if not self.transport.is_closing():
            self._start_asgi_task(cycle, app)

    def _watch(self) -> None:
        """See to it that the client takes what it was sent: closing waits for that without end."""
        unread = self.transport.get_write_buffer_size()
        if unread:
            self._wait(UNREAD_SECONDS)
            self._unread = unread

    def _wait(self, seconds: float) -> None:
        self._is_idle = False
        self._unread = 0
        self._deadline = deadline = self.loop.time() + seconds
        if deadline < self._timer_at:
            self._set_timer(deadline)

    def _stop_waiting(self) -> None:
        self._deadline = math.inf

    def _set_timer(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = moment
        self._timer = self.loop.call_at(moment, self._ring)

    def _ring(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._deadline == math.inf:
            return
        if self._deadline - self.loop.time() > TIMER_GRAIN:
            self._set_timer(self._deadline)
        elif self._unread:
            if self.transport.get_write_buffer_size() < self._unread:
                self._watch()
            else:
                self.transport.abort()
        elif self._is_idle:
            self._close()
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        self._refuse(408, "request_timeout", "The request took too long to arrive")

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "The request is not valid HTTP")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer and close, unless an answer is already under way: then only close."""
        self._refused = True
        self._stop_waiting()
        cycle: RequestResponseCycle | None = self.cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if is_answering or self.pipeline:
            self._close()
            return
        request_id = str(uuid7())
        content = problem.body(status, code, message, path="", request_id=request_id)
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nx-request-id: %s\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
            % (status, HTTPStatus(status).phrase.encode(), len(content), request_id.encode())
        )
        self.transport.write(head + content)
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._watch()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        StartupFault: the address cannot be had, saying why and what to do.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise StartupFault(f"cannot listen on {host}: {error.strerror}; check HOST") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupFault(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what uses it, or set PORT"
        ) from error
    listener.set_inheritable(True)
    return listener


def limit_resources() -> None:
    """Let the process have as many connections as it may, and no core dump.

    A core dump would hold the master secret and every data key.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    Protocol.max_connections = max(soft - RESERVED_DESCRIPTORS, soft // 2)


def make_server(
    app: ASGIApp, protocol: Callable[..., asyncio.Protocol] = Protocol
) -> uvicorn.Server:
    """A server for `app`; `serve(sockets=[...])` runs it until SIGINT or SIGTERM.

    `protocol` makes each connection's protocol, a `Protocol` or what is built on it.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", protocol),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )
