"""Limits for each source, and refusals in the audit trail: a flood shows, and fills nothing."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.http import abuse
from model_service.http.abuse import RECORDED_SINGLY, WINDOW, Refusals
from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.caller import Caller
from model_service.kernel.errors import TooManyRequests
from model_service.kernel.provider import Verdict
from model_service.kernel.rate import RateLimits, source_of
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys import validation_limit
from model_service.keys.validation_limit import LimitedGate
from tests.access_tokens import SetClock
from tests.fakes import RecordingTrail


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_so_many_at_once_and_then_evenly(clock: SetClock) -> None:
    limits = RateLimits(10, now=clock.monotonic)
    assert [limits.spend("a") for _ in range(10)] == [0.0] * 10
    assert limits.spend("a") == pytest.approx(6.0)
    clock.advance(5.5)
    assert limits.spend("a") == pytest.approx(0.5)
    clock.advance(0.5)
    assert limits.spend("a") == 0.0
    assert limits.spend("a") == pytest.approx(6.0)
    clock.advance(60)
    assert [limits.spend("a") for _ in range(11)].count(0.0) == 10


def test_sources_do_not_share_a_bucket_and_asking_takes_nothing(clock: SetClock) -> None:
    limits = RateLimits(1, now=clock.monotonic)
    assert limits.wait("a") == limits.spend("a") == 0.0
    assert limits.wait("a") == limits.wait("a") == pytest.approx(60.0)
    assert limits.spend("b") == 0.0


def test_a_share_takes_less(clock: SetClock) -> None:
    limits = RateLimits(3, now=clock.monotonic)
    assert sum(limits.spend("a", 0.1) == 0.0 for _ in range(100)) == 30
    assert limits.spend("a") == pytest.approx(20.0)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=20))
def test_in_no_minute_more_than_twice_the_limit_passes(limit: int, pauses: list[float]) -> None:
    clock = SetClock()
    limits = RateLimits(limit, now=clock.monotonic)
    passed: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        passed += [clock.seconds for _ in range(limit + 5) if limits.spend("a") == 0.0]
    for start in passed:
        assert sum(start <= moment < start + 59.999 for moment in passed) <= 2 * limit


def test_the_sources_remembered_are_bounded(clock: SetClock) -> None:
    limits = RateLimits(1, most_sources=100, now=clock.monotonic)
    for number in range(1000):
        limits.spend(str(number))
    assert len(limits) == 100
    assert limits.wait("999") > 0, "those heard of last are remembered"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("a socket", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_address_counts_with_those_of_the_same_holder(address: str | None, source: str) -> None:
    assert source_of(address) == source


def refusal(kind: str = "auth.failure", client: str = "192.0.2.1") -> AuditEvent:
    return AuditEvent(type=kind, decision=Decision.DENY, caller=Caller("anonymous", client=client))


async def test_the_first_refusals_are_recorded_singly_and_the_rest_as_a_number(
    clock: SetClock,
) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(1000):
        await refusals.note(refusal(client=f"192.0.2.{number % 4}"))
    assert len(trail.events) == RECORDED_SINGLY
    await refusals.note(refusal("auth.denied"))
    clock.advance(WINDOW)
    await refusals.note(refusal())
    summary = trail.events[RECORDED_SINGLY:]
    assert [(event.type, event.reason) for event in summary] == [
        ("auth.failure", f"{1000 - RECORDED_SINGLY} more, from 4 addresses"),
        ("auth.denied", "1 more, from 1 addresses"),
        ("auth.failure", None),
    ]
    assert all(event.decision is Decision.DENY for event in trail.events)


async def test_the_addresses_told_apart_are_bounded(
    clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "_MOST_SOURCES", 10)
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(RECORDED_SINGLY + 50):
        await refusals.note(refusal(client=f"192.0.2.{number}"))
    await refusals.step()
    assert trail.events[-1].reason == "50 more, from 10+ addresses"


async def test_what_the_trail_does_not_take_is_counted_and_recorded_later(clock: SetClock) -> None:
    trail = RecordingTrail()
    trail.available = False
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(3):
        await refusals.note(refusal())
    await refusals.step()
    trail.available = True
    await refusals.step()
    assert [event.reason for event in trail.events] == ["3 more, from 1 addresses"]


async def test_a_quiet_window_records_nothing(clock: SetClock) -> None:
    trail = RecordingTrail()
    await Refusals(trail, clock.monotonic).step()
    assert trail.events == []


async def test_the_last_counts_are_recorded_when_the_service_stops(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(RECORDED_SINGLY + 2):
        await refusals.note(refusal())
    job = asyncio.create_task(refusals.run())
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert trail.events[-1].reason == "2 more, from 1 addresses"


class AnsweringGate:
    """Providers that take every key."""

    def __init__(self) -> None:
        self.asked = 0

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        return f"{provider}:{endpoint}"

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        self.asked += 1
        return Verdict.VALID


class Checking:
    """Somebody who has keys checked, by default a user."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = AnsweringGate()
        self.limited = LimitedGate(self.gate, RateLimits(5, now=SetClock().monotonic))
        self.retry_after = 0
        self._monkeypatch = monkeypatch

    async def until_refused(
        self, caller: Caller, provider: Provider = Provider.OPENAI, most: int = 100
    ) -> int:
        """How many were checked before the first refusal."""
        self._monkeypatch.setattr(validation_limit, "current_caller", lambda: caller)
        for number in range(most):
            try:
                await self.limited.validate(provider, Secret("sk-some-key"), None)
            except TooManyRequests as error:
                self.retry_after = error.retry_after
                return number
        return most


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> Checking:
    return Checking(monkeypatch)


async def test_a_user_has_so_many_keys_checked_from_whatever_address(checking: Checking) -> None:
    assert await checking.until_refused(Caller("user:a", None, "r", "192.0.2.1")) == 5
    assert await checking.until_refused(Caller("user:a", None, "r", "192.0.2.2")) == 0
    assert await checking.until_refused(Caller("service:t", "a", "r", "192.0.2.3")) == 0
    assert await checking.until_refused(Caller("user:b", None, "r", "192.0.2.1")) == 5
    assert checking.gate.asked == 10
    assert checking.retry_after == 12


async def test_who_names_no_user_is_limited_by_address(checking: Checking) -> None:
    assert await checking.until_refused(Caller("internal", None, "r", "192.0.2.1")) == 5
    assert await checking.until_refused(Caller("service:t", None, "r", "192.0.2.1")) == 0
    assert await checking.until_refused(Caller("internal", None, "r", "192.0.2.2")) == 5


async def test_administrators_have_ten_times_as_many(checking: Checking) -> None:
    counts = [
        await checking.until_refused(Caller(actor, None, "r", address))
        for actor, address in (("administrator", "192.0.2.1"), ("administrator:t", "192.0.2.2"))
    ]
    assert counts == [50, 50]


async def test_the_service_itself_and_providers_that_are_not_asked_are_not_limited(
    checking: Checking,
) -> None:
    user = Caller("user:a", None, "r", "192.0.2.1")
    assert await checking.until_refused(Caller("system")) == 100
    assert await checking.until_refused(user, Provider.OLLAMA) == 100
    assert await checking.until_refused(user, Provider.CUSTOM) == 100


def test_endpoints_are_checked_by_the_providers(checking: Checking) -> None:
    assert checking.limited.checked_endpoint(Provider.AZURE, "x") == "AZURE:x"
