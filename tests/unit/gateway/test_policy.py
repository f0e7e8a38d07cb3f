"""How patient a call is, as its model says, and as its own headers do."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.policy import (
    LONGEST_PAUSE,
    Policy,
    Recovery,
    pause,
    timeouts,
    with_headers,
)
from model_service.kernel.policy import check_policy
from model_service.providers.faults import CallFailed, FaultKind

WHOLE = {
    "retries": 1,
    "rateLimitedTries": 2,
    "backoffBase": 0.5,
    "backoffCap": 4,
    "connectTimeout": 3,
    "firstByteTimeout": 20,
    "idleTimeout": 30,
    "totalTimeout": 90,
    "recovery": "continue",
    "fallback": False,
}


def refused(name: str, value: str) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        with_headers(Policy(), [(name.encode(), value.encode())])
    return failed.value


def test_a_model_that_says_nothing_has_the_usual_policy() -> None:
    assert Policy.of({}) == Policy()
    assert Policy().retries == 2
    assert Policy().recovery is Recovery.OFF


def test_a_model_may_say_all_of_it() -> None:
    assert Policy.of({"policy": WHOLE}) == Policy(
        1, 2, 0.5, 4.0, 3.0, 20.0, 30.0, 90.0, Recovery.CONTINUE, fallback=False
    )
    assert check_policy(WHOLE) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("retries", -1),
        ("retries", 6),
        ("retries", True),
        ("retries", 1.5),
        ("rateLimitedTries", 0),
        ("totalTimeout", 0),
        ("totalTimeout", 3601),
        ("totalTimeout", "90"),
        ("idleTimeout", math.nan),
        ("firstByteTimeout", None),
        ("recovery", "sometimes"),
        ("recovery", ["off"]),
        ("fallback", "on"),
        ("patience", 1),
    ],
)
def test_a_field_that_is_no_good_is_named_and_not_followed(field: str, value: Any) -> None:
    (fault,) = check_policy({field: value})
    assert fault.field == f"providerSettings.policy.{field}"
    assert Policy.of({"policy": {field: value, "retries": 0} | {field: value}}) in (
        Policy(),
        Policy(retries=0),
    )


@pytest.mark.parametrize("document", ["strict", [], 7, None, True])
def test_a_policy_that_is_no_object_is_refused(document: Any) -> None:
    (fault,) = check_policy(document)
    assert fault.field == "providerSettings.policy"
    assert Policy.of({"policy": document}) == Policy()


def test_without_a_header_the_policy_is_the_same_object() -> None:
    policy = Policy()
    headers = [(b"host", b"a"), (b"x-model-service-tags", b"blue"), (b"content-type", b"b")]
    assert with_headers(policy, headers) is policy


def test_headers_say_otherwise_for_one_request() -> None:
    asked = with_headers(
        Policy.of({"policy": WHOLE}),
        [
            (b"x-model-service-retries", b"0"),
            (b"x-model-service-timeout", b"45"),
            (b"x-model-service-first-byte-timeout", b"2.5"),
            (b"x-model-service-idle-timeout", b"0.25"),
            (b"x-model-service-recovery", b"Buffer"),
            (b"x-model-service-fallback", b"on"),
        ],
    )
    assert asked == Policy(0, 2, 0.5, 4.0, 3.0, 2.5, 0.25, 45.0, Recovery.BUFFER, fallback=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retries", "6"),
        ("retries", "-1"),
        ("retries", "two"),
        ("retries", ""),
        ("timeout", "0"),
        ("timeout", "3601"),
        ("timeout", "1e3"),
        ("timeout", "inf"),
        ("first-byte-timeout", "0.01"),
        ("idle-timeout", " 5"),
        ("recovery", "yes"),
        ("recovery", "\xff"),
        ("fallback", "true"),
    ],
)
def test_a_header_that_is_no_good_is_refused_by_name(name: str, value: str) -> None:
    fault = refused(f"x-model-service-{name}", value).fault
    assert (fault.kind, fault.param, fault.status) == (
        FaultKind.INVALID_REQUEST,
        f"x-model-service-{name}",
        400,
    )
    assert f"x-model-service-{name}" in fault.message


def test_a_stream_begins_within_ten_seconds_where_a_fallback_waits() -> None:
    assert timeouts(Policy(), stream=True, guarded=True, max_tokens=9000).first_byte == 10.0
    assert timeouts(Policy(), stream=True, guarded=False).first_byte == 600.0


def test_a_whole_answer_has_the_time_that_writing_it_takes() -> None:
    assert timeouts(Policy(), stream=False, guarded=True, max_tokens=1000).first_byte == 50.0
    assert timeouts(Policy(), stream=False, guarded=True, max_tokens=10**6).first_byte == 600.0
    assert timeouts(Policy(), stream=False, guarded=False, max_tokens=1000).first_byte == 600.0


def test_what_was_said_of_the_first_byte_holds_in_any_case() -> None:
    policy = Policy(first_byte=3.0, connect=1.0, idle=2.0, total=9.0)
    found = timeouts(policy, stream=False, guarded=True, max_tokens=1000)
    assert (found.connect, found.first_byte, found.idle, found.total) == (1.0, 3.0, 2.0, 9.0)


def test_pauses_double_up_to_the_cap() -> None:
    policy = Policy(backoff_base=1.0, backoff_cap=5.0)
    assert [pause(policy, n, None, lambda: 1.0) for n in (1, 2, 3, 4, 999)] == [1, 2, 4, 5, 5]


@given(st.integers(1, 50), st.floats(0, 1))
def test_a_pause_is_at_least_half_of_what_it_may_be(failures: int, chance: float) -> None:
    longest = pause(Policy(), failures, None, lambda: 1.0)
    found = pause(Policy(), failures, None, lambda: chance)
    assert found is not None
    assert longest is not None
    assert longest / 2 <= found <= longest <= Policy().backoff_cap


@given(st.floats(0, LONGEST_PAUSE), st.floats(0, 1))
def test_a_provider_that_says_when_is_asked_about_then(after: float, chance: float) -> None:
    found = pause(Policy(), 1, after, lambda: chance)
    assert found is not None
    assert after <= found <= after * 1.1


def test_nobody_waits_for_longer_than_the_longest_pause() -> None:
    assert pause(Policy(), 1, LONGEST_PAUSE + 1, lambda: 0.5) is None
