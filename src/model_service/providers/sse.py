"""Server-sent events, read off arbitrary pieces of a stream and written.

After the WHATWG HTML standard, section 9.2.6 ("Interpreting an event stream"): lines end in LF,
CR LF or CR; `data` lines are joined by LF; a blank line ends an event; a line that starts with a
colon is a comment. Fields other than `event` and `data` mean nothing to the providers' streams.
"""

from typing import Final

from model_service.providers.faults import malformed

#: Longest event, in bytes: a whole image in base64 fits.
MAX_EVENT: Final = 32 * 1024 * 1024

Event = tuple[bytes, bytes]
"""An event's name, empty where it has none, and its data."""


class EventParser:
    """Turns pieces of a stream into whole events."""

    __slots__ = ("_max", "_rest", "_skip_lf")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        # What came after the last whole event. It grows in place, so that an event of many
        # pieces is not copied once for each of them, and takes no more memory than its bytes.
        self._rest = bytearray()
        self._skip_lf = False

    @property
    def has_rest(self) -> bool:
        """Whether the stream, if it ended now, would have ended within an event."""
        return any(line.strip() and not line.startswith(b":") for line in self._rest.split(b"\n"))

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            CallFailed: an event has no end within the bound.
        """
        whole = self.whole(data)
        if not whole:
            return []
        return [event for block in whole.split(b"\n\n") if (event := parse_block(block))]

    def blocks(self, data: bytes) -> list[bytes]:
        """The lines of each event that `data` completes, see `parse_block`; there may be none.

        Raises:
            CallFailed: an event has no end within the bound.
        """
        if data.endswith(b"\n\n") and not (self._rest or self._skip_lf or b"\r" in data):
            whole = data  # as most pieces are
        elif not (whole := self.whole(data)):
            return []
        blocks = whole.split(b"\n\n")
        blocks.pop()  # a line feed at most: what is whole ends in a blank line
        return blocks

    def whole(self, data: bytes) -> bytes:
        """The text, with LF alone, of the events that `data` completes; may be empty.

        Raises:
            CallFailed: an event has no end within the bound.
        """
        if self._skip_lf or b"\r" in data:
            data = self._normalised(data)
        rest = self._rest
        last = data.rfind(b"\n\n")
        if last >= 0:
            end = last + 2
        elif data[:1] == b"\n" and rest[-1:] == b"\n":
            end = 1  # the blank line was cut in two
        else:
            self._keep(data)
            return b""
        whole = data[:end]
        if rest:
            whole = b"".join((rest, whole))
            self._rest = bytearray()
        if end < len(data):
            self._keep(data[end:])
        return whole

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > self._max:
            raise malformed("The provider sent an event without end")
        self._rest += data

    def _normalised(self, data: bytes) -> bytes:
        """The same with LF alone; a CR at the end may be the first half of a CR LF."""
        if self._skip_lf and data[:1] == b"\n":
            data = data[1:]
            self._skip_lf = False
        if data:
            self._skip_lf = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def parse_block(block: bytes) -> Event | None:
    """The event that some lines make; None for one without data."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return b"", block[6:]
    first, _, second = block.partition(b"\n")
    if first.startswith(b"event: ") and second.startswith(b"data: ") and b"\n" not in second:
        return first[7:], second[6:]
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return (name, b"\n".join(data)) if data else None


def data_event(data: bytes) -> bytes:
    """An event without a name, of data that has no line breaks (as JSON has none)."""
    return b"data: " + data + b"\n\n"


def named_event(name: bytes, data: bytes) -> bytes:
    """An event with a name."""
    return b"event: " + name + b"\ndata: " + data + b"\n\n"
