"""Latencies in buckets, which processes can add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.condition import LAST_BUCKET, bucket_of, merged, percentile

SECONDS = st.lists(st.floats(0.001, 3600), min_size=1, max_size=200)


def counted(seconds: list[float]) -> dict[int, int]:
    found: dict[int, int] = {}
    for one in seconds:
        found[bucket_of(one)] = found.get(bucket_of(one), 0) + 1
    return found


@given(SECONDS, st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_right_within_five_percent(seconds: list[float], share: float) -> None:
    ranked = sorted(seconds)
    exact = ranked[max(-int(-len(ranked) * share // 1), 1) - 1] * 1000
    assert percentile(counted(seconds), share) == pytest.approx(exact, rel=0.05)


@given(SECONDS, SECONDS)
def test_what_two_processes_counted_is_what_one_would_have(
    one: list[float], other: list[float]
) -> None:
    assert merged(counted(one), counted(other)) == counted(one + other)


def test_there_are_few_buckets_whatever_the_latency() -> None:
    assert [bucket_of(seconds) for seconds in (-1.0, 0.0, 0.0005, 1e12)] == [0, 0, 0, LAST_BUCKET]


def test_without_calls_there_is_no_percentile() -> None:
    assert percentile({}, 0.5) is None
