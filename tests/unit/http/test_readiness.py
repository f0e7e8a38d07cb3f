"""Readiness: anybody may ask, and however many do, the dependencies are asked seldom."""

import asyncio

import pytest

from model_service.http.operations import READY_SECONDS, ReadinessProbe
from model_service.kernel.errors import DatabaseUnavailable
from tests.access_tokens import SetClock


class Dependency:
    """A dependency that answers when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_ready = True
        self.go_on = asyncio.Event()
        self.reached = asyncio.Event()

    async def check(self) -> str | None:
        self.asked += 1
        self.reached.set()
        await self.go_on.wait()
        if not self.is_ready:
            raise DatabaseUnavailable
        return None


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


@pytest.fixture
def probe(clock: SetClock, dependency: Dependency) -> ReadinessProbe:
    return ReadinessProbe({"database": dependency.check}, clock.monotonic)


async def test_all_who_wait_share_one_run(probe: ReadinessProbe, dependency: Dependency) -> None:
    waiting = [asyncio.create_task(probe.states()) for _ in range(100)]
    await dependency.reached.wait()
    dependency.go_on.set()
    found = await asyncio.gather(*waiting, probe.states())
    assert found == [{"database": (True, "ok")}] * 101
    assert dependency.asked == 1


async def test_what_was_found_is_believed_for_a_moment_and_then_looked_at_anew(
    probe: ReadinessProbe, dependency: Dependency, clock: SetClock
) -> None:
    dependency.go_on.set()
    assert await probe.states() == {"database": (True, "ok")}
    dependency.is_ready = False
    clock.advance(READY_SECONDS / 2)
    assert await probe.states() == {"database": (True, "ok")}
    clock.advance(READY_SECONDS / 2)
    assert await probe.states() == {"database": (False, "database_unavailable")}
    assert dependency.asked == 2


async def test_who_goes_away_takes_the_answer_from_nobody(
    probe: ReadinessProbe, dependency: Dependency
) -> None:
    first, second = (asyncio.create_task(probe.states()) for _ in range(2))
    await dependency.reached.wait()
    first.cancel()
    await asyncio.wait([first])
    dependency.go_on.set()
    assert await second == {"database": (True, "ok")}
    assert first.cancelled()
    assert dependency.asked == 1


async def test_a_check_that_fails_unexpectedly_stops_no_later_one(clock: SetClock) -> None:
    asked: list[int] = []

    async def check() -> None:
        asked.append(1)
        if len(asked) == 1:
            raise RuntimeError

    probe = ReadinessProbe({"database": check}, clock.monotonic)
    with pytest.raises(RuntimeError):
        await probe.states()
    assert await probe.states() == {"database": (True, "ok")}
