"""A closed-loop HTTP load generator: each connection sends its next request when answered."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httptools
from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Load:
    """What a run came to. Times are in seconds."""

    requests: int
    seconds: float
    statuses: dict[int, int]
    latencies: list[float] = field(repr=False)

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that `share` (0 to 1) of the requests stayed within."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], done: asyncio.Event, load: "_Tally") -> None:
        self._requests = requests
        self._done = done
        self._tally = load
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    @override
    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._tally.statuses[status] = self._tally.statuses.get(status, 0) + 1
        self._tally.latencies.append(time.perf_counter() - self._sent)
        if time.perf_counter() >= self._tally.deadline:
            assert self._transport is not None
            self._transport.close()
        else:
            self._parser = httptools.HttpResponseParser(self)
            self._next()

    def _next(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.open -= 1
        if self._tally.open == 0:
            self._done.set()


@dataclass(slots=True)
class _Tally:
    deadline: float
    open: int
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)


async def drive(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> Load:
    """Send the requests round and round over `connections` connections for `seconds`."""
    cycle = itertools.cycle(requests)
    done = asyncio.Event()
    started = time.perf_counter()
    tally = _Tally(deadline=started + seconds, open=connections)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(cycle, done, tally), host, port)
    await done.wait()
    elapsed = time.perf_counter() - started
    return Load(len(tally.latencies), elapsed, tally.statuses, tally.latencies)


def get(host: str, path: str, **headers: str) -> bytes:
    """A GET request, ready to send."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
