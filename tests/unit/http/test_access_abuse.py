"""Limits for each source, and refusals in the audit trail: a flood shows, and fills nothing."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.http import abuse
from model_service.http.abuse import (
    SINGLY_BY_PRINCIPAL,
    SINGLY_BY_SOURCE,
    SINGLY_BY_SOURCES,
    WINDOW,
    Refusals,
)
from model_service.kernel.audit import AuditEvent, Decision
from model_service.kernel.caller import SYSTEM, Caller, set_caller
from model_service.kernel.errors import TooManyRequests
from model_service.kernel.provider import Verdict
from model_service.kernel.rate import RateLimits, source_of
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys import validation_limit
from model_service.keys.validation_limit import LimitedGate, ValidationLimit
from tests.access_tokens import SetClock
from tests.fakes import RecordingTrail
from tests.pauses import Pauses, stopped


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


def refusal(
    kind: str = "auth.failure",
    client: str = "192.0.2.1",
    *,
    actor: str = "anonymous",
    subject: str | None = None,
) -> AuditEvent:
    caller = Caller(actor, client=client)
    return AuditEvent(type=kind, decision=Decision.DENY, subject=subject, caller=caller)


async def test_the_first_refusals_are_recorded_singly_and_the_rest_as_a_number(
    clock: SetClock,
) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(1000):
        subject = "token:a" if number % 10 else "route:GET /api/models"
        await refusals.note(refusal(client=f"192.0.2.{number % 4}", subject=subject))
    singly = 4 * SINGLY_BY_SOURCE
    assert len(trail.events) == singly
    clock.advance(WINDOW)
    await refusals.note(refusal())
    summary = trail.events[singly:]
    assert [(event.type, event.reason) for event in summary] == [
        (
            "auth.failure",
            (
                "920 more, from 4 addresses: 192.0.2.0 (230), 192.0.2.1 (230), 192.0.2.2 (230); "
                "at 2 subjects: token:a (828), route:GET /api/models (92)"
            ),
        ),
        ("auth.failure", None),
    ]
    assert all(event.decision is Decision.DENY for event in trail.events)


@pytest.mark.parametrize(
    "actor", ["user:mallory", "service:t", "administrator:t", "internal", "administrator"]
)
async def test_a_flood_from_nobody_hides_nothing_that_a_principal_was_refused(
    clock: SetClock, actor: str
) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(1000):
        await refusals.note(refusal("auth.denied", f"192.0.2.{number % 250}"))
        await refusals.note(refusal("auth.failure", f"192.0.2.{number % 250}"))
    targeted = refusal("auth.denied", actor=actor, subject="key:1")
    await refusals.note(targeted)
    assert trail.events[-1] is targeted


@pytest.mark.parametrize(
    ("flooding", "other"),
    [
        (Caller("user:a", client="192.0.2.1"), Caller("user:b", client="192.0.2.1")),
        (Caller("service:s", client="192.0.2.1"), Caller("service:t", client="192.0.2.1")),
        (Caller("internal", client="192.0.2.1"), Caller("internal", client="192.0.2.2")),
        (Caller("anonymous", client="192.0.2.1"), Caller("anonymous", client="192.0.2.2")),
    ],
)
async def test_one_s_flood_hides_nothing_that_another_was_refused(
    clock: SetClock, flooding: Caller, other: Caller
) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(1000):
        await refusals.note(replace(refusal("auth.denied"), caller=flooding))
    targeted = replace(refusal("auth.denied"), caller=other)
    await refusals.note(targeted)
    assert trail.events[-1] is targeted


async def test_of_a_flood_of_one_kind_another_is_recorded_singly(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(SINGLY_BY_SOURCE + 1):
        await refusals.note(refusal("auth.failure"))
    denied = refusal("auth.denied")
    await refusals.note(denied)
    assert trail.events[-1] is denied


async def test_a_principal_s_flood_is_recorded_under_its_name_from_wherever_it_came(
    clock: SetClock,
) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(SINGLY_BY_PRINCIPAL + 5):
        client = f"192.0.2.{number}"
        await refusals.note(refusal("auth.denied", client, actor="user:m", subject="key:1"))
    await refusals.step()
    assert len(trail.events) == SINGLY_BY_PRINCIPAL + 1
    flood = trail.events[-1]
    assert flood.caller == Caller("user:m")
    assert flood.reason is not None
    assert flood.reason.startswith("5 more, from 5 addresses: 192.0.2.60 (1), ")
    assert flood.reason.endswith("; at 1 subjects: key:1 (5)")


async def test_nobodies_with_many_addresses_do_not_fill_the_trail(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(5000):
        await refusals.note(refusal(client=f"198.51.{number // 250}.{number % 250}"))
    assert len(trail.events) == SINGLY_BY_SOURCES


async def test_what_is_remembered_of_principals_and_floods_is_bounded(
    clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "MOST_PRINCIPALS", 10)
    monkeypatch.setattr(abuse, "_MOST_FLOODS", 5)
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(100):
        await refusals.note(refusal("auth.denied", actor=f"user:{number}"))
    assert len(trail.events) == 10
    await refusals.step()
    floods = trail.events[10:]
    assert [event.caller and event.caller.actor for event in floods] == [
        *(f"user:{number}" for number in range(10, 15)),
        "system",
    ]
    assert floods[-1].reason == "85 more, from 1 addresses: 192.0.2.1 (85)"


async def test_the_addresses_told_apart_are_bounded(
    clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "_MOST_NAMES", 10)
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(SINGLY_BY_SOURCES + 50):
        await refusals.note(refusal(client=f"192.0.2.{number}"))
    await refusals.step()
    reason = trail.events[-1].reason
    assert reason is not None
    assert reason.startswith("50 more, from 10+ addresses: 192.0.2.200 (1), ")


async def test_what_the_trail_does_not_take_is_counted_and_recorded_later(clock: SetClock) -> None:
    trail = RecordingTrail()
    trail.available = False
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(3):
        await refusals.note(refusal())
    await refusals.step()
    trail.available = True
    await refusals.step()
    assert [event.reason for event in trail.events] == ["3 more, from 1 addresses: 192.0.2.1 (3)"]


async def test_a_quiet_window_records_nothing(clock: SetClock) -> None:
    trail = RecordingTrail()
    await Refusals(trail, clock.monotonic).step()
    assert trail.events == []


async def test_the_last_counts_are_recorded_when_the_service_stops(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(SINGLY_BY_SOURCE + 2):
        await refusals.note(refusal())
    job = asyncio.create_task(refusals.run())
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert trail.events[-1].reason == "2 more, from 1 addresses: 192.0.2.1 (2)"


async def test_so_many_are_recorded_singly_as_the_documents_say(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)

    async def recorded(actor: str, address: str) -> int:
        before = len(trail.events)
        for number in range(500):
            client = address.replace("*", str(number % 250))
            await refusals.note(refusal("auth.denied", client, actor=actor))
        return len(trail.events) - before

    assert await recorded("user:m", "192.0.2.*") == 60
    assert await recorded("internal", "192.0.2.1") == 60
    assert await recorded("anonymous", "192.0.2.1") == 20
    assert await recorded("anonymous", "192.0.3.*") == 200 - 20


async def test_every_window_has_room_of_its_own(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for _ in range(3):
        for _ in range(SINGLY_BY_SOURCE + 5):
            await refusals.note(refusal())
        for _ in range(SINGLY_BY_PRINCIPAL + 5):
            await refusals.note(refusal(actor="user:m"))
        clock.advance(WINDOW)
    singly = [event for event in trail.events if event.reason is None]
    assert len(singly) == 3 * (SINGLY_BY_SOURCE + SINGLY_BY_PRINCIPAL)
    assert [event.caller for event in trail.events if event.reason is not None] == [
        SYSTEM, Caller("user:m"),
    ] * 2  # fmt: skip


async def test_a_window_is_as_long_from_its_first_refusal_on(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for pause in (0.0, WINDOW - 0.001):
        clock.advance(pause)
        for _ in range(SINGLY_BY_SOURCE):
            await refusals.note(refusal())
    assert len(trail.events) == SINGLY_BY_SOURCE
    clock.advance(0.001)
    await refusals.note(refusal())
    assert len(trail.events) == SINGLY_BY_SOURCE + 2, "the flood's record and this one"


async def test_who_is_refused_is_the_current_caller_unless_the_event_says(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)

    async def flood() -> None:
        set_caller(Caller("user:m", client="192.0.2.9"))
        for _ in range(SINGLY_BY_PRINCIPAL + 2):
            await refusals.note(AuditEvent(type="auth.denied", decision=Decision.DENY))

    await asyncio.create_task(flood())
    await refusals.step()
    assert trail.events[-1].caller == Caller("user:m")
    assert trail.events[-1].reason == "2 more, from 1 addresses: 192.0.2.9 (2)"


async def test_a_flood_s_record_names_three_of_each_and_no_endless_name(clock: SetClock) -> None:
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    for number in range(SINGLY_BY_PRINCIPAL + 14):
        subject = f"key:{'s' * 100}" if number % 2 else f"key:{number}"
        await refusals.note(refusal("auth.denied", f"192.0.2.{number}", actor="u", subject=subject))
    await refusals.step()
    reason = trail.events[-1].reason
    assert reason == (
        "14 more, from 14 addresses: 192.0.2.60 (1), 192.0.2.61 (1), 192.0.2.62 (1); "
        f"at 8 subjects: key:{'s' * 76} (7), key:60 (1), key:62 (1)"
    )


async def test_counts_that_could_not_be_recorded_are_joined_with_later_ones(
    clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abuse, "_MOST_NAMES", 2)
    trail = RecordingTrail()
    trail.available = False
    refusals = Refusals(trail, clock.monotonic)
    for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
        await refusals.note(refusal(client=client, subject="key:1"))
    await refusals.step()
    await refusals.note(refusal(client="192.0.2.2", subject="key:2"))
    await refusals.step()
    trail.available = True
    await refusals.step()
    assert [event.reason for event in trail.events] == [
        (
            "5 more, from 2+ addresses: 192.0.2.1 (2), 192.0.2.2 (2); "
            "at 2 subjects: key:1 (4), key:2 (1)"
        )
    ]


async def test_a_window_begins_every_minute_without_any_refusal(
    clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = Pauses(monkeypatch, abuse)
    trail = RecordingTrail()
    refusals = Refusals(trail, clock.monotonic)
    job = asyncio.create_task(refusals.run())
    await pauses.begun()
    for _ in range(SINGLY_BY_SOURCE + 3):
        await refusals.note(refusal())
    assert len(trail.events) == SINGLY_BY_SOURCE
    await pauses.over()
    assert trail.events[-1].reason == "3 more, from 1 addresses: 192.0.2.1 (3)"
    assert pauses.taken == [WINDOW] * 2
    await stopped(job)


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
        limits, denials = RateLimits(5, now=SetClock().monotonic), Refusals(RecordingTrail())
        self.limited = LimitedGate(self.gate, ValidationLimit(limits, denials))
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


async def test_who_shows_a_secret_that_many_share_is_limited_by_address(
    checking: Checking,
) -> None:
    assert await checking.until_refused(Caller("internal", None, "r", "192.0.2.1")) == 5
    assert await checking.until_refused(Caller("internal", "a", "r", "192.0.2.1")) == 0
    assert await checking.until_refused(Caller("internal", None, "r", "192.0.2.2")) == 5


async def test_a_token_is_limited_by_itself_whomever_it_names_from_whatever_address(
    checking: Checking,
) -> None:
    callers = [Caller("service:s", f"u{n}", "r", f"192.0.2.{n}") for n in range(20)]
    counts = [await checking.until_refused(caller, most=1) for caller in callers]
    assert sum(counts) == checking.gate.asked == 5
    assert await checking.until_refused(Caller("service:t", None, "r", "192.0.2.0")) == 5


async def test_what_one_bucket_refuses_takes_nothing_from_the_other(checking: Checking) -> None:
    assert await checking.until_refused(Caller("user:a", None, "r", "192.0.2.1")) == 5
    for _ in range(10):
        assert await checking.until_refused(Caller("service:t", "a", "r", "192.0.2.2")) == 0
    assert await checking.until_refused(Caller("service:t", "b", "r", "192.0.2.2")) == 5
    assert await checking.until_refused(Caller("user:c", None, "r", "192.0.2.1"), most=3) == 3
    assert await checking.until_refused(Caller("service:t", "c", "r", "192.0.2.2")) == 0
    assert await checking.until_refused(Caller("user:c", None, "r", "192.0.2.1")) == 2


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
