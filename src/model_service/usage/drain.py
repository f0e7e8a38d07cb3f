"""Bringing what the journal holds to where usage is kept, over and over."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from model_service.kernel.errors import Unavailable
from model_service.usage.delivery import Delivery
from model_service.usage.journal import Journal
from model_service.usage.owners import Holding
from model_service.usage.segments import EVENT, Segment, mark, read_part

log = structlog.get_logger(__name__)

#: Seconds between two looks at what is new.
DRAIN_INTERVAL: Final = 0.2
#: Most seconds between two tries while usage cannot be stored.
MOST_BACKOFF: Final = 5.0
#: Records read at a time. The store puts them into words on the event loop, where calls wait.
_MOST_RECORDS: Final = 256


class Drainer:
    """Drains this process's own journal. A `Job`.

    What it holds in memory is one part of one segment, however much there is to drain.
    """

    def __init__(
        self,
        journal: Journal,
        holding: Holding,
        delivery: Delivery,
        interval: float = DRAIN_INTERVAL,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`holding` is the journal's directory; `now` gives seconds that never go back."""
        self._journal = journal
        self._holding = holding
        self._delivery = delivery
        self._interval = interval
        self._now = now
        self._chance = chance
        self._draining = asyncio.Lock()
        self._drained = 0
        self._failures = 0
        self._caught_up = now()

    @property
    def undrained_events(self) -> int:
        """How many events of this process are not stored yet."""
        return self._journal.events - self._drained

    @property
    def oldest_seconds(self) -> float:
        """At most how old the oldest event is that is not stored yet; 0 without one."""
        return self._now() - self._caught_up if self.undrained_events else 0.0

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            seconds = await self._attempt()
            await asyncio.sleep(seconds)

    async def drain(self) -> None:
        """Store every event that is there when it is called.

        Raises:
            DatabaseUnavailable, Refused: they cannot all be stored now.
            OSError: the journal cannot be read.
        """
        async with self._draining:
            started = self._now()
            for segment in (*self._journal.kept, self._journal.current):
                await self._drain(segment)
                if segment is not self._journal.current:
                    await self._delete(segment)
            self._caught_up = started

    async def _attempt(self) -> float:
        """Drain if that can be done; the answer is how many seconds to wait."""
        try:
            await self.drain()
        except Unavailable as error:
            self._failures += 1
            if self._failures == 1:
                log.warning("usage cannot be stored and is kept in the journal", reason=error.code)
            bound = min(MOST_BACKOFF, self._interval * float(1 << min(self._failures, 16)))
            return bound * (0.5 + self._chance() / 2)
        if self._failures:
            log.info("usage is stored again")
        self._failures = 0
        return self._interval

    async def _drain(self, segment: Segment) -> None:
        while segment.drained < (stop := self._journal.end_of(segment)):
            part = await asyncio.to_thread(
                read_part, segment.path, segment.drained, stop, _MOST_RECORDS
            )
            payloads = [record.payload for record in part.records if record.kind == EVENT]
            if payloads:
                await self._delivery.tell(payloads)
            end = part.end
            if part.damaged or part.is_torn or (part.is_last and end < stop):
                log.error("a usage journal holds what was not written", segment=segment.path.name)
                segment.is_damaged = True
                end = stop if part.is_last else end
            await asyncio.to_thread(mark, segment.path, end)
            segment.drained = end
            self._drained += len(payloads)

    async def _delete(self, segment: Segment) -> None:
        """Delete a segment that is full and drained, unless too many calls in it go on."""
        carries = bool(segment.pending)
        if not self._journal.give_up(segment):
            return
        # What was carried over must be as safe where it is now, before it is gone elsewhere.
        if carries and not await asyncio.to_thread(self._journal.sync):
            return
        if segment.is_damaged:
            await asyncio.to_thread(self._holding.keep_damaged, segment.path)
        else:
            await asyncio.to_thread(segment.path.unlink, missing_ok=True)
