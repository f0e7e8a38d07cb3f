"""A value brought by hand while the provider is making one: never a dead value in use."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.errors import Conflict
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.automatic_rotation import Point
from model_service.keys.domain import ProviderKey
from model_service.sandbox import Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import automatic_key, bench_on, work, works

PROVIDERS = (Provider.OPENAI, Provider.AZURE)


class Crash(BaseException):
    """The process ends here."""


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def rotate_by_itself_as_far_as(bench: Bench, point: Point) -> None:
    def end(reached: Point) -> None:
        if reached is point:
            raise Crash

    bench.at = end
    bench.build()
    with pytest.raises(Crash):
        await bench.parts.automatic.step()
    bench.at = lambda _: None
    bench.build()


async def finish(bench: Bench, key: ProviderKey) -> None:
    for _ in range(3):
        bench.clock.advance(minutes=6)
        await work(bench)
    assert await works(bench, key)
    assert (await bench.service.overview(key.id)).key.key_version == 2


@pytest.mark.parametrize("point", [Point.BEGUN, Point.STORED])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_value_brought_while_one_is_on_its_way_is_put_off(
    bench: Bench, sandbox: Sandbox, provider: Provider, point: Point
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    await rotate_by_itself_as_far_as(bench, point)
    with pytest.raises(Conflict, match="rotated automatically"):
        await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-meanwhile"))
    assert (await bench.states(key)) == [(2, "pending")], "nothing was begun"
    await finish(bench, key)


class Meanwhile:
    """A provider that is asked about a value brought by hand just as another one is made."""

    def __init__(self, bench: Bench, brought: str) -> None:
        self._bench = bench
        self._gate = bench.gate
        self._brought = brought

    def __getattr__(self, name: str) -> object:
        return getattr(self._gate, name)

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        verdict: Verdict = await self._gate.validate(provider, key, endpoint)
        if key.reveal() == self._brought:
            await rotate_by_itself_as_far_as(self._bench, Point.STORED)
        return verdict


async def test_azures_other_key_brought_by_hand_is_not_used_once_it_is_regenerated(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.AZURE)
    bench.clock.advance(days=30)
    brought, gate = sandbox.azure_admin.slots["Key2"], bench.gate
    bench.gate = Meanwhile(bench, brought)
    bench.build()
    with pytest.raises(Conflict):
        await bench.service.rotate(key.id, Secret(brought))
    assert brought not in sandbox.azure_admin.slots.values(), "it was regenerated meanwhile"
    assert await bench.value(key) != brought
    bench.gate = gate
    bench.build()
    await finish(bench, key)
