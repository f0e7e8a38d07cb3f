"""The heads of answers, as bytes; what is the same for many calls is made once."""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import quote
from uuid import UUID

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
#: Anthropic's status for a provider that has too much to do is in no registry.
STATUS_LINES[529] = b"HTTP/1.1 529 Overloaded\r\n"

JSON: Final = b"content-type: application/json\r\n"
EVENTS: Final = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"

_PRINTABLE: Final = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~ "


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def safe(text: str) -> str:
    """Text as a header's value: what could not stand there, and %, is percent-encoded."""
    return quote(text, safe=_PRINTABLE).strip()


@lru_cache(maxsize=8192)
def origin_lines(name: str, provider: str, upstream_model: str, key_id: UUID | None) -> bytes:
    """Which model answered, whose it is, and with which key."""
    lines = [
        f"x-model-service-model: {safe(name)}",
        f"x-model-service-provider: {provider}",
        f"x-model-service-upstream-model: {safe(upstream_model)}",
    ]
    if key_id is not None:
        lines.append(f"x-model-service-key-id: {key_id}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def cost_line(cost: str | None) -> bytes:
    """What a call cost, in US dollars; nothing where nobody knows."""
    return b"" if cost is None else b"x-model-service-cost-usd: %b\r\n" % cost.encode("ascii")


def dropped_line(fields: Sequence[str]) -> bytes:
    """What of the request the provider did not get."""
    return f"x-model-service-dropped: {safe(', '.join(fields))}\r\n".encode("ascii")
