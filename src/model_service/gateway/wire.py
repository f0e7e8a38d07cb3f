"""The gateway on the wire: its calls bypass ASGI.

`GatewayProtocol` hands requests under the gateway's paths to the gateway as `Call`s and all
others to the management API. A call takes the place of uvicorn's request cycle (and has the
attributes that uvicorn looks at), so that both kinds of request may follow one another on one
connection, pipelined or not.
"""

from typing import Any, Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from model_service.gateway.arrival import Arrival, KnownHead
from model_service.gateway.call import Call, Gateway
from model_service.gateway.routes import PREFIXES
from model_service.http import server

#: Seconds that a call's body may take to arrive.
BODY_SECONDS: Final = 120.0
#: Seconds for which a body that is not wanted is still read, so that the answer arrives.
LINGER_SECONDS: Final = 5.0
#: Heads in a row that turned out to be others than expected, after which a connection's heads
#: are no longer remembered: its client sends something new with each request.
MOST_SURPRISES: Final = 4


class GatewayProtocol(server.Protocol):
    """The service's HTTP protocol with the gateway in it."""

    #: Bytes of bodies that came in pieces and whose calls are not answered, over all connections.
    held_bytes = 0

    # The head of the last call, if calls with the same one may follow.
    _known: KnownHead | None = None
    # What is being answered while other requests wait: the cycle is the last of these.
    _answering: object = None
    _surprises = 0
    _in_message = False
    # Uvicorn's headers, and the line made of them.
    _dated: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def __init__(self, gateway: Gateway, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._gateway = gateway

    @override
    def data_received(self, data: bytes) -> None:
        if self._in_message:
            super().data_received(data)
            return
        before: RequestResponseCycle | Call | None = self.cycle
        known = self._known
        if known is not None and before is not None and before.response_complete:
            body = known.body_of(data)
            if body is not None and not self._refused and not self._holds_back:
                self._surprises = 0
                self._stop_waiting()
                self.cycle = call = Call(self, self._gateway, known.arrival)  # type: ignore[assignment]
                call.take(body)
                return
            self._known = None
            self._surprises += 1
        super().data_received(data)
        if self._surprises < MOST_SURPRISES:
            self._learn(data, before)

    def _learn(self, data: bytes, before: object) -> None:
        """Remember the head of a request that came whole, unless its call is one from before."""
        cycle: object = self.cycle
        if cycle is before or self._in_message or self.expect_100_continue:
            return
        if type(cycle) is Call:
            self._known = KnownHead.of(data, cycle.arrival)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = True

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
        parser = self.parser
        is_old = parser.get_http_version() == "1.0"
        arrival = Arrival(
            parser.get_method().decode("ascii"),
            self.url,
            self.headers,
            None if self.client is None else self.client[0],
            keep_alive=not is_old and parser.should_keep_alive(),
            is_old=is_old,
        )
        call = Call(self, self._gateway, arrival)
        call.expect_body()
        self.cycle = call  # type: ignore[assignment]
        if before is None or before.response_complete:
            call.turn()
        else:
            if not self.pipeline:
                self._answering = before
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
        self._in_message = False
        cycle: object = self.cycle
        if type(cycle) is Call and not self._asks_upgrade:
            self._stop_waiting()
            cycle.complete()
        else:
            super().on_message_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        queued: list[object] = [cycle for cycle, _ in self.pipeline]
        for cycle in (self._answering, self.cycle, *queued):
            if type(cycle) is Call:
                cycle.leave()
        super().connection_lost(exc)

    @override
    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
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
        headers = self.server_state.default_headers
        if headers is not GatewayProtocol._dated[0]:
            lines = [b"date: %b\r\n" % value for name, value in headers if name == b"date"]
            GatewayProtocol._dated = headers, b"".join(lines[:1])
        return GatewayProtocol._dated[1]
