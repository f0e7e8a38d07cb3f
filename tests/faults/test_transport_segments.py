"""However the network cuts an answer, it parses to the same."""

import asyncio
import itertools
import socket
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from model_service.providers.connection import Connection
from model_service.providers.exchange import Exchange
from model_service.providers.messages import Limits
from model_service.providers.response import open_response
from tests.faults.hostile import PATIENT

TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=12)
NAMES = TOKENS.map(lambda token: "X-" + token)
VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
).map(lambda text: "".join(c for c in text if not 0x7F <= ord(c) < 0xA1))


@dataclass(frozen=True)
class Answer:
    """A valid answer on the wire, and what it means."""

    wire: bytes
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    ends_with_connection: bool


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    status = draw(st.sampled_from([200, 201, 302, 400, 429, 500, 599]))
    headers = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=200), max_size=5))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    interims = draw(st.integers(0, 2))
    body = b"".join(pieces)
    if framing == "length":
        headers.append(("Content-Length", str(len(body))))
        wire_body = body
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        extension = draw(st.sampled_from([b"", b";a=b", b";a"]))
        trailer = draw(st.sampled_from([b"", b"X-Trailer: x\r\n"]))
        chunks = [b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces]
        wire_body = b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"
    else:
        wire_body = body
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} Reason\r\n{lines}\r\n".encode("latin-1")
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * interims
    return Answer(
        interim + head + wire_body,
        status,
        tuple((name.lower(), value) for name, value in headers),
        body,
        framing == "close",
    )


class Watched(Connection):
    """A connection that tells when it has taken a segment in."""

    took = asyncio.Semaphore(0)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.took.release()


class NoPool:
    """Takes a connection back and keeps nothing."""

    def __init__(self) -> None:
        self.free = 0

    def connection_free(self, connection: Connection) -> None:
        self.free += 1

    def connection_gone(self, connection: Connection) -> None:
        """Nothing was kept."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=answers(), data=st.data())
async def test_answer_cut_into_any_segments_parses_to_the_same(
    answer: Answer, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(1, max(1, len(answer.wire) - 1)), max_size=8))
    edges = sorted({0, *cuts, len(answer.wire)})
    segments = [answer.wire[a:b] for a, b in itertools.pairwise(edges)]

    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    pool = NoPool()
    with theirs:
        _, connection = await loop.create_connection(
            lambda: Watched(loop, pool, keepalive=10, lifetime=10), sock=ours
        )
        connection.took = asyncio.Semaphore(0)
        exchange = Exchange(loop, Limits(), head_only=False)
        head = asyncio.ensure_future(
            connection.run(exchange, b"GET / HTTP/1.1\r\n\r\n", b"", PATIENT, float("inf"))
        )
        await asyncio.sleep(0)  # one turn: the exchange has begun
        for segment in segments:
            theirs.sendall(segment)
            await connection.took.acquire()
        if answer.ends_with_connection:
            theirs.shutdown(socket.SHUT_WR)
        await head
        response = open_response(exchange)
        assert response.status == answer.status
        assert response.headers == answer.headers
        assert await response.read() == answer.body
        assert pool.free == (0 if answer.ends_with_connection else 1)
        connection.abort()
        await connection.closed
