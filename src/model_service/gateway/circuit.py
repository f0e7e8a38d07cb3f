"""A circuit: whether calls to one place are made, learnt from how they go.

A place that keeps failing is left alone for a moment: its circuit is open, and calls are served
by a fallback, or refused at once, instead of waiting for what will fail. Then one call at a time
is let through, and the first that goes well closes the circuit.

    closed --too many fail--> open --after a pause--> half open --one goes well--> closed
                               ^-------------------------- it fails (a longer pause)
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from model_service.gateway.tally import RECENT, SLOT_SECONDS, Tally
from model_service.providers.condition import Change, Numbers, Place, State
from model_service.providers.faults import FaultKind

#: Faults that tell against a place. A limit, or what is wrong with the request or the key, does
#: not: whoever says so is there and well.
COUNTED: Final = frozenset(
    {FaultKind.UPSTREAM, FaultKind.TIMEOUT, FaultKind.OVERLOADED, FaultKind.UNAVAILABLE}
)
#: Faults that are this service's own: the place was not even asked.
_OURS: Final = frozenset({FaultKind.INTERNAL, FaultKind.UNSUPPORTED})
#: Failures one after the other that open a circuit. One in time counts twice: it cost its caller
#: all the time there was.
STREAK: Final = 5
TIMEOUT_WEIGHT: Final = 2
#: The calls of the last half minute that open it when half of them failed.
VOLUME: Final = 20
#: Seconds that it stays open: longer each time that it opens again. With the tenth that chance
#: may add, and ten seconds for a call that hangs, the next is let through within 30 s.
PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 12.0)
#: Seconds without failing after which the pauses begin anew.
FORGIVEN_AFTER: Final = 60.0
#: Seconds for which a call that was let through keeps others waiting; then it counts as lost.
PROBE_SECONDS: Final = 10.0
#: Seconds after its turn at which nobody has taken it: there are no calls, so it is to be asked.
UNCALLED_AFTER: Final = 2.0
#: Seconds after which a place that nobody called, and nobody would have, is no longer asked.
FORGOTTEN_AFTER: Final = 600.0
#: Seconds by which a process lets whoever opened a circuit go first.
STAGGER: Final = 1.0
#: Registered names remembered with a circuit, and characters of why it opened.
MOST_NAMES: Final = 16
MOST_WORDS: Final = 240

OnChange = Callable[[Change], None]
"""Hears of a change. Called in the event loop, in the middle of a call, so it takes no time."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`now` is in seconds and never goes back, `wall` in seconds since 1970, `chance` 0 to 1."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


class Circuit:
    """The circuit of one place. All of it is synchronous, so nothing comes between its steps.

    A call asks `allow` and hands the ticket that it gets to one of `succeeded`, `failed` and
    `abandoned`, once. Tickets tell calls of before the last change from those after it.
    """

    __slots__ = (
        "_changed_at",
        "_closed_at",
        "_on_change",
        "_opened",
        "_parts",
        "_probed_until",
        "_tally",
        "_trips",
        "_until",
        "_wanted_at",
        "last_error",
        "last_error_at",
        "last_error_why",
        "names",
        "place",
        "since",
        "state",
        "streak",
        "ticket",
    )

    def __init__(self, place: Place, parts: Parts, on_change: OnChange) -> None:
        now = parts.now()
        self.place = place
        self.names: tuple[str, ...] = ()
        self.state = State.CLOSED
        self.since = round(parts.wall(), 3)
        """Since when it is open or closed, in seconds since 1970."""
        self.ticket = 1
        """That of calls let through now, while it is closed."""
        self.streak = 0
        self.last_error: FaultKind | None = None
        self.last_error_why = ""
        self.last_error_at: float | None = None
        self._parts = parts
        self._on_change = on_change
        self._tally = Tally(now)
        self._opened = 0  # the last ticket of before it opened
        self._until = 0.0  # open until then
        self._probed_until = 0.0
        self._trips = 0
        self._closed_at = now - FORGIVEN_AFTER
        self._changed_at = 0.0  # on the wall; what others tell of before it is old
        self._wanted_at = now  # when a call was last made, or would have been

    def allow(self, now: float) -> int:
        """A ticket for a call, or 0: it is not to be made."""
        if self.state is State.CLOSED:
            return self.ticket
        self._wanted_at = now
        return self._turn(now)

    def ask(self, now: float) -> int:
        """As `allow`, for asking the place without a call; for `probed`."""
        return 0 if self.state is State.CLOSED else self._turn(now)

    def _turn(self, now: float) -> int:
        if now < self._due:
            return 0
        self.state = State.HALF_OPEN
        self._probed_until = now + PROBE_SECONDS
        self.ticket += 1
        return self.ticket

    def blocks(self, now: float) -> bool:
        """Whether `allow` would give no ticket. Takes none."""
        if self.state is State.CLOSED:
            return False
        self._wanted_at = now
        return now < self._due

    @property
    def _due(self) -> float:
        """When the next call is let through, unless it is closed."""
        return self._until if self.state is State.OPEN else self._probed_until

    def retry_after(self, now: float) -> float:
        """Seconds until a call may be let through; 0 while they are."""
        return 0.0 if self.state is State.CLOSED else max(self._due - now, 0.0)

    def succeeded(self, ticket: int, latency: float, first_token: float | None = None) -> None:
        """A call was answered whole, in so many seconds; `first_token` of a stream."""
        self._tally.took(latency, first_token)
        self.streak = 0
        if self.state is not State.CLOSED:
            self._answered(ticket)

    def began(self, ticket: int) -> None:
        """A good answer has begun: reason enough to close, long before a slow one ends."""
        if self.state is not State.CLOSED:
            self._answered(ticket)

    def failed(self, ticket: int, kind: FaultKind, now: float, why: str = "") -> None:
        """A call was refused or came to nothing. `why` is for people and holds no secrets."""
        if kind in _OURS:
            self.abandoned(ticket)
            return
        if kind not in COUNTED:
            # Whatever it refuses, it answers.
            self._tally.answered += 1
            if self.state is not State.CLOSED:
                self._answered(ticket)
            return
        self._tally.fail(now)
        self.last_error, self.last_error_why = kind, why[:MOST_WORDS]
        self.last_error_at = round(self._parts.wall(), 3)
        if ticket != self.ticket:
            return  # it was on its way before the last change
        if self.state is State.CLOSED:
            self.streak += TIMEOUT_WEIGHT if kind is FaultKind.TIMEOUT else 1
            if self.streak >= STREAK or self._fails_often(now):
                self._open(now)
        else:
            self._open(now)

    def abandoned(self, ticket: int) -> None:
        """The call was not made after all, or its caller left: it says nothing of the place."""
        if self.state is State.HALF_OPEN and ticket == self.ticket:
            self._probed_until = 0.0

    def probed(self, ticket: int, *, is_alive: bool, now: float, why: str = "") -> None:
        """What came of asking the place without a call. The first call that fails opens it again.

        Being asked is less than serving: a listing may come while answers do not.
        """
        if ticket != self.ticket or self.state is not State.HALF_OPEN:
            return
        if is_alive:
            self._close(STREAK - 1)
        else:
            self.last_error, self.last_error_why = FaultKind.UNAVAILABLE, why[:MOST_WORDS]
            self.last_error_at = round(self._parts.wall(), 3)
            self._open(now)

    def is_uncalled(self, now: float) -> bool:
        """Whether its turn came and no call took it."""
        return self.state is not State.CLOSED and now >= self._due + UNCALLED_AFTER

    def adopt(self, change: Change, now: float) -> None:
        """Take up what another process learnt, unless what is known here is newer or better."""
        if change.at <= self._changed_at:
            return  # its own, mostly
        if change.state is State.CLOSED:
            self._changed_at = change.at
            if self.state is not State.CLOSED:
                self.state, self.since = State.CLOSED, change.since
                self.streak = STREAK - 1
                self._closed_at = now
            return
        left = (change.retry_at or 0.0) - self._parts.wall()
        until = now + min(max(left, 0.0), PAUSES[-1]) + STAGGER
        if self.state is State.CLOSED:
            self._tally.roll(now)
            if self._tally.went_well():
                return  # it is the other that cannot reach it
            self._opened = self.ticket
            self.ticket += 1
            self.state, self.since = State.OPEN, change.since
            self.last_error_why, self.last_error_at = change.why, change.at
            self.last_error = None if change.error is None else FaultKind(change.error)
            self._until, self._wanted_at = until, now
        elif self.state is State.OPEN:
            self._until = max(self._until, until)
        self._changed_at = change.at

    def named(self, name: str) -> None:
        """A registered model of that name is served there."""
        if name not in self.names:
            self.names = (*self.names[-MOST_NAMES + 1 :], name)

    def roll(self, now: float) -> None:
        """Let go of what is old. Every second or so."""
        self._tally.roll(now)

    def numbers(self) -> Numbers:
        """What calls came to in the last minutes, as of the last `roll`."""
        calls, failures = self._tally.totals()
        latencies, first_tokens = self._tally.latencies()
        return Numbers(
            self.place,
            self.state,
            self.since,
            self.names,
            calls,
            failures,
            latencies,
            first_tokens,
            None if self.last_error is None else self.last_error.value,
            self.last_error_why,
            self.last_error_at,
        )

    def is_idle(self, now: float) -> bool:
        """Whether nobody will miss it."""
        if self.state is State.CLOSED:
            return not self._tally.totals()[0]
        return now - self._wanted_at >= FORGOTTEN_AFTER

    def _fails_often(self, now: float) -> bool:
        if now - self._closed_at < RECENT * SLOT_SECONDS:
            return False  # what is counted is of before it closed, in part
        calls, failures = self._tally.recent()
        return calls >= VOLUME and failures * 2 >= calls

    def _answered(self, ticket: int) -> None:
        if ticket > self._opened:
            self._close(0)

    def _close(self, streak: int) -> None:
        self.streak = streak
        self._closed_at = self._parts.now()
        self._change(State.CLOSED, None)

    def _open(self, now: float) -> None:
        was_closed = self.state is State.CLOSED
        if was_closed and now - self._closed_at >= FORGIVEN_AFTER:
            self._trips = 0
        # A tenth either way, lest many processes ask at the same moment.
        cool = PAUSES[min(self._trips, len(PAUSES) - 1)] * (0.9 + self._parts.chance() / 5.0)
        self._trips += 1
        # Calls that are still on their way have no say in what comes now.
        self._opened = self.ticket
        self.ticket += 1
        self.streak = 0
        self._until = now + cool
        self._change(State.OPEN, cool)

    def _change(self, state: State, cool: float | None) -> None:
        wall = self._parts.wall()
        # Later than what was told last, whatever the clock on the wall does.
        at = max(round(wall, 3), round(self._changed_at + 0.001, 3))
        self._changed_at = at
        # What is half open was open, and stays so.
        if state is State.CLOSED or self.state is State.CLOSED:
            self.since = at
        self.state = state
        last = self.last_error
        self._on_change(
            Change(
                self.place,
                state,
                at,
                self.since,
                None if cool is None else round(wall + cool, 3),
                None if last is None else last.value,
                self.last_error_why,
                self.names,
            )
        )
