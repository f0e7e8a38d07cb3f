"""Answers that are wrong, endless or too large: each ends in its own error, promptly."""

import asyncio
import gzip
import tracemalloc

import pytest

from model_service.kernel.errors import (
    ConnectFailed,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTooLarge,
)
from model_service.providers.transport import Limits
from tests.faults.hostile import (
    HELLO,
    OK,
    Wire,
    a_transport,
    ask,
    fetch,
    serve,
)

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SMALL = Limits(body_bytes=1000, header_bytes=2000, header_count=10, interim_answers=3)


async def outcome(answer: bytes, *, reset: bool = False) -> type[UpstreamError] | bytes:
    """What comes of a server that sends these bytes and closes: the body, or the error's class."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)
        if reset:
            wire.reset()

    async with serve(script) as server, a_transport() as transport:
        try:
            return await fetch(transport, server, limits=SMALL)
        except UpstreamError as error:
            return type(error)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another protocol"),
        pytest.param(b"\x15\x03\x01\x00\x02\x02\x46", id="a TLS alert"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="a request"),
        pytest.param(b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", id="version 0.9"),
        pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="version 2.0"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="two-digit status"),
        pytest.param(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", id="status below 100"),
        pytest.param(b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", id="status above 599"),
        pytest.param(b"HTTP/1.1 1000 OK\r\n\r\n", id="four-digit status"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="status in letters"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", id="bare line feeds"),
        pytest.param(OK + b"A: b\r\n folded\r\nContent-Length: 0\r\n\r\n", id="folded header"),
        pytest.param(OK + b"A : b\r\nContent-Length: 0\r\n\r\n", id="space before the colon"),
        pytest.param(OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n", id="NUL in a header"),
        pytest.param(OK + b"no colon here\r\n\r\n", id="header without a colon"),
        pytest.param(OK + b"Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(OK + b"Content-Length: +1\r\n\r\nx", id="signed length"),
        pytest.param(OK + b"Content-Length: 1, 1\r\n\r\nx", id="list of lengths"),
        pytest.param(OK + b"Content-Length: 0x1\r\n\r\nx", id="hexadecimal length"),
        pytest.param(OK + b"Content-Length:\r\n\r\nx", id="empty length"),
        pytest.param(OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nx", id="huge length"),
        pytest.param(OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", id="length twice"),
        pytest.param(
            OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            id="length, then transfer encoding",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            id="transfer encoding, then length",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            id="compressed transfer encoding",
        ),
        pytest.param(
            OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            id="chunked not last",
        ),
        pytest.param(OK + b"Transfer-Encoding: xchunked\r\n\r\nx", id="unknown transfer encoding"),
        pytest.param(OK + b"Transfer-Encoding: identity\r\n\r\nx", id="identity transfer encoding"),
        pytest.param(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", id="chunk size in letters"),
        pytest.param(CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n", id="negative chunk size"),
        pytest.param(CHUNKED + b"f" * 20 + b"\r\nabc", id="huge chunk size"),
        pytest.param(CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", id="chunk longer than its size"),
        pytest.param(CHUNKED + b"3\nabc\n0\n\n", id="chunks with bare line feeds"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
            id="upgrade nobody asked for",
        ),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="upgrade to nothing"),
        pytest.param(
            OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", id="unknown coding"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 1\r\n\r\nx", id="double coding"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\nx", id="coding twice"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", id="not gzip"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello" * 50, mtime=0)[:-9],
            id="gzip cut short",
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello", mtime=0) + b"garbage",
            id="garbage after gzip",
        ),
    ],
)
async def test_malformed_answer_is_a_protocol_error(answer: bytes) -> None:
    assert await outcome(answer) is UpstreamProtocolError


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="before the answer"),
        pytest.param(b"HTTP/1.", id="within the status line"),
        pytest.param(OK + b"Content-Le", id="within a header"),
        pytest.param(OK + b"Content-Length: 5\r\n", id="before the empty line"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="after an interim answer"),
        pytest.param(OK + b"Content-Length: 5\r\n\r\n", id="before the body"),
        pytest.param(OK + b"Content-Length: 500\r\n\r\nhello", id="before the length is reached"),
        pytest.param(CHUNKED + b"5\r\nhel", id="within a chunk"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n", id="before the last chunk"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\n", id="within the trailers"),
    ],
)
async def test_answer_cut_short_is_never_a_whole_one(answer: bytes, reset: bool) -> None:
    assert await outcome(answer, reset=reset) is UpstreamClosed


async def test_body_without_framing_cut_by_a_reset_is_not_a_whole_one() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"\r\nhello")
        await was_read.wait()
        wire.reset()

    was_read = asyncio.Event()
    async with serve(script) as server, a_transport() as transport:
        pieces = (await ask(transport, server)).chunks()
        assert await anext(pieces) == b"hello"
        was_read.set()
        with pytest.raises(UpstreamClosed):
            await anext(pieces)


async def test_bytes_beyond_the_length_are_not_part_of_the_body() -> None:
    assert await outcome(OK + b"Content-Length: 5\r\n\r\nhello, and more") == b"hello"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(OK + b"A: " + b"x" * 3000, id="header without end"),
        pytest.param(OK + b"A" * 3000, id="header name without end"),
        pytest.param(b"HTTP/1.1 200 " + b"O" * 3000, id="reason without end"),
        pytest.param(
            OK + b"A: " + b"x" * 3000 + b"\r\nContent-Length: 0\r\n\r\n", id="large header"
        ),
        pytest.param(
            OK + b"A: " + b"x" * 3000 + b"\r\nContent-Length: 1\r\n\r\nx",
            id="large header with its body",
        ),
        pytest.param(OK + b"A: b\r\n" * 11 + b"\r\n", id="many headers"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 4 + HELLO, id="many interim answers"),
        pytest.param(OK + b"Content-Length: 1001\r\n\r\n", id="length above the limit"),
        pytest.param(CHUNKED + b"3e9\r\n" + b"x" * 1001, id="chunk above the limit"),
        pytest.param(OK + b"\r\n" + b"x" * 1001, id="unframed body above the limit"),
        pytest.param(CHUNKED + b"1;" + b"x" * 3000, id="chunk extension without end"),
        pytest.param(
            CHUNKED + b"0\r\nX-Trailer: " + b"x" * 3000, id="trailer without end"
        ),
        pytest.param(
            OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 1001, mtime=0),
            id="decompressed above the limit",
        ),
    ],
)  # fmt: skip
async def test_answer_beyond_a_limit_is_too_large(answer: bytes) -> None:
    assert await outcome(answer) is UpstreamTooLarge


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        pytest.param(OK, b"X-Padding: " + b"x" * 200 + b"\r\n", id="headers"),
        pytest.param(OK + b"X-Padding: ", b"x" * 200, id="one header"),
        pytest.param(b"", b"HTTP/1.1 102 Processing\r\n\r\n", id="interim answers"),
        pytest.param(CHUNKED, b"a\r\n0123456789\r\n", id="chunks"),
        pytest.param(CHUNKED + b"a;", b"extension", id="a chunk's extension"),
        pytest.param(CHUNKED + b"0\r\n", b"X-Trailer: value\r\n", id="trailers"),
        pytest.param(OK + b"\r\n", b"x" * 1000, id="body"),
    ],
)
async def test_answer_without_end_is_cut_off(start: bytes, repeated: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(start)
        while True:
            await wire.send(repeated)

    async with serve(script) as server, a_transport() as transport:
        with pytest.raises(UpstreamTooLarge):
            await fetch(transport, server, limits=SMALL)
        assert transport.open_connections == 0


async def test_gzip_bomb_is_cut_off_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))  # about 64 KiB

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"Content-Encoding: gzip\r\n")
        await wire.send(b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb)
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamTooLarge):
                await fetch(transport, server, limits=Limits(body_bytes=1024 * 1024))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8 * 1024 * 1024


async def test_what_arrived_before_an_error_is_readable() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"5\r\nhello\r\nzz\r\n")
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        pieces = (await ask(transport, server)).chunks()
        assert await anext(pieces) == b"hello"
        with pytest.raises(UpstreamProtocolError):
            await anext(pieces)


async def test_next_request_after_a_hostile_answer_is_served() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"garbage\r\n" if wire.server.connections == 1 else HELLO)
        await wire.gone()

    async with serve(script) as server, a_transport() as transport:
        with pytest.raises(UpstreamProtocolError):
            await fetch(transport, server)
        assert transport.open_connections == 0
        assert await fetch(transport, server) == b"hello"


async def test_port_nobody_listens_on_fails_the_connection() -> None:
    async with serve(answer_nothing) as server:
        endpoint = server.endpoint()
    async with a_transport() as transport:
        with pytest.raises(ConnectFailed):
            await fetch(transport, endpoint)
        assert transport.open_connections == 0


async def answer_nothing(wire: Wire) -> None:
    """Close at once."""
