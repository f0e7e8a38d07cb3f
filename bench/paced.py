"""An open-loop load: requests leave on time, whether or not earlier ones were answered."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

import httptools
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Paced:
    """Latencies in seconds, each from the moment at which its request was due."""

    latencies: list[float] = field(repr=False)

    def percentile(self, share: float) -> float:
        """The latency that `share` (0 to 1) of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        free: "deque[_Connection]",
        latencies: list[float],
        count: int,
        done: asyncio.Event,
        first_byte: bool,
    ) -> None:
        self._first_byte = first_byte
        self._body_began = 0.0
        self._free = free
        self._latencies = latencies
        self._count = count
        self._done = done
        self.due = 0.0
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, _: bytes) -> None:
        if not self._body_began:
            self._body_began = time.perf_counter()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            raise RuntimeError(f"status {self._parser.get_status_code()}")
        end = self._body_began if self._first_byte else time.perf_counter()
        self._body_began = 0.0
        self._latencies.append(end - self.due)
        if len(self._latencies) == self._count:
            self._done.set()
        self._parser = httptools.HttpResponseParser(self)
        self._free.append(self)


async def paced(
    port: int,
    path: str,
    body: bytes,
    token: str,
    *,
    rate: int,
    seconds: float,
    first_byte: bool = False,
) -> Paced:
    """`rate` requests a second for `seconds`, over as many connections as that takes.

    Latencies are to the end of each answer, or to the `first_byte` of its body.
    """
    message = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    latencies: list[float] = []
    done = asyncio.Event()
    count = int(rate * seconds)
    free: deque[_Connection] = deque()
    loop = asyncio.get_running_loop()
    everybody: list[_Connection] = []

    async def connect() -> _Connection:
        _, made = await loop.create_connection(
            lambda: _Connection(free, latencies, count, done, first_byte), "127.0.0.1", port
        )
        everybody.append(made)
        return made

    free.extend([await connect() for _ in range(32)])
    start = time.perf_counter() + 0.05
    for number in range(count):
        due = start + number / rate
        while (wait := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - time, not an event
            # Short waits spin: a timer of the loop is a millisecond late as often as not.
            await asyncio.sleep(0 if wait < 0.002 else wait - 0.001)
        connection = free.popleft() if free else await connect()
        connection.due = due
        assert connection.transport is not None
        connection.transport.write(message)
    async with asyncio.timeout(30):
        await done.wait()
    for connection in everybody:
        assert connection.transport is not None
        connection.transport.close()
    return Paced(latencies[count // 5 :])  # the first fifth warms everything up
