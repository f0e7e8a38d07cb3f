"""Steady overload: in every window at least 95% of a limit is used, and never more than it."""

import random
from collections import Counter as Tally
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.gateway import refill
from model_service.gateway.limits import Hold, Rates
from model_service.kernel.counting import Metric, Quota, Window
from model_service.providers.faults import CallFailed
from tests.unit.limits.world import EPOCH, START, LimitedModel, World

#: Seconds of a step, in which workers get some calls, and hear from the counters.
STEP = 0.1
#: Whole minutes that are looked at, after the second that is left of the first one.
MINUTES = 2


class Overload:
    """Workers that get more calls than the limit lets pass, some more and some fewer of them."""

    def __init__(self, shares: Sequence[int], chance: random.Random) -> None:
        self.world = World(is_direct=True)
        self.workers = [self.world.worker() for _ in shares]
        self.shares = shares
        self.chance = chance
        self.passed: Tally[int] = Tally()
        self.under_way: list[tuple[int, Hold, int]] = []

    def run(self, model: LimitedModel, quotas: Sequence[Quota], calls: float, tokens: int) -> None:
        """`calls` is how many come in each step, in all; each uses half of the `tokens`."""
        found = []
        for worker in self.workers:
            worker.limiter.set_quotas(quotas)
            limits = worker.limiter.find("ann", None, model)
            assert limits is not None
            found.append((worker.limiter, limits))

        async def call(index: int, step: int) -> None:
            limiter, limits = found[index]
            try:
                hold = await limiter.reserve(limits, tokens, 0)
            except CallFailed:
                return
            leases = hold._leases
            assert leases is not None
            assert leases[0].opened is not None
            used = tokens // 2
            self.passed[leases[0].opened] += 1 if not tokens else used
            self.under_way.append((step + self.chance.randint(0, 5), hold, used))

        async def go() -> None:
            due = 0.0
            for step in range(int((60 * MINUTES + 1) / STEP)):
                self.world.advance(STEP)
                due += calls
                while due >= 1:
                    due -= 1
                    (index,) = self.chance.choices(range(len(self.shares)), self.shares)
                    await call(index, step)
                ended = [one for one in self.under_way if one[0] <= step]
                self.under_way = [one for one in self.under_way if one[0] > step]
                for _, hold, used in ended:
                    hold.settle(1, used, 0)
                if step % 2:
                    for limiter, _ in found:
                        limiter.refill.look()

        self.world.run(go())
        self.world.close()

    @property
    def minutes(self) -> list[int]:
        """What passed in each whole minute."""
        begin = int((START - EPOCH).total_seconds()) + 1
        return [self.passed[(begin + 60 * n) * 1_000_000] for n in range(MINUTES)]


@pytest.fixture(scope="module", autouse=True)
def no_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refill, "RECALL_WAIT", 0)
        yield


shares = st.lists(st.sampled_from([1, 3, 10, 40]), min_size=1, max_size=4)


@given(shares=shares, limit=st.sampled_from([20, 60, 137]), seed=st.integers(0, 2**16))
@settings(max_examples=15)
def test_of_requests(shares: list[int], limit: int, seed: int) -> None:
    overload = Overload(shares, random.Random(seed))
    overload.run(LimitedModel(rates=Rates(per_minute=limit)), [], limit / 200, 0)
    assert all(limit * 0.95 <= passed <= limit for passed in overload.minutes)


@given(shares=shares, seed=st.integers(0, 2**16))
@settings(max_examples=10)
def test_of_tokens(shares: list[int], seed: int) -> None:
    limit, tokens = 20_000, 100
    overload = Overload(shares, random.Random(seed))
    quota = Quota(LimitedModel().id, Metric.TOKENS, Window.MINUTE, limit, user_id="ann")
    overload.run(LimitedModel(), [quota], limit / tokens * 2 / 200, tokens)
    assert all(limit * 0.95 <= passed <= limit for passed in overload.minutes)
