"""One request to the gateway and its answer, on the connection that it came by."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from model_service.gateway import heads
from model_service.gateway.arrival import Arrival
from model_service.kernel.principal import Principal
from model_service.kernel.types import uuid7_text

if TYPE_CHECKING:
    from model_service.gateway.wire import GatewayProtocol

#: Largest body of a call, in bytes (Anthropic takes as much; images come in base64).
MAX_BODY: Final = 32 * 1024 * 1024
#: Largest body before it is known that the caller may call at all.
MAX_UNKNOWN_BODY: Final = 1024 * 1024
#: Bytes that all bodies together may hold that come in pieces: thousands of callers may send
#: slowly, and none is to be able to fill the memory.
MAX_HELD: Final = 512 * 1024 * 1024
#: Seconds that a caller may leave the answer unread before it counts as gone.
STALL_SECONDS: Final = 60.0
#: Seconds for which it is believed who calls while no token changes: a token may expire. A body
#: may take minutes, a call that waits behind another an hour.
BELIEVED_SECONDS: Final = 0.1


class Gateway(Protocol):
    """What calls are handed to."""

    def changes(self) -> int:
        """A number that goes up whenever `recognise` may tell something else than before."""
        ...

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told at once."""
        ...

    def serve(self, call: "Call") -> None:
        """Begin to answer a call, whatever becomes of it. Raises nothing."""
        ...


class Call:
    """One request to the gateway and its answer.

    `when_left` is called once if the caller goes away before its answer is complete.
    """

    # What most calls never change is the class's: a call is made for each request.
    response_started = False
    response_complete = False
    disconnected = False
    is_refused = False
    is_crowded = False
    """Whether it is refused because there is no room for its body at the moment."""
    more_body = False
    status = 0
    when_left: Callable[[], object] | None = None
    # As it came while it came in one piece; else gathered, for a body may come byte by byte,
    # and each would take the room of forty.
    body: bytes | bytearray = b""
    _is_turn = True
    _is_begun = False
    _held = 0
    _wants_to_know = False

    def __init__(self, protocol: "GatewayProtocol", gateway: Gateway, arrival: Arrival) -> None:
        self._protocol = protocol
        self._gateway = gateway
        self._transport = protocol.transport
        self.arrival = arrival
        self.keep_alive = arrival.keep_alive
        self.request_id = arrival.request_id or uuid7_text()

    @property
    def principal(self) -> Principal | None:
        """Who calls, as far as that could be told at once a moment ago."""
        return self.arrival.principal

    # What the protocol does.

    def take(self, body: bytes) -> None:
        """The request is here, whole, and nothing before it waits for its answer."""
        self.body = body
        self._start()

    def expect_body(self) -> None:
        """The request's head is here."""
        self.more_body = True
        self._is_turn = False
        self._wants_to_know = self._protocol.expect_100_continue
        self._recognise()
        if self.arrival.declared > self.limit:
            self._refuse_body()

    def add_body(self, piece: bytes) -> None:
        """A part of the body. One that is too large is thrown away from then on."""
        if self.is_refused:
            return
        body, protocol = self.body, type(self._protocol)
        if protocol.held_bytes + len(piece) > MAX_HELD:
            self.is_crowded = True
            self._refuse_body()
            self._begin()
        elif len(body) + len(piece) <= self.limit:
            protocol.held_bytes += len(piece)
            self._held += len(piece)
            if not body:
                self.body = piece
            elif type(body) is bytearray:
                body += piece
            else:
                self.body = bytearray(body) + piece
        else:
            self._refuse_body()
            self._begin()

    def complete(self) -> None:
        """The request is whole."""
        self.more_body = False
        if not self.is_refused:
            self._begin()
        elif self.response_complete:
            self._transport.close()

    def turn(self) -> None:
        """All requests before it on the connection are answered."""
        self._is_turn = True
        if self._wants_to_know and self.more_body and not self.is_refused:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._begin()

    def leave(self) -> None:
        """The caller has gone."""
        self.disconnected = True
        self._let_go()
        when_left, self.when_left = self.when_left, None
        if when_left is not None and not self.response_complete:
            when_left()

    @property
    def message_event(self) -> "Call":
        """Uvicorn wakes a cycle by setting its event; a call is told by `leave`."""
        return self

    def set(self) -> None:
        """See `message_event`."""

    def _let_go(self) -> None:
        type(self._protocol).held_bytes -= self._held
        self._held = 0

    def _refuse_body(self) -> None:
        self.body = b""
        self._let_go()
        self.is_refused = True
        self.keep_alive = False
        self._protocol.linger()

    def _begin(self) -> None:
        if self._is_turn and not self._is_begun and (not self.more_body or self.is_refused):
            self._start()

    def _start(self) -> None:
        self._is_begun = True
        arrival = self.arrival
        if (
            arrival.changes != self._gateway.changes()
            or self._protocol.loop.time() - arrival.recognised_at > BELIEVED_SECONDS
        ):
            self._recognise()
        self._gateway.serve(self)

    def _recognise(self) -> None:
        arrival = self.arrival
        arrival.changes = self._gateway.changes()
        arrival.recognised_at = self._protocol.loop.time()
        arrival.principal = self._gateway.recognise(arrival)

    # What the gateway does.

    @property
    def limit(self) -> int:
        """Bytes that the body may have."""
        return MAX_UNKNOWN_BODY if self.arrival.principal is None else MAX_BODY

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the call belongs to."""
        return self._protocol.loop

    def hold(self, task: "asyncio.Task[None]") -> None:
        """Let the server wait for a task before it stops."""
        tasks = self._protocol.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole answer. `lines` are headers, each with its end."""
        self.response_started = True
        self.status = status
        self._transport.write(
            b"%b%b%bcontent-length: %d\r\n%b\r\n%b"
            % (
                heads.status_line(status),
                self._protocol.date_line(),
                lines,
                len(body),
                b"" if self.keep_alive else b"connection: close\r\n",
                b"" if self.arrival.method == "HEAD" else body,
            )
        )
        self._done()

    def begin(self, status: int, lines: bytes, first: bytes) -> None:
        """Send the head of a stream and its first piece, which is not empty."""
        self.response_started = True
        self.status = status
        self._transport.write(
            b"%b%b%b%b%b\r\n%b"
            % (
                heads.status_line(status),
                self._protocol.date_line(),
                lines,
                b"" if self.arrival.is_old else b"transfer-encoding: chunked\r\n",
                b"" if self.keep_alive else b"connection: close\r\n",
                self._framed(first),
            )
        )

    def send(self, piece: bytes) -> None:
        """Send a piece of a stream, which is not empty."""
        self._transport.write(self._framed(piece))

    def _framed(self, piece: bytes) -> bytes:
        return piece if self.arrival.is_old else b"%x\r\n%b\r\n" % (len(piece), piece)

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
        if not self.arrival.is_old:
            self._transport.write(b"0\r\n\r\n")
        self._done()

    def abort(self) -> None:
        """Cut the connection: the caller must not take what it has for the whole."""
        self.response_complete = True
        self._let_go()
        self._transport.abort()

    def _done(self) -> None:
        self.response_complete = True
        if self._held:
            self._let_go()
        if not self.keep_alive and not (self.is_refused and self.more_body):
            self._transport.close()
        self._protocol.on_response_complete()
