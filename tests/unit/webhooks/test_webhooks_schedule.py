"""What follows from an attempt: done, later, or no more."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.errors import (
    ConnectFailed,
    EgressRefused,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTooLarge,
)
from model_service.kernel.events import EventType
from model_service.kernel.types import uuid7
from model_service.webhooks.delivery import PERSISTENCE, settlement_of, wait_after
from model_service.webhooks.domain import Attempt, DeliveryState, Event, Outcome, Sent
from model_service.webhooks.sending import outcome_of_error, outcome_of_status

START = datetime(2026, 3, 1, tzinfo=UTC)
EVENT = Event(uuid7(), EventType.KEY_ROTATED, "{}", START)
RETRIED = sorted(set(Outcome) - {Outcome.DELIVERED, Outcome.GONE})


def sent(outcome: Outcome, number: int = 1, retry_after: int | None = None) -> Sent:
    return Sent(Attempt(number, START, outcome, None, 1), retry_after)


def attempts_at(chance: float) -> list[timedelta]:
    """When, after the event, each attempt is made at a receiver that is never there."""
    moments = [timedelta()]
    while True:
        now = START + moments[-1]
        told = settlement_of(sent(Outcome.UNREACHABLE, len(moments)), EVENT, now, chance)
        if told.state is DeliveryState.FAILED:
            return moments
        moments.append(told.due_at - START)


def test_the_waits_grow_fivefold_from_five_seconds_to_twelve_hours() -> None:
    seconds = [wait_after(attempt).total_seconds() for attempt in range(1, 10)]
    assert seconds == [5, 25, 125, 625, 3125, 15625, 43200, 43200, 43200]


def test_the_wait_is_bounded_whatever_the_number() -> None:
    assert wait_after(2**31) == timedelta(hours=12)


@given(st.floats(0, 1))
def test_attempts_go_on_for_about_three_days(chance: float) -> None:
    moments = attempts_at(chance)
    assert 10 <= len(moments) <= 16
    assert timedelta(hours=56) <= moments[-1] <= PERSISTENCE


@given(st.floats(0, 1), st.integers(1, 20))
def test_jitter_moves_an_attempt_by_a_quarter_at_most(chance: float, number: int) -> None:
    told = settlement_of(sent(Outcome.TIMEOUT, number), EVENT, START, chance)
    assert 0.75 <= (told.due_at - START) / wait_after(number) <= 1.25


@pytest.mark.parametrize("outcome", RETRIED)
def test_whatever_else_goes_wrong_is_tried_again(outcome: Outcome) -> None:
    told = settlement_of(sent(outcome), EVENT, START, 0.5)
    assert (told.state, told.due_at) == (DeliveryState.PENDING, START + timedelta(seconds=5))
    assert told.disables is None


def test_a_delivered_event_is_done() -> None:
    assert settlement_of(sent(Outcome.DELIVERED), EVENT, START, 0).state is DeliveryState.DELIVERED


def test_a_receiver_that_is_gone_is_switched_off() -> None:
    told = settlement_of(sent(Outcome.GONE), EVENT, START, 0)
    assert (told.state, told.disables) == (DeliveryState.FAILED, "gone")


def test_a_receiver_is_left_alone_as_long_as_it_asks() -> None:
    told = settlement_of(sent(Outcome.THROTTLED, retry_after=120), EVENT, START, 0.5)
    assert told.due_at == START + timedelta(seconds=120)


def test_a_short_retry_after_does_not_shorten_the_wait() -> None:
    told = settlement_of(sent(Outcome.THROTTLED, 4, retry_after=1), EVENT, START, 0.5)
    assert told.due_at == START + timedelta(seconds=625)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (300, "redirected"),
        (307, "redirected"),
        (399, "redirected"),
        (400, "refused"),
        (404, "refused"),
        (409, "refused"),
        (410, "gone"),
        (411, "refused"),
        (429, "throttled"),
        (499, "refused"),
        (500, "receiver_error"),
        (502, "receiver_error"),
        (599, "receiver_error"),
    ],
)
def test_each_status_has_its_word(status: int, outcome: str) -> None:
    assert outcome_of_status(status) == outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (EgressRefused(), "address_refused"),
        (ConnectFailed(), "unreachable"),
        (UpstreamTimeout("connect"), "timeout"),
        (UpstreamTimeout("total"), "timeout"),
        (UpstreamProtocolError(), "not_http"),
        (UpstreamClosed(), "not_http"),
        (UpstreamTooLarge(), "not_http"),
    ],
)
def test_each_failure_has_its_word(error: UpstreamError, outcome: str) -> None:
    assert outcome_of_error(error) == outcome
