"""One worker's limiter: what passes, what is refused and how, what comes back."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from model_service.gateway import refill
from model_service.gateway.limits import Applicable, Hold, Rates
from model_service.kernel.counting import NANO, Metric, Quota, Window, nano_dollars
from model_service.providers.faults import CallFailed, Fault, FaultKind
from tests.unit.limits.world import LimitedModel, Worker, World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(refill, "RECALL_WAIT", 0)
    world = World(is_direct=True)
    world.advance(11)  # ten seconds after a month began
    yield world
    world.close()


@pytest.fixture
def worker(world: World) -> Worker:
    return world.worker()


def quota(
    metric: Metric = Metric.REQUESTS,
    limit: int = 10,
    window: Window = Window.MONTH,
    **subject: Any,
) -> Quota:
    return Quota(uuid4(), metric, window, limit, **(subject or {"user_id": "ann"}))


def limits_of(worker: Worker, *quotas: Quota, model: LimitedModel | None = None) -> Applicable:
    worker.limiter.set_quotas(quotas)
    limits = worker.limiter.find("ann", None, model or LimitedModel())
    assert limits is not None
    return limits


def reserve(world: World, worker: Worker, limits: Applicable, *amounts: int | None) -> Hold:
    tokens, cost = amounts or (0, 0)
    hold: Hold = world.run(worker.limiter.reserve(limits, tokens or 0, cost))
    return hold


def refusal(world: World, worker: Worker, limits: Applicable, *amounts: int | None) -> Fault:
    with pytest.raises(CallFailed) as caught:
        reserve(world, worker, limits, *amounts)
    return caught.value.fault


def look(world: World, worker: Worker) -> None:
    async def looked() -> None:
        worker.limiter.refill.look()

    world.run(looked())
    world.settle_down()


def test_without_limits_there_is_nothing_to_reserve(worker: Worker) -> None:
    assert worker.limiter.find("ann", None, LimitedModel()) is None


def test_a_quota_of_somebody_else_does_not_apply(worker: Worker) -> None:
    worker.limiter.set_quotas([quota(user_id="bob"), quota(model="other")])
    assert worker.limiter.find("ann", None, LimitedModel()) is None


TOKEN = UUID(int=7)


@pytest.mark.parametrize(
    "subject",
    [
        {"user_id": "ann"},
        {"token_id": TOKEN},
        {"model": "m"},
        {"user_id": "ann", "model": "m"},
        {"user_id": "ann", "token_id": TOKEN, "model": "m"},
    ],
)
def test_a_quota_applies_to_its_subject(worker: Worker, subject: dict[str, Any]) -> None:
    worker.limiter.set_quotas([quota(**subject)])
    limits = worker.limiter.find("ann", TOKEN, LimitedModel())
    assert limits is not None
    assert len(limits.counters) == 1


def test_as_many_pass_as_the_limit_says(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=3))
    for _ in range(3):
        reserve(world, worker, limits)
    assert refusal(world, worker, limits).code == "quota_exceeded"


def test_a_models_rate_counts_for_each_user(world: World, worker: Worker) -> None:
    model = LimitedModel(rates=Rates(per_minute=1))
    for user in ("ann", "bob"):
        limits = worker.limiter.find(user, None, model)
        assert limits is not None
        reserve(world, worker, limits)
        assert refusal(world, worker, limits).code == "rate_limit_exceeded"


def test_the_tightest_of_a_models_rates_stops(world: World, worker: Worker) -> None:
    model = LimitedModel(rates=Rates(per_minute=9, per_hour=2, per_day=5))
    limits = limits_of(worker, model=model)
    for _ in range(2):
        reserve(world, worker, limits)
    assert "2 requests per hour" in refusal(world, worker, limits).message


def test_a_rate_of_none_lets_nothing_pass(world: World, worker: Worker) -> None:
    limits = limits_of(worker, model=LimitedModel(rates=Rates(per_minute=0)))
    assert refusal(world, worker, limits).kind is FaultKind.RATE_LIMITED


def test_in_the_next_window_they_pass_again(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=1, window=Window.MINUTE))
    reserve(world, worker, limits)
    refusal(world, worker, limits)
    world.advance(60)
    assert reserve(world, worker, limits).amounts[0] == 1


def test_who_is_refused_hears_which_limit_and_when_it_resets(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=1, window=Window.HOUR))
    reserve(world, worker, limits).settle(1, 0, 0)
    fault = refusal(world, worker, limits)
    assert fault.kind is FaultKind.QUOTA_EXHAUSTED
    assert fault.retry_after == 3590
    assert fault.message == (
        "The limit of the quota of the user 'ann', 1 request per hour, is used up; "
        "it resets in 59m50s"
    )


def test_what_only_reservations_stand_in_the_way_of_may_pass_soon(
    world: World, worker: Worker
) -> None:
    limits = limits_of(worker, quota(Metric.COST, NANO))
    hold = reserve(world, worker, limits, 0, NANO)
    fault = refusal(world, worker, limits, 0, NANO // 2)
    assert "reserved by calls under way" in fault.message
    assert fault.retry_after == 2
    hold.settle(1, 0, NANO // 2)
    assert reserve(world, worker, limits, 0, NANO // 2).amounts[2] == NANO // 2


def test_a_call_that_needs_more_than_the_limit_hears_so(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(Metric.TOKENS, 1000, Window.MINUTE))
    fault = refusal(world, worker, limits, 1001, 0)
    assert fault.kind is FaultKind.RATE_LIMITED
    assert "this call may need 1,001 tokens" in fault.message
    assert fault.retry_after is not None
    assert 1 <= fault.retry_after <= 60


def test_what_was_reserved_and_not_used_is_free_again(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(Metric.TOKENS, 100))
    reserve(world, worker, limits, 100, 0).settle(1, 40, 0)
    assert reserve(world, worker, limits, 60, 0).amounts[1] == 60


def test_more_used_than_was_reserved_counts(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(Metric.TOKENS, 100))
    reserve(world, worker, limits, 10, 0).settle(1, 95, 0)
    assert refusal(world, worker, limits, 6, 0).code == "quota_exceeded"
    assert reserve(world, worker, limits, 5, 0).amounts[1] == 5


def test_a_call_that_never_reached_a_provider_does_not_count(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=1))
    reserve(world, worker, limits).release()
    assert reserve(world, worker, limits).amounts[0] == 1


def test_settling_twice_counts_once(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=2))
    hold = reserve(world, worker, limits)
    hold.settle(1, 0, 0)
    hold.release()
    reserve(world, worker, limits)
    assert refusal(world, worker, limits).code == "quota_exceeded"


def test_without_a_price_a_cost_quota_refuses(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(Metric.COST, NANO))
    fault = refusal(world, worker, limits, 10, None)
    assert (fault.kind, fault.code) == (FaultKind.PERMISSION, "model_unpriced")


def test_without_a_price_other_quotas_count(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(Metric.TOKENS, 100))
    assert reserve(world, worker, limits, 10, None).amounts == (1, 10, 0)


def test_a_part_of_a_billionth_of_a_dollar_counts_as_one() -> None:
    assert nano_dollars(Decimal("0.0000000375")) == 38


def test_a_raised_limit_counts_at_once(world: World, worker: Worker) -> None:
    old = quota(limit=1)
    limits = limits_of(worker, old)
    reserve(world, worker, limits)
    refusal(world, worker, limits)
    raised = Quota(old.id, old.metric, old.window, 2, user_id="ann")
    world.run(_set(worker, raised))
    assert reserve(world, worker, limits_of(worker, raised)).amounts[0] == 1


def test_a_lowered_limit_counts_at_once(world: World, worker: Worker) -> None:
    old = quota(limit=1000)
    limits = limits_of(worker, old)
    for _ in range(5):
        reserve(world, worker, limits)
    lowered = Quota(old.id, old.metric, old.window, 5, user_id="ann")
    world.run(_set(worker, lowered))
    assert refusal(world, worker, limits).code == "quota_exceeded"


def test_a_removed_quota_applies_no_more(world: World, worker: Worker) -> None:
    reserve(world, worker, limits_of(worker, quota(limit=1000)))
    world.run(_set(worker))
    assert worker.limiter.find("ann", None, LimitedModel()) is None


async def _set(worker: Worker, *quotas: Quota) -> None:
    worker.limiter.set_quotas(quotas)


def test_what_is_not_used_is_given_back_at_the_next_look(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=1000))
    reserve(world, worker, limits).settle(1, 0, 0)
    look(world, worker)
    look(world, worker)
    ((_, taken),) = world.counters.taken.items()
    assert taken == 1


def test_another_worker_in_need_has_it_given_back_before(world: World, worker: Worker) -> None:
    only = quota(limit=80)
    reserve(world, worker, limits_of(worker, only))
    assert limits_of(worker, only).counters[0].lease.free > 0
    other = world.worker()
    limits = limits_of(other, only)
    for _ in range(79):
        reserve(world, other, limits)
    assert refusal(world, other, limits).code == "quota_exceeded"


def test_who_is_refused_is_refused_again_without_asking(world: World, worker: Worker) -> None:
    limits = limits_of(worker, quota(limit=1))
    reserve(world, worker, limits)
    refusal(world, worker, limits)
    refusal(world, worker, limits)
    asked = worker.link.number
    for _ in range(50):
        refusal(world, worker, limits)
    assert worker.link.number == asked


def test_calls_that_wait_for_one_counter_share_a_round_trip(world: World, worker: Worker) -> None:
    world.is_direct = False
    limits = limits_of(worker, quota(limit=1000))
    calls = [world.call(worker, limits) for _ in range(50)]
    worker.link.apply()
    worker.link.respond()
    world.settle_down()
    worker.link.apply()
    worker.link.respond()
    world.settle_down()
    assert all(call.window is not None for call in calls)
    assert worker.link.number <= 2


def test_headers_tell_of_the_most_binding_limits(world: World, worker: Worker) -> None:
    model = LimitedModel(rates=Rates(per_minute=5, per_day=100))
    limits = limits_of(worker, quota(Metric.TOKENS, 1000, Window.HOUR), model=model)
    hold = reserve(world, worker, limits, 300, 0)
    assert worker.limiter.headers(hold.limits).decode().splitlines() == [
        "x-ratelimit-limit-requests: 5",
        "x-ratelimit-remaining-requests: 4",
        "x-ratelimit-reset-requests: 50s",
        "x-ratelimit-limit-tokens: 1000",
        "x-ratelimit-remaining-tokens: 700",
        "x-ratelimit-reset-tokens: 59m50s",
    ]


def test_headers_follow_what_is_left(world: World, worker: Worker) -> None:
    limits = limits_of(worker, model=LimitedModel(rates=Rates(per_minute=5)))
    seen = []
    for _ in range(3):
        reserve(world, worker, limits)
        world.advance(1)
        seen.append(re.findall(rb": (\S+)", worker.limiter.headers(limits)))
    assert seen == [[b"5", b"4", b"49s"], [b"5", b"3", b"48s"], [b"5", b"2", b"47s"]]
