"""Workers, their clocks, and shared counters in memory whose every message is delivered by hand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from typing_extensions import override

from model_service.gateway.limits import Applicable, Hold, Limiter, Rates
from model_service.kernel.counting import Answer, Ask, window_bounds
from model_service.kernel.errors import DatabaseUnavailable

#: When the database's clock starts: a second before a month ends, and with it all windows.
START = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


@dataclass(eq=False)
class LimitedModel:
    """A model as far as limits go."""

    name: str = "m"
    rates: Rates | None = None
    id: UUID = field(default_factory=uuid4)


@dataclass
class Row:
    """One lease as the counters know it."""

    number: int = -1
    spent: int = 0
    held: int = 0


class SharedCounters:
    """What migration 0010's `exchange_leases` does, in memory, by a clock that tests set."""

    def __init__(self) -> None:
        self.now = START
        self.taken: dict[tuple[str, datetime], int] = {}
        self.leases: dict[tuple[str, datetime], dict[tuple[object, int], Row]] = {}

    def exchange(self, holder: object, number: int, asks: Sequence[Ask]) -> list[Answer]:
        return [self._one(holder, number, ask) for ask in asks]

    def _one(self, holder: object, number: int, ask: Ask) -> Answer:
        begins, ends = window_bounds(ask.window, self.now)
        opened = microseconds(begins)
        at = (ask.key, begins)
        present = ask.opened == opened
        spent, held = (ask.spent, ask.held) if present else (0, 0)
        remaining = (ends - self.now).total_seconds()
        if at not in self.taken and spent + held + ask.most == 0:
            return Answer(opened, remaining, 0, 0, 0)
        rows = self.leases.setdefault(at, {})
        total = self.taken.get(at, 0)
        row = rows.setdefault((holder, ask.lease if present else ask.spare), Row())
        granted = 0
        if row.number < number:
            total += spent + held - row.spent - row.held
            room = ask.limit - total
            if ask.most and room >= ask.least:
                granted = min(room, max(ask.need, min(ask.most, room // 8)))
            total += granted
            row.number, row.spent, row.held = number, spent, held + granted
            self.taken[at] = total
        everybody = sum(one.held for one in rows.values())
        return Answer(opened, remaining, granted, total, everybody)


class Link:
    """One worker's way to the counters. `is_direct`: every exchange is answered at once."""

    def __init__(self, world: "World", holder: object) -> None:
        self.world = world
        self.holder = holder
        self.number = 0
        self.pending: list[tuple[int, list[Ask], asyncio.Future[list[Answer]]]] = []
        self.applied: list[tuple[list[Answer], asyncio.Future[list[Answer]]]] = []

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        self.number += 1
        if self.world.is_direct:
            return self.world.counters.exchange(self.holder, self.number, asks)
        answer: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self.pending.append((self.number, list(asks), answer))
        return await answer

    async def recall(self, keys: Sequence[str]) -> None:
        for worker in self.world.workers:
            for key in keys:
                await worker.limiter.on_recall(key)

    def apply(self) -> None:
        """What was asked first arrives at the counters."""
        if self.pending:
            number, asks, answer = self.pending.pop(0)
            answers = self.world.counters.exchange(self.holder, number, asks)
            self.applied.append((answers, answer))

    def respond(self) -> None:
        """The first answer arrives at the worker."""
        if self.applied:
            answers, answer = self.applied.pop(0)
            if not answer.done():
                answer.set_result(answers)

    def lose(self) -> None:
        """The first message, or else the first answer, is lost; the worker hears so."""
        waiting = self.pending.pop(0)[2] if self.pending else None
        if waiting is None and self.applied:
            waiting = self.applied.pop(0)[1]
        if waiting is not None and not waiting.done():
            waiting.set_exception(DatabaseUnavailable())


class Worker:
    """A worker process: a limiter, and a clock of its own that runs `rate` times as fast."""

    def __init__(self, world: "World", rate: float) -> None:
        self.rate = rate
        self.began = world.seconds
        self.link = Link(world, object())
        self.limiter = Limiter(self.link, lambda: 1000 + (world.seconds - self.began) * rate)

    @override
    def __repr__(self) -> str:
        return f"<worker at {self.rate}>"


@dataclass(eq=False)
class Call:
    """A call: what it reserves, when and in which window, and what it used."""

    worker: Worker
    amounts: tuple[int, int, int]
    task: asyncio.Task[Hold]
    windows: tuple[int | None, ...] = ()
    """In which it counts, by the limits that apply to it; none before it reserved."""
    reserved_at: datetime | None = None
    """By the counters' clock."""
    used: tuple[int, int, int] | None = None

    @property
    def window(self) -> int | None:
        """In which it counts for the first of them."""
        return self.windows[0] if self.windows else None

    @property
    def counts(self) -> tuple[int, int, int]:
        """What it may have used so far, for all that is known outside."""
        if not self.windows:
            return (0, 0, 0)
        return self.amounts if self.used is None else self.used


class World:
    """All of it. `seconds` is the true time since the beginning, which no clock but it shows."""

    def __init__(self, *, is_direct: bool = False) -> None:
        self.loop = asyncio.new_event_loop()
        self.is_direct = is_direct
        self.counters = SharedCounters()
        self.seconds = 0.0
        self.workers: list[Worker] = []
        self.calls: list[Call] = []

    def worker(self, rate: float = 1.0) -> Worker:
        worker = Worker(self, rate)
        self.workers.append(worker)
        return worker

    def call(self, worker: Worker, limits: Applicable, tokens: int = 0, cost: int = 0) -> Call:
        """A call begins: it reserves, or waits to."""
        task = self.loop.create_task(worker.limiter.reserve(limits, tokens, cost))
        call = Call(worker, (1, tokens, cost), task)
        self.calls.append(call)
        self.settle_down()
        return call

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.seconds += seconds
        self.counters.now += timedelta(seconds=seconds)

    def settle_down(self) -> None:
        """Whatever can go on does, and is seen to."""
        for _ in range(12):
            self.run(asyncio.sleep(0))
        for call in self.calls:
            task = call.task
            if call.windows or not task.done() or task.cancelled():
                continue
            if task.exception() is None:
                leases = task.result()._leases
                assert leases is not None
                call.windows = tuple(lease.opened for lease in leases)
                assert None not in call.windows
                call.reserved_at = self.counters.now

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def kill(self, worker: Worker) -> None:
        """The process dies: nothing of it is heard again."""
        self.workers.remove(worker)
        for call in self.calls:
            if call.worker is worker and not call.task.done():
                call.task.cancel()
        self.settle_down()

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run(asyncio.sleep(0))
        self.run(asyncio.sleep(0))
        self.loop.close()
