"""An Azure account has two keys for all who use it: none that somebody else needs is ended."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import update

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode
from model_service.sandbox import Sandbox
from model_service.sandbox.azure_admin import ACCOUNT
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import CREDENTIALS, automatic_key, bench_on, work, works


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def in_its_grace(bench: Bench, sandbox: Sandbox) -> tuple[ProviderKey, str]:
    """A key that was rotated by itself, and the value before, whose grace runs."""
    key = await automatic_key(bench, sandbox, Provider.AZURE)
    first = await bench.value(key)
    bench.clock.advance(days=30)
    await work(bench)
    assert await bench.fallback(key) == first
    return key, first


async def another_key(bench: Bench, sandbox: Sandbox, value: str) -> ProviderKey:
    metadata = {"endpoint": sandbox.azure.origin}
    return await bench.key(value, provider=Provider.AZURE, metadata=metadata)


async def test_a_value_that_another_key_uses_by_now_is_not_regenerated(
    bench: Bench, sandbox: Sandbox
) -> None:
    key, first = await in_its_grace(bench, sandbox)
    other = await another_key(bench, sandbox, first)
    bench.clock.advance(hours=2)
    await work(bench)
    assert await works(bench, other)
    overview = await bench.service.overview(key.id)
    assert overview.state == "revoked"
    assert overview.reason is not None
    assert "another stored key for the same account uses the value" in overview.reason
    told = [data for kind, data in bench.announcer.told if kind == "key.rotation_due"]
    assert [data["notice"] for data in told] == ["stuck"]


@pytest.mark.parametrize("way", ["rotated", "deleted"])
async def test_it_is_regenerated_once_the_other_key_lets_go_of_it(
    bench: Bench, sandbox: Sandbox, way: str
) -> None:
    key, first = await in_its_grace(bench, sandbox)
    other = await another_key(bench, sandbox, first)
    bench.clock.advance(hours=2)
    await work(bench)
    if way == "deleted":
        await bench.keys.delete(other.id)
    else:
        new = Secret("sk-sandbox-of-their-own")
        await bench.service.rotate(other.id, new, timedelta(hours=1))
        bench.clock.advance(minutes=20)
        await work(bench)
        assert first in sandbox.azure_admin.slots.values(), "it is the other key's fallback"
        bench.clock.advance(hours=1)
    bench.clock.advance(minutes=20)
    await work(bench)
    assert first not in sandbox.azure_admin.slots.values()
    assert await bench.stored_versions(key) == []
    assert await works(bench, key)


async def test_another_key_with_the_new_value_does_not_keep_the_old_one_alive(
    bench: Bench, sandbox: Sandbox
) -> None:
    key, first = await in_its_grace(bench, sandbox)
    other = await another_key(bench, sandbox, await bench.value(key))
    bench.clock.advance(hours=2)
    await work(bench)
    assert first not in sandbox.azure_admin.slots.values()
    assert await works(bench, other)


async def test_another_key_that_does_not_open_may_have_the_value(
    bench: Bench, sandbox: Sandbox, database: Database
) -> None:
    _, first = await in_its_grace(bench, sandbox)
    other = await another_key(bench, sandbox, first)
    async with database.single() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.id == other.id).values(key_version=9)
        )
    bench.clock.advance(hours=2)
    await work(bench)
    assert first in sandbox.azure_admin.slots.values()


async def test_a_key_without_an_endpoint_shares_the_account_that_its_policy_names(
    bench: Bench, sandbox: Sandbox
) -> None:
    key, first = await in_its_grace(bench, sandbox)
    other = await bench.key(first, provider=Provider.AZURE)
    await bench.service.put_policy(other.id, Wish(mode=Mode.REMIND, target=ACCOUNT))
    bench.clock.advance(hours=2)
    await work(bench)
    assert first in sandbox.azure_admin.slots.values()
    assert (await bench.service.overview(key.id)).state == "revoked"


async def test_an_azure_key_without_an_endpoint_is_manual_for_its_new_value_could_not_be_tried(
    bench: Bench, sandbox: Sandbox
) -> None:
    value = sandbox.azure_admin.slots["Key1"]
    key = await bench.key(value, provider=Provider.AZURE)
    await bench.credentials.add(CREDENTIALS[Provider.AZURE])
    wish = Wish(mode=Mode.AUTOMATIC, every_days=30, target=ACCOUNT)
    await bench.service.put_policy(key.id, wish)
    before = dict(sandbox.azure_admin.slots)
    bench.clock.advance(days=30)
    await work(bench)
    overview = await bench.service.overview(key.id)
    assert overview.state == "manual"
    assert overview.reason is not None
    assert "without an endpoint" in overview.reason
    assert sandbox.azure_admin.slots == before
    verdict = await bench.gate.validate(Provider.AZURE, Secret(value), sandbox.azure.origin)
    assert verdict is Verdict.VALID
