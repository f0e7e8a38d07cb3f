"""Callers that ask on and on and read none of the answers: these must not fill the memory."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from model_service.http import server
from tests.faults.hostile import Wire, serve
from tests.faults.test_gateway_clients import Caller, Dial, asks, dial, talking
from tests.gateway_world import GatewayWorld

#: A request without a credential; long, so that the kernel's buffers hold few of them.
ASKED = b"GET /v1/x HTTP/1.1\r\nhost: x\r\nx-filler: " + b"x" * 1000 + b"\r\n\r\n"
AT_ONCE = 50
#: More requests than the kernel's buffers hold, and than the service has answers waiting for.
ENOUGH = 30_000
#: Bytes of a large answer.
LARGE = 8_000_000


@pytest_asyncio.fixture
async def deaf(world: GatewayWorld) -> AsyncIterator[socket.socket]:
    """A caller's socket that holds little of what nobody reads."""
    host, _, port = world.url.removeprefix("http://").partition(":")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        await asyncio.get_running_loop().sock_connect(caller, (host, int(port)))
        yield caller


async def ask_until_stuck(caller: socket.socket, asked: bytes) -> int:
    """Send requests until no more are taken for a while; how many bytes were."""
    loop = asyncio.get_running_loop()
    sent, piece = 0, asked * AT_ONCE
    while sent < ENOUGH * len(asked):
        try:
            sent += caller.send(piece[sent % len(asked) :])
        except BlockingIOError:
            writable = asyncio.Event()
            loop.add_writer(caller, writable.set)
            try:
                async with asyncio.timeout(1):
                    await writable.wait()
            except TimeoutError:
                break
            finally:
                loop.remove_writer(caller)
    return sent


async def read_answers(caller: socket.socket, wanted: int) -> int:
    """How many answers come, up to a number."""
    loop, count, rest = asyncio.get_running_loop(), 0, b""
    async with asyncio.timeout(20):
        while count < wanted:
            piece = await loop.sock_recv(caller, 262_144)
            if not piece:
                break
            rest += piece
            count += rest.count(b"HTTP/1.1 401 ")
            rest = rest[-12:] if not rest.endswith(b"HTTP/1.1 401 ") else b""
    return count


@pytest.mark.parametrize("path", [b"/v1/x", b"/api/health"])
async def test_who_reads_no_answer_is_answered_no_more(deaf: socket.socket, path: bytes) -> None:
    asked = ASKED.replace(b"/v1/x", path)
    assert await ask_until_stuck(deaf, asked) < ENOUGH * len(asked)


async def test_who_reads_again_is_answered_on(deaf: socket.socket) -> None:
    sent = await ask_until_stuck(deaf, ASKED)
    assert await read_answers(deaf, sent // len(ASKED)) == sent // len(ASKED)


@pytest.fixture
def let_go(deaf: socket.socket, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the service has let go of the connection, of which the caller need not hear."""
    event, lost = asyncio.Event(), server.Protocol.connection_lost

    def noted(protocol: server.Protocol, error: Exception | None) -> None:
        lost(protocol, error)
        if protocol.client == deaf.getsockname():
            event.set()

    monkeypatch.setattr(server.Protocol, "connection_lost", noted)
    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(server, "KEEP_ALIVE", 0.3)
    return event


async def test_who_takes_nothing_for_long_is_gone(
    deaf: socket.socket, let_go: asyncio.Event
) -> None:
    with contextlib.suppress(ConnectionError):
        await ask_until_stuck(deaf, ASKED)
    async with asyncio.timeout(10):
        await let_go.wait()


async def large(wire: Wire) -> None:
    """A provider that says more than buffers hold."""
    await wire.request()
    body = (
        b'{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}]}' % (b"x" * LARGE)
    )
    await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


@pytest.mark.parametrize("ending", [b"host: x", b"connection: close"])
async def test_who_reads_slowly_gets_all_of_it(
    world: GatewayWorld, dial: Dial, monkeypatch: pytest.MonkeyPatch, ending: bytes
) -> None:
    monkeypatch.setattr(server, "UNREAD_SECONDS", 1.5)
    monkeypatch.setattr(server, "KEEP_ALIVE", 1.5)
    async with serve(large) as upstream:
        caller = await dial()
        asked = await asks(world, upstream, stream=False)
        caller.writer.write(asked.replace(b"host: x", ending, 1))
        received = 0
        async with asyncio.timeout(60):
            while piece := await caller.reader.read(200_000):
                received += len(piece)
                await asyncio.sleep(0.1)
    assert received > LARGE


@pytest.mark.parametrize("ending", [b"host: x", b"connection: close"])
async def test_who_never_takes_a_large_answer_is_gone(
    world: GatewayWorld, deaf: socket.socket, let_go: asyncio.Event, ending: bytes
) -> None:
    """Closing the connection behind it would wait without end."""
    async with serve(large) as upstream:
        asked = await asks(world, upstream, stream=False)
        await asyncio.get_running_loop().sock_sendall(deaf, asked.replace(b"host: x", ending, 1))
        async with asyncio.timeout(10):
            await let_go.wait()


async def test_more_requests_at_once_than_anybody_sends_end_the_connection(
    world: GatewayWorld, dial: Dial
) -> None:
    async with serve(talking) as upstream:
        caller = await dial()
        caller.writer.write(await asks(world, upstream))
        await caller.head()
        caller.writer.write(b"GET /v1/x HTTP/1.1\r\n\r\n" * (server.MAX_PIPELINED + 1))
        await caller.reader.read()


async def test_many_requests_at_once_are_all_answered_in_turn(
    world: GatewayWorld, dial: Dial
) -> None:
    """Also where a piece of them, which is longer than a head may be, ends within one."""
    caller, count = await dial(), 300
    caller.writer.write(ASKED * count)
    assert await answers(caller, count) == count


async def answers(caller: Caller, count: int) -> int:
    """Read that many answers; how many of them were refusals."""
    received = b""
    async with asyncio.timeout(20):
        while received.count(b"HTTP/1.1 ") < count:
            received += await caller.reader.read(262_144)
    return received.count(b"HTTP/1.1 401 ") + received.count(b"HTTP/1.1 404 ")


async def test_requests_behind_a_call_that_takes_its_time_are_all_answered(
    world: GatewayWorld, dial: Dial
) -> None:
    """They are answered at once then, and none within the answering of the one before."""
    caller, go_on, count = await dial(), asyncio.Event(), 900

    async def waiting(wire: Wire) -> None:
        await wire.request()
        await go_on.wait()
        await wire.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async with serve(waiting) as upstream:
        asked = await asks(world, upstream, stream=False)
        token = asked.partition(b"authorization: ")[2].partition(b"\r\n")[0]
        behind = b"GET /v1/models/x HTTP/1.1\r\nauthorization: %b\r\n\r\n" % token
        caller.writer.write(asked + behind * count)
        await upstream.client_came()
        go_on.set()
        assert await answers(caller, 1 + count) == count


async def test_garbage_behind_two_calls_is_not_answered_within_the_first_ones_answer(
    world: GatewayWorld, dial: Dial
) -> None:
    async with serve(talking) as upstream:
        caller = await dial()
        caller.writer.write(await asks(world, upstream))
        await caller.head()
        await caller.reader.readuntil(b"\n\n")
        caller.writer.write(ASKED + b"GARBAGE\r\n\r\n")
        received = await caller.reader.read()
    assert b"HTTP/1.1" not in received


__all__ = ["dial"]
