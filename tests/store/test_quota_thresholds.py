"""Receivers are told of a half, of four fifths and of the whole: each once in a window."""

import asyncio

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.counting import NANO, Answer, Ask, Metric, Quota
from model_service.kernel.events import EventType
from model_service.quotas.thresholds import Thresholds
from tests.fakes import RecordingAnnouncer
from tests.quota_worlds import stored_quota, without_quotas

MARCH = 1_772_323_200_000_000
APRIL = 1_775_001_600_000_000


@pytest_asyncio.fixture
async def empty(database: Database) -> Database:
    await without_quotas(database)
    return database


@pytest.fixture
def announcer() -> RecordingAnnouncer:
    return RecordingAnnouncer()


@pytest.fixture
def thresholds(empty: Database, announcer: RecordingAnnouncer) -> Thresholds:
    return Thresholds(empty, announcer)


def stands(
    quota: Quota, used: int, *, reserved: int = 0, opened: int = MARCH
) -> tuple[Ask, Answer]:
    ask = Ask(quota.key, quota.window, quota.limit, 1, 2, opened, used, reserved)
    return ask, Answer(opened, 60.0, 0, used + reserved, reserved)


def percents(announcer: RecordingAnnouncer) -> list[int]:
    assert set(announcer.types) <= {EventType.QUOTA_THRESHOLD}
    return [data["percent"] for _, data in announcer.told]


async def test_each_is_told_once(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    quota = await stored_quota(empty, limit=100)
    for used in (49, 50, 51, 79, 80, 99, 100, 101):
        thresholds.observe(*stands(quota, used))
        await thresholds.step()
    assert percents(announcer) == [50, 80, 100]


async def test_all_that_were_passed_at_once_are_told(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    thresholds.observe(*stands(await stored_quota(empty, limit=10), 10))
    await thresholds.step()
    assert percents(announcer) == [50, 80, 100]


async def test_what_is_only_reserved_is_not_used(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    thresholds.observe(*stands(await stored_quota(empty, limit=10), 4, reserved=6))
    await thresholds.step()
    assert announcer.told == []


async def test_in_the_next_window_they_are_told_again(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    quota = await stored_quota(empty, limit=10)
    for opened in (MARCH, APRIL):
        thresholds.observe(*stands(quota, 5, opened=opened))
        await thresholds.step()
    assert percents(announcer) == [50, 50]


async def test_of_several_workers_one_tells(empty: Database, announcer: RecordingAnnouncer) -> None:
    quota = await stored_quota(empty, limit=10)
    workers = [Thresholds(empty, announcer) for _ in range(4)]
    for worker in workers:
        worker.observe(*stands(quota, 8))
    await asyncio.gather(*(worker.step() for worker in workers))
    assert percents(announcer) == [50, 80]


async def test_the_event_says_which_quota_and_how_it_stands(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    quota = await stored_quota(empty, Metric.COST, limit=2 * NANO, model="fast")
    thresholds.observe(*stands(quota, NANO + NANO // 2))
    await thresholds.step()
    ((_, data),) = announcer.told
    assert data == {
        "quotaId": str(quota.id),
        "userId": None,
        "tokenId": None,
        "model": "fast",
        "metric": "cost",
        "window": "month",
        "limit": 2.0,
        "used": 1.5,
        "resetsAt": "2026-04-01T00:00:00.000Z",
        "percent": 50,
    }


async def test_of_a_quota_that_was_deleted_nothing_is_told(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    quota = await stored_quota(empty, limit=10)
    await without_quotas(empty)
    thresholds.observe(*stands(quota, 10))
    await thresholds.step()
    assert announcer.told == []


async def test_a_raised_limit_is_what_counts(
    empty: Database, thresholds: Thresholds, announcer: RecordingAnnouncer
) -> None:
    quota = await stored_quota(empty, limit=100)
    lower = Quota(quota.id, quota.metric, quota.window, 10, user_id="ann")
    thresholds.observe(*stands(lower, 10))
    await thresholds.step()
    assert announcer.told == []
