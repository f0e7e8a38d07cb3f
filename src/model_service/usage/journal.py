"""The journal: what happens to a call is written here before anybody hears of it.

It is written into a file's mapping, in about a microsecond and without a system call. What is in
the mapping belongs to the kernel, so it survives the death of the process at any instant; a
thread writes it through to the disk many times a second, against the machine's own death.

All methods are for one thread, that of the event loop, but for those that say otherwise.
"""

import errno
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from sys import maxsize
from typing import Final

import structlog

from model_service.kernel.errors import JournalFull
from model_service.usage.segments import (
    BEGUN_BITS,
    EVENT_BITS,
    MOST_RECORD,
    RECORD_BYTES,
    START,
    Segment,
    crc32,
    pack_crc,
    pack_rest,
)

log = structlog.get_logger(__name__)

SEGMENT_BYTES: Final = 8 << 20
#: Most bytes of segments kept, drained or not.
MOST_BYTES: Final = 1 << 30
#: Room left below which no calls are admitted: enough for those that were a moment ago.
FLOOR: Final = 8 * MOST_RECORD
#: A drained segment is given up once its unfinished calls are at most this part of it. They are
#: written again then; with a larger part, writing them again could fill segments for ever.
_CARRIED_PART: Final = 4
#: Seconds until a caller may try again while there is no room.
RETRY_AFTER: Final = 5

_HEAVY: Final = (
    "Usage cannot be stored, and as much of it as may be waits for that, so no calls are taken "
    "until it can"
)
_UNSAFE: Final = "The disk cannot be written to account for calls, so none are taken until it can"

Allocator = Callable[[Path, int, int], Segment]
"""Makes a segment in a directory, of a number and a size in bytes; raises OSError."""


class Journal:
    """One process's journal in a directory of its own.

    Room is counted so that a call that was begun can always be ended: each call under way is
    promised `MOST_RECORD` bytes of the segments that are already there.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_bytes: int = MOST_BYTES,
        allocator: Allocator = Segment.create,
    ) -> None:
        """The directory must be empty but for its lock. On a full disk it begins full.

        Raises:
            OSError: no segment can be made, and not because the disk is full.
        """
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._most_bytes = most_bytes
        self._allocator = allocator
        # What a segment surely holds: at its end less than one record may be left over.
        self._usable = segment_bytes - START - MOST_RECORD
        self._floor_bytes = min(FLOOR, self._usable // 2)
        self._floor = self._floor_bytes
        self._allocating = threading.Lock()
        self._ready: deque[Segment] = deque()
        self._spares: deque[Segment] = deque()
        self._next_number = 1
        self._fault: str | None = None
        self._syncing = threading.Lock()
        self._sync_fault: str | None = None
        self._unsynced: deque[Segment] = deque()
        self._synced: tuple[int, int] = (0, 0)
        self.kept: list[Segment] = []
        """The segments that are full and not yet deleted, oldest first."""
        self._ticket = 0
        self._notes = 0
        self.current = self._first()
        self._view = self.current.view
        self._pending = self.current.pending
        self._at = self.current.end
        self._size = segment_bytes
        self._room = segment_bytes - MOST_RECORD - self._at

    def begin(self, payload: bytes) -> int:
        """Write that a call is about to be made; the answer is the ticket to end it with.

        Raises:
            JournalFull: it could not be accounted for, so it must not be made.
            ValueError: the payload is longer than a record may be.
        """
        size = len(payload) + RECORD_BYTES
        if self._room < size + MOST_RECORD:
            self._make_room(size + MOST_RECORD)
        ticket = self._ticket + 1
        self._append(BEGUN_BITS, ticket, payload, size)
        self._ticket = ticket
        self._pending[ticket] = payload
        self._room -= size + MOST_RECORD
        return ticket

    def finish(self, ticket: int, payload: bytes) -> None:
        """Write the event of a call that was begun. There is always room for it.

        Raises:
            LookupError: no such call is under way.
            ValueError: the payload is longer than a record may be.
        """
        size = len(payload) + RECORD_BYTES
        pending = self._pending if ticket in self._pending else self._earlier(ticket)
        self._append(EVENT_BITS, ticket, payload, size)
        del pending[ticket]
        self._room += MOST_RECORD - size

    def note(self, payload: bytes) -> None:
        """Write the event of a call that was not begun. Raises what `begin` raises."""
        size = len(payload) + RECORD_BYTES
        if self._room < size:
            self._make_room(size)
        self._append(EVENT_BITS, 0, payload, size)
        self._room -= size
        self._notes += 1

    def check(self) -> None:
        """Whether calls may be admitted. Raises JournalFull."""
        if self._room < self._floor:
            self._make_room(self._floor)

    @property
    def is_full(self) -> bool:
        """Whether no calls are admitted."""
        try:
            self.check()
        except JournalFull:
            return True
        return False

    @property
    def events(self) -> int:
        """How many events were written since the process began."""
        return self._ticket + self._notes - self.under_way

    @property
    def under_way(self) -> int:
        """How many calls were begun and are not over."""
        return len(self._pending) + sum(len(segment.pending) for segment in self.kept)

    @property
    def undrained_bytes(self) -> int:
        """Bytes written and not yet drained."""
        segments = (*self.kept, self.current)
        return sum(self.end_of(segment) - segment.drained for segment in segments)

    def end_of(self, segment: Segment) -> int:
        """Up to where a segment is written."""
        return self._at if segment is self.current else segment.end

    def weigh(self) -> None:
        """Stop admission while more is kept than may be, or what is written does not last."""
        is_heavy = (len(self.kept) + 1) * self._segment_bytes > self._most_bytes
        is_stopped = is_heavy or self._sync_fault is not None
        self._floor = maxsize if is_stopped else self._floor_bytes

    def give_up(self, segment: Segment) -> bool:
        """Forget a full segment that is drained; whether that could be done.

        Calls begun in it that are still under way are written again, into the current one. Once
        that is synced the file may be deleted.
        """
        pending = segment.pending
        total = sum(len(payload) + RECORD_BYTES for payload in pending.values())
        if total > min(self._usable // _CARRIED_PART, self._room):
            return False
        for ticket, payload in pending.items():
            size = len(payload) + RECORD_BYTES
            self._append(BEGUN_BITS, ticket, payload, size)
            self._room -= size
            self._pending[ticket] = payload
        segment.pending = {}
        self.kept.remove(segment)
        self.weigh()
        return True

    def _append(self, bits: int, ticket: int, payload: bytes, size: int) -> None:
        if size > MOST_RECORD:
            raise ValueError("the payload is too long")
        at = self._at
        end = at + size
        if end > self._size:
            self._rotate()
            at = self._at
            end = at + size
        rest = pack_rest(bits | len(payload), ticket) + payload
        self._view[at:end] = pack_crc(crc32(rest)) + rest
        self._at = end

    def _earlier(self, ticket: int) -> dict[int, bytes]:
        """The calls among which one is that was begun in an earlier segment."""
        for segment in reversed(self.kept):
            if ticket in segment.pending:
                return segment.pending
        raise LookupError(f"no call {ticket} is under way")

    def _rotate(self) -> None:
        """Go on in the next segment. By how room is counted, there is one."""
        self._absorb()
        old, new = self.current, self._spares.popleft()
        old.end = self._at
        self.kept.append(old)
        self._unsynced.append(old)  # before another one is current: a sync misses none
        # What was written into the segment's last bytes was taken from no one's room.
        self._room += self._at - (self._size - MOST_RECORD)
        self.current, self._view, self._pending, self._at = new, new.view, new.pending, START
        self.weigh()

    def _absorb(self) -> None:
        """Count the segments that the other thread made."""
        while self._ready:
            self._spares.append(self._ready.popleft())
            self._room += self._usable

    def _make_room(self, wanted: int) -> None:
        """Find room for so many bytes. Raises JournalFull."""
        self._absorb()
        if self._room >= wanted:
            return
        if self._floor == maxsize and wanted == maxsize:
            raise JournalFull(_UNSAFE if self._sync_fault else _HEAVY, retry_after=RETRY_AFTER)
        if self._fault is None:
            # The other thread is late.
            self.allocate()
            self._absorb()
        if self._room < wanted:
            raise JournalFull(retry_after=RETRY_AFTER)

    # What the upkeep thread calls.

    @property
    def wants_room(self) -> bool:
        """Whether another segment should be made ready. For any thread."""
        return not self._ready and self._room < self._usable

    def allocate(self) -> bool:
        """Make another segment ready; whether that could be done. For any thread."""
        with self._allocating:
            if self._ready:
                return True
            try:
                self._ready.append(self._make())
            except OSError as error:
                if self._fault is None:
                    log.error("the usage journal has no room", reason=error.strerror)
                self._fault = error.strerror or "cannot be written"
                return False
            if self._fault is not None:
                log.info("the usage journal has room again")
            self._fault = None
            return True

    def sync(self) -> bool:
        """Write everything through to the disk; whether that could be done. For any thread."""
        with self._syncing:
            current = self.current
            place = (current.number, self._at)
            try:
                # In this order: one that is full by now is among those below, and closed there.
                if place != self._synced:
                    current.sync()
                while self._unsynced:
                    self._unsynced[0].sync()
                    self._unsynced.popleft().close()
            except OSError as error:
                if self._sync_fault is None:
                    log.error("the usage journal cannot be synced", reason=error.strerror)
                self._sync_fault = error.strerror or "cannot be synced"
            else:
                self._synced = place
                self._sync_fault = None
            self.weigh()
            return self._sync_fault is None

    def close(self) -> None:
        """Let go of all files. Nothing may be written any more."""
        self._absorb()
        for segment in (*self._unsynced, *self._spares, self.current):
            segment.close()

    def _first(self) -> Segment:
        try:
            return self._make()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # What fills the disk may be what dead processes left to be drained by this one.
            log.error("the usage journal has no room", reason=error.strerror)
            self._fault = error.strerror
            return Segment.none(self.directory, self._segment_bytes)

    def _make(self) -> Segment:
        segment = self._allocator(self.directory, self._next_number, self._segment_bytes)
        self._next_number += 1
        return segment
