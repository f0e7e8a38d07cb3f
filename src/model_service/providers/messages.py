"""What goes to an upstream: the request, how long it may take, and how much may come back."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from model_service.kernel.errors import EgressRefused
from model_service.providers.endpoint import Endpoint

_METHODS: Final = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
_BODILESS_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))
# `tchar` of RFC 9110 section 5.6.2
_NAME_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
)
# Framing, routing and connection management are the transport's own (RFC 9110 section 7.6.1):
# a second Content-Length or a Transfer-Encoding from above would desynchronise a connection.
_OWN_NAMES: Final = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
#: Up to so many bytes a body is copied beside its head rather than sent from where it is.
SMALL_BODY: Final = 16 * 1024


# Not frozen, as it is made for each call: that takes three times as long.
@dataclass(slots=True)
class UpstreamRequest:
    """One request to an upstream. Headers and body stay out of `repr`: they hold credentials.

    `path_and_query` starts with a slash, is percent-encoded already, and is put below the
    endpoint's path prefix. The transport itself sends Host, Content-Length and
    Accept-Encoding, and refuses them among `headers`.
    """

    endpoint: Endpoint
    method: str
    path_and_query: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    start: bytes | None = field(default=None, repr=False)
    """The `head_start` of the same, made before: many calls differ in their body alone."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each part of an exchange may take, in seconds; `math.inf` means no bound.

    `connect`: a free connection, or a new one with name resolution and TLS. `first_byte`:
    from the request sent to the end of the answer's head. `idle`: silence between two parts
    of the body, while the reader keeps up. `total`: all of it, the reader's own time included.
    """

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an upstream may answer.

    `body_bytes` counts the body as received and, when it was compressed, again as
    decompressed. `header_bytes` bounds the head with all interim (1xx) answers before it,
    and whatever lies between two pieces of the body (chunk extensions, trailers).
    """

    body_bytes: int = 64 * 1024 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 128
    interim_answers: int = 8


def wire_parts(request: UpstreamRequest) -> tuple[bytes, bytes]:
    """The request as sent, in two parts, of which the second may be empty.

    A small body goes with its head: one write of both costs less than the list of two buffers,
    and under TLS is one record. Raises EgressRefused as `head_start`.
    """
    start, body = request.start, request.body
    if start is None:
        start = head_start(
            request.endpoint, request.method, request.path_and_query, request.headers
        )
    if 0 < len(body) <= SMALL_BODY:
        return b"%bContent-Length: %d\r\n\r\n%b" % (start, len(body), body), b""
    if body or request.method not in _BODILESS_METHODS:
        return b"%bContent-Length: %d\r\n\r\n" % (start, len(body)), body
    return start + b"\r\n", b""


def head_start(
    endpoint: Endpoint, method: str, target: str, headers: tuple[tuple[str, str], ...]
) -> bytes:
    """The request line and headers as sent, without the body's length and the empty line.

    Raises EgressRefused before anything is sent when a part could break out of its line
    (CR, LF, NUL), is not ASCII, or is a header the transport owns. The message names no value.
    """
    if method not in _METHODS:
        raise EgressRefused("The request's method is not one this service sends")
    _check_target(target)
    lines = [
        f"{method} {endpoint.path_prefix}{target} HTTP/1.1\r\n",
        f"Host: {endpoint.authority}\r\nAccept-Encoding: identity\r\n",
    ]
    for name, value in headers:
        # ASCII and printable leaves 0x20 to 0x7e: no CR, LF, NUL, tab or DEL.
        if not (value.isascii() and value.isprintable()):
            raise EgressRefused(f"The request's header {_field_name(name)} has a malformed value")
        lines.append(f"{_field_name(name)}: {value}\r\n")
    return "".join(lines).encode("ascii")


@lru_cache(maxsize=256)
def _field_name(name: str) -> str:
    """The name, when it may be sent. Cached: a few dozen names make up all traffic."""
    if not name or not _NAME_CHARACTERS.issuperset(name):
        raise EgressRefused("The request has a malformed header name")
    if name.lower() in _OWN_NAMES:
        raise EgressRefused(f"The request's header {name} is the transport's own")
    return name


def _check_target(target: str) -> None:
    well_formed = (
        target.startswith("/")
        and target.isascii()
        and target.isprintable()
        and " " not in target
        and "#" not in target
        and "\\" not in target
    )
    if not well_formed:
        raise EgressRefused("The request's path is malformed")
    if "/." in target or "%2" in target:
        path = target.partition("?")[0].lower().replace("%2e", ".").replace("%2f", "/")
        if any(segment in (".", "..") for segment in path.split("/")):
            # A model name such as "../../files" must not climb out of its route.
            raise EgressRefused("The request's path holds dot segments")
