"""Streams that are held back until they are whole, so that what fails can be tried again."""

from typing import Final

from model_service.providers.chat import FinishReason, Usage
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.translation import StreamRelay

#: The largest stream that is held back, in bytes as the caller gets it.
MOST_HELD: Final = 8 * 1024 * 1024


class BufferedStream:
    """Any relay's stream, given in one piece when it is complete, and not at all if it fails.

    One that grows beyond `most` bytes is passed on from there as it comes.
    """

    __slots__ = ("_held", "_most", "_relay", "_size")

    def __init__(self, relay: StreamRelay, most: int = MOST_HELD) -> None:
        self._relay = relay
        self._most = most
        self._held: list[bytes] | None = []
        self._size = 0

    @property
    def failure(self) -> CallFailed | None:
        """What went wrong."""
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

    @property
    def complete(self) -> bool:
        """Whether everything has come."""
        return self._relay.complete

    def feed(self, data: bytes) -> bytes:
        """Take what the provider sent."""
        return self._take(self._relay.feed(data))

    def end(self) -> bytes:
        """The provider's stream is over."""
        return self._take(self._relay.end())

    def fail(self, fault: Fault) -> bytes:
        """The error event."""
        return self._relay.fail(fault)

    def _take(self, out: bytes) -> bytes:
        held = self._held
        if held is None:
            return out
        if out:
            held.append(out)
            self._size += len(out)
        if not self._relay.complete and self._size <= self._most:
            return b""
        self._held = None
        return b"".join(held)
