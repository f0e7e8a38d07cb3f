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
from model_service.usage.segments import EVENT, Segment, mark, read_own, read_part

log = structlog.get_logger(__name__)

#: Seconds between two looks at what is new: few large batches cost less than many small ones.
DRAIN_INTERVAL: Final = 0.4
#: Most seconds between two tries while usage cannot be stored.
MOST_BACKOFF: Final = 5.0
#: Events told at a time, about, and after those could not be stored: a batch must not be too large
#: for a database that is slow. It is doubled from there on.
_MANY: Final = 4_000
_FEW: Final = 256
#: Most bytes of a segment of which the events are told at a time.
_MOST_BYTES: Final = 4 << 20
#: Records read and checked at a time.
_MOST_RECORDS: Final = 512
#: How many segments may be newer than one of which nothing was read back from the disk yet.
_FRESH: Final = 2


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
        self._most = _MANY
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
            self._most = _FEW
            if self._failures == 1:
                log.warning("usage cannot be stored and is kept in the journal", reason=error.code)
            bound = min(MOST_BACKOFF, self._interval * float(1 << min(self._failures, 16)))
            return bound * (0.5 + self._chance() / 2)
        if self._failures:
            log.info("usage is stored again")
        self._failures = 0
        return self._interval

    async def _drain(self, segment: Segment) -> None:
        while segment.drained < self._journal.end_of(segment):
            payloads, end = await self._read(segment)
            if payloads:
                await self._delivery.tell(payloads)
                self._most = min(self._most * 2, _MANY)
            await asyncio.to_thread(mark, segment.path, end)
            segment.drained = end
            self._drained += len(payloads)

    async def _read(self, segment: Segment) -> tuple[list[bytes], int]:
        """What is told at a time, and where to go on."""
        payloads: list[bytes] = []
        start = at = segment.drained
        stop = self._journal.end_of(segment)
        while at < min(stop, start + _MOST_BYTES) and len(payloads) < self._most:
            behind = at
            if self._journal.current.number - segment.number < _FRESH:
                behind = read_own(segment.path, at, stop, payloads)
                await asyncio.sleep(0)
            at = behind if behind > at else await self._check(segment, at, stop, payloads)
        return payloads, at

    async def _check(self, segment: Segment, start: int, stop: int, payloads: list[bytes]) -> int:
        """Add events whose records are as they were written; where to go on.

        What is read long after it was written may come from the disk, and be altered.
        """
        part = await asyncio.to_thread(read_part, segment.path, start, stop, _MOST_RECORDS)
        payloads += [record.payload for record in part.records if record.kind == EVENT]
        if part.damaged or part.is_torn or (part.is_last and part.end < stop):
            log.error("a usage journal holds what was not written", segment=segment.path.name)
            segment.is_damaged = True
            return stop if part.is_last else part.end
        return part.end

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
