"""The retry budget under a virtual clock."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.budget import FLOOR, SHARE, WINDOW, RetryBudget

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), st.integers(1, 200)),
        st.tuples(st.just("retries"), st.integers(1, 60)),
        st.tuples(st.just("wait"), st.integers(1, 30_000)),
        st.tuples(st.just("tick"), st.just(0)),
    ),
    max_size=60,
)


def in_window(moments: "deque[int]", now: int) -> int:
    """How many are no older than the window, give or take the second it moves by."""
    while moments and moments[0] <= now - WINDOW * 1000:
        moments.popleft()
    return len(moments)


@given(STEPS, st.integers(0, 10**7))
def test_repeats_are_never_more_than_a_fifth_of_the_calls_and_the_floor(
    steps: list[tuple[str, int]], start: int
) -> None:
    now, calls, granted = start, deque[int](), deque[int]()
    budget = RetryBudget(now / 1000)
    for step, count in steps:
        match step:
            case "wait":
                now += count
            case "tick":
                budget.tick(now / 1000)
            case "calls":
                for _ in range(count):
                    budget.calls += 1
                    calls.append(now)
            case _:
                for _ in range(count):
                    if not budget.may_retry(now / 1000):
                        break
                    granted.append(now)
                    # Whole seconds: what was at 0.9 s is gone at 10.0 s.
                    edge = (now // 1000 - WINDOW + 1) * 1000
                    repeats = sum(moment >= edge for moment in granted)
                    assert repeats <= FLOOR + in_window(calls, now) // SHARE


def test_a_quiet_service_may_repeat_some() -> None:
    budget = RetryBudget(0.0)
    assert [budget.may_retry(0.0) for _ in range(FLOOR + 1)] == [True] * FLOOR + [False]


def test_what_was_spent_comes_back_when_the_window_has_passed() -> None:
    budget = RetryBudget(0.0)
    while budget.may_retry(0.0):
        pass
    assert not budget.may_retry(WINDOW - 1)
    assert budget.may_retry(WINDOW)


def test_a_fifth_of_steady_traffic_may_be_repeated() -> None:
    budget, granted = RetryBudget(0.0), 0
    for second in range(60):
        for _ in range(100):
            budget.calls += 1
        budget.tick(second + 0.5)
        granted += sum(budget.may_retry(second + 0.5) for _ in range(100))
    # Calls count from the second before, so that up to a tenth of a window is not used.
    assert 0.9 * 6000 / SHARE <= granted <= 6000 // SHARE + 6 * FLOOR


def test_calls_of_long_ago_allow_nothing_now_even_if_nobody_looked() -> None:
    budget = RetryBudget(0.0)
    for _ in range(10_000):
        budget.calls += 1
    assert sum(budget.may_retry(3600.0) for _ in range(100)) == FLOOR
