"""Identifiers, clocks and the provider names: the words every slice uses."""

import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID


class Provider(StrEnum):
    """Who serves a model. CUSTOM is any OpenAI-compatible endpoint."""

    OPENAI = "OPENAI"
    ANTHROPIC = "ANTHROPIC"
    GOOGLE = "GOOGLE"
    AZURE = "AZURE"
    OLLAMA = "OLLAMA"
    CUSTOM = "CUSTOM"

    # As text, which they are equal to; enum's own hash is computed in Python at each look-up.
    __hash__ = str.__hash__


#: Longest user id, in characters.
MAX_USER_ID: Final = 255


def is_user_id(text: str) -> bool:
    """Whether it can be a user's id: printable, and such that a header can carry it.

    A header loses its outer blanks on the way (RFC 9110, section 5.5).
    """
    return 0 < len(text) <= MAX_USER_ID and text.isprintable() and text == text.strip(" ")


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a list, by number; the first page is 1."""

    number: int
    limit: int

    @property
    def offset(self) -> int:
        """How many items come before it."""
        return (self.number - 1) * self.limit


class Clock(Protocol):
    """Where the time comes from, so that tests can set it."""

    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock, cut to milliseconds, which is what the API shows."""

    def now(self) -> datetime:
        """The current time in UTC."""
        moment = datetime.now(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class _Chance:
    """Random bytes of the operating system's, asked for many at a time: asking costs most."""

    _MANY: Final = 4096

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0
        # A forked process must not give out the same ones again.
        os.register_at_fork(after_in_child=self._forget)

    def take(self, count: int) -> bytes:
        """So many bytes, given out this once."""
        start = self._at
        if start + count > len(self._bytes):
            self._bytes, start = os.urandom(self._MANY), 0
        self._at = start + count
        return self._bytes[start : self._at]

    def _forget(self) -> None:
        self._bytes, self._at = b"", 0


def plain(value: UUID) -> UUID:
    """The same as one of the standard library's own class: drivers have classes of theirs.

    JSON is written for that one alone, and it is for ids that outlive a request.
    """
    return value if type(value) is UUID else UUID(bytes=value.bytes)


class _Uuids:
    """Makes UUIDs of version 7 (RFC 9562, section 5.7), increasing within this process.

    The 12 bits after the version count up within one millisecond (section 6.2, method 1),
    starting from a random value below 2^11; the rest is random, and anew for each millisecond.
    """

    def __init__(self) -> None:
        self._chance = _Chance()
        self._lock = threading.Lock()
        self._millisecond = 0
        self._counter = 0
        self._tail = 0
        # The same as text, around the counter.
        self._begin = self._end = ""
        os.register_at_fork(after_in_child=self._forget)

    def number(self) -> int:
        """A new one as a number of 128 bits."""
        with self._lock:
            self._count()
            millisecond = self._millisecond & 0xFFFF_FFFF_FFFF
            return millisecond << 80 | 0x7 << 76 | self._counter << 64 | self._tail

    def text(self) -> str:
        """A new one as text."""
        with self._lock:
            self._count()
            return f"{self._begin}{self._counter:03x}{self._end}"

    def _count(self) -> None:
        millisecond = time.time_ns() // 1_000_000
        if millisecond > self._millisecond:
            self._turn_to(millisecond)
        elif self._counter < 0xFFF:
            self._counter += 1
        else:
            self._turn_to(self._millisecond + 1)
            self._counter = 0

    def _turn_to(self, millisecond: int) -> None:
        chance = int.from_bytes(self._chance.take(10))
        self._millisecond = millisecond
        self._counter = chance >> 64 & 0x7FF
        self._tail = 0b10 << 62 | chance & 0x3FFF_FFFF_FFFF_FFFF
        time_digits, tail_digits = f"{millisecond:012x}", f"{self._tail:016x}"
        self._begin = f"{time_digits[:8]}-{time_digits[8:]}-7"
        self._end = f"-{tail_digits[:4]}-{tail_digits[4:]}"

    def _forget(self) -> None:
        """A forked process must not give out the same ones."""
        self._lock = threading.Lock()
        self._millisecond = 0


_uuids = _Uuids()


def uuid7() -> UUID:
    """A new version 7 UUID, greater than those made here before."""
    return UUID(int=_uuids.number())


def uuid7_text() -> str:
    """The text of a new version 7 UUID, for where nothing else is done with it."""
    return _uuids.text()
