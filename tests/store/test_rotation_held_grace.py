"""A grace that goes on because the provider refuses the value in use: the old may be the last."""

from datetime import timedelta

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation_domain import HELD
from model_service.vault.keyring import Keyring
from tests.rotation import START, Bench, keyring_of

FIRST = "sk-sandbox-first-value-1"
SECOND = "sk-sandbox-second-value-2"
THIRD = "sk-sandbox-third-value-3"
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest.fixture
def bench(database: Database, keyring: Keyring) -> Bench:
    return Bench(database, keyring)


async def refused_in_its_grace(bench: Bench) -> ProviderKey:
    """A key whose new value was refused, and whose grace has ended since."""
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.service.report_refused(key.id, 2)
    bench.announcer.told.clear()
    bench.clock.advance(hours=2)
    return key


async def test_the_old_value_outlives_its_grace_while_the_new_one_is_refused(bench: Bench) -> None:
    key = await refused_in_its_grace(bench)
    assert await bench.retirer.step() == 0
    assert await bench.stored_versions(key) == [(1, "retiring")]
    assert await bench.fallback(key) == FIRST
    fallback = await bench.service.report_refused(key.id, 2)
    assert fallback is not None
    assert fallback.value.reveal() == FIRST


async def test_that_it_is_held_is_shown(bench: Bench) -> None:
    key = await refused_in_its_grace(bench)
    overview = await bench.service.overview(key.id)
    assert (overview.state, overview.reason) == ("retiring", HELD)


async def test_a_grace_under_way_is_not_called_held(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.service.report_refused(key.id, 2)
    overview = await bench.service.overview(key.id)
    assert (overview.state, overview.reason) == ("retiring", None)


async def test_that_it_is_held_is_announced_once(bench: Bench) -> None:
    key = await refused_in_its_grace(bench)
    assert [await bench.parts.scheduler.step() for _ in range(3)] == [1, 0, 0]
    ((kind, data),) = bench.announcer.told
    assert kind == "key.rotation_due"
    assert (data["keyId"], data["notice"], data["reason"]) == (str(key.id), "stuck", HELD)
    assert data["dueAt"] == (START + HOUR).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_a_refusal_between_the_end_of_the_grace_and_its_clearing_comes_in_time(
    bench: Bench,
) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    bench.clock.advance(hours=1)
    fallback = await bench.service.report_refused(key.id, 2)
    assert fallback is not None
    assert fallback.value.reveal() == FIRST


async def test_once_the_new_value_is_taken_the_grace_ends(bench: Bench) -> None:
    key = await refused_in_its_grace(bench)
    now = bench.clock.now()
    await bench.keys.record_validation(key.id, version=2, is_valid=True, now=now)
    assert await bench.fallback(key) is None
    assert await bench.retirer.step() == 1
    assert await bench.stored_versions(key) == []


async def test_rotating_again_ends_it(bench: Bench) -> None:
    key = await refused_in_its_grace(bench)
    await bench.service.rotate(key.id, Secret(THIRD), timedelta(0))
    assert await bench.stored_versions(key) == []
    assert await bench.value(key) == THIRD
