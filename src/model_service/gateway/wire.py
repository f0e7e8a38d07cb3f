"""The gateway on the wire: its calls bypass ASGI.

`GatewayProtocol` hands requests under the gateway's paths to the gateway as `Call`s and all
others to the management API. A call takes the place of uvicorn's request cycle (and has the
attributes that uvicorn looks at), so that both kinds of request may follow one another on one
connection, pipelined or not.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from model_service.gateway import heads
from model_service.gateway.ports import Arrival, RawHeaders
from model_service.gateway.routes import PREFIXES, Route, family_of, find
from model_service.http import server
from model_service.kernel.principal import Principal
from model_service.kernel.types import uuid7_text

#: Largest body of a call, in bytes (Anthropic takes as much; images come in base64).
MAX_BODY: Final = 32 * 1024 * 1024
#: Largest body before it is known that the caller may call at all.
MAX_UNKNOWN_BODY: Final = 1024 * 1024
#: Seconds that a call's body may take to arrive.
BODY_SECONDS: Final = 120.0
#: Seconds for which a body that is not wanted is still read, so that the answer arrives.
LINGER_SECONDS: Final = 5.0
#: Seconds that a caller may leave the answer unread before it counts as gone.
STALL_SECONDS: Final = 60.0

#: Seconds for which it is believed who calls. A body may take minutes, a call that waits behind
#: another an hour, and a token revoked meanwhile must not be taken.
BELIEVED_SECONDS: Final = 0.1

_MAX_REQUEST_ID: Final = 128
_ID_CHARACTERS: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
)


class Gateway(Protocol):
    """What calls are handed to."""

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told at once."""
        ...

    def serve(self, call: "Call") -> Coroutine[Any, Any, None]:
        """Answer a call. Raises nothing but CancelledError, when the caller has gone."""
        ...


class GatewayProtocol(server.Protocol):
    """The service's HTTP protocol with the gateway in it."""

    def __init__(self, gateway: Gateway, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._gateway = gateway

    @override
    def on_headers_complete(self) -> None:
        if not self.url.startswith(PREFIXES):
            super().on_headers_complete()
            return
        self._in_head = False
        if self._ignores_upgrade():
            return
        self._wait(BODY_SECONDS)
        before: RequestResponseCycle | Call | None = self.cycle
        call = Call(self, self._gateway, self.parser.get_method().decode("ascii"))
        self.cycle = call  # type: ignore[assignment]
        if before is None or before.response_complete:
            call.turn()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((call, self.app))  # type: ignore[arg-type]

    @override
    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if type(cycle) is Call:
            cycle.add_body(body)
        else:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        cycle: object = self.cycle
        if type(cycle) is Call and not self._asks_upgrade:
            self._stop_waiting()
            cycle.complete()
        else:
            super().on_message_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        cycles: list[object] = [self.cycle, *(queued for queued, _ in self.pipeline)]
        for cycle in cycles:
            if type(cycle) is Call:
                cycle.leave()
        super().connection_lost(exc)

    @override
    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is Call:
            cycle.turn()
        else:
            super()._start_asgi_task(cycle, app)

    @override
    def _too_slow(self) -> None:
        cycle: object = self.cycle
        if type(cycle) is Call and cycle.is_refused:
            self.transport.close()
        else:
            super()._too_slow()

    def linger(self) -> None:
        """Go on reading a body that is not wanted for a while, so that the answer arrives."""
        self._wait(LINGER_SECONDS)

    def date_line(self) -> bytes:
        """Uvicorn's `Date` header, which it renews every second."""
        for name, value in self.server_state.default_headers:
            if name == b"date":
                return b"date: " + value + b"\r\n"
        return b""


class Call:
    """One request to the gateway and its answer."""

    __slots__ = (
        "_body",
        "_gateway",
        "_is_turn",
        "_limit",
        "_protocol",
        "_recognised_at",
        "_task",
        "_transport",
        "_wants_to_know",
        "arrival",
        "disconnected",
        "family",
        "is_refused",
        "keep_alive",
        "more_body",
        "principal",
        "response_complete",
        "response_started",
        "route",
        "status",
    )

    def __init__(self, protocol: GatewayProtocol, gateway: Gateway, method: str) -> None:
        self._protocol = protocol
        self._gateway = gateway
        self._transport = protocol.transport
        parser = protocol.parser
        self.keep_alive: bool = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        self.response_started = self.response_complete = self.disconnected = False
        self.more_body = True
        self.is_refused = False
        self.status = 0
        headers: RawHeaders = protocol.headers
        client = protocol.client
        request_id, declared = _read(headers)
        self.arrival = Arrival(
            method,
            # Without the query: it may hold anything.
            protocol.url.partition(b"?")[0].decode("latin-1"),
            headers,
            None if client is None else client[0],
            request_id or uuid7_text(),
        )
        self.route: Route | None = find(protocol.url, headers)
        self.family = (
            self.route.family if self.route is not None else family_of(protocol.url, headers)
        )
        self.principal: Principal | None = gateway.recognise(self.arrival)
        self._recognised_at = protocol.loop.time()
        self._limit = MAX_UNKNOWN_BODY if self.principal is None else MAX_BODY
        # As it came while it came in one piece; else gathered, for a body may come byte by byte,
        # and each would take the room of forty.
        self._body: bytes | bytearray = b""
        self._is_turn = False
        self._task: asyncio.Task[None] | None = None
        self._wants_to_know = protocol.expect_100_continue
        if declared > self._limit:
            self._refuse_body()

    # What the protocol does.

    @property
    def message_event(self) -> "Call":
        """Uvicorn wakes a cycle by setting its event; a call is told by `leave`."""
        return self

    def set(self) -> None:
        """See `message_event`."""

    def add_body(self, piece: bytes) -> None:
        """A part of the body. One that is too large is thrown away from then on."""
        if len(self._body) + len(piece) <= self._limit and not self.is_refused:
            if not self._body:
                self._body = piece
            elif type(self._body) is bytearray:
                self._body += piece
            else:
                self._body = bytearray(self._body) + piece
        elif not self.is_refused:
            self._refuse_body()
            self._start()

    def complete(self) -> None:
        """The request is whole."""
        self.more_body = False
        if not self.is_refused:
            self._start()
        elif self.response_complete:
            self._transport.close()

    def turn(self) -> None:
        """All requests before it on the connection are answered."""
        self._is_turn = True
        if self._wants_to_know and self.more_body and not self.is_refused:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._start()

    def leave(self) -> None:
        """The caller has gone."""
        self.disconnected = True
        if self._task is not None and not self.response_complete:
            self._task.cancel()

    def _refuse_body(self) -> None:
        self._body = b""
        self.is_refused = True
        self.keep_alive = False
        self._protocol.linger()

    def _start(self) -> None:
        if not self._is_turn or self._task is not None or (self.more_body and not self.is_refused):
            return
        protocol = self._protocol
        if protocol.loop.time() - self._recognised_at > BELIEVED_SECONDS:
            self.principal = self._gateway.recognise(self.arrival)
        task: asyncio.Task[None] = protocol.loop.create_task(self._gateway.serve(self))
        self._task = task
        protocol.tasks.add(task)
        task.add_done_callback(protocol.tasks.discard)

    # What the gateway does.

    @property
    def body(self) -> bytes | bytearray:
        """The whole body."""
        return self._body

    @property
    def limit(self) -> int:
        """Bytes that the body may have."""
        return self._limit

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole answer. `lines` are headers, each with its end."""
        self.response_started = True
        self.status = status
        shown = b"" if self.arrival.method == "HEAD" else body
        self._transport.write(
            b"%b%b%bcontent-length: %d\r\n%b\r\n%b"
            % (
                heads.status_line(status),
                self._protocol.date_line(),
                lines,
                len(body),
                b"" if self.keep_alive else b"connection: close\r\n",
                shown,
            )
        )
        self._done()

    def begin(self, status: int, lines: bytes, first: bytes) -> None:
        """Send the head of a stream and its first piece, which is not empty."""
        self.response_started = True
        self.status = status
        self._transport.write(
            b"%b%b%btransfer-encoding: chunked\r\n%b\r\n%x\r\n%b\r\n"
            % (
                heads.status_line(status),
                self._protocol.date_line(),
                lines,
                b"" if self.keep_alive else b"connection: close\r\n",
                len(first),
                first,
            )
        )

    def send(self, piece: bytes) -> None:
        """Send a piece of a stream, which is not empty."""
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    @property
    def is_slow(self) -> bool:
        """Whether the caller does not keep up with what is sent."""
        return self._protocol.flow.write_paused

    async def keep_up(self) -> None:
        """Wait until the caller has caught up. Raises TimeoutError when it does not."""
        async with asyncio.timeout(STALL_SECONDS):
            await self._protocol.flow.drain()

    def end(self) -> None:
        """The stream is complete."""
        self._transport.write(b"0\r\n\r\n")
        self._done()

    def abort(self) -> None:
        """Cut the connection: the caller must not take what it has for the whole."""
        self.response_complete = True
        self._transport.abort()

    def _done(self) -> None:
        self.response_complete = True
        if not self.keep_alive and not (self.is_refused and self.more_body):
            self._transport.close()
        self._protocol.on_response_complete()


def _read(headers: RawHeaders) -> tuple[str | None, int]:
    """The caller's id for the request, if it is a sane one, and the bytes it says to send."""
    request_id, declared = None, 0
    for name, value in headers:
        if name == b"content-length":  # llhttp has checked its digits
            declared = int(value)
        elif (
            name == b"x-request-id"
            and 0 < len(value) <= _MAX_REQUEST_ID
            and _ID_CHARACTERS.issuperset(value)
            and value[:1].isalnum()
        ):
            request_id = value.decode("ascii")
    return request_id, declared
