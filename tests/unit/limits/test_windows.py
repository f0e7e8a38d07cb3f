"""Where windows begin and end: months, leap days, slow clocks, slow answers, sleep, no database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest

from model_service.gateway import refill
from model_service.gateway.limits import Applicable
from model_service.kernel.counting import LEASE_SECONDS, Metric, Quota, Window, window_bounds
from model_service.providers.faults import CallFailed, FaultKind
from tests.unit.limits.world import START, LimitedModel, Worker, World, microseconds

NEW_MINUTE = START + timedelta(seconds=1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Its messages wait, and it is a second before a month ends, on a leap day."""
    monkeypatch.setattr(refill, "RECALL_WAIT", 0)
    world = World()
    yield world
    world.close()


def limits_of(worker: Worker, window: Window = Window.MINUTE, limit: int = 1000) -> Applicable:
    worker.limiter.set_quotas([Quota(uuid4(), Metric.REQUESTS, window, limit, user_id="ann")])
    limits = worker.limiter.find("ann", None, LimitedModel())
    assert limits is not None
    return limits


def delivered(world: World, worker: Worker) -> None:
    worker.link.apply()
    worker.link.respond()
    world.settle_down()


@pytest.mark.parametrize(
    ("window", "moment", "begin", "end"),
    [
        (Window.MONTH, "2024-02-29T23:59:59.999Z", "2024-02-01", "2024-03-01"),
        (Window.MONTH, "2023-02-28T23:59:59.999Z", "2023-02-01", "2023-03-01"),
        (Window.MONTH, "2026-12-31T23:59:59Z", "2026-12-01", "2027-01-01"),
        (Window.MONTH, "2026-01-31T23:59:59Z", "2026-01-01", "2026-02-01"),
        (Window.DAY, "2024-02-29T12:00:00Z", "2024-02-29", "2024-03-01"),
        # The day that had a leap second: Unix time has none (POSIX.1-2017, 4.16).
        (Window.DAY, "2016-12-31T23:59:59.999Z", "2016-12-31", "2017-01-01"),
        (Window.HOUR, "2016-12-31T23:59:59.999Z", "2016-12-31T23:00", "2017-01-01"),
        (Window.MINUTE, "2026-03-01T00:00:00Z", "2026-03-01T00:00", "2026-03-01T00:01"),
    ],
)
def test_windows_are_those_of_the_calendar(
    window: Window, moment: str, begin: str, end: str
) -> None:
    bounds = window_bounds(window, datetime.fromisoformat(moment))
    expected = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (begin, end))
    assert bounds == tuple(expected)


def test_windows_are_in_utc_whatever_zone_a_moment_is_told_in() -> None:
    in_tokyo = datetime(2026, 3, 1, 5, tzinfo=timezone(timedelta(hours=9)))
    assert window_bounds(Window.MONTH, in_tokyo)[0] == datetime(2026, 2, 1, tzinfo=UTC)


def test_what_is_leased_of_a_month_ends_with_it(world: World) -> None:
    worker = world.worker()
    limits = limits_of(worker, Window.MONTH)
    first = world.call(worker, limits)
    delivered(world, worker)
    world.advance(1)
    second = world.call(worker, limits)
    assert first.window == microseconds(datetime(2024, 2, 1, tzinfo=UTC))
    assert second.window is None
    delivered(world, worker)
    assert second.window == microseconds(datetime(2024, 3, 1, tzinfo=UTC))


def test_a_clock_that_runs_slow_does_not_spend_in_the_next_window(world: World) -> None:
    world.advance(1)
    worker = world.worker(rate=0.9996)
    limits = limits_of(worker)
    world.call(worker, limits)
    delivered(world, worker)
    world.advance(60.001)  # by the worker's clock 59.977 seconds
    late = world.call(worker, limits)
    assert late.window is None
    delivered(world, worker)
    assert late.window == microseconds(NEW_MINUTE + timedelta(minutes=1))


def test_an_answer_that_comes_after_its_window_is_not_spent(world: World) -> None:
    worker = world.worker()
    call = world.call(worker, limits_of(worker))
    worker.link.apply()
    world.advance(1.5)
    worker.link.respond()
    world.settle_down()
    assert call.window is None
    delivered(world, worker)
    assert call.window == microseconds(NEW_MINUTE)


def test_a_machine_that_slept_does_not_spend_of_a_window_long_over(world: World) -> None:
    worker = world.worker()
    limits = limits_of(worker, Window.HOUR)
    world.call(worker, limits)
    delivered(world, worker)
    world.advance(8 * 3600)
    late = world.call(worker, limits)
    assert late.window is None


def test_a_database_clock_put_back_opens_no_window_anew(world: World) -> None:
    world.advance(1)
    worker = world.worker()
    limits = limits_of(worker, limit=1)
    world.call(worker, limits)
    delivered(world, worker)
    world.advance(60)
    world.counters.now -= timedelta(seconds=60)
    again = world.call(worker, limits)
    for _ in range(4):
        delivered(world, worker)
    assert isinstance(again.task.exception(), CallFailed)


def test_while_the_database_is_away_what_is_leased_is_spent(world: World) -> None:
    world.advance(1)
    worker = world.worker()
    limits = limits_of(worker, Window.DAY, limit=80)
    world.call(worker, limits)
    delivered(world, worker)
    free = limits.counters[0].lease.free
    assert free > 0
    calls = [world.call(worker, limits) for _ in range(free + 1)]
    worker.link.lose()
    world.settle_down()
    assert [call.window is not None for call in calls] == [True] * free + [False]
    failed = calls[-1].task.exception()
    assert isinstance(failed, CallFailed)
    assert (failed.fault.kind, failed.fault.code) == (FaultKind.UNAVAILABLE, "limits_unavailable")
    assert failed.fault.retry_after == 2


def test_without_word_from_the_database_a_lease_ends(world: World) -> None:
    world.advance(1)
    worker = world.worker()
    limits = limits_of(worker, Window.MONTH)
    world.call(worker, limits)
    delivered(world, worker)
    world.advance(LEASE_SECONDS)
    assert world.call(worker, limits).window is None


def test_who_is_refused_while_it_is_away_does_not_wait_for_it_again(world: World) -> None:
    worker = world.worker()
    limits = limits_of(worker)
    world.call(worker, limits)
    worker.link.lose()
    world.settle_down()
    refused = world.call(worker, limits)
    assert isinstance(refused.task.exception(), CallFailed)


def test_a_grant_that_was_not_heard_of_is_not_lost(world: World) -> None:
    world.advance(1)
    worker = world.worker()
    limits = limits_of(worker, Window.DAY, limit=3)
    unheard = world.call(worker, limits)
    worker.link.apply()
    worker.link.lose()
    world.settle_down()
    assert unheard.task.exception() is not None
    world.advance(1)
    calls = [world.call(worker, limits) for _ in range(3)]
    for _ in range(4):
        delivered(world, worker)
    assert all(call.window is not None for call in calls)
