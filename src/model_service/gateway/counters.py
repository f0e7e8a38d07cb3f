"""A worker's view of one shared counter, and the lease that it spends without asking."""

from dataclasses import dataclass, field
from typing import Final

from model_service.kernel.counting import LEASE_SECONDS, Answer, Ask, Metric, Window

#: Part of a window that two clocks may differ by at its end: 500 parts in a million is the most
#: that NTP slews a clock by (RFC 5905, appendix A.5.5.6).
DRIFT: Final = 0.0005
#: Times the first demand that is asked for beyond it while little is known.
FIRST_APPETITE: Final = 8


class Lease:
    """A part of one window of a counter. `held` is what is free or reserved; `free` may be owed.

    Reserving takes from `free` alone; settling moves from `held` to `spent`.
    """

    __slots__ = ("counter", "free", "held", "number", "opened", "spent", "until", "window_ends")

    def __init__(self, counter: "Counter", number: int, opened: int | None) -> None:
        """Empty. `until` is when it may no longer be reserved from, `window_ends` its window's."""
        self.counter = counter
        self.number = number
        self.opened = opened
        self.free = 0
        self.held = 0
        self.spent = 0
        self.until = 0.0
        self.window_ends = 0.0


@dataclass(slots=True, eq=False)
class Counter:
    """What a worker knows of one counter."""

    key: str
    metric: Metric
    window: Window
    limit: int
    title: str
    """What it limits, for who is refused: `the quota of the user 'ann'`."""
    is_quota: bool
    lease: Lease = field(init=False)
    taken: int = 0
    """All that anybody took, as last heard."""
    reserved: int = 0
    """The part of `taken` that is not known to be spent."""
    least: int = 0
    need: int = 0
    """What the calls that wait need: the least of them, and all together."""
    low: int = 0
    """More is fetched in advance when less than this is free."""
    appetite: int = 0
    """How much is fetched in advance, and kept."""
    is_asked: bool = False
    """Whether the next exchange is to ask about it."""
    reported: int = 0
    """What was said to be spent of the lease; -1 when nobody knows whether that was heard."""
    spare: int = 0
    """The number of the next lease. The same until there is one: should the counters have opened
    it without this worker hearing of it, they take it for the one that they know."""
    consumed: int = 0
    """What was reserved of the lease and not given back, as of the last look."""
    renew_at: float = 0.0
    recalled_at: float = float("-inf")
    """When others were last asked to give back."""
    dry_until: float = 0.0
    dry_amount: int = 0
    """Until then, demands as large as this are refused without asking."""
    lines_at: tuple[int, int] = (-1, 0)
    head: bytes = b""
    tail: bytes = b""
    """What answers say of it, around what is left: see `ratelimit_heads`."""

    def __post_init__(self) -> None:
        self.lease = Lease(self, 0, None)

    def wait_for(self, amount: int) -> None:
        """A call waits for so much."""
        self.least = min(self.least, amount) if self.need else amount
        self.need += amount

    def ask(self) -> Ask:
        """What to say and ask for now. What is owed is said to be held: it counts."""
        lease = self.lease
        if lease.free < 0:
            lease.held -= lease.free
            lease.free = 0
        need, least, most = self.need, self.least, 0
        self.need = self.least = 0
        if need:
            self.appetite = max(self.appetite, need * FIRST_APPETITE)
            # What is free stays the worker's, unless its window is over: see `Ask`.
            least = max(1, least - lease.free)
            need = max(least, need - lease.free)
            most = max(need, self.appetite)
        elif lease.free < self.low:
            least, most = 1, self.appetite
        self.reported = lease.spent
        self.is_asked = False
        return Ask(
            self.key, self.window, self.limit, lease.number, self.spare, lease.opened,
            lease.spent, lease.held, least, need, most,
        )  # fmt: skip

    def take_up(self, ask: Ask, answer: Answer, sent_at: float) -> None:
        """What came of an ask, which was sent at that moment of this machine's clock.

        The database read its clock after `sent_at`, so the window cannot end later than
        `remaining` after that. By how much the two clocks may run apart until then is taken off.
        """
        lease = self.lease
        if lease.opened != answer.opened:
            lease = self.lease = Lease(self, ask.spare, answer.opened)
            self.spare = self.reported = self.consumed = 0
        lease.free += answer.granted
        lease.held += answer.granted
        lease.window_ends = sent_at + answer.remaining
        good = min(answer.remaining, LEASE_SECONDS)
        lease.until = sent_at + good * (1 - DRIFT)
        self.renew_at = sent_at + LEASE_SECONDS / 5
        self.taken, self.reserved = answer.taken, answer.held
        if answer.granted < ask.most:
            self.low = 0  # nothing to be had in advance; `look` tries again

    def look(self) -> bool:
        """Now and then: keep what is likely to be used soon, give back the rest.

        Whether there is something to say: of what is spent or given back.
        """
        lease = self.lease
        consumed = lease.spent + lease.held - lease.free
        lately, self.consumed = consumed - self.consumed, consumed
        self.appetite = max(2 * lately, self.appetite // 2) if lately > 0 else 0
        self.low = self.appetite // 4
        return self.give_back(self.appetite) or lease.spent != self.reported

    def give_back(self, keep: int = 0) -> bool:
        """Let go of what is free beyond `keep`; whether there is any. The next ask says so."""
        lease = self.lease
        if lease.free <= keep:
            return False
        lease.held -= lease.free - keep
        lease.free = keep
        return True

    def forget_window(self) -> None:
        """The lease's window is over: what was left of it is worth nothing any more.

        Calls under way settle with the old lease, and nobody needs to hear of that.
        """
        self.lease = Lease(self, 0, None)
        self.reported = self.consumed = 0
