"""Automatic rotation that cannot be done, or not yet: the key stays, and it is said why."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import update

from model_service.db.tables import api_key_versions
from model_service.db.uow import Database
from model_service.kernel.errors import AuditUnavailable
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.rotation import Wish
from model_service.keys.rotation_domain import Mode
from model_service.sandbox import Behaviour, Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, keyring_of
from tests.rotation_sandbox import (
    automatic_key,
    bench_on,
    credential,
    due_key,
    unchanged,
    work,
    works,
)

PROVIDERS = [Provider.OPENAI, Provider.AZURE]


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


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


async def test_a_rotation_that_fails_for_a_day_is_told_of_once_with_its_reason(
    bench: Bench, sandbox: Sandbox
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    sandbox.openai_admin.down = True
    for _ in range(8):
        await bench.parts.scheduler.step()
        assert bench.announcer.told == [], "an outage of hours is waited out"
        bench.clock.advance(hours=3)
    for _ in range(8):
        await bench.parts.scheduler.step()
        bench.clock.advance(hours=3)
    ((kind, data),) = bench.announcer.told
    assert kind == "key.rotation_due"
    assert (data["keyId"], data["notice"]) == (str(key.id), "due")
    assert "could not be asked" in data["reason"]


async def test_a_rotation_that_is_done_in_time_is_not_told_of(
    bench: Bench, sandbox: Sandbox
) -> None:
    await automatic_key(bench, sandbox, Provider.OPENAI)
    for _ in range(35):
        await bench.parts.scheduler.step()
        bench.clock.advance(days=1)
    assert bench.announcer.types == ["key.rotated"]


async def test_a_new_value_that_does_not_open_is_given_up_and_keeps_no_other_key_waiting(
    bench: Bench, sandbox: Sandbox, database: Database
) -> None:
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    gate = bench.gate
    bench.gate = Refusing(gate, times=1)
    bench.build()
    await work(bench)
    assert await bench.stored_versions(key) == [(2, "pending")]
    async with database.single() as connection:
        await connection.execute(update(api_key_versions).values(endpoint="https://elsewhere"))
    other = await due_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(minutes=2)
    await work(bench)
    await work(bench)
    overview = await unchanged(bench, key)
    assert overview.reason is not None
    assert (await bench.service.overview(other.id)).key.key_version == 2
    assert len(sandbox.openai_admin.accounts) == 1, "what did not open was taken back"
    bench.clock.advance(hours=1)
    await work(bench)
    assert (await bench.service.overview(key.id)).key.key_version == 2
