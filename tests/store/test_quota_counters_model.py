"""The counters in PostgreSQL and those in memory that the limiter is proved on count alike."""

import random
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from model_service.db.uow import Database
from model_service.kernel.counting import Ask, Window
from model_service.quotas.counters_store import SqlCounterStore
from tests.unit.limits.world import SharedCounters

STEPS = 40


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_asked_both_answer_the_same(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    memory = SharedCounters()
    memory.now = datetime.now(UTC)
    keys = [f"rate:{uuid4()}" for _ in range(3)]
    holders = [uuid4() for _ in range(2)]
    stores = {holder: SqlCounterStore(database, holder=holder) for holder in holders}
    numbers = dict.fromkeys(holders, 0)
    opened: int | None = None

    def ask(key: str) -> Ask:
        held, need = chance.randint(0, 12), chance.randint(0, 9)
        return Ask(
            key, Window.MONTH, chance.choice([20, 40, 100]), chance.randint(1, 2), 3,
            chance.choice([opened, opened, None, 7]), chance.randint(0, 12), held,
            min(need, 1), need, chance.choice([need, need + 30]),
        )  # fmt: skip

    async def both(holder: UUID, asks: list[Ask]) -> None:
        nonlocal opened
        store = stores[holder]
        # Now and then a statement that was overtaken by a later one.
        number = max(1, numbers[holder] + chance.choice([1, 1, 1, -1]))
        numbers[holder] = max(numbers[holder], number)
        store._number = number - 1
        expected = memory.exchange(holder, number, asks)
        found = await store.exchange(asks)
        opened = found[0].opened
        assert [(one.opened, one.granted, one.taken, one.held) for one in found] == [
            (one.opened, one.granted, one.taken, one.held) for one in expected
        ]

    for _ in range(STEPS):
        await both(chance.choice(holders), [ask(key) for key in chance.sample(keys, 2)])
