"""Counting against limits: what is counted, in which windows, and the seam to the shared counters.

Amounts are whole numbers: requests, tokens, or billionths of a US dollar (`NANO`). A counter has
a name (`key`) and starts at 0 in every calendar window of its kind, in UTC, by the database's
clock. Workers take *leases* of a counter, parts of what is left in the window, and spend them
without asking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

#: Parts of a US dollar that costs are counted in.
NANO: Final = 1_000_000_000

#: Seconds for which a lease is good without word from the database. As long as the gateway
#: believes anything else that it heard; only well after that is a lease taken for a dead worker's.
LEASE_SECONDS: Final = 300.0
#: Topics of change notices: that quotas changed, and which counter's leases are needed elsewhere.
QUOTAS_TOPIC: Final = "quotas"
RECALL_TOPIC: Final = "recalls"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Metric(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"

    # As text, which they are equal to; enum's own hash is computed in Python at each look-up.
    __hash__ = str.__hash__


class Window(StrEnum):
    """How long is counted before it starts anew; PostgreSQL's words for parts of a date."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    __hash__ = str.__hash__


_LENGTHS: Final = {
    Window.MINUTE: timedelta(minutes=1),
    Window.HOUR: timedelta(hours=1),
    Window.DAY: timedelta(days=1),
}


def window_bounds(window: Window, moment: datetime) -> tuple[datetime, datetime]:
    """Begin and end of the calendar window, in UTC, that a moment lies in."""
    now = moment.astimezone(UTC)
    if window is Window.MONTH:
        begin = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return begin, (begin + timedelta(days=32)).replace(day=1)
    length = _LENGTHS[window]
    begin = now - (now - _EPOCH) % length
    return begin, begin + length


def nano_dollars(cost: Decimal) -> int:
    """A cost as it is counted, rounded up: never less than it is."""
    return int((cost * NANO).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Quota:
    """What a user, a token or a model may use in each window; None names no one in particular.

    With several of them named it counts what is of all of them. `limit` is in the metric's unit.
    """

    id: UUID
    metric: Metric
    window: Window
    limit: int
    user_id: str | None = None
    token_id: UUID | None = None
    model: str | None = None

    @property
    def key(self) -> str:
        """Its counter's name."""
        return f"quota:{self.id}"


@dataclass(slots=True)
class Ask:
    """What a worker says about its lease of one counter, and how much more it wants.

    What it says is the lease's whole state and not a change of it, so that saying it again, or
    not having been heard, does no harm. `lease` numbers the lease among the worker's, `opened`
    is the window that it is of (microseconds since 1970; None: there is none yet), `spent` what
    was used of it for good and `held` what is kept beside that: free, or reserved for calls under
    way. More than was granted may be said to be spent, and counts.

    Should the present window be another one, the state is not for it: then `spare` numbers the
    lease that is opened. Of what is left, nothing is granted unless it is at least `least`; then
    `need` as far as it goes, and beyond it, up to `most`, while that is a small part of the rest.
    """

    key: str
    window: Window
    limit: int
    lease: int
    spare: int
    opened: int | None
    spent: int
    held: int
    least: int = 0
    need: int = 0
    most: int = 0


@dataclass(slots=True)
class Answer:
    """How a counter stands after an `Ask`.

    `opened` is the present window, which ends `remaining` seconds after the database's clock was
    read. `taken` is all that is spent or held by anybody, what was just granted included, and
    `held` the part of it that is not known to be spent.
    """

    opened: int
    remaining: float
    granted: int
    taken: int
    held: int


class CounterStore(Protocol):
    """The counters that all workers share."""

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        """Settle and take, all in one round trip; the answers are in the order of the asks.

        Not to be called again before it is done.

        Raises:
            DatabaseUnavailable: nothing is known to have happened.
        """
        ...

    async def recall(self, keys: Sequence[str]) -> None:
        """Ask all workers to give back what they do not use of these counters.

        Raises:
            DatabaseUnavailable: they were not asked.
        """
        ...
