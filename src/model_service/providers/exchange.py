"""One request's answer while it arrives: what the connection fills and the caller reads.

It outlives the connection's part in it: once the last byte has arrived the connection
serves the next exchange, and the caller reads the rest from here.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from model_service.kernel.errors import UpstreamClosed, UpstreamError
from model_service.providers.messages import Limits

RawHeaders = list[tuple[bytes, bytes]]

# Past this much unread body the socket is no longer read; one read adds up to 256 KiB, which
# is what asyncio and uvloop ask the kernel for at once.
HIGH_WATER: Final = 64 * 1024
# Pieces of a body kept apart; what comes beyond is gathered in the last.
MOST_PIECES: Final = 256


class StaleConnection(Exception):
    """A kept-alive connection turned out closed before the answer's first byte.

    It never leaves the transport, which repeats the request on a fresh connection.
    """


class Line(Protocol):
    """The connection an exchange is still using."""

    def abort(self) -> None:
        """Close the connection at once."""
        ...

    def resume_reading(self) -> None:
        """Read from the socket again."""
        ...


class Exchange:
    """The state of one answer, with room for one waiting reader.

    With `when_over` nobody waits: it is called once, in the event loop, when the answer is whole
    or will never be, and then gets the exchange.
    """

    # One is made for each request: slots are read faster than what an instance has of its class.
    __slots__ = (
        "_headers",
        "_loop",
        "_more",
        "_piece",
        "_taken",
        "_waiter",
        "_wants_all",
        "_when_over",
        "complete",
        "error",
        "head",
        "head_only",
        "is_coded",
        "limits",
        "line",
        "received",
        "status",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        when_over: "Callable[[Exchange], None] | None" = None,
        *,
        head_only: bool = False,
    ) -> None:
        """`head_only` says the answer has no body whatever its headers claim (HEAD)."""
        self._loop = loop
        self._when_over = when_over
        self._wants_all = when_over is not None
        self._waiter: asyncio.Future[None] | None = None
        self.limits = limits
        self.head_only = head_only
        self.line: Line | None = None

        self.status = 0
        # The status line and the headers, each ending in CRLF, and what was found in them.
        self.head = b""
        self._headers: RawHeaders | None = None
        # Whether the body has a content coding.
        self.is_coded = False
        # Of the body: bytes that have come, and that were taken; the first piece, those after it.
        self.received = 0
        self._taken = 0
        self._piece = b""
        self._more: list[bytes | bytearray] | None = None
        self.complete = False
        self.error: UpstreamError | StaleConnection | None = None

    # What the connection does.

    @property
    def buffered(self) -> int:
        """Bytes of the body that wait for the reader."""
        return self.received - self._taken

    @property
    def wants_pause(self) -> bool:
        """Whether the reader is so far behind that the socket should wait."""
        return self.buffered > HIGH_WATER and not self._wants_all

    def add_body(self, piece: bytes) -> int:
        """Keep a piece of the body, of a byte at least; gives how much there has been of it."""
        if not self._piece:
            self._piece = piece
        elif self._more is None:
            self._more = [piece]
        elif len(self._more) < MOST_PIECES - 1:
            self._more.append(piece)
        else:
            # A body may come byte by byte, and each as an object would take the room of forty.
            last = self._more[-1]
            if type(last) is not bytearray:
                last = self._more[-1] = bytearray(last)
            last += piece
        self.received = received = self.received + len(piece)
        return received

    def finish(self) -> None:
        """The answer is complete; the connection has no more part in it."""
        self.complete = True
        self._is_over()

    def fail(self, error: UpstreamError | StaleConnection) -> None:
        """The answer will never be complete. The reader gets `error` after what arrived."""
        self.error = error
        self._is_over()

    def wake(self) -> None:
        """Something arrived: let the reader look, unless it waits for the whole."""
        if not self._wants_all:
            self._wake()

    def _is_over(self) -> None:
        self.line = None
        when_over, self._when_over = self._when_over, None
        if when_over is not None:
            when_over(self)
        else:
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What the caller does.

    @property
    def headers(self) -> RawHeaders:
        """All headers in the order they came: names in lower case, values without outer spaces."""
        if self._headers is None:
            self._headers = found = []
            for line in self.head.split(b"\r\n")[1:-1]:
                name, _, value = line.partition(b":")
                found.append((name.lower(), value.strip(b" \t")))
        return self._headers

    def header(self, name: bytes) -> bytes | None:
        """The first header of that (lower-case) name."""
        for candidate, value in self.headers:
            if candidate == name:
                return value
        return None

    async def head_arrives(self) -> None:
        """Wait until status and headers are there. Raises the error that prevents it."""
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()

    async def next_piece(self) -> bytes:
        """All body bytes that have arrived and were not taken, at least one; b"" at the end."""
        while True:
            if self._piece:
                return self.taken()
            if self.error is not None:
                raise self.error
            if self.complete:
                return b""
            await self._wait()

    async def whole(self) -> bytes:
        """The rest of the body in one piece."""
        if not self.complete:
            self._wants_all = True
            if self.line is not None:
                self.line.resume_reading()
        while not self.complete:
            if self.error is not None:
                raise self.error
            await self._wait()
        if self.error is not None:
            raise self.error
        return self.taken()

    def taken(self) -> bytes:
        """What of the body has come and was not taken yet: of an answer that is over, the whole."""
        data = self._piece
        if self._more is not None:
            data = b"".join((data, *self._more))
            self._more = None
        self._piece = b""
        self._taken = self.received
        if self.line is not None:
            self.line.resume_reading()
        return data

    def abandon(self) -> None:
        """Forget the answer; a connection still busy with it is closed at once."""
        self._when_over = None
        line, self.line = self.line, None
        if self.error is None and (self._piece or not self.complete):
            self.error = UpstreamClosed("The answer was closed before it was read to its end")
        self._piece, self._more = b"", None
        self._taken = self.received
        if line is not None:
            line.abort()
        self._wake()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("an answer has one reader at a time")
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        except BaseException:
            self.abandon()  # cancelled: nobody is left to read what the upstream still sends
            raise
        finally:
            self._waiter = None
