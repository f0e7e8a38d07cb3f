"""Keys in memory: whose pays, for how long, and how fast they are gone."""

import asyncio
from datetime import timedelta

import pytest

from model_service.gateway.leases import LEASE_SECONDS, LOOKS, RENEWAL_SECONDS, Leases
from model_service.gateway.ports import UsableKey
from model_service.kernel.errors import AuditUnavailable, DatabaseUnavailable, KeyInactive
from model_service.kernel.types import Provider
from tests.unit.gateway.keys import NOW, Source, Time, model

MODEL = model()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def leases(source: Source, time: Time) -> Leases:
    return Leases(source, time, time.monotonic)


async def test_a_key_is_lent_once_and_then_found_in_memory(leases: Leases, source: Source) -> None:
    key = source.add("user")
    assert leases.find("user", MODEL) is None
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert lease.value.reveal() == f"value of {key.id}"
    assert leases.find("user", MODEL) is lease
    assert await leases.get("user", MODEL) is lease
    assert source.leases == [key.id]
    assert source.looks == 1


async def test_who_asks_at_the_same_time_shares_one_lease(leases: Leases, source: Source) -> None:
    key = source.add("user")
    source.gate.clear()
    asking = [asyncio.create_task(leases.get("user", MODEL)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()
    found = await asyncio.gather(*asking)
    assert len({id(lease) for lease in found}) == 1
    assert source.leases == [key.id]
    assert source.looks == 1


async def test_who_leaves_while_a_key_is_lent_keeps_nobody_from_it(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    source.gate.clear()
    first = asyncio.create_task(leases.get("user", MODEL))
    second = asyncio.create_task(leases.get("user", MODEL))
    await asyncio.sleep(0)
    first.cancel()
    source.gate.set()
    assert await second is not None
    assert first.cancelled() or first.cancelling()


async def test_a_value_stays_five_minutes_at_most(
    leases: Leases, source: Source, time: Time
) -> None:
    source.add("user")
    await leases.get("user", MODEL)
    source.failure = DatabaseUnavailable()
    time.seconds += LEASE_SECONDS
    assert leases.find("user", MODEL) is None
    with pytest.raises(DatabaseUnavailable):
        await leases.get("user", MODEL)


async def test_a_lease_in_use_is_renewed_before_its_end(
    leases: Leases, source: Source, time: Time
) -> None:
    key = source.add("user")
    lease = await leases.get("user", MODEL)
    assert lease is not None
    time.seconds += LEASE_SECONDS - RENEWAL_SECONDS + 1
    assert leases.find("user", MODEL) is lease
    assert lease.renewal is not None
    await lease.renewal
    assert source.leases == [key.id, key.id]
    time.seconds += RENEWAL_SECONDS
    renewed = leases.find("user", MODEL)
    assert renewed is not None
    assert renewed is not lease


async def test_without_the_audit_trail_nothing_is_lent(leases: Leases, source: Source) -> None:
    source.add("user")
    source.failure = AuditUnavailable()
    with pytest.raises(AuditUnavailable):
        await leases.get("user", MODEL)
    assert len(leases) == 0


async def test_a_notice_drops_the_value_at_once(leases: Leases, source: Source) -> None:
    key = source.add("user")
    await leases.get("user", MODEL)
    source.keys.clear()
    await leases.on_change(f"{key.id}:user")
    assert leases.find("user", MODEL) is None
    assert len(leases) == 0
    assert await leases.get("user", MODEL) is None


async def test_a_notice_reaches_those_who_have_the_key_by_a_grant(
    leases: Leases, source: Source
) -> None:
    key = source.add("grantee")
    await leases.get("grantee", MODEL)
    source.keys.clear()
    await leases.on_change(f"{key.id}:owner")
    assert await leases.get("grantee", MODEL) is None


async def test_a_notice_about_somebody_elses_key_drops_nothing(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    other = source.add("other")
    lease = await leases.get("user", MODEL)
    await leases.on_change(f"{other.id}:other")
    assert leases.find("user", MODEL) is lease


async def test_when_anything_may_have_changed_everything_goes(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    await leases.get("user", MODEL)
    await leases.on_change(None)
    assert len(leases) == 0
    assert leases.find("user", MODEL) is None


async def test_a_new_key_of_a_user_who_had_one_is_found_after_its_notice(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    await leases.get("user", MODEL)
    newer = source.add("user")
    source.keys["user", Provider.OPENAI].reverse()
    await leases.on_change(f"{newer.id}:user")
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert lease.key is newer


async def test_what_was_lent_while_a_notice_came_is_not_kept(
    leases: Leases, source: Source
) -> None:
    key = source.add("user")
    source.desk.clear()
    asking = asyncio.create_task(leases.get("user", MODEL))
    await source.lending.wait()
    await leases.on_change(f"{key.id}:user")
    source.desk.set()
    assert await asking is not None
    assert len(leases) == 0
    assert leases.find("user", MODEL) is None


async def test_that_a_user_has_no_key_is_believed_for_a_second(
    leases: Leases, source: Source, time: Time
) -> None:
    assert await leases.get("user", MODEL) is None
    assert await leases.get("user", MODEL) is None
    assert source.looks == 1
    source.add("user")
    time.seconds += 1.1
    assert await leases.get("user", MODEL) is not None


async def test_a_key_limited_to_models_is_for_these_alone(leases: Leases, source: Source) -> None:
    source.add("user", models=frozenset({"other"}))
    assert await leases.get("user", MODEL) is None
    assert await leases.get("user", model("other")) is not None


async def test_a_bound_key_does_not_go_to_another_origin(leases: Leases, source: Source) -> None:
    source.add("user", Provider.CUSTOM, origin="https://one.example")
    elsewhere = model(provider=Provider.CUSTOM, origin="https://other.example")
    there = model(provider=Provider.CUSTOM, origin="https://one.example")
    assert await leases.get("user", elsewhere) is None
    assert await leases.get("user", there) is not None


async def test_a_key_ends_with_its_expiry(leases: Leases, source: Source, time: Time) -> None:
    source.add("user", until=NOW + timedelta(seconds=60))
    assert await leases.get("user", MODEL) is not None
    time.seconds += 60
    assert leases.find("user", MODEL) is None
    assert await leases.get("user", MODEL) is None


async def test_the_users_key_pays_before_the_models(leases: Leases, source: Source) -> None:
    own, common = source.add("user"), source.add("company")
    source.single[common.id] = common
    paid = model(api_key_id=common.id)
    lease, other = await leases.get("user", paid), await leases.get("nobody", paid)
    assert lease is not None
    assert other is not None
    assert (lease.key, other.key) == (own, common)
    unnamed = await leases.get(None, paid)
    assert unnamed is other


async def test_the_models_key_must_be_its_providers(leases: Leases, source: Source) -> None:
    key = source.add("company", Provider.ANTHROPIC)
    source.single[key.id] = key
    assert await leases.get("user", model(api_key_id=key.id)) is None


async def test_the_least_recently_limited_key_comes_first(
    leases: Leases, source: Source, time: Time
) -> None:
    first, second = source.add("user"), source.add("user")
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert lease.key is first
    leases.limited(lease, 30)
    other = await leases.get("user", MODEL)
    assert other is not None
    assert other.key is second
    leases.limited(other, 60)
    assert leases.find("user", MODEL) is lease
    time.seconds += 31
    assert leases.find("user", MODEL) is lease


async def test_a_key_that_goes_away_meanwhile_is_passed_over(
    leases: Leases, source: Source
) -> None:
    first, second = source.add("user"), source.add("user")
    source.gone[first.id] = KeyInactive()
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert lease.key is second


async def test_a_refused_value_is_replaced_by_the_one_before(
    leases: Leases, source: Source
) -> None:
    key = source.add("user")
    source.before[key.id] = "the value before"
    lease = await leases.get("user", MODEL)
    assert lease is not None
    other = await leases.instead(lease)
    assert other is not None
    assert other.value.reveal() == "the value before"
    assert leases.find("user", MODEL) is other


async def test_a_refused_value_without_one_before_it_has_no_replacement(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert await leases.instead(lease) is None


async def test_a_value_whose_time_is_over_is_let_go_though_nobody_asks(
    leases: Leases, source: Source, time: Time
) -> None:
    source.add("early")
    source.add("late")
    await leases.get("early", MODEL)
    time.seconds += 100
    await leases.get("late", MODEL)
    time.seconds += LEASE_SECONDS - 100
    leases.forget_ended()
    assert len(leases) == 1
    assert leases.find("late", MODEL) is not None
    time.seconds += 100
    leases.forget_ended()
    assert len(leases) == 0


async def test_notices_of_other_keys_do_not_keep_a_value_from_being_kept(
    leases: Leases, source: Source
) -> None:
    source.add("user")
    other = source.add("other")
    source.desk.clear()
    asking = asyncio.create_task(leases.get("user", MODEL))
    await source.lending.wait()
    await leases.on_change(f"{other.id}:other")
    source.desk.set()
    assert await asking is leases.find("user", MODEL)


async def test_what_is_looked_up_while_changes_keep_coming_is_believed_for_a_second(
    leases: Leases, source: Source, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = source.add("user"), source.add("other")
    usable = source.usable

    async def busy(user_id: str, provider: Provider) -> list[UsableKey]:
        found = await usable(user_id, provider)
        await leases.on_change(f"{other.id}:other")
        return found

    monkeypatch.setattr(source, "usable", busy)
    lease = await leases.get("user", MODEL)
    assert lease is not None
    assert lease.key is key
    assert source.looks == LOOKS
    assert leases.find("user", MODEL) is lease
    time.seconds += 1.1
    assert leases.find("user", MODEL) is None
