"""Automatic rotation that cannot be done, or not yet: the key stays, and it is said why."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.administration import IssuedKey, KeyAdministration, Order
from model_service.kernel.errors import AuditUnavailable, ProviderUnreachable
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode, Overview
from model_service.sandbox import Behaviour, Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import automatic_key, bench_on, credential, due_key, work, works

PROVIDERS = [Provider.OPENAI, Provider.AZURE]


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def unchanged(bench: Bench, key: ProviderKey) -> Overview:
    """The overview of a key that has version 1 in use and nothing beside it."""
    overview = await bench.service.overview(key.id)
    assert overview.key.key_version == 1
    assert overview.retiring is None
    assert await bench.stored_versions(key) == []
    assert await works(bench, key)
    return overview


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_without_a_credential_it_is_manual_until_there_is_one(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await due_key(bench, sandbox, provider)
    await work(bench)
    overview = await unchanged(bench, key)
    assert overview.state == "manual"
    assert overview.reason == f"There is no administrative credential for provider '{provider}'"
    await credential(bench, provider)
    await work(bench)
    await unchanged(bench, key)
    bench.clock.advance(hours=1)
    await work(bench)
    overview = await bench.service.overview(key.id)
    assert (overview.state, overview.reason, overview.key.key_version) == ("retiring", None, 2)


async def test_setting_the_policy_anew_tries_again_at_once(bench: Bench, sandbox: Sandbox) -> None:
    key = await due_key(bench, sandbox, Provider.OPENAI)
    await work(bench)
    stored = await credential(bench, Provider.OPENAI)
    await bench.service.put_policy(
        key.id, Wish(mode=Mode.AUTOMATIC, every_days=30, credential_id=stored.id)
    )
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 2


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_credential_that_is_not_allowed_any_more_makes_it_manual(
    bench: Bench, sandbox: Sandbox, provider: Provider
) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    for stand_in in sandbox.administrations:
        stand_in.always = Behaviour.RESTRICTED
    await work(bench)
    overview = await unchanged(bench, key)
    assert overview.state == "manual"
    assert overview.reason is not None
    assert "status 403" in overview.reason
    assert await bench.states(key) == [(2, "pending"), (2, "destroyed")]
    for stand_in in sandbox.administrations:
        stand_in.always = None
    bench.clock.advance(hours=1)
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 2


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_outage_is_waited_out(bench: Bench, sandbox: Sandbox, provider: Provider) -> None:
    key = await automatic_key(bench, sandbox, provider)
    bench.clock.advance(days=30)
    for stand_in in sandbox.administrations:
        stand_in.down = True
    for _ in range(4):
        await work(bench)
        bench.clock.advance(minutes=20)
    overview = await unchanged(bench, key)
    assert overview.state == "active", "nobody has to do anything"
    assert overview.reason is not None
    assert "could not be asked" in overview.reason
    for stand_in in sandbox.administrations:
        stand_in.down = False
    for _ in range(4):
        bench.clock.advance(minutes=30)
        await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 2
    if provider is Provider.OPENAI:
        assert len(sandbox.openai_admin.accounts) == 1


async def test_a_value_that_spreads_slowly_is_asked_about_again(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    gate = bench.gate
    bench.gate = Refusing(gate, times=5)
    bench.build()
    for _ in range(6):
        assert await bench.value(key) == "sk-sandbox-brought-by-hand"
        await work(bench)
        bench.clock.advance(minutes=2)
    assert await works(bench, key)
    assert (await bench.service.overview(key.id)).key.key_version == 2
    assert len(sandbox.openai_admin.accounts) == 1


async def test_a_value_that_never_works_is_taken_back(bench: Bench, sandbox: Sandbox) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    gate = bench.gate
    bench.gate = Refusing(gate, times=1000)
    bench.build()
    for _ in range(20):
        await work(bench)
        bench.clock.advance(minutes=2)
    bench.gate = gate
    overview = await unchanged(bench, key)
    assert overview.reason == "the provider does not take the value it made (invalid)"
    assert sandbox.openai_admin.accounts == {}


class Refusing:
    """A provider that refuses new values at first."""

    def __init__(self, gate: object, times: int) -> None:
        self._gate = gate
        self._times = times

    def __getattr__(self, name: str) -> object:
        return getattr(self._gate, name)

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> object:
        if "svcacct" in key.reveal() and self._times:
            self._times -= 1
            return Verdict.INVALID
        return await self._gate.validate(provider, key, endpoint)  # type: ignore[attr-defined]


async def test_a_rotation_by_hand_in_the_middle_wins(bench: Bench, sandbox: Sandbox) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    gate = bench.gate
    bench.gate = Refusing(gate, times=1)
    bench.build()
    await work(bench)
    assert await bench.stored_versions(key) == [(2, "pending")]
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-meanwhile"))
    bench.clock.advance(minutes=2)
    await work(bench)
    await work(bench)
    assert await bench.value(key) == "sk-sandbox-by-hand-meanwhile"
    assert sandbox.openai_admin.accounts == {}
    assert await bench.stored_versions(key) == [(1, "retiring")]


async def test_the_values_of_an_account_that_two_keys_share_are_left_alone(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.AZURE)
    await bench.key(
        sandbox.azure_admin.slots["Key2"],
        provider=Provider.AZURE,
        metadata={"endpoint": sandbox.azure.origin},
    )
    before = dict(sandbox.azure_admin.slots)
    bench.clock.advance(days=30)
    await work(bench)
    overview = await unchanged(bench, key)
    assert overview.state == "manual"
    assert overview.reason is not None
    assert "same account" in overview.reason
    assert sandbox.azure_admin.slots == before


async def test_an_azure_value_that_the_account_does_not_know_is_left_alone(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.AZURE)
    await bench.service.rotate(key.id, Secret("sk-sandbox-of-another-account"), timedelta(0))
    before = dict(sandbox.azure_admin.slots)
    bench.clock.advance(days=31)
    await work(bench)
    overview = await bench.service.overview(key.id)
    assert overview.state == "manual"
    assert overview.reason is not None
    assert "neither key" in overview.reason
    assert await bench.value(key) == "sk-sandbox-of-another-account"
    assert sandbox.azure_admin.slots == before


async def test_a_rotation_waits_for_the_grace_of_the_one_before(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.AZURE)
    bench.clock.advance(days=30)
    await bench.service.put_policy(
        key.id, Wish(mode=Mode.AUTOMATIC, every_days=1, grace=timedelta(days=3))
    )
    await work(bench)
    fallback = await bench.fallback(key)
    assert fallback is not None
    bench.clock.advance(days=2)
    await work(bench)
    assert await bench.fallback(key) == fallback
    assert fallback in sandbox.azure_admin.slots.values()
    bench.clock.advance(days=2)
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 3


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


async def test_without_its_credential_a_value_is_destroyed_here_and_that_is_said(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    await work(bench)
    (stored,) = await bench.credentials.list()
    await bench.credentials.delete(stored.id)
    await bench.service.rotate(key.id, Secret("sk-sandbox-by-hand-again"), timedelta(0))
    await work(bench)
    overview = await bench.service.overview(key.id)
    assert overview.state == "active"
    assert overview.history[0].reason == (
        "the provider was not told: its administrative credential is gone"
    )


async def test_nothing_is_asked_for_that_cannot_be_audited(bench: Bench, sandbox: Sandbox) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    sandbox.openai_admin.requests.clear()
    bench.trail.available = False
    with pytest.raises(AuditUnavailable):
        await bench.parts.automatic.step()
    assert not sandbox.openai_admin.requests
    bench.trail.available = True
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 2


@pytest.mark.parametrize("changes", [{"is_active": False}])
async def test_an_inactive_key_is_not_rotated(
    bench: Bench, sandbox: Sandbox, changes: dict[str, bool]
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    await bench.keys.change(key.id, changes)
    bench.clock.advance(days=30)
    await work(bench)
    assert sandbox.openai_admin.accounts == {}


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
