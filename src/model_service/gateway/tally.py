"""What calls to one place came to over the last minutes, counted plainly.

A call that went well costs two additions and an entry in a ring. Once a second, and whenever one
fails, what is new moves into slots by time, from which what is old falls out.
"""

from array import array
from typing import Final

from model_service.providers.condition import Latencies, bucket_of, merged

#: Seconds that a slot covers, and how many of them there are: five minutes.
SLOT_SECONDS: Final = 5
SLOTS: Final = 60
#: Slots by which it is judged whether too much fails: the last half minute.
RECENT: Final = 6
#: Latencies are kept by the minute.
MINUTE_SLOTS: Final = 60 // SLOT_SECONDS
MINUTES: Final = SLOTS // MINUTE_SLOTS
#: Latencies remembered between two looks at them: of more calls a second, the last ones.
RING: Final = 256


class Tally:
    """Calls, failures and latencies. `now` is in seconds, of a clock that never goes back."""

    __slots__ = (
        "_answered",
        "_at",
        "_calls",
        "_fails",
        "_first_at",
        "_first_taken",
        "_first_tokens",
        "_firsts",
        "_latencies",
        "_new_fails",
        "_ring",
        "_slot",
        "_taken",
        "answered",
    )

    def __init__(self, now: float) -> None:
        self.answered = 0
        """Calls that were answered, so far, however."""
        self._answered = 0  # those of them that are in slots
        self._new_fails = 0
        self._slot = int(now) // SLOT_SECONDS
        self._calls = [0] * SLOTS
        self._fails = [0] * SLOTS
        self._ring = array("d", bytes(8 * RING))
        self._at = self._taken = 0
        self._firsts = array("d", bytes(8 * RING))
        self._first_at = self._first_taken = 0
        self._latencies: list[dict[int, int]] = [{} for _ in range(MINUTES)]
        self._first_tokens: list[dict[int, int]] = [{} for _ in range(MINUTES)]

    def took(self, latency: float, first_token: float | None) -> None:
        """A call went well, and took so many seconds."""
        self.answered += 1
        at = self._at
        self._ring[at & 255] = latency
        self._at = at + 1
        if first_token is not None:
            at = self._first_at
            self._firsts[at & 255] = first_token
            self._first_at = at + 1

    def fail(self, now: float) -> None:
        """A call failed."""
        self._new_fails += 1
        self.roll(now)

    def roll(self, now: float) -> None:
        """Put what is new into its slot, and let go of what is old."""
        # What is new goes where the clock last was: it is never counted for too long.
        place = self._slot % SLOTS
        fresh = self.answered - self._answered
        self._answered += fresh
        failed, self._new_fails = self._new_fails, 0
        if fresh:
            self._drain()
        slot = int(now) // SLOT_SECONDS
        if slot > self._slot:
            self._calls[place] += fresh
            fresh = 0
            for gone in range(self._slot + 1, min(slot, self._slot + SLOTS) + 1):
                self._calls[gone % SLOTS] = self._fails[gone % SLOTS] = 0
                if gone % MINUTE_SLOTS == 0:
                    minute = gone // MINUTE_SLOTS % MINUTES
                    self._latencies[minute] = {}
                    self._first_tokens[minute] = {}
            self._slot = slot
        # A failure is told of at once, so it is of now.
        self._calls[self._slot % SLOTS] += fresh + failed
        self._fails[self._slot % SLOTS] += failed

    def recent(self) -> tuple[int, int]:
        """Calls and failures of the last half minute."""
        slots = [(self._slot - back) % SLOTS for back in range(RECENT)]
        return sum(self._calls[slot] for slot in slots), sum(self._fails[slot] for slot in slots)

    def went_well(self) -> int:
        """Calls that were answered in the last ten seconds, or less."""
        slots = (self._slot % SLOTS, (self._slot - 1) % SLOTS)
        return sum(self._calls[slot] - self._fails[slot] for slot in slots)

    def totals(self) -> tuple[int, int]:
        """Calls and failures of all the minutes."""
        return sum(self._calls), sum(self._fails)

    def latencies(self) -> tuple[Latencies, Latencies]:
        """Those of whole calls, and those until first tokens."""
        whole: Latencies = {}
        for minute in self._latencies:
            whole = merged(whole, minute)
        first: Latencies = {}
        for minute in self._first_tokens:
            first = merged(first, minute)
        return whole, first

    def _drain(self) -> None:
        minute = self._slot // MINUTE_SLOTS % MINUTES
        self._taken = _count(self._ring, self._taken, self._at, self._latencies[minute])
        self._first_taken = _count(
            self._firsts, self._first_taken, self._first_at, self._first_tokens[minute]
        )


def _count(ring: "array[float]", taken: int, at: int, into: dict[int, int]) -> int:
    for place in range(max(taken, at - RING), at):
        bucket = bucket_of(ring[place % RING])
        into[bucket] = into.get(bucket, 0) + 1
    return at
