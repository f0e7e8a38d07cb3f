"""How often somebody may do something: a bucket for each source, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from ipaddress import IPv6Address, ip_address
from typing import Final

#: Sources remembered. Beyond, those not heard of for longest are forgotten: for them it is as
#: if they had waited.
MOST_SOURCES: Final = 10_000
#: What an IPv6 subscriber is given whole (RFC 6177): one source, whatever address it uses.
_IPV6_PREFIX_BITS: Final = 64
#: Seconds in which a bucket fills.
_WINDOW: Final = 60.0
#: Seconds that sums of intervals may be off.
_ROUNDING: Final = 1e-6


class RateLimits:
    """A token bucket for each source: `per_minute` at once, then evenly as many a minute.

    Kept as the moment at which a source's bucket will be full again: the generic cell rate
    algorithm (ITU-T I.371), one number for each source.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        most_sources: int = MOST_SOURCES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` gives seconds that never go back."""
        self._interval = _WINDOW / per_minute
        self._most_sources = most_sources
        self._now = now
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, source: str, share: float = 1.0) -> float:
        """Seconds until the source may go on; 0 when it may now. Takes nothing."""
        full_at = self._full_at.get(source)
        if full_at is None:
            return 0.0
        wait = full_at + self._interval * share - _WINDOW - self._now()
        return wait if wait > _ROUNDING else 0.0

    def spend(self, source: str, share: float = 1.0) -> float:
        """Take one from the source's bucket; when it is empty, take nothing and give the wait.

        A `share` below 1 takes less than a whole one.
        """
        return self.spend_all((source,), share)

    def spend_all(self, sources: Collection[str], share: float = 1.0) -> float:
        """As `spend`, from the bucket of each: when one is empty, nothing is taken from any."""
        wait = max(self.wait(source, share) for source in sources)
        now = self._now()
        for source in sources:
            full_at = self._full_at.get(source, now)
            if wait == 0:
                full_at = max(full_at, now) + self._interval * share
            elif source not in self._full_at:
                continue
            self._full_at[source] = full_at
            self._full_at.move_to_end(source)
        while len(self._full_at) > self._most_sources:
            self._full_at.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._full_at)


def source_of(address: str | None) -> str:
    """Who an address belongs to, as far as limits go: an IPv6 address counts by its /64."""
    if address is None:
        return "unknown"
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    shift = 128 - _IPV6_PREFIX_BITS
    return f"{IPv6Address(int(parsed) >> shift << shift)}/{_IPV6_PREFIX_BITS}"
