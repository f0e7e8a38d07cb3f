"""What the head of a request says, found once for requests that begin with the same bytes.

A caller's client sends the same head with every call, save for the body's length. What was found
out about it is kept with the connection, so that the next request need not be parsed again.
"""

import re
from typing import Final

from model_service.gateway.routes import Route, family_of, find
from model_service.kernel.principal import Principal

RawHeaders = list[tuple[bytes, bytes]]
"""A request's headers, names in lower case."""

#: Longest head that is remembered with its connection, in bytes.
MOST_KNOWN: Final = 4096

_MAX_REQUEST_ID: Final = 128
_ID_CHARACTERS: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
#: Most digits of a length that are read: enough for any body that a call may have.
_MOST_DIGITS: Final = 10
_OURS: Final = b"x-model-service-"


class Arrival:
    """What a request's head says. `path` is without the query: that may hold anything.

    `peer` is an address. `principal` is who calls, as far as that could be told at once at the
    moment `recognised_at`, when tokens had changed `changes` times. `wishes` are the headers by
    which callers say how this service is to go about the call.
    """

    __slots__ = (
        "changes",
        "coding",
        "declared",
        "family",
        "headers",
        "is_old",
        "keep_alive",
        "method",
        "path",
        "peer",
        "principal",
        "recognised_at",
        "request_id",
        "route",
        "wishes",
    )

    def __init__(
        self,
        method: str,
        url: bytes,
        headers: RawHeaders,
        peer: str | None,
        *,
        keep_alive: bool,
        is_old: bool = False,
    ) -> None:
        """`is_old`: by HTTP/1.0, which knows no answer in chunks."""
        self.method = method
        self.path = url.partition(b"?")[0].decode("latin-1")
        self.headers = headers
        self.peer = peer
        self.keep_alive = keep_alive
        self.is_old = is_old
        self.coding = b""
        """What the body is encoded in, if in anything."""
        self.route: Route | None = find(url, headers)
        self.family = family_of(url, headers) if self.route is None else self.route.family
        self.request_id: str | None = None
        self.declared = 0
        self.principal: Principal | None = None
        self.changes = -1
        self.recognised_at = 0.0
        wishes = []
        for name, value in headers:
            if name == b"content-length":  # llhttp has checked its digits
                self.declared = int(value)
            elif name == b"x-request-id":
                self.request_id = _sane_id(value)
            elif name == b"content-encoding":
                self.coding = value.strip(b" \t").lower().replace(b"identity", b"")
            elif name.startswith(_OURS):
                wishes.append((name, value))
        self.wishes: RawHeaders = wishes


class KnownHead:
    """A head that came before: its bytes up to the body's length, and from there on."""

    __slots__ = ("_after", "_before", "_body_at", "arrival")

    def __init__(self, before: bytes, after: bytes, arrival: Arrival) -> None:
        self._before = before
        self._after = after
        self._body_at = len(before)
        self.arrival = arrival

    @classmethod
    def of(cls, data: bytes, arrival: Arrival) -> "KnownHead | None":
        """From the bytes of one whole request, head and body; None for what is not to be known."""
        end = data.find(b"\r\n\r\n", 0, MOST_KNOWN) + 4
        if end < 4 or not arrival.keep_alive or arrival.declared != len(data) - end:
            return None
        lengths = _LENGTH.findall(data, 0, end)
        place = _LENGTH.search(data, 0, end)
        if place is None or len(lengths) != 1:
            return None
        return cls(data[: place.start(1)], data[place.end(1) : end], arrival)

    def body_of(self, data: bytes) -> bytes | None:
        """The body, if the bytes are one whole request with this head and nothing else."""
        if not data.startswith(self._before):
            return None
        start = self._body_at
        end = data.find(b"\r", start, start + _MOST_DIGITS + 1)
        if end < 0 or not data.startswith(self._after, end):
            return None
        digits = data[start:end]
        body_at = end + len(self._after)
        if not digits.isdigit() or int(digits) != len(data) - body_at:
            return None
        return data[body_at:]


def _sane_id(value: bytes) -> str | None:
    """The caller's id for the request, if it is a sane one."""
    if (
        0 < len(value) <= _MAX_REQUEST_ID
        and _ID_CHARACTERS.issuperset(value)
        and value[:1].isalnum()
    ):
        return value.decode("ascii")
    return None
