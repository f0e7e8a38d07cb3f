"""Upstream servers on loopback that do exactly what a script says, right or wrong.

A script gets a `Wire`, one accepted connection. Nothing here parses leniently or repairs
anything: the bytes a test writes are the bytes the transport sees.
"""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypedDict, Unpack

from model_service.providers.egress import EgressPolicy, Resolver
from model_service.providers.endpoint import Endpoint, parse_endpoint
from model_service.providers.transport import (
    Limits,
    Timeouts,
    Transport,
    UpstreamRequest,
    UpstreamResponse,
)

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"

# Long enough never to ring in a sound test on a busy machine, short enough to notice.
PATIENT = Timeouts(connect=10, first_byte=10, idle=10, total=20)
BRIEFLY = 0.05  # seconds: the timeout under test in tests that wait for one


@dataclasses.dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    head: bytes
    body: bytes

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = [line.partition(":") for line in lines if line]
        return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.decode("latin-1").partition("\r\n")[0]


class Wire:
    """One accepted connection, in the hands of a script."""

    def __init__(
        self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def request(self) -> Received:
        """Read one request by its Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = Received(head, b"").header("content-length")
        body = await self.reader.readexactly(int(length[0])) if length else b""
        received = Received(head, body)
        self.server.requests.append(received)
        return received

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel has room again."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed the connection, and note it."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass
        self.server.departures.release()

    def reset(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Wire], Awaitable[None]]


class Server:
    """A listening script, and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[Received] = []
        self.arrivals = asyncio.Semaphore(0)
        self.departures = asyncio.Semaphore(0)

    def endpoint(self, *, scheme: str = "http", host: str = "127.0.0.1") -> Endpoint:
        """This server as an operator-set endpoint."""
        return parse_endpoint(f"{scheme}://{host}:{self.port}", trusted=True)

    async def client_came(self) -> None:
        """Wait until a client has connected."""
        await self.arrivals.acquire()

    async def client_left(self) -> None:
        """Wait until a client has closed its connection, at most a second (SECURITY: egress 6)."""
        async with asyncio.timeout(1):
            await self.departures.acquire()


@contextlib.asynccontextmanager
async def serve(
    script: Script, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run a script for every connection. A script's own mistake fails the test."""
    server = Server()
    running: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.arrivals.release()
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
        try:
            # A client that leaves in the middle is what many of these tests are about.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await script(Wire(server, reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.transport.abort()

    listening = await asyncio.start_server(accepted, host, port, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running)


def answering(*answers: bytes) -> Script:
    """Answer the requests of each connection in turn, then wait for the client to leave."""

    async def script(wire: Wire) -> None:
        for answer in answers:
            await wire.request()
            await wire.send(answer)
        await wire.gone()

    return script


def answering_then_closing(answer: bytes) -> Script:
    """Answer one request and close."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)

    return script


async def always_hello(wire: Wire) -> None:
    """Answer every request with `hello`, keeping the connection."""
    while True:
        await wire.request()
        await wire.send(HELLO)


async def silent(wire: Wire) -> None:
    """Take the request and never answer."""
    await wire.gone()


class TransportSettings(TypedDict, total=False):
    """What a test may choose of a transport."""

    ssl_context: ssl.SSLContext
    resolver: Resolver
    max_connections_per_origin: int
    idle_keepalive_s: float


@contextlib.asynccontextmanager
async def a_transport(
    policy: EgressPolicy | None = None, **settings: Unpack[TransportSettings]
) -> AsyncIterator[Transport]:
    """A transport that is closed at the end, leaving no connection behind."""
    transport = Transport(policy or EgressPolicy(), **settings)
    try:
        yield transport
    finally:
        await transport.aclose()
        assert transport.open_connections == 0


class RequestOptions(TypedDict, total=False):
    """What a request may say beyond where it goes."""

    method: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeouts: Timeouts
    limits: Limits


async def ask(
    transport: Transport,
    target: Server | Endpoint,
    path: str = "/",
    **options: Unpack[RequestOptions],
) -> UpstreamResponse:
    """Send one request."""
    request = UpstreamRequest(
        target.endpoint() if isinstance(target, Server) else target,
        options.get("method", "GET"),
        path,
        options.get("headers", ()),
        options.get("body", b""),
    )
    timeouts, limits = options.get("timeouts", PATIENT), options.get("limits", Limits())
    return await transport.send(request, timeouts, limits)


async def fetch(
    transport: Transport,
    target: Server | Endpoint,
    path: str = "/",
    **options: Unpack[RequestOptions],
) -> bytes:
    """Send one request and read the answer's whole body."""
    async with await ask(transport, target, path, **options) as response:
        return await response.read()


def resolving_to(*answers: Sequence[str]) -> Resolver:
    """A resolver that gives these answers one after the other, the last one for ever."""
    remaining = list(answers)

    async def resolver(host: str, port: int) -> Sequence[str]:
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return resolver


def with_timeouts(**changed: float) -> Timeouts:
    """Patient timeouts but for these."""
    return dataclasses.replace(PATIENT, **changed)
