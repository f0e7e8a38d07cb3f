"""Reminders: before a key expires and before a rotation is due, each of them once."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey
from model_service.keys.reminder_store import SqlReminderStore
from model_service.keys.reminders import Reminders, RotationScheduler
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode
from model_service.vault.keyring import Keyring
from tests.rotation import START, Bench, keyring_of

DAY = timedelta(days=1)


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest.fixture
def bench(database: Database, keyring: Keyring) -> Bench:
    return Bench(database, keyring)


def reminders(bench: Bench) -> Reminders:
    return Reminders(bench.database, SqlReminderStore(bench.database), bench.announcer, bench.clock)


async def told_on_the_way(bench: Bench, days: float) -> list[tuple[str, str]]:
    """What is announced while so much time passes, looked at every six hours, twice each."""
    sender = reminders(bench)
    for _ in range(int(days * 4)):
        await sender.step()
        await sender.step()
        bench.clock.advance(hours=6)
    return [(kind, data["notice"]) for kind, data in bench.announcer.told if "notice" in data]


async def test_a_key_that_expires_is_announced_three_times(bench: Bench) -> None:
    key = await bench.key(expires_at=START + 10 * DAY)
    assert await told_on_the_way(bench, 20) == [
        ("key.expiring", "7d"),
        ("key.expiring", "1d"),
        ("key.expiring", "due"),
    ]
    data = bench.announcer.told[0][1]
    assert data["keyId"] == str(key.id)
    assert data["expiresAt"] == "2026-03-11T12:00:00.000Z"


async def test_after_a_pause_only_the_present_reminder_is_sent(bench: Bench) -> None:
    await bench.key(expires_at=START + 10 * DAY)
    bench.clock.advance(days=9, hours=12)
    assert await told_on_the_way(bench, 0.25) == [("key.expiring", "1d")]


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": None},
        {"expires_at": START + 8 * DAY},
        {"expires_at": START - 8 * DAY},
        {"expires_at": START + DAY, "is_active": False},
    ],
)
async def test_nobody_is_bothered_about_what_is_far_away_long_over_or_inactive(
    bench: Bench, changes: dict[str, Any]
) -> None:
    await bench.key(**changes)
    assert await reminders(bench).step() == 0


async def test_an_expiry_put_off_is_announced_anew(bench: Bench) -> None:
    key = await bench.key(expires_at=START + 5 * DAY)
    await told_on_the_way(bench, 1)
    await bench.keys.change(key.id, {"expires_at": START + 30 * DAY})
    assert await told_on_the_way(bench, 40) == [
        ("key.expiring", "7d"),
        ("key.expiring", "7d"),
        ("key.expiring", "1d"),
        ("key.expiring", "due"),
    ]


async def test_a_rotation_that_is_due_is_announced_until_it_is_done(bench: Bench) -> None:
    key = await bench.key()
    overview = await bench.service.put_policy(key.id, Wish(mode=Mode.REMIND, every_days=30))
    assert overview.policy is not None
    assert overview.policy.due_at == START + 30 * DAY
    assert await told_on_the_way(bench, 31) == [
        ("key.rotation_due", "7d"),
        ("key.rotation_due", "1d"),
        ("key.rotation_due", "due"),
    ]
    await bench.service.rotate(key.id, Secret("sk-sandbox-second-value-2"))
    bench.announcer.told.clear()
    assert await told_on_the_way(bench, 22) == []
    assert await told_on_the_way(bench, 2) == [("key.rotation_due", "7d")]


async def test_a_period_counts_from_when_the_value_was_put_in_use(bench: Bench) -> None:
    key = await bench.key()
    bench.clock.advance(days=3)
    await bench.service.rotate(key.id, Secret("sk-sandbox-second-value-2"))
    bench.clock.advance(days=4)
    overview = await bench.service.put_policy(key.id, Wish(mode=Mode.REMIND, every_days=90))
    assert overview.policy is not None
    assert overview.policy.due_at == START + 93 * DAY


async def test_the_policys_grace_is_the_default(bench: Bench) -> None:
    key = await bench.key()
    await bench.service.put_policy(key.id, Wish(mode=Mode.REMIND, grace=timedelta(0)))
    await bench.service.rotate(key.id, Secret("sk-sandbox-second-value-2"))
    assert await bench.stored_versions(key) == []


@pytest.mark.parametrize(
    "provider", [Provider.GOOGLE, Provider.ANTHROPIC, Provider.OLLAMA, Provider.CUSTOM]
)
async def test_automatic_rotation_where_it_is_not_possible_is_manual_and_says_why(
    bench: Bench, provider: Provider
) -> None:
    key = await bench.key(provider=provider)
    overview = await bench.service.put_policy(key.id, Wish(mode=Mode.AUTOMATIC, every_days=10))
    assert overview.state == "manual"
    assert overview.reason is not None
    assert provider.value in overview.reason
    bench.clock.advance(days=10)
    assert await told_on_the_way(bench, 0.25) == [("key.rotation_due", "due")]
    await bench.service.rotate(key.id, Secret("sk-sandbox-second-value-2"), timedelta(0))
    assert (await bench.service.overview(key.id)).state == "manual"


async def test_of_many_workers_one_sends_each_reminder(bench: Bench) -> None:
    for _ in range(8):
        await bench.key(expires_at=START + DAY)
    sent = await asyncio.gather(*(reminders(bench).step() for _ in range(4)))
    assert sum(sent) == 8
    told = [data["keyId"] for _, data in bench.announcer.told]
    assert len(set(told)) == len(told) == 8


async def test_a_reminder_that_could_not_be_announced_is_sent_later(bench: Bench) -> None:
    key: ProviderKey = await bench.key(expires_at=START + DAY)

    class Broken:
        async def announce(self, type: str, data: Any) -> None:  # noqa: A002
            raise ConnectionError

    store = SqlReminderStore(bench.database)
    broken = Reminders(bench.database, store, Broken(), bench.clock)
    scheduler = RotationScheduler(broken)
    assert await scheduler.step() == 0
    assert await reminders(bench).step() == 1
    assert bench.announcer.told[0][1]["keyId"] == str(key.id)


async def test_a_part_that_fails_keeps_no_other_from_its_work(bench: Bench) -> None:
    class Failing:
        async def step(self) -> int:
            raise RuntimeError

    class Working:
        async def step(self) -> int:
            return 3

    assert await RotationScheduler(reminders(bench), Failing(), Working()).step() == 3


async def test_a_failure_is_logged_by_its_kind_and_without_its_text(bench: Bench) -> None:
    class Failing:
        async def step(self) -> int:
            raise RuntimeError("sk-sandbox-in-a-message")

    with capture_logs() as lines:
        await RotationScheduler(reminders(bench), Failing()).step()
    (line,) = (line for line in lines if line["log_level"] == "error")
    assert line["error_type"] == "RuntimeError"
    assert "sk-sandbox" not in str(line)
