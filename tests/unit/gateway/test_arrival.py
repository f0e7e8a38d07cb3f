"""A head that came before: known again only when a parser would say the same of it."""

from dataclasses import dataclass, field

import httptools
from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.arrival import MOST_KNOWN, Arrival, KnownHead

PATH = b"/v1/chat/completions"


@dataclass
class Parsed:
    """What llhttp makes of bytes: every whole request, or that they are none."""

    requests: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = field(default_factory=list)
    is_wrong: bool = False
    _url: bytes = b""
    _headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    _body: bytes = b""

    @classmethod
    def of(cls, data: bytes) -> "Parsed":
        parsed = cls()
        try:
            httptools.HttpRequestParser(parsed).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            parsed.is_wrong = True
        return parsed

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.requests.append((self._url, self._headers, self._body))


def request(body: bytes, *lines: bytes, length: bytes | None = None) -> bytes:
    """A call's bytes; `lines` are headers beside the length."""
    said = b"Content-Length: " + (str(len(body)).encode() if length is None else length)
    head = [b"POST %b HTTP/1.1" % PATH, b"Host: x", *lines, said, b"Accept: */*"]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def arrival(headers: list[tuple[bytes, bytes]], *, keep_alive: bool = True) -> Arrival:
    return Arrival("POST", PATH, headers, None, keep_alive=keep_alive)


def known(data: bytes) -> KnownHead:
    ((_, headers, _),) = Parsed.of(data).requests
    head = KnownHead.of(data, arrival(headers))
    assert head is not None
    return head


def test_the_same_head_with_another_body_is_known() -> None:
    assert known(request(b"first")).body_of(request(b"the second")) == b"the second"


def test_a_head_with_another_header_is_not_known() -> None:
    assert known(request(b"x")).body_of(request(b"x", b"X-Other: 1")) is None


def test_a_request_that_has_not_come_whole_is_not_known() -> None:
    assert known(request(b"12345")).body_of(request(b"12345")[:-1]) is None


def test_two_requests_at_once_are_not_known() -> None:
    assert known(request(b"12345")).body_of(request(b"12345") * 2) is None


def test_a_head_without_a_length_is_not_remembered() -> None:
    data = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    assert KnownHead.of(data, arrival([(b"host", b"x")])) is None


def test_a_request_after_which_the_connection_ends_is_not_remembered() -> None:
    headers = [(b"content-length", b"1")]
    assert KnownHead.of(request(b"x"), arrival(headers, keep_alive=False)) is None


def test_a_head_that_is_too_long_is_not_remembered() -> None:
    data = request(b"x", b"X-Long: " + b"y" * MOST_KNOWN)
    assert KnownHead.of(data, arrival([(b"content-length", b"1")])) is None


_PIECES = st.sampled_from(
    [
        b"",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"0",
        b"1",
        b"-1",
        b"+1",
        b"0x1",
        b"_1",
        b":",
        b"\x00",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
    ]
)


@given(
    body=st.binary(max_size=40),
    other=st.binary(max_size=40),
    length=st.none() | st.text("0123456789 +-_x", max_size=12).map(str.encode),
    place=st.integers(0, 160),
    cut=st.integers(0, 6),
    piece=_PIECES,
)
def test_what_is_known_again_a_parser_reads_the_same(
    body: bytes, other: bytes, length: bytes | None, place: int, cut: int, piece: bytes
) -> None:
    first = request(body)
    head = known(first)
    data = request(other, length=length)
    data = data[:place] + piece + data[place + cut :]
    found = head.body_of(data)
    if found is not None:
        parsed = Parsed.of(data)
        assert not parsed.is_wrong
        ((url, headers, read),) = parsed.requests
        assert read == found
        ((first_url, first_headers, _),) = Parsed.of(first).requests
        without = [pair for pair in headers if pair[0] != b"content-length"]
        assert (url, without) == (
            first_url,
            [pair for pair in first_headers if pair[0] != b"content-length"],
        )
