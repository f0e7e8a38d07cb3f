"""Any interleaving of workers, messages, deaths and clocks: never more than the limit."""

from collections import Counter as Tally
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from model_service.gateway import refill
from model_service.gateway.limits import Applicable, Rates
from model_service.kernel.counting import Metric, Quota, Window, window_bounds
from tests.unit.limits.world import Call, LimitedModel, Worker, World, microseconds

LIMIT = 12
TOKENS = 100
rates = st.sampled_from([1.0, 1.0004, 0.9996])


class Limits(RuleBasedStateMachine):
    """Up to three workers that share one user's limits of requests and tokens a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.has_jumped = False
        self.model = LimitedModel(rates=Rates(per_minute=LIMIT))
        self.quota = Quota(self.model.id, Metric.TOKENS, Window.MINUTE, TOKENS, user_id="ann")
        self.recall_wait, refill.RECALL_WAIT = refill.RECALL_WAIT, 0  # type: ignore[misc]

    @override
    def teardown(self) -> None:
        refill.RECALL_WAIT = self.recall_wait  # type: ignore[misc]
        self.world.close()

    def _worker(self, rate: float) -> Worker:
        worker = self.world.worker(rate)
        worker.limiter.set_quotas([self.quota])
        return worker

    def _limits(self, worker: Worker) -> Applicable:
        limits = worker.limiter.find("ann", None, self.model)
        assert limits is not None
        return limits

    def _some(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.world.workers))

    @initialize(rates=st.lists(rates, min_size=2, max_size=3))
    def begin(self, rates: list[float]) -> None:
        for rate in rates:
            self._worker(rate)

    @rule(data=st.data(), tokens=st.integers(1, 40), count=st.integers(1, 8))
    def calls_arrive(self, data: st.DataObject, tokens: int, count: int) -> None:
        worker = self._some(data)
        for _ in range(count):
            self.world.call(worker, self._limits(worker), tokens=tokens)

    @rule(data=st.data())
    def a_message_arrives(self, data: st.DataObject) -> None:
        self._some(data).link.apply()

    @rule(data=st.data())
    def an_answer_arrives(self, data: st.DataObject) -> None:
        self._some(data).link.respond()
        self.world.settle_down()

    @rule(data=st.data())
    def all_is_delivered(self, data: st.DataObject) -> None:
        worker = self._some(data)
        for _ in range(10):
            worker.link.apply()
            worker.link.respond()
            self.world.settle_down()

    @rule(data=st.data())
    def something_is_lost(self, data: st.DataObject) -> None:
        self._some(data).link.lose()
        self.world.settle_down()

    @rule(data=st.data(), part=st.floats(0, 1))
    def a_call_ends(self, data: st.DataObject, part: float) -> None:
        under_way = [call for call in self.world.calls if _under_way(call)]
        if under_way:
            call = data.draw(st.sampled_from(under_way))
            call.used = (1, int(call.amounts[1] * part), 0)
            call.task.result().settle(*call.used)

    @rule(data=st.data())
    def a_call_never_reaches_its_provider(self, data: st.DataObject) -> None:
        under_way = [call for call in self.world.calls if _under_way(call)]
        if under_way:
            call = data.draw(st.sampled_from(under_way))
            call.used = (0, 0, 0)
            call.task.result().release()

    @rule(data=st.data())
    def a_worker_looks_at_its_leases(self, data: st.DataObject) -> None:
        worker = self._some(data)

        async def look() -> None:
            worker.limiter.refill.look()

        self.world.run(look())
        self.world.settle_down()

    @rule(seconds=st.sampled_from([0.001, 0.2, 0.95, 1.0, 7.0, 58.0, 59.99, 61.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: len(self.world.workers) > 1)
    @rule(data=st.data(), rate=rates)
    def a_worker_dies_and_another_starts(self, data: st.DataObject, rate: float) -> None:
        self.world.kill(self._some(data))
        self._worker(rate)

    @rule(seconds=st.sampled_from([-3600.0, -60.0, -1.0, 0.5, 1.0, 60.0, 86400.0 * 31]))
    def the_databases_clock_jumps(self, seconds: float) -> None:
        self.world.counters.now += timedelta(seconds=seconds)
        self.has_jumped = True

    @invariant()
    def no_window_has_more_than_its_limit(self) -> None:
        requests: Tally[int | None] = Tally()
        tokens: Tally[int | None] = Tally()
        for call in self.world.calls:
            if call.windows:
                # After a jump they may be of different windows.
                requests[call.windows[0]] += call.counts[0]
                tokens[call.windows[1]] += call.counts[1]
        assert all(count <= LIMIT for count in requests.values())
        assert all(count <= TOKENS for count in tokens.values())

    @invariant()
    def calls_count_in_the_window_they_were_let_pass_in(self) -> None:
        if self.has_jumped:
            return
        for call in self.world.calls:
            if call.reserved_at is not None:
                begin, _ = window_bounds(Window.MINUTE, call.reserved_at)
                assert set(call.windows) == {microseconds(begin)}


def _under_way(call: Call) -> bool:
    return call.windows != () and call.used is None


Limits.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_limits = Limits.TestCase
