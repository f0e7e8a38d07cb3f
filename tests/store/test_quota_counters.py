"""The shared counters in PostgreSQL, as one worker after the other asks for its part."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.counting import Answer, Ask, Window
from model_service.quotas.counters_store import SqlCounterStore


class Worker:
    """A worker with one lease of one counter, by hand."""

    def __init__(self, database: Database, key: str, limit: int, window: Window) -> None:
        self.store = SqlCounterStore(database)
        self.ask_ = Ask(key, window, limit, 0, 1, None, 0, 0)

    async def exchange(
        self, *, spent: int | None = None, held: int | None = None, take: int = 0, most: int = 0
    ) -> Answer:
        """Say what is spent and held of the lease, and take more."""
        ask = self.ask_
        ask.spent = ask.spent if spent is None else spent
        ask.held = ask.held if held is None else held
        ask.least, ask.need, ask.most = min(take, 1), take, max(take, most)
        (answer,) = await self.store.exchange([ask])
        if ask.opened != answer.opened:
            ask.opened, ask.lease, ask.spare = answer.opened, ask.spare, ask.spare + 1
            ask.spent = ask.held = 0
        ask.held += answer.granted
        return answer


MakeWorker = Callable[..., Worker]


@pytest_asyncio.fixture
async def counters(database: Database) -> Database:
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE limit_counters, limit_leases"))
    return database


@pytest.fixture
def worker(counters: Database) -> MakeWorker:
    key = f"quota:{uuid4()}"

    def make(limit: int = 10, window: Window = Window.MONTH) -> Worker:
        return Worker(counters, key, limit, window)

    return make


async def test_no_more_is_granted_than_there_is(worker: MakeWorker) -> None:
    one, other = worker(), worker()
    assert (await one.exchange(take=7)).granted == 7
    assert (await other.exchange(take=7)).granted == 3
    assert (await one.exchange(take=1)).granted == 0


async def test_in_advance_an_eighth_of_what_is_left_is_granted(worker: MakeWorker) -> None:
    one = worker(limit=800)
    assert (await one.exchange(take=1, most=1_000)).granted == 100
    assert (await one.exchange(take=1, most=1_000)).granted == 87


async def test_near_the_limit_there_is_what_is_needed_and_no_more(worker: MakeWorker) -> None:
    one = worker(limit=7)
    assert (await one.exchange(take=1, most=1_000)).granted == 1


async def test_what_is_given_back_can_be_taken_by_another(worker: MakeWorker) -> None:
    one, other = worker(), worker()
    await one.exchange(take=10)
    await one.exchange(spent=4, held=0)
    assert (await other.exchange(take=10)).granted == 6


async def test_saying_the_same_twice_changes_nothing(worker: MakeWorker) -> None:
    one = worker()
    await one.exchange(take=10)
    first = await one.exchange(spent=4, held=1)
    second = await one.exchange()
    assert (first.taken, first.held) == (second.taken, second.held) == (5, 1)


async def test_a_statement_that_comes_late_changes_nothing(worker: MakeWorker) -> None:
    one = worker()
    await one.exchange(take=10)
    late = SqlCounterStore(one.store._db, holder=one.store._holder)
    late._number = one.store._number - 1
    ask = one.ask_
    await one.exchange(spent=9, held=1)
    ask.spent, ask.held, ask.most = 1, 0, 0
    (answer,) = await late.exchange([ask])
    assert (answer.taken, answer.held, answer.granted) == (10, 1, 0)


async def test_more_than_was_granted_counts_when_it_was_spent(worker: MakeWorker) -> None:
    one = worker()
    await one.exchange(take=10)
    assert (await one.exchange(spent=13, held=0)).taken == 13


async def test_a_lowered_limit_grants_nothing_until_less_is_taken(worker: MakeWorker) -> None:
    one = worker()
    await one.exchange(take=8)
    one.ask_.limit = 5
    assert (await one.exchange(take=1)).granted == 0


async def test_a_report_alone_opens_no_counter(worker: MakeWorker, counters: Database) -> None:
    answer = await worker().exchange()
    assert (answer.granted, answer.taken) == (0, 0)
    async with counters.single() as connection:
        count = await connection.scalar(text("SELECT count(*) FROM limit_counters"))
    assert count == 0


@pytest.mark.parametrize("window", list(Window))
async def test_a_window_is_a_calendar_one_in_utc(worker: MakeWorker, window: Window) -> None:
    from datetime import UTC, datetime

    from model_service.kernel.counting import window_bounds

    answer = await worker(window=window).exchange(take=1)
    begins = datetime.fromtimestamp(answer.opened / 1_000_000, UTC)
    bounds = window_bounds(window, begins)
    assert bounds[0] == begins
    assert 0 < answer.remaining <= (bounds[1] - begins).total_seconds()


async def test_of_a_window_that_is_over_nothing_counts_in_the_present_one(
    worker: MakeWorker,
) -> None:
    one = worker()
    answer = await one.exchange(take=10)
    one.ask_.opened = answer.opened - 1
    fresh = worker()
    assert (await one.exchange(spent=9, held=1, take=1)).granted == 0
    assert (await fresh.exchange()).taken == 10


async def test_many_counters_are_asked_in_one_go_and_answered_in_order(
    counters: Database,
) -> None:
    store = SqlCounterStore(counters)
    keys = [f"rate:{uuid4()}" for _ in range(50)]
    asks = [
        Ask(key, Window.DAY, 100, 0, 1, None, 0, 0, 1, n + 1, n + 1) for n, key in enumerate(keys)
    ]
    assert [one.granted for one in await store.exchange(asks)] == list(range(1, 51))


async def test_workers_that_ask_at_once_get_no_more_than_there_is(counters: Database) -> None:
    keys = [f"rate:{uuid4()}" for _ in range(5)]

    async def take(number: int) -> list[int]:
        store = SqlCounterStore(counters)
        order = keys if number % 2 else keys[::-1]
        got = 0
        for spare in range(1, 20):
            asks = [Ask(key, Window.MONTH, 60, 0, spare, None, 0, 0, 1, 1, 4) for key in order]
            got += sum(answer.granted for answer in await store.exchange(asks))
        return [got]

    granted = await asyncio.gather(*(take(number) for number in range(8)))
    assert sum(got for (got,) in granted) == 60 * len(keys)
