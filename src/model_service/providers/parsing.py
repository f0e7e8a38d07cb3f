"""Reading an answer off the wire: llhttp's events, judged and put into an exchange.

llhttp (through httptools) is strict by default: it refuses Content-Length beside
Transfer-Encoding, repeated or malformed lengths, bare line feeds and folded headers. What
it leaves to its user (versions, status ranges, transfer codings, sizes) is decided here.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from model_service.kernel.errors import UpstreamError, UpstreamProtocolError, UpstreamTooLarge
from model_service.providers.exchange import Exchange, RawHeaders

_VERSIONS: Final = ("1.1", "1.0")
_SWITCHING_PROTOCOLS: Final = 101
_BODILESS_STATUSES: Final = (204, 304)  # RFC 9112 section 6.3


class AnswerParser:
    """Parses the answers of one connection, one after the other.

    After each `feed`, `fault` says what is wrong with the answer, `ended` that its last byte
    is here, `in_body` that its head is. `reusable` is meant for an ended answer: whether the
    connection may serve another. `until_close` says that the end of the body is the end of
    the connection.
    """

    __slots__ = (
        "_exchange",
        "_headers",
        "_http",
        "_interim",
        "_interims",
        "_max_head",
        "_since_body",
        "ended",
        "fault",
        "in_body",
        "reusable",
        "until_close",
    )

    def __init__(self) -> None:
        self._http = HttpResponseParser(self)
        self.expect(None)

    def expect(self, exchange: Exchange | None) -> None:
        """Put the next answer into `exchange`."""
        self._exchange = exchange
        self._max_head = exchange.limits.header_bytes if exchange is not None else 0
        self._headers: RawHeaders = []
        self._interim = False
        self._interims = 0
        # Bytes received since the last piece of body: in the end the head's, or framing.
        self._since_body = 0
        self.ended = False
        self.fault: UpstreamError | None = None
        self.in_body = False
        self.reusable = False
        self.until_close = False

    def let_go(self) -> None:
        """Forget the ended answer, so that a free connection does not keep its body alive."""
        self._exchange = None
        self._headers = []

    @property
    def untouched(self) -> bool:
        """Whether not one byte of the answer has come."""
        return not self.in_body and self._since_body == 0

    def feed(self, data: bytes) -> None:
        """Take what the socket gave. Raises nothing; look at `fault`."""
        self._since_body += len(data)
        try:
            self._http.feed_data(data)
        except HttpParserUpgrade:
            self.fault = self.fault or UpstreamProtocolError()
        except HttpParserError:
            # After the end of the answer it is only the connection that is spoilt.
            if self.ended:
                self.reusable = False
            else:
                self.fault = self.fault or UpstreamProtocolError()
        if self.fault is None and not self.ended and self._since_body > self._max_head:
            self.fault = UpstreamTooLarge()

    # llhttp's events. They cannot stop the parser but by raising, so a fault is noted and
    # what still follows from the same data (256 KiB at most) is ignored.

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self.ended:
            raise HttpParserError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or, after the body, a trailer, which is dropped (RFC 9110 section 6.5.1)."""
        if not self.in_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete: an interim one, or the answer's."""
        exchange, http = self._exchange, self._http
        if exchange is None or self.fault is not None:
            return
        status = http.get_status_code()
        if (
            status == _SWITCHING_PROTOCOLS
            or not 100 <= status <= 599
            or http.get_http_version() not in _VERSIONS
        ):
            self.fault = UpstreamProtocolError()
        elif status < 200:
            self._interim = True
        else:
            self.in_body = True
            self.reusable = http.should_keep_alive()
            self.fault = self._frame(status, exchange) or self._oversize(exchange)
            if self.fault is None:
                exchange.status, exchange.headers = status, self._headers
                if exchange.head_only:
                    self.ended = True
                    self.reusable = False  # llhttp cannot be told that no body follows

    def on_body(self, piece: bytes) -> None:
        """A part of the body, without its framing."""
        exchange = self._exchange
        if exchange is None or self.ended or self.fault is not None:
            return
        self._since_body = 0
        exchange.add_body(piece)
        if exchange.received > exchange.limits.body_bytes:
            self.fault = UpstreamTooLarge()

    def on_message_complete(self) -> None:
        """The last byte of an answer, or of an interim one."""
        if not self._interim:
            self.ended = True
            return
        self._interim = False
        self._interims += 1
        self._headers = []
        if self._exchange is not None and self._interims > self._exchange.limits.interim_answers:
            self.fault = UpstreamTooLarge("The upstream sends interim answers without end")

    def _frame(self, status: int, exchange: Exchange) -> UpstreamError | None:
        """Find where the body ends (RFC 9112 section 6.3), and what forbids reading it."""
        bodiless = exchange.head_only or status in _BODILESS_STATUSES
        framed = bodiless
        for name, value in self._headers:
            if name == b"content-length":  # llhttp has checked its digits
                framed = True
                if not bodiless and int(value) > exchange.limits.body_bytes:
                    return UpstreamTooLarge()
            elif name == b"transfer-encoding":
                framed = True
                if value.strip(b" \t").lower() != b"chunked":
                    return UpstreamProtocolError()
            elif name == b"content-encoding":
                exchange.is_coded = True
        self.until_close = not framed
        return None

    def _oversize(self, exchange: Exchange) -> UpstreamError | None:
        limits = exchange.limits
        if len(self._headers) > limits.header_count:
            return UpstreamTooLarge()
        # The head is no longer than what was received so far; mostly that settles it.
        if self._since_body > self._max_head:
            size = sum(len(name) + len(value) + 4 for name, value in self._headers)
            if size > self._max_head:
                return UpstreamTooLarge()
        return None
