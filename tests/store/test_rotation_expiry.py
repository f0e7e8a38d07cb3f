"""When a key expires that was rotated: as the caller says, else when it did before."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation_domain import Expiry
from model_service.sandbox import Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import START, Bench, keyring_of
from tests.rotation_sandbox import automatic_key, bench_on, work

SECOND = Secret("sk-sandbox-second-value-2")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


@pytest.mark.parametrize(
    ("expiry", "then"),
    [
        (None, START + DAY),
        (Expiry(None), None),
        (Expiry(START + 90 * DAY), START + 90 * DAY),
    ],
)
async def test_a_rotation_by_hand_moves_the_expiry_only_when_it_says_so(
    bench: Bench, expiry: Expiry | None, then: datetime | None
) -> None:
    key = await bench.key(expires_at=START + DAY)
    after = await bench.service.rotate(key.id, SECOND, HOUR, expiry)
    assert after.expires_at == then
    stored = await bench.keys.get(key.id)
    assert stored is not None
    assert stored.expires_at == then


async def rotated_by_itself(bench: Bench, sandbox: Sandbox, expires_at: datetime) -> ProviderKey:
    """A key with an hour's grace, due 30 days after the start."""
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    await bench.keys.change(key.id, {"expires_at": expires_at})
    bench.clock.advance(days=30)
    await work(bench)
    return (await bench.service.overview(key.id)).key


async def test_an_expiry_within_the_grace_of_the_old_value_goes_with_it(
    bench: Bench, sandbox: Sandbox
) -> None:
    after = await rotated_by_itself(bench, sandbox, START + 30 * DAY + HOUR)
    assert (after.key_version, after.expires_at) == (2, None)


async def test_a_later_expiry_is_about_the_key_and_stays(bench: Bench, sandbox: Sandbox) -> None:
    later = START + 30 * DAY + HOUR + timedelta(seconds=1)
    after = await rotated_by_itself(bench, sandbox, later)
    assert (after.key_version, after.expires_at) == (2, later)


async def test_a_key_that_has_expired_is_not_brought_back_by_a_rotation(
    bench: Bench, sandbox: Sandbox
) -> None:
    after = await rotated_by_itself(bench, sandbox, START + 29 * DAY)
    assert (after.key_version, after.expires_at) == (1, START + 29 * DAY)
    assert sandbox.openai_admin.accounts == {}
