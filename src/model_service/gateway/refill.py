"""How a worker's leases are filled and emptied: one round trip for everything that waits.

While one exchange with the shared counters is under way, what is wanted meanwhile gathers for
the next one. However many calls wait, and for however many counters, there is one statement at a
time; and since each says the whole state of a lease, none has to be repeated after a failure.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final

import structlog

from model_service.gateway.counters import Counter
from model_service.gateway.refusals import refused, unavailable
from model_service.kernel.counting import CounterStore
from model_service.kernel.errors import DatabaseUnavailable, ServiceError

log = structlog.get_logger(__name__)

#: Seconds between two looks at the leases: so soon is known what was spent, and what a worker
#: does not use is back within two of them.
TICK: Final = 0.2
#: Seconds for which other workers are given time to give back what they do not use, and for
#: which a demand that was then still refused is refused again without asking.
RECALL_WAIT: Final = 0.1
DRY_SECONDS: Final = 0.5
#: Seconds between two times of asking them.
RECALL_EVERY: Final = 1.0
#: Counters for which that goes on at a time: beyond, so much is refused that asking is no help.
MOST_RECALLS: Final = 16
#: Seconds for which calls are refused at once after the counters could not be reached.
DOWN_SECONDS: Final = 0.5
#: Counters that are asked about at one look.
MOST_ASKED: Final = 2_000
#: Seconds that giving everything back at the end may take.
FAREWELL: Final = 2.0


class Refill:
    """Exchanges with the shared counters. `live` are those with something free or to say."""

    def __init__(self, store: CounterStore, now: Callable[[], float]) -> None:
        self.live: dict[Counter, None] = {}
        self._store = store
        self._now = now
        self._asked: list[Counter] = []
        self._task: asyncio.Task[None] | None = None
        self._round: asyncio.Future[ServiceError | None] | None = None
        self._recalls: dict[Counter, asyncio.Task[None]] = {}
        self._numbers = 0
        self._down_until = float("-inf")

    def ask(self, counter: Counter) -> None:
        """Have the next exchange ask about a counter."""
        if counter.is_asked:
            return
        counter.is_asked = True
        self._asked.append(counter)
        if self._task is None or self._task.done():
            # In a context of its own: it belongs to no transaction of whoever asks first.
            self._task = asyncio.get_running_loop().create_task(self._deliver(), context=Context())

    async def wait(
        self, pairs: Sequence[tuple[Counter, int]], amounts: tuple[int, int, int]
    ) -> None:
        """Wait for what may help a call that needs so much of each counter, by its kind.

        Raises:
            CallFailed: nothing will, or the counters cannot be reached.
        """
        now = self._now()
        lacking = [(one, amounts[kind]) for one, kind in pairs if _lacks(one, amounts[kind], now)]
        for counter, amount in lacking:
            is_dry = now < counter.dry_until and amount >= counter.dry_amount
            if amount > counter.limit or is_dry:
                raise refused(counter, amount, now)
        if now < self._down_until:
            raise unavailable()
        for counter, amount in lacking:
            counter.wait_for(amount)
            self.ask(counter)
        if await self._next_round() is not None:
            raise unavailable()
        now = self._now()
        for counter, amount in lacking:
            left = counter.limit - counter.taken + counter.lease.free
            if _lacks(counter, amount, now) and left < amount:
                await self._recall_or_refuse(counter, amount, now)

    def recalled(self, counter: Counter) -> None:
        """Give back what is free of a counter now."""
        if counter.give_back():
            self.ask(counter)

    async def flush(self) -> None:
        """Say what was spent, and wait until that is known.

        Raises:
            DatabaseUnavailable: it could not be said.
        """
        for counter in self.live:
            if counter.lease.spent != counter.reported:
                self.ask(counter)
        if self._task is not None and not self._task.done():
            await asyncio.shield(self._task)
        if self._now() < self._down_until:
            raise DatabaseUnavailable

    async def run(self, between: Callable[[], None]) -> None:
        """Look at the leases every `TICK`, until cancelled; then give everything back."""
        try:
            while True:
                await asyncio.sleep(TICK)
                self.look()
                between()
        finally:
            for counter in list(self.live):
                self.recalled(counter)
            try:
                async with asyncio.timeout(FAREWELL):
                    await self.flush()
            except (DatabaseUnavailable, TimeoutError):
                log.warning("leases of limits were not given back")

    def look(self) -> None:
        """Give back what is not used, and say what was spent."""
        now = self._now()
        asked = 0
        if now < self._down_until:
            return
        for counter in list(self.live):
            lease = counter.lease
            if counter.reported < 0:
                self.ask(counter)
            elif now >= lease.window_ends:
                counter.forget_window()
                del self.live[counter]
            elif counter.look() or (now >= counter.renew_at and lease.held > 0):
                if asked == MOST_ASKED:
                    break
                asked += 1
                self.ask(counter)
            elif lease.held <= 0:
                del self.live[counter]

    def _next_round(self) -> "asyncio.Future[ServiceError | None]":
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        # Who waits may be cancelled; the others wait on.
        return asyncio.shield(self._round)

    async def _deliver(self) -> None:
        # Once around the loop first: what else is about to ask comes along.
        await asyncio.sleep(0)
        while self._asked:
            batch, self._asked = self._asked, []
            finished, self._round = self._round, None
            error = await self._exchange(batch)
            if finished is not None:
                finished.set_result(error)

    async def _exchange(self, batch: list[Counter]) -> ServiceError | None:
        for counter in batch:
            if not counter.spare:
                self._numbers += 1
                counter.spare = self._numbers
        try:
            asks = [counter.ask() for counter in batch]
            sent_at = self._now()
            answers = await self._store.exchange(asks)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
            for counter in batch:
                counter.reported = -1  # nobody knows: it is to be said again
                self.live[counter] = None
            if not isinstance(error, ServiceError):
                log.error("limits cannot be counted", error_type=type(error).__name__)
                error = ServiceError()
            elif self._down_until < 0:
                log.warning("limits cannot be counted right now", code=error.code)
            self._down_until = self._now() + DOWN_SECONDS
            return error
        self._down_until = float("-inf")
        for counter, ask, answer in zip(batch, asks, answers, strict=True):
            counter.take_up(ask, answer, sent_at)
            self.live[counter] = None
            if ask.limit != counter.limit:
                self.recalled(counter)
        return None

    async def _recall_or_refuse(self, counter: Counter, amount: int, now: float) -> None:
        """Ask others for what they do not use. Raises CallFailed when that was just tried."""
        task = self._recalls.get(counter)
        if task is None:
            is_elsewhere = counter.reserved > counter.lease.held
            is_tried = now - counter.recalled_at < RECALL_EVERY
            if not is_elsewhere or is_tried or len(self._recalls) >= MOST_RECALLS:
                counter.dry_until = min(now + DRY_SECONDS, counter.lease.until)
                counter.dry_amount = amount
                raise refused(counter, amount, now)
            task = asyncio.get_running_loop().create_task(self._recall(counter), context=Context())
            self._recalls[counter] = task
        await asyncio.shield(task)

    async def _recall(self, counter: Counter) -> None:
        try:
            await self._store.recall([counter.key])
            await asyncio.sleep(RECALL_WAIT)
        except DatabaseUnavailable:
            pass  # the next exchange says so
        finally:
            counter.recalled_at = self._now()
            del self._recalls[counter]


def _lacks(counter: Counter, amount: int, now: float) -> bool:
    return counter.lease.free < amount or now >= counter.lease.until
