"""Taking back what providers gave out: until it is done, and never what is in use again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.administration import IssuedKey, KeyAdministration, Order
from model_service.kernel.errors import ProviderUnreachable
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode
from model_service.sandbox import Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import automatic_key, bench_on, unchanged, work, works

PROVIDERS = (Provider.OPENAI, Provider.AZURE)


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def test_what_cannot_be_taken_back_is_tried_again_until_it_is(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    await work(bench)
    old = await bench.value(key)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    assert await bench.fallback(key) is None
    sandbox.openai_admin.down = True
    await work(bench)
    bench.clock.advance(minutes=20)
    await work(bench)
    assert [account.key for account in sandbox.openai_admin.accounts.values()] == [old]
    assert (await bench.service.overview(key.id)).state == "revoked"
    sandbox.openai_admin.down = False
    bench.clock.advance(minutes=20)
    await work(bench)
    assert sandbox.openai_admin.accounts == {}
    assert (await bench.states(key))[-2:] == [(2, "revoked"), (2, "destroyed")]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_going_back_to_an_earlier_value_keeps_it_from_being_taken_back(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    await work(bench)
    bench.clock.advance(hours=2)
    await work(bench)
    good = await bench.value(key)
    bench.clock.advance(days=30)
    await work(bench)
    assert await bench.fallback(key) == good
    bad = await bench.value(key)
    await bench.service.rotate(key.id, Secret(good), timedelta(0))
    await work(bench)
    assert await bench.value(key) == good
    assert await works(bench, key)
    if provider is Provider.OPENAI:
        assert [account.key for account in sandbox.openai_admin.accounts.values()] == [good]
    else:
        assert bad not in sandbox.azure_admin.slots.values()
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-at-last"), timedelta(0))
    await work(bench)
    assert sandbox.openai_admin.accounts == {}
    assert good not in sandbox.azure_admin.slots.values()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_going_back_to_a_value_that_is_being_taken_back_keeps_it(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    await work(bench)
    bench.clock.advance(hours=2)
    await work(bench)
    good = await bench.value(key)
    bench.clock.advance(days=30)
    for stand_in in sandbox.administrations:
        stand_in.down = True
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await bench.parts.withdrawals.step()
    await bench.service.rotate(key.id, Secret(good), timedelta(0))
    for stand_in in sandbox.administrations:
        stand_in.down = False
    bench.clock.advance(minutes=20)
    await bench.parts.withdrawals.step()
    assert await works(bench, key)
    assert await bench.stored_versions(key) == []
    assert await bench.parts.withdrawals.step() == 0


async def test_a_value_sealed_anew_for_another_endpoint_is_still_taken_back(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    await work(bench)
    (sealed,) = await bench.keys.get_sealed([key.id])
    anew = replace(sealed.key, key_version=3)
    assert await bench.keys.replace(
        bench.sealer.seal(anew, bench.sealer.open(sealed)), was_version=2
    )
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await work(bench)
    assert sandbox.openai_admin.accounts == {}


async def test_a_value_of_our_own_goes_when_it_is_superseded_not_later(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    await work(bench)
    for value in ("sk-sandbox-by-hand-second", "sk-sandbox-by-hand-third"):
        await bench.service.rotate(key.id, Secret(value), timedelta(days=1))
    await work(bench)
    assert sandbox.openai_admin.accounts == {}
    assert await bench.fallback(key) == "sk-sandbox-by-hand-second"


class Late:
    """An administration API that does what it is asked when it has answered already."""

    def __init__(self, api: KeyAdministration) -> None:
        self._api = api
        self.asked: list[tuple[Order, Secret[str]]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def issue(self, order: Order, current: Secret[str]) -> IssuedKey:
        self.asked.append((order, current))
        raise ProviderUnreachable

    async def catch_up(self) -> None:
        for order, current in self.asked:
            await self._api.issue(order, current)
        self.asked.clear()


async def test_what_is_made_after_the_answer_failed_is_found_all_the_same(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    known = bench.administrations
    late = Late(known[Provider.OPENAI])
    bench.administrations = {Provider.OPENAI: late}  # type: ignore[dict-item]
    bench.build()
    bench.clock.advance(days=30)
    await work(bench)
    bench.clock.advance(minutes=2)
    await work(bench)
    await late.catch_up()
    assert len(sandbox.openai_admin.accounts) == 1
    bench.administrations = known
    bench.build()
    bench.clock.advance(minutes=10)
    await work(bench)
    assert sandbox.openai_admin.accounts == {}
    await unchanged(bench, key)


class Overtaken:
    """An administration API so slow that another process gives up what this one asked for."""

    def __init__(self, api: KeyAdministration, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._api = api
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def issue(self, order: Order, current: Secret[str]) -> IssuedKey:
        await self._meanwhile()
        return await self._api.issue(order, current)

    async def withdraw(self, order: Order, reference: str | None, value: object) -> None:
        raise ProviderUnreachable


async def test_what_came_too_late_and_could_not_be_taken_back_is_taken_back_later(
    bench: Bench, sandbox: Sandbox, database: Database, keyring: Keyring
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    known, gate = bench.administrations, bench.gate
    bench.clock.advance(days=30)

    async def take_over() -> None:
        bench.clock.advance(minutes=6)
        other = Bench(database, keyring, clock=bench.clock, gate=gate, administrations=known)
        await other.service.put_policy(key.id, Wish(mode=Mode.REMIND))
        await work(other)
        await work(other)

    overtaken = Overtaken(known[Provider.OPENAI], take_over)
    bench.administrations = {Provider.OPENAI: overtaken}  # type: ignore[dict-item]
    bench.build()
    await bench.parts.automatic.step()
    assert len(sandbox.openai_admin.accounts) == 1
    bench.administrations = known
    bench.build()
    await work(bench)
    assert sandbox.openai_admin.accounts == {}
    await unchanged(bench, key)
