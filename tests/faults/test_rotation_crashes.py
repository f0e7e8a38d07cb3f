"""Automatic rotation against the stand-ins, ended at every point: never without a working key,
and nothing left behind at the provider."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from model_service.db.tables import api_key_versions, issued_keys
from model_service.db.uow import Database
from model_service.kernel.administration import IssuedKey, KeyAdministration, Order
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.automatic_rotation import Point
from model_service.keys.domain import ProviderKey
from model_service.sandbox import Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import automatic_key, bench_on, work, works

PROVIDERS = [Provider.OPENAI, Provider.AZURE]
#: Each point, and how often it is passed before the process ends there: at the first rotation,
#: and at the second, when there is something of our own to take back.
CRASHES = [(point, times) for point in Point for times in (0, 1)]


class Crash(BaseException):
    """The process ends here."""


class Ending:
    """Ends the process at a point; `passes` are let through before."""

    def __init__(self, point: Point, passes: int) -> None:
        self.point = point
        self.passes = passes
        self.happened = False

    def __call__(self, reached: Point) -> None:
        if reached is not self.point or self.happened:
            return
        if self.passes:
            self.passes -= 1
            return
        self.happened = True
        raise Crash


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def live(bench: Bench, sandbox: Sandbox, provider: Provider) -> list[str]:
    """The values that somebody could still use, of those that this service had made."""
    if provider is Provider.OPENAI:
        return [account.key for account in sandbox.openai_admin.accounts.values()]
    return sorted(sandbox.azure_admin.slots.values())


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_due_key_is_rotated_and_the_old_value_taken_back(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    first = await bench.value(key)
    await work(bench)
    assert await bench.value(key) == first, "it is not due yet"
    bench.clock.advance(days=30)
    await work(bench)
    second = await bench.value(key)
    assert second != first
    assert await works(bench, key)
    assert await bench.fallback(key) == first
    assert await bench.states(key) == [(2, "pending"), (2, "active"), (1, "retiring")]
    assert bench.announcer.told[-1][1]["automatic"] is True
    bench.clock.advance(hours=2)
    await work(bench)
    assert await bench.stored_versions(key) == []
    bench.clock.advance(days=30)
    await work(bench)
    third = await bench.value(key)
    bench.clock.advance(hours=2)
    await work(bench)
    assert await bench.states(key) == [
        (2, "pending"), (2, "active"), (1, "retiring"),
        *([(1, "revoked")] if provider is Provider.AZURE else []), (1, "destroyed"),
        (3, "pending"), (3, "active"), (2, "retiring"), (2, "revoked"), (2, "destroyed"),
    ]  # fmt: skip
    assert await works(bench, key)
    assert third in await live(bench, sandbox, provider)
    taken = [value for value in (first, second) if await verdict(bench, key, value)]
    assert taken == ([first] if provider is Provider.OPENAI else []), "OpenAI's was not ours"


async def verdict(bench: Bench, key: ProviderKey, value: str) -> bool:
    answer = await bench.gate.validate(key.provider, Secret(value), key.endpoint)
    return bool(answer is Verdict.VALID)


@pytest.mark.parametrize(("point", "passes"), CRASHES)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_crash_at_any_point_leaves_one_working_key_and_no_orphan(
    bench: Bench, sandbox: Sandbox, provider: Provider, point: Point, passes: int
) -> None:
    ending = Ending(point, passes)
    key = await automatic_key(bench, sandbox, provider)
    bench.at = ending
    bench.build()
    used = [await bench.value(key)]
    for _ in range(9):  # three rotations, with time after each for the old value to go
        bench.clock.advance(days=10)
        for _ in range(4):
            try:
                await work(bench)
            except Crash:
                bench.build()
            assert await works(bench, key)
            if (value := await bench.value(key)) not in used:
                used.append(value)
            bench.clock.advance(minutes=30)
    assert ending.happened
    assert len(used) == 4, "every rotation was done in the end, and once"
    assert await works(bench, key)
    assert await bench.stored_versions(key) == []
    ours = await live(bench, sandbox, provider)
    if provider is Provider.OPENAI:
        assert ours == [await bench.value(key)]
    else:
        assert await bench.value(key) in ours
        assert not set(used[:-1]) & set(ours), "no value that was in use works any more"
    async with bench.database.single() as connection:
        states = list((await connection.execute(select(issued_keys.c.state))).scalars())
    assert states == ["in_use"]


@pytest.mark.parametrize("point", [Point.BEGUN, Point.ASKED, Point.STORED, Point.CONFIRMED])
async def test_a_key_deleted_in_the_middle_leaves_nothing_at_the_provider(
    bench: Bench, sandbox: Sandbox, database: Database, point: Point
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.at = Ending(point, 0)
    bench.build()
    bench.clock.advance(days=30)
    with pytest.raises(Crash):
        await work(bench)
    await bench.keys.delete(key.id)
    for _ in range(3):
        bench.clock.advance(minutes=6)
        await work(bench)
    assert sandbox.openai_admin.accounts == {}
    async with database.single() as connection:
        for table in (issued_keys, api_key_versions):
            assert await connection.scalar(select(func.count()).select_from(table)) == 0


async def test_what_was_made_for_a_key_goes_with_the_key(bench: Bench, sandbox: Sandbox) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    await work(bench)
    assert len(sandbox.openai_admin.accounts) == 1
    await bench.keys.delete(key.id)
    await work(bench)
    assert sandbox.openai_admin.accounts == {}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_of_many_workers_one_rotates_each_key(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    workers = [replace(bench) for _ in range(4)]
    await asyncio.gather(*(work(worker) for worker in workers))
    assert await bench.states(key) == [(2, "pending"), (2, "active"), (1, "retiring")]
    assert await works(bench, key)
    if provider is Provider.OPENAI:
        assert len(sandbox.openai_admin.accounts) == 1


async def test_a_process_that_comes_too_late_takes_back_what_it_had_made(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    other = replace(bench)
    slow = Slow(bench.administrations[Provider.OPENAI])
    bench.administrations = {Provider.OPENAI: slow}  # type: ignore[dict-item]
    bench.build()
    bench.clock.advance(days=30)
    late = asyncio.create_task(work(bench))
    await slow.asked.wait()
    bench.clock.advance(minutes=6)
    await other.parts.automatic.step()
    slow.go_on.set()
    await late
    assert sandbox.openai_admin.accounts == {}
    assert await bench.value(key) == "sk-sandbox-brought-by-hand"
    for _ in range(2):
        await work(other)
        bench.clock.advance(minutes=6)
    assert [account.key for account in sandbox.openai_admin.accounts.values()] == [
        await bench.value(key)
    ]
    assert await works(bench, key)


class Slow:
    """An administration API that does not answer before it is told to."""

    def __init__(self, api: KeyAdministration) -> None:
        self._api = api
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def issue(self, order: Order, current: Secret[str]) -> IssuedKey:
        self.asked.set()
        await self.go_on.wait()
        return await self._api.issue(order, current)
