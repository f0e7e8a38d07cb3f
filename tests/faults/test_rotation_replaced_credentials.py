"""Administrative credentials that die or are replaced: what was made with them is taken back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.administration import KeyAdministration, Order
from model_service.kernel.errors import AdministrationRefused, Conflict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.admin_credentials import AdminCredential
from model_service.keys.automatic_rotation import Point
from model_service.keys.domain import ProviderKey
from model_service.sandbox import Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import CREDENTIALS, automatic_key, bench_on, work, works

PROVIDERS = (Provider.OPENAI, Provider.AZURE)
DEAD = CREDENTIALS[Provider.OPENAI].secret.reveal()
GONE = "the administrative credential it was made with is gone"


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def with_a_value_of_ours(bench: Bench, sandbox: Sandbox, provider: Provider) -> ProviderKey:
    """A key that was rotated by itself once, and whose value before that is gone."""
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    await work(bench)
    bench.clock.advance(hours=2)
    await work(bench)
    assert await bench.stored_versions(key) == []
    return key


async def newer_credential(bench: Bench, provider: Provider) -> AdminCredential:
    secret = Secret(CREDENTIALS[provider].secret.reveal() + "-newer")
    bench.clock.advance(minutes=1)
    return await bench.credentials.add(replace(CREDENTIALS[provider], secret=secret))


async def let_time_pass(bench: Bench) -> None:
    for _ in range(3):
        bench.clock.advance(minutes=20)
        await work(bench)


def told_of_being_stuck(bench: Bench) -> list[str]:
    told = [data for kind, data in bench.announcer.told if kind == "key.rotation_due"]
    return [data["reason"] for data in told if data["notice"] == "stuck"]


async def is_live(bench: Bench, key: ProviderKey, value: str) -> bool:
    verdict = await bench.gate.validate(key.provider, Secret(value), key.endpoint)
    return bool(verdict == "valid")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_the_old_credential_made_is_taken_back_with_the_one_in_its_place(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await with_a_value_of_ours(bench, sandbox, provider)
    (old,) = await bench.credentials.list()
    await newer_credential(bench, provider)
    await bench.credentials.delete(old.id)
    value = await bench.value(key)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await work(bench)
    assert await bench.stored_versions(key) == []
    assert not await is_live(bench, key, value)
    assert told_of_being_stuck(bench) == []


async def test_a_dead_credential_is_told_of_once_and_shown(bench: Bench, sandbox: Sandbox) -> None:
    key = await with_a_value_of_ours(bench, sandbox, Provider.OPENAI)
    sandbox.openai_admin.revoked.add(DEAD)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await let_time_pass(bench)
    overview = await bench.service.overview(key.id)
    assert overview.state == "revoked"
    assert overview.reason is not None
    assert "status 401" in overview.reason
    assert told_of_being_stuck(bench) == [overview.reason]
    assert (await bench.states(key))[-2:] == [(2, "revoked"), (2, "revoked")]


async def test_a_newer_credential_takes_back_what_a_dead_one_cannot(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await with_a_value_of_ours(bench, sandbox, Provider.OPENAI)
    sandbox.openai_admin.revoked.add(DEAD)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await let_time_pass(bench)
    await newer_credential(bench, Provider.OPENAI)
    await let_time_pass(bench)
    assert sandbox.openai_admin.accounts == {}
    assert await bench.stored_versions(key) == []
    bench.clock.advance(days=30)
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 4
    assert await works(bench, key)


async def test_a_credential_still_needed_is_let_go_of_once_there_is_another(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await with_a_value_of_ours(bench, sandbox, Provider.OPENAI)
    (old,) = await bench.credentials.list()
    sandbox.openai_admin.revoked.add(DEAD)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await work(bench)
    with pytest.raises(Conflict, match="takes its place"):
        await bench.credentials.delete(old.id)
    newer = await newer_credential(bench, Provider.OPENAI)
    await bench.credentials.delete(old.id)
    assert await bench.credentials.list() == [newer]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_without_any_credential_a_value_is_kept_until_there_is_one(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await with_a_value_of_ours(bench, sandbox, provider)
    (stored,) = await bench.credentials.list()
    await bench.credentials.delete(stored.id)
    value = await bench.value(key)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await let_time_pass(bench)
    overview = await bench.service.overview(key.id)
    assert overview.state == "revoked"
    assert overview.reason is not None
    assert overview.reason.startswith(GONE)
    assert await is_live(bench, key, value)
    await newer_credential(bench, provider)
    await let_time_pass(bench)
    assert await bench.stored_versions(key) == []
    assert not await is_live(bench, key, value)


async def test_what_a_credential_left_unfinished_is_found_by_the_next_one(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)

    def end(point: Point) -> None:
        if point is Point.ASKED:
            raise KeyboardInterrupt

    bench.at = end
    bench.build()
    with pytest.raises(KeyboardInterrupt):
        await work(bench)
    bench.at = lambda _: None
    bench.build()
    (orphan,) = sandbox.openai_admin.accounts
    sandbox.openai_admin.revoked.add(DEAD)
    await let_time_pass(bench)
    assert orphan in sandbox.openai_admin.accounts
    assert len(told_of_being_stuck(bench)) == 1
    await newer_credential(bench, Provider.OPENAI)
    await let_time_pass(bench)
    assert orphan not in sandbox.openai_admin.accounts
    assert (await bench.service.overview(key.id)).key.key_version == 2


class Blind:
    """An administration API as an organisation sees it to which the project does not belong."""

    def __init__(self, api: KeyAdministration) -> None:
        self._api = api

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def check(self, order: Order) -> None:
        raise AdministrationRefused("there is no such project")

    async def withdraw(self, order: Order, reference: str | None, value: object) -> None:
        if order.secret.reveal() == DEAD:
            raise AdministrationRefused("refused")


async def test_a_credential_that_cannot_see_the_place_is_not_believed_that_all_is_gone(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await with_a_value_of_ours(bench, sandbox, Provider.OPENAI)
    await newer_credential(bench, Provider.OPENAI)
    known = bench.administrations[Provider.OPENAI]
    bench.administrations = {Provider.OPENAI: Blind(known)}  # type: ignore[dict-item]
    bench.build()
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await work(bench)
    overview = await bench.service.overview(key.id)
    assert (overview.state, overview.reason) == ("revoked", "refused")
    assert len(sandbox.openai_admin.accounts) == 1
