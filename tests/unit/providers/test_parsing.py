"""Answers off the wire: what this parser makes of them is what llhttp says of each header."""

import asyncio
import itertools
from typing import Final, cast

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_service.kernel.errors import UpstreamTooLarge
from model_service.providers.exchange import Exchange
from model_service.providers.messages import Limits
from model_service.providers.parsing import AnswerParser

LIMITS: Final = Limits(body_bytes=600, header_bytes=500, header_count=12, interim_answers=2)

LINES: Final = [
    b"Content-Length: 5",
    b"content-length:5",
    b"CONTENT-LENGTH: 5 \t",
    b"Content-Length: 1000",
    b"Transfer-Encoding: chunked",
    b"transfer-ENCODING:\t Chunked ",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: gzip",
    b"cOnTeNt-EnCoDiNg:identity",
    b"X-Encoding: gzip",
    b"Vary: Accept-Encoding",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Keep-Alive: timeout=5",
    b"X-Empty:",
    b"X-Colons: a:b: c",
    b"X-Latin: \xe9\xff",
    b"X-Tabs: a\tb",
]
STARTS: Final = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1 200",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1 429 HTTP/1.1",
    b"HTTP/1.1 600 Odd",
    b"HTTP/2.0 200 OK",
    b"http/1.1 200 OK",
    b"\r\nHTTP/1.1 200 OK",
    b"\r\n\r\nHTTP/1.1 200 OK",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK",
    b"HTTP/1.1 101 Switching Protocols",
]
BODIES: Final = [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"", b"he", b"hello HTTP/1.1 200 OK\r\n\r\n"]
ODDITIES: Final = [
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\0",
    b":",
    b"\x7f",
    b"\xff",
    b"\r\n ",
    b"5",
]


class Reference:
    """What llhttp says of the first answer, asked for each header."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.status = 0
        self.is_whole = self.is_reusable = self.is_refused = self._is_body = False
        self._http = httptools.HttpResponseParser(self)
        for piece in pieces:
            try:
                self._http.feed_data(piece)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                if self.is_whole:
                    self.is_reusable = False
                else:
                    self.is_refused = True
                return
            if self.is_whole:
                return

    def on_message_begin(self) -> None:
        if self.is_whole:
            raise httptools.HttpParserError("more than an answer")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_body:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.status = self._http.get_status_code()
        self._is_body = self.status >= 200
        self.is_reusable = self._http.should_keep_alive()
        self.is_refused |= (
            not 100 <= self.status <= 599
            or self.status == 101
            or self._http.get_http_version() not in ("1.0", "1.1")
            or any(coding != b"chunked" for coding in self.codings(b"transfer-encoding"))
        )

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.is_whole = self._is_body

    def codings(self, name: bytes) -> list[bytes]:
        """What the headers of that name say, in lower case."""
        return [value.lower() for found, value in self.headers if found == name]


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """An answer, sound or nearly so."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=6))
    head = b"\r\n".join([draw(st.sampled_from(STARTS)), *lines])
    wire = head + b"\r\n\r\n" + draw(st.sampled_from(BODIES))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(wire)))
        wire = (
            wire[:at]
            + draw(st.sampled_from([b"", *ODDITIES]))
            + wire[at + draw(st.integers(0, 2)) :]
        )
    return wire


def read(pieces: list[bytes], limits: Limits = LIMITS) -> tuple[AnswerParser, Exchange]:
    """What the parser makes of an answer that comes in these pieces."""
    nobody_waits = cast("asyncio.AbstractEventLoop", None)
    parser, exchange = AnswerParser(), Exchange(nobody_waits, limits)
    parser.exchange = exchange
    for piece in pieces:
        parser.feed(piece)
        if parser.fault is not None or parser.ended:
            break
    return parser, exchange


@settings(max_examples=2000, deadline=None)
@given(wire=wires(), cuts=st.lists(st.integers(1, 300), max_size=3))
@example(wire=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", cuts=[])
@example(wire=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", cuts=[])
@example(wire=b"HTTP/1.1 200 OK\r\nX-Encoding : gzip\r\nContent-Length: 0\r\n\r\n", cuts=[])
def test_an_answer_is_taken_for_what_llhttp_says_it_is(wire: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(wire)), len(wire)})
    pieces = [wire[a:b] for a, b in itertools.pairwise(edges)]
    said = Reference(pieces)
    parser, exchange = read(pieces)

    if isinstance(parser.fault, UpstreamTooLarge):
        assert int(said.codings(b"content-length")[0]) > LIMITS.body_bytes
        assert exchange.status == 0
        return
    assert (parser.fault is not None) == said.is_refused
    if parser.fault is None and parser.in_body:
        assert exchange.status == said.status
        assert exchange.headers == said.headers
        assert exchange.taken() == said.body
        assert exchange.is_coded == bool(said.codings(b"content-encoding"))
        assert parser.ended == said.is_whole
        if parser.ended:
            assert parser.reusable == said.is_reusable


def test_an_announced_length_above_the_limit_ends_an_answer_before_its_status_is_known() -> None:
    parser, exchange = read([b"HTTP/1.1 200 OK\r\nContent-Length: 601\r\n\r\nhello"])
    assert isinstance(parser.fault, UpstreamTooLarge)
    assert exchange.status == 0


def test_a_head_of_short_lines_is_counted() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + b"a:\r\n" * 12 + b"\r\nhello"
    assert isinstance(read([head])[0].fault, UpstreamTooLarge)


def test_a_parser_that_let_an_answer_go_is_as_new() -> None:
    parser, _ = read([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"])
    parser.let_go()
    assert parser.untouched
    assert not parser.ended
    assert not parser.until_close
