"""How much of the traffic may be repeats: a failing provider is not to be hammered to death.

When everything fails, every call that is tried three times makes three of one. So retries, and
fallbacks that a fault caused, are at most a fifth of the calls, whatever each call's own policy
would allow; a service with few calls may still retry some.
"""

from typing import Final

#: Seconds over which calls and repeats are counted.
WINDOW: Final = 10
#: Repeats are at most one in so many calls.
SHARE: Final = 5
#: Repeats that may be had in a window however few calls there are.
FLOOR: Final = 10


class RetryBudget:
    """The budget of one process. Nothing here waits or takes the time: `now` is handed in.

    Calls cost one addition each; the window moves when a repeat is asked for, and by `tick`.
    """

    __slots__ = ("_at", "_called", "_calls", "_last", "_repeated", "_repeats", "calls", "floor")

    def __init__(self, now: float, floor: int = FLOOR) -> None:
        """`now` is in seconds, of a clock that never goes back."""
        self.floor = floor
        self.calls = 0
        """All calls so far; whoever takes one up counts it here."""
        self._called = 0  # those of them that are in the window's slots
        self._last = int(now)
        self._at = [0] * WINDOW  # calls by second
        self._repeated = [0] * WINDOW
        self._calls = 0  # the sums of both
        self._repeats = 0

    def may_retry(self, now: float) -> bool:
        """Whether a call may be repeated; if so it is counted."""
        self.tick(now)
        if self._repeats >= self.floor + self._calls // SHARE:
            return False
        self._repeats += 1
        self._repeated[self._last % WINDOW] += 1
        return True

    def tick(self, now: float) -> None:
        """Let go of what has left the window. To be called every second or so."""
        second, last = int(now), self._last
        # Counted as made when the window last moved, which is the earliest that they can have
        # been: a call is never counted for longer than the window.
        fresh = self.calls - self._called
        if fresh:
            self._called += fresh
            self._calls += fresh
            self._at[last % WINDOW] += fresh
        if second <= last:
            return
        for gone in range(last + 1, min(second, last + WINDOW) + 1):
            place = gone % WINDOW
            self._calls -= self._at[place]
            self._repeats -= self._repeated[place]
            self._at[place] = self._repeated[place] = 0
        self._last = second
