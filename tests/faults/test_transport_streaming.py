"""Bodies read as they arrive: promptly, with back-pressure, and closed when nobody reads on."""

import asyncio
import gzip

import pytest

from model_service.kernel.errors import UpstreamClosed
from model_service.providers.exchange import HIGH_WATER
from tests.faults.hostile import (
    BRIEFLY,
    OK,
    Wire,
    a_transport,
    ask,
    fetch,
    serve,
    silent,
    with_timeouts,
)

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# What asyncio asks the kernel for in one read (selector_events and sslproto: 256 KiB).
ONE_READ = 256 * 1024


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_part_of_a_body_arrives_before_the_rest_is_sent() -> None:
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + chunk(b"one"))
        await release.wait()
        await wire.send(chunk(b"two") + b"0\r\n\r\n")

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server)
        pieces = response.chunks()
        assert await anext(pieces) == b"one"
        release.set()
        assert await anext(pieces) == b"two"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_head_arrives_before_any_body_is_sent() -> None:
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED)
        await release.wait()
        await wire.send(chunk(b"late") + b"0\r\n\r\n")

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert response.status == 200
        release.set()
        assert await response.read() == b"late"


async def test_part_of_a_compressed_body_is_readable_at_once() -> None:
    compressed = gzip.compress(b"event one\n", mtime=0) + gzip.compress(b"event two\n", mtime=0)
    cut = len(gzip.compress(b"event one\n", mtime=0))
    release = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.send(chunk(compressed[:cut]))
        await release.wait()
        await wire.send(chunk(compressed[cut:]) + b"0\r\n\r\n")

    async with serve(script) as server, a_transport() as transport:
        pieces = (await ask(transport, server)).chunks()
        assert await anext(pieces) == b"event one\n"
        release.set()
        assert await anext(pieces) == b"event two\n"


async def test_slow_reader_stalls_the_server_and_loses_nothing() -> None:
    piece, count = bytes(64 * 1024), 768  # 48 MiB, well beyond what loopback buffers hold
    stalled = asyncio.Event()
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(OK + b"Content-Length: %d\r\n\r\n" % (len(piece) * count))
        for _ in range(count):
            drained = asyncio.ensure_future(wire.send(piece))
            done, _ = await asyncio.wait([drained], timeout=BRIEFLY)
            if not done:
                stalled.set()
            await drained
            sent += 1
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server)
        pieces = response.chunks()
        received = len(await anext(pieces))
        async with asyncio.timeout(10):
            await stalled.wait()
        assert sent < count / 2
        assert response._exchange.buffered <= HIGH_WATER + ONE_READ
        async for data in pieces:
            assert len(data) <= HIGH_WATER + ONE_READ
            received += len(data)
        assert received == len(piece) * count


async def test_whole_read_is_not_held_up_by_the_buffer_bound() -> None:
    body = bytes(8 * 1024 * 1024)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: %d\r\n\r\n" % len(body))
        await wire.send(body)
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        assert await fetch(transport, server) == body


async def test_idle_timeout_does_not_run_against_a_slow_reader() -> None:
    body = bytes(16 * 1024 * 1024)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        response = await ask(transport, server, timeouts=with_timeouts(idle=BRIEFLY))
        pieces = response.chunks()
        received = len(await anext(pieces))
        loop = asyncio.get_running_loop()
        later: asyncio.Future[None] = loop.create_future()
        loop.call_later(3 * BRIEFLY, later.set_result, None)
        await later  # the reader takes longer than the upstream would be allowed to
        async for data in pieces:
            received += len(data)
        assert received == len(body)


async def endless_body(wire: Wire) -> None:
    await wire.request()
    await wire.send(CHUNKED + chunk(b"first"))
    await wire.gone()


async def test_closing_an_unfinished_answer_closes_the_connection_at_once() -> None:
    async with serve(endless_body) as server, a_transport() as transport:
        response = await ask(transport, server)
        await response.aclose()
        await response.aclose()
        await server.client_left()
        assert transport.open_connections == 0
        with pytest.raises(UpstreamClosed):
            await response.read()


async def test_leaving_the_context_in_mid_body_closes_the_connection() -> None:
    async with serve(endless_body) as server, a_transport() as transport:
        async with await ask(transport, server) as response:
            async for piece in response.chunks():
                assert piece == b"first"
                break
        await server.client_left()


async def test_closing_a_finished_answer_keeps_the_connection() -> None:
    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(CHUNKED + chunk(b"done") + b"0\r\n\r\n")

    async with serve(script) as server, a_transport() as transport:
        for _ in range(3):
            assert await fetch(transport, server) == b"done"
        assert server.connections == 1


async def test_cancelling_while_the_head_is_awaited_closes_the_connection() -> None:
    async with serve(silent) as server, a_transport() as transport:
        task = asyncio.ensure_future(ask(transport, server))
        await server.client_came()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.client_left()
        assert transport.open_connections == 0


async def test_cancelling_while_the_body_is_awaited_closes_the_connection() -> None:
    async with serve(endless_body) as server, a_transport() as transport:
        response = await ask(transport, server)
        task = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)  # one turn: the read has begun
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.client_left()


async def test_second_reader_of_one_answer_is_refused() -> None:
    async with serve(endless_body) as server, a_transport() as transport:
        response = await ask(transport, server)
        assert await anext(response.chunks()) == b"first"
        first = asyncio.ensure_future(response.read())
        await asyncio.sleep(0)  # one turn: the first read has begun
        with pytest.raises(RuntimeError, match="one reader"):
            await response.read()
        await response.aclose()
        with pytest.raises(UpstreamClosed):
            await first
