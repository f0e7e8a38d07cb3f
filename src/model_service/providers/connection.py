"""One connection to an upstream, speaking HTTP/1.1, one exchange at a time.

There is no task and, in the steady state, no timer per request: the connection keeps one
timer, set to the earliest deadline it has known, and looks at the present deadline when the
timer rings.
"""

import asyncio
import math
import select
import ssl
from typing import Final, Protocol, cast

from typing_extensions import override

from model_service.kernel.errors import UpstreamClosed, UpstreamError, UpstreamTimeout
from model_service.providers.exchange import Exchange, StaleConnection
from model_service.providers.messages import Timeouts
from model_service.providers.parsing import AnswerParser

# uvloop keeps time in whole milliseconds, so a timer may ring a little before its moment.
_TIMER_GRAIN: Final = 0.001


class Owner(Protocol):
    """The pool a connection belongs to."""

    def connection_free(self, connection: "Connection") -> None:
        """The connection can serve another exchange."""
        ...

    def connection_gone(self, connection: "Connection") -> None:
        """The connection is closed; told once."""
        ...


class Connection(asyncio.Protocol):
    """The transport's side of one socket.

    Between exchanges it is free, watches for the server closing it, and closes itself after
    `keepalive` seconds or when it is older than `lifetime`, so that a changed name takes effect.
    """

    __slots__ = (
        "_exchange",
        "_keepalive",
        "_owner",
        "_parser",
        "_paused",
        "_phase_deadline",
        "_poll",
        "_timeouts",
        "_timer",
        "_timer_at",
        "_total_deadline",
        "_transport",
        "_wears_out_at",
        "closed",
        "free_since",
        "loop",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        *,
        keepalive: float,
        lifetime: float,
    ) -> None:
        self.loop = loop
        self._owner = owner
        self._keepalive = keepalive
        self._wears_out_at = loop.time() + lifetime
        self._transport: asyncio.Transport | None = None
        self._parser = AnswerParser()
        self._poll = select.poll()
        self.closed: asyncio.Future[None] = loop.create_future()

        self._exchange: Exchange | None = None
        # Loop time; it has served nobody yet.
        self.free_since = -math.inf
        self._paused = False
        self._timeouts = Timeouts()
        self._phase_deadline = math.inf
        self._total_deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    # For the pool and the transport.

    def is_usable(self) -> bool:
        """Whether an exchange may begin: open, and nothing waiting to be read.

        The kernel is asked too, because the loop may not have got round to an end of file or
        to bytes nobody asked for, and those must not be taken for the next answer.
        """
        return self._transport is not None and not self._poll.poll(0)

    async def run(
        self, exchange: Exchange, head: bytes, body: bytes, timeouts: Timeouts, total: float
    ) -> None:
        """As `start`, and wait for the answer's head.

        Raises StaleConnection, or the UpstreamError that prevented the head.
        """
        self.start(exchange, head, body, timeouts, total, self.loop.time())
        await exchange.head_arrives()

    def start(
        self,
        exchange: Exchange,
        head: bytes,
        body: bytes,
        timeouts: Timeouts,
        total: float,
        now: float,
    ) -> None:
        """Send a request whose answer goes into `exchange`.

        `total` is the moment by which everything must be over, `now` the present one (loop
        time). Raises StaleConnection or UpstreamClosed when the connection is closed already.
        """
        transport = self._transport
        if transport is None:
            raise StaleConnection if self.free_since > -math.inf else UpstreamClosed
        self._exchange = self._parser.exchange = exchange
        exchange.line = self
        self._timeouts = timeouts
        self._total_deadline = total
        self._phase_deadline = deadline = now + timeouts.first_byte
        # Mostly the timer rings soon enough.
        if deadline < self._timer_at or total < self._timer_at:
            self._arm(min(deadline, total))
        if body:
            transport.writelines((head, body))
        else:
            transport.write(head)

    def abort(self) -> None:
        """Close at once, for a reader who has lost interest. No exchange is told."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._exchange = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport.abort()
        self._owner.connection_gone(self)

    def fail(self, error: UpstreamError | StaleConnection) -> None:
        """Close at once; the reader of the answer on the line, if any, gets `error`."""
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.fail(error)

    def resume_reading(self) -> None:
        """Read from the socket again after the reader caught up."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._await_more()
            self._transport.resume_reading()

    # What the event loop calls.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    @override
    def data_received(self, data: bytes) -> None:
        exchange, parser = self._exchange, self._parser
        if exchange is None:
            self.abort()  # nobody asked
            return
        parser.feed(data)
        if parser.fault is not None:
            self.fail(parser.fault)
        elif parser.ended:
            self._settle(exchange)
        elif parser.in_body:
            self._continue_body(exchange)

    @override
    def eof_received(self) -> None:
        if self._exchange is not None and self._parser.until_close and self._end_is_genuine():
            self._settle(self._exchange)
        else:
            self._closed_by_server()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._closed_by_server()
        if not self.closed.done():
            self.closed.set_result(None)

    # Within.

    def _continue_body(self, exchange: Exchange) -> None:
        """Part of the body is here and more will follow."""
        if exchange.wants_pause and self._transport is not None:
            if not self._paused:
                self._paused = True
                self._phase_deadline = math.inf  # the reader is slow, not the upstream
                self._transport.pause_reading()
        else:
            self._await_more()
        exchange.wake()

    def _end_is_genuine(self) -> bool:
        """Whether the server ended the stream, rather than somebody cutting TCP under TLS.

        An unframed body is complete only with TLS's own closing alert (RFC 9112 section 9.8),
        and the event loop reports both ends alike; so the TLS engine is asked once more.
        """
        tls = self._transport and self._transport.get_extra_info("ssl_object")
        try:
            return not tls or tls.read(1) == b""
        except ssl.SSLError:
            return False

    def _settle(self, exchange: Exchange) -> None:
        """The answer is complete: the connection becomes free, or closes."""
        self._exchange = None
        parser, transport, now = self._parser, self._transport, self.loop.time()
        if (
            transport is None
            or not parser.reusable
            or transport.get_write_buffer_size()  # the rest of a request nobody waited for
            or now > self._wears_out_at
        ):
            self.abort()
        else:
            parser.let_go()
            self.free_since = now
            if now + self._keepalive < self._timer_at:
                self._arm(now + self._keepalive)
            if self._paused:
                self._paused = False
                transport.resume_reading()
            self._owner.connection_free(self)
        exchange.finish()

    def _closed_by_server(self) -> None:
        stale = self.free_since > -math.inf and self._parser.untouched
        self.fail(StaleConnection() if stale else UpstreamClosed())

    def _await_more(self) -> None:
        """Give the upstream its time for the next part of the body."""
        self._phase_deadline = self.loop.time() + self._timeouts.idle
        self._arm(min(self._phase_deadline, self._total_deadline))

    def _arm(self, moment: float) -> None:
        """Have the timer ring by a moment. An armed one is only ever moved forward."""
        if moment < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = moment
            self._timer = self.loop.call_at(moment, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, math.inf
        phase, total = self._phase_deadline, self._total_deadline
        is_free = self._exchange is None
        moment = self.free_since + self._keepalive if is_free else min(phase, total)
        if moment - self.loop.time() > _TIMER_GRAIN:
            self._arm(moment)
        elif is_free:
            self.abort()  # free for too long
        elif total <= phase:
            self.fail(UpstreamTimeout("total"))
        else:
            self.fail(UpstreamTimeout("idle" if self._parser.in_body else "first_byte"))
