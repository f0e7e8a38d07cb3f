"""Reading an answer off the wire: llhttp's events, judged and put into an exchange.

llhttp (through httptools) is strict by default: it refuses Content-Length beside
Transfer-Encoding, repeated or malformed lengths, bare line feeds and folded headers. What
it leaves to its user (versions, status ranges, transfer codings, sizes) is decided here.

It is not asked for the headers, as each would cost a call into Python: what it has read
without complaint is lines that end in CRLF, and of most answers nobody wants to know them.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from model_service.kernel.errors import UpstreamError, UpstreamProtocolError, UpstreamTooLarge
from model_service.providers.exchange import Exchange

_VERSIONS: Final = ("1.1", "1.0")
_SHORTEST_LINE: Final = 4  # a name, a colon, CRLF
_SWITCHING_PROTOCOLS: Final = 101


class AnswerParser:
    """Parses the answers of one connection, one after the other, each into `exchange`.

    After each `feed`, `fault` says what is wrong with the answer, `ended` that its last byte
    is here, `in_body` that its head is. `reusable` is meant for an ended answer: whether the
    connection may serve another.
    """

    __slots__ = (
        "_http",
        "_interim",
        "_interims",
        "_since_body",
        "_unread",
        "ended",
        "exchange",
        "fault",
        "in_body",
        "reusable",
    )

    def __init__(self) -> None:
        self._http = HttpResponseParser(self)
        # These stay as they are until an answer is interim, or the last of its connection.
        self._interim = False
        self._interims = 0
        self.fault: UpstreamError | None = None
        self.reusable = False
        self.let_go()

    def let_go(self) -> None:
        """Forget the ended answer: a free connection keeps nothing of it alive."""
        self.exchange: Exchange | None = None
        # What was received since the last head.
        self._unread: bytes | bytearray = b""
        # Bytes received since the last piece of body: in the end the head's, or framing.
        self._since_body = 0
        self.ended = False
        self.in_body = False

    @property
    def untouched(self) -> bool:
        """Whether not one byte of the answer has come."""
        return not self.in_body and self._since_body == 0

    @property
    def until_close(self) -> bool:
        """Whether the end of the body under way is the end of the connection."""
        exchange = self.exchange
        return (
            self.in_body
            and exchange is not None
            and exchange.header(b"content-length") is None
            and exchange.header(b"transfer-encoding") is None
        )

    def feed(self, data: bytes) -> None:
        """Take what the socket gave. Raises nothing; look at `fault`."""
        exchange, before_body = self.exchange, not self.in_body
        if exchange is None:
            return
        self._since_body += len(data)
        if before_body:
            self._unread = self._joined(data) if self._unread else data
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
        if self.ended or self.fault is not None:
            return
        if self._since_body > exchange.limits.header_bytes:
            self.fault = UpstreamTooLarge()
        elif before_body and self.in_body and _announces_too_much(exchange):
            exchange.status = 0  # nobody has seen it yet
            self.fault = UpstreamTooLarge()

    def _joined(self, data: bytes) -> bytearray:
        unread = self._unread
        if type(unread) is not bytearray:
            # A head may come byte by byte, and is not to be copied for each.
            unread = bytearray(unread)
        unread += data
        return unread

    # llhttp's events. They cannot stop the parser but by raising, so a fault is noted and
    # what still follows from the same data (256 KiB at most) is ignored.

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self.ended:
            raise HttpParserError("bytes after the end of the answer")

    def on_headers_complete(self) -> None:
        """The head is complete: an interim one, or the answer's."""
        exchange, unread, http = self.exchange, self._unread, self._http
        if exchange is None or self.fault is not None:
            return
        status, begin = http.get_status_code(), 0
        if not unread.startswith(b"HTTP/1.1"):
            begin = unread.find(b"HTTP/")  # llhttp passes over empty lines before it
            if http.get_http_version() not in _VERSIONS:
                status = 0
        end = unread.find(b"\r\n\r\n", begin)
        if 200 <= status <= 599 and end > begin:
            self.in_body = True
            self.reusable = http.should_keep_alive()
            self._unread = b""
            head, limits = unread[begin : end + 2], exchange.limits
            exchange.head = head if type(head) is bytes else bytes(head)
            size, most = end - begin, limits.header_count
            # The lines of a short head need not be counted.
            if size > limits.header_bytes or (
                size > most * _SHORTEST_LINE and head.count(b"\n") > most + 1
            ):
                self.fault = UpstreamTooLarge()
                return
            # Few answers have a coding: most heads need not be taken apart to know that.
            lower = head.lower()
            coding = lower.rfind(b"-encoding:")
            if coding >= 0 and not _is_plainly_chunked(lower, coding):
                self.fault = _fault_of_codings(exchange)
                if self.fault is not None:
                    return
            exchange.status = status
            if exchange.head_only:
                self.ended = True
                self.reusable = False  # llhttp cannot be told that no body follows
        elif 100 <= status <= 199 and status != _SWITCHING_PROTOCOLS and end > begin:
            self._interim = True
            self._unread = unread[end + 4 :]
        else:
            self.fault = UpstreamProtocolError()

    def on_body(self, piece: bytes) -> None:
        """A part of the body, without its framing."""
        exchange = self.exchange
        if exchange is None or self.ended or self.fault is not None:
            return
        self._since_body = 0
        if exchange.add_body(piece) > exchange.limits.body_bytes:
            self.fault = UpstreamTooLarge()

    def on_message_complete(self) -> None:
        """The last byte of an answer, or of an interim one."""
        if not self._interim:
            self.ended = True
            self._interims = 0
            return
        self._interim = False
        self._interims += 1
        if self.exchange is not None and self._interims > self.exchange.limits.interim_answers:
            self.fault = UpstreamTooLarge("The upstream sends interim answers without end")


def _is_plainly_chunked(head: bytes | bytearray, coding: int) -> bool:
    """Whether the last header about a coding, found there, is the only one and the usual one."""
    line = b"\ntransfer-encoding: chunked\r\n"
    return head.startswith(line, coding - 9) and head.rfind(b"-encoding:", 0, coding) < 0


def _fault_of_codings(exchange: Exchange) -> UpstreamError | None:
    """Note whether the body is coded; give what forbids reading it."""
    for name, value in exchange.headers:
        if name == b"transfer-encoding":
            if value.lower() != b"chunked":
                return UpstreamProtocolError()
        elif name == b"content-encoding":
            exchange.is_coded = True
    return None


def _announces_too_much(exchange: Exchange) -> bool:
    """Whether a body is announced that is longer than it may be (llhttp checked the digits)."""
    length = exchange.header(b"content-length")
    return length is not None and int(length) > exchange.limits.body_bytes
