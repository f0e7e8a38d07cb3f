"""Streams for callers of `streamGenerateContent` that do not ask for `alt=sse`: one JSON array.

Its elements are the events, and they come as they are known, so that it can be read as a stream.
"""

from typing import Final

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.sse import parse_block
from model_service.providers.translation import StreamRelay

#: What the array is sent as.
MEDIA_TYPE: Final = "application/json"


class ArrayRelay:
    """Any relay of Google's door, its events as elements of an array."""

    def __init__(self, relay: StreamRelay) -> None:
        self._relay = relay
        self._opened = False
        self.complete = False

    @property
    def failure(self) -> CallFailed | None:
        """What went wrong; nothing any more once the answer is recovered."""
        return self._relay.failure

    @property
    def usage(self) -> Usage | None:
        """What the provider said was used."""
        return self._relay.usage

    @property
    def finish(self) -> FinishReason | None:
        """Why the answer ended."""
        return self._relay.finish

    @property
    def began(self) -> bool:
        """Whether something of the answer itself has come."""
        return self._relay.began

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent."""
        return self._taken(self._relay.feed(data))

    def end(self) -> bytes:
        """The provider's stream is over."""
        return self._taken(self._relay.end())

    def fail(self, fault: Fault) -> bytes:
        """The error as the last element."""
        return self._elements(self._relay.fail(fault)) + self._close()

    def _taken(self, events: bytes) -> bytes:
        was_complete, self.complete = self.complete, self._relay.complete
        elements = self._elements(events)
        return elements + self._close() if self.complete and not was_complete else elements

    def _elements(self, events: bytes) -> bytes:
        pieces: list[bytes] = []
        for block in events.split(b"\n\n"):
            event = parse_block(block)
            if event is not None:
                pieces += (b",\r\n" if self._opened else b"[", event[1])
                self._opened = True
        return b"".join(pieces)

    def _close(self) -> bytes:
        return b"]" if self._opened else b"[]"
