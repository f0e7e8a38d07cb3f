"""Rotating by hand: what is in use, what is the fallback, and what is written down."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from typing_extensions import override

from model_service.db.tables import api_key_versions, api_keys, key_rotation_steps
from model_service.db.uow import Database
from model_service.kernel.audit import Decision, Phase
from model_service.kernel.errors import (
    AuditUnavailable,
    ChangedMeanwhile,
    IntegrityFailure,
    InvalidInput,
    NotFound,
    ProviderUnreachable,
)
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, uuid7
from model_service.vault.keyring import Keyring
from tests.rotation import Bench, SetGate, keyring_of

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


async def test_the_new_value_is_in_use_and_the_old_one_the_fallback(bench: Bench) -> None:
    key = await bench.key(FIRST)
    bench.clock.advance(minutes=1)
    after = await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert after.key_version == 2
    assert after.key_prefix == "sk-sand...ue-2"
    assert after.validated_at == after.updated_at == bench.clock.now()
    assert after.is_valid
    assert await bench.value(key) == SECOND
    assert await bench.fallback(key) == FIRST
    assert await bench.states(key) == [(2, "pending"), (2, "active"), (1, "retiring")]


async def test_the_fallback_ends_with_the_grace_even_if_nobody_cleans_up(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    bench.clock.advance(seconds=3599)
    assert await bench.fallback(key) == FIRST
    bench.clock.advance(seconds=1)
    assert await bench.fallback(key) is None


async def test_the_retirer_destroys_what_is_over_and_nothing_else(bench: Bench) -> None:
    over, running = await bench.key(FIRST), await bench.key(FIRST)
    await bench.service.rotate(over.id, Secret(SECOND), HOUR)
    await bench.service.rotate(running.id, Secret(SECOND), 3 * HOUR)
    assert await bench.retirer.step() == 0
    bench.clock.advance(hours=1)
    assert await bench.retirer.step() == 1
    assert await bench.stored_versions(over) == []
    assert await bench.stored_versions(running) == [(1, "retiring")]
    assert (await bench.states(over))[-1] == (1, "destroyed")
    assert await bench.retirer.step() == 0


async def test_without_grace_the_old_value_is_gone_at_once(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), timedelta(0))
    assert await bench.stored_versions(key) == []
    assert await bench.fallback(key) is None
    assert await bench.states(key) == [(2, "pending"), (2, "active"), (1, "destroyed")]


async def test_of_a_chain_only_the_newest_old_value_is_kept(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.service.rotate(key.id, Secret(THIRD), HOUR)
    assert await bench.value(key) == THIRD
    assert await bench.fallback(key) == SECOND
    assert await bench.stored_versions(key) == [(2, "retiring")]
    assert (1, "destroyed") in await bench.states(key)


async def test_deleting_the_key_destroys_all_of_it(bench: Bench, database: Database) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.keys.delete(key.id)
    async with database.single() as connection:
        for table in (api_key_versions, key_rotation_steps):
            assert await connection.scalar(select(func.count()).select_from(table)) == 0
    assert await bench.service.previous_value(key.id) is None


async def test_a_value_the_provider_refuses_changes_nothing_and_is_written_down(
    bench: Bench,
) -> None:
    key = await bench.key(FIRST)
    bench.gate.refused = {SECOND}
    with pytest.raises(InvalidInput, match="Invalid API key for provider 'OPENAI'"):
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert await bench.keys.get(key.id) == key
    assert await bench.value(key) == FIRST
    assert await bench.states(key) == [(2, "pending"), (2, "destroyed")]
    assert bench.trail.events[-1].decision is Decision.DENY
    assert bench.announcer.told == []


@pytest.mark.parametrize("verdict", [v for v in Verdict if not v.is_definite])
async def test_a_provider_that_cannot_be_asked_changes_nothing(
    bench: Bench, verdict: Verdict
) -> None:
    key = await bench.key(FIRST)
    bench.gate.verdict = verdict
    with pytest.raises(ProviderUnreachable):
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert await bench.keys.get(key.id) == key
    assert await bench.stored_versions(key) == []


@pytest.mark.parametrize("value", ["short", "has a space in it", "evil\r\nx-admin: 1", FIRST])
async def test_a_value_that_cannot_be_one_is_refused_before_anybody_is_asked(
    bench: Bench, value: str
) -> None:
    key = await bench.key(FIRST)
    with pytest.raises(InvalidInput) as refusal:
        await bench.service.rotate(key.id, Secret(value), HOUR)
    assert refusal.value.errors[0].field == "apiKey"
    assert value not in str(refusal.value.errors)
    assert bench.gate.asked == []
    assert await bench.states(key) == []


async def test_a_key_that_is_not_there_cannot_be_rotated(bench: Bench) -> None:
    with pytest.raises(NotFound):
        await bench.service.rotate(uuid7(), Secret(SECOND))


async def test_each_step_is_audited_and_the_new_ciphertext_named_once(
    bench: Bench, database: Database
) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert bench.trail.types == ["key.rotate"] * 3
    assert {event.subject for event in bench.trail.events} == {f"key:{key.id}"}
    assert [event.purpose for event in bench.trail.events] == [
        "version 2 pending",
        "version 2 active",
        "version 1 retiring",
    ]
    assert [event.phase for event in bench.trail.events] == [
        Phase.INTENT,
        Phase.RESULT,
        Phase.RESULT,
    ]
    (sealed,) = await bench.keys.get_sealed([key.id])
    named = [event.ciphertext_sha256 for event in bench.trail.events if event.ciphertext_sha256]
    assert named == [bench.sealer.mark(sealed)[0]]
    assert bench.trail.events[1].term == bench.keyring.active_term


async def test_nothing_changes_that_cannot_be_audited(bench: Bench) -> None:
    key = await bench.key(FIRST)
    bench.trail.available = False
    with pytest.raises(AuditUnavailable):
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert bench.gate.asked == []
    assert await bench.states(key) == []
    bench.trail.available = True
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    bench.clock.advance(hours=2)
    bench.trail.available = False
    with pytest.raises(AuditUnavailable):
        await bench.retirer.step()
    assert await bench.stored_versions(key) == [(1, "retiring")]


async def test_a_rotation_is_announced_without_any_value(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    ((kind, data),) = bench.announcer.told
    assert kind == "key.rotated"
    assert data == {
        "keyId": str(key.id),
        "userId": "user-1",
        "provider": "OPENAI",
        "keyName": key.key_name,
        "keyVersion": 2,
        "automatic": False,
        "graceSeconds": 3600,
    }


async def test_of_simultaneous_rotations_one_wins_and_the_others_are_told(bench: Bench) -> None:
    key = await bench.key(FIRST)
    all_asked = asyncio.Barrier(6)

    class Waiting(SetGate):
        @override
        async def validate(self, provider: Provider, key: Secret[str], endpoint: Any) -> Verdict:
            await all_asked.wait()
            return Verdict.VALID

    bench.gate = Waiting()
    bench.build()
    outcomes = await asyncio.gather(
        *(
            bench.service.rotate(key.id, Secret(f"sk-sandbox-racing-value-{n:02}"), HOUR)
            for n in range(6)
        ),
        return_exceptions=True,
    )
    losses = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(losses) == 5
    assert all(isinstance(loss, ChangedMeanwhile) for loss in losses), losses
    stored = await bench.keys.get(key.id)
    assert stored is not None
    assert stored.key_version == 2
    assert await bench.fallback(key) == FIRST
    assert await bench.stored_versions(key) == [(1, "retiring")]


async def test_a_name_changed_during_a_rotation_is_not_undone(bench: Bench) -> None:
    key = await bench.key(FIRST)

    class Renaming(SetGate):
        @override
        async def validate(self, provider: Provider, key_: Secret[str], endpoint: Any) -> Verdict:
            await bench.keys.change(key.id, {"key_name": "renamed", "is_active": False})
            return Verdict.VALID

    bench.gate = Renaming()
    bench.build()
    after = await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert (after.key_name, after.is_active, after.key_version) == ("renamed", False, 2)


async def test_a_key_deleted_during_a_rotation_stays_deleted(bench: Bench) -> None:
    key = await bench.key(FIRST)

    class Deleting(SetGate):
        @override
        async def validate(self, provider: Provider, key_: Secret[str], endpoint: Any) -> Verdict:
            await bench.keys.delete(key.id)
            return Verdict.VALID

    bench.gate = Deleting()
    bench.build()
    with pytest.raises(NotFound):
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert await bench.keys.get(key.id) is None


async def test_the_old_ciphertext_opens_at_its_own_version_alone(
    bench: Bench, database: Database
) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    async with database.single() as connection:
        old = await connection.scalar(select(api_key_versions.c.encrypted_key))
        await connection.execute(update(api_keys).values(encrypted_key=old))
    with pytest.raises(IntegrityFailure):
        await bench.value(key)
    async with database.single() as connection:
        await connection.execute(update(api_key_versions).values(version=7))
    with pytest.raises(IntegrityFailure):
        await bench.service.previous_value(key.id)


async def test_an_old_value_is_no_fallback_for_another_endpoint(
    bench: Bench, database: Database
) -> None:
    endpoint = "https://one.openai.azure.com"
    key = await bench.key(FIRST, provider=Provider.AZURE, metadata={"endpoint": endpoint})
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    assert bench.gate.asked == [(SECOND, endpoint)]
    assert await bench.fallback(key) == FIRST
    await bench.keys.change(key.id, {"metadata": {"endpoint": "https://two.openai.azure.com"}})
    assert await bench.fallback(key) is None


async def test_an_inactive_or_expired_key_has_no_fallback(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.keys.change(key.id, {"is_active": False})
    assert await bench.fallback(key) is None
    await bench.keys.change(key.id, {"is_active": True, "expires_at": bench.clock.now()})
    assert await bench.fallback(key) is None


async def test_a_refused_new_value_falls_back_and_raises_the_alert_once(bench: Bench) -> None:
    key = await bench.key(FIRST)
    await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    for _ in range(3):
        fallback = await bench.service.report_refused(key.id, 2)
        assert fallback is not None
        assert (fallback.version, fallback.value.reveal()) == (1, FIRST)
    assert bench.announcer.types == ["key.rotated", "key.invalid"]
    assert bench.announcer.told[-1][1]["fallback"] is True
    assert bench.trail.types.count("key.validate") == 1
    stored = await bench.keys.get(key.id)
    assert stored is not None
    assert not stored.is_valid
    assert await bench.service.report_refused(key.id, 1) is None, "version 1 is not in use"


async def test_a_refused_value_without_fallback_raises_the_alert_all_the_same(
    bench: Bench,
) -> None:
    key = await bench.key(FIRST)
    assert await bench.service.report_refused(key.id, 1) is None
    assert bench.announcer.types == ["key.invalid"]
    assert bench.announcer.told[0][1]["fallback"] is False
    assert await bench.service.report_refused(uuid7(), 1) is None


async def test_a_rotation_cut_off_in_the_middle_is_closed(bench: Bench) -> None:
    key = await bench.key(FIRST)

    class Dying(SetGate):
        @override
        async def validate(self, provider: Provider, key: Secret[str], endpoint: Any) -> Verdict:
            raise KeyboardInterrupt

    bench.gate = Dying()
    bench.build()
    with pytest.raises(KeyboardInterrupt):
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    await bench.retirer.step()
    assert await bench.states(key) == [(2, "pending")], "it may still be under way"
    bench.clock.advance(minutes=11)
    await bench.retirer.step()
    await bench.retirer.step()
    assert await bench.states(key) == [(2, "pending"), (2, "destroyed")]
    assert await bench.value(key) == FIRST


async def test_many_retirers_at_once_destroy_each_value_once(
    bench: Bench, database: Database, keyring: Keyring
) -> None:
    keys = [await bench.key(FIRST) for _ in range(12)]
    for key in keys:
        await bench.service.rotate(key.id, Secret(SECOND), HOUR)
    bench.clock.advance(hours=1)
    others = [Bench(database, keyring, clock=bench.clock) for _ in range(4)]
    done = await asyncio.gather(*(other.retirer.step() for other in others))
    assert sum(done) == len(keys)
    for key in keys:
        assert (await bench.states(key)).count((1, "destroyed")) == 1


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.CUSTOM])
async def test_keys_that_nobody_can_check_are_rotated_unasked(
    bench: Bench, provider: Provider
) -> None:
    key = await bench.key("*", provider=provider, validated_at=None)
    after = await bench.service.rotate(key.id, Secret("+"), HOUR)
    assert after.is_valid
    assert after.validated_at is None
    assert await bench.value(key) == "+"
