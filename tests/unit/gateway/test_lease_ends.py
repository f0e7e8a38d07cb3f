"""Nothing in memory still holds a key's value when its lease is over, or another took its place."""

import asyncio
import gc
from uuid import UUID

import pytest

from model_service.gateway.leases import LEASE_SECONDS, RENEWAL_SECONDS, Lease, Leases
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import Provider
from tests.unit.gateway.keys import Source, Time, model

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


async def held(key_id: UUID) -> int:
    """How many leases of a key there are in memory."""
    await asyncio.sleep(0)  # the loop lets go of what it has done
    gc.collect()
    return sum(type(one) is Lease and one.key.id == key_id for one in gc.get_objects())


async def test_a_choice_does_not_keep_a_value_whose_time_is_over(
    leases: Leases, source: Source, time: Time
) -> None:
    key = source.add("user")
    await leases.get("user", MODEL)
    assert leases.find("user", MODEL) is not None
    time.seconds += LEASE_SECONDS
    leases.forget_ended()
    assert await held(key.id) == 0


async def test_a_choice_does_not_keep_a_refused_value(leases: Leases, source: Source) -> None:
    key = source.add("user")
    await leases.get("user", MODEL)
    lease = leases.find("user", MODEL)
    assert lease is not None
    source.before[key.id] = "the one before"
    await leases.instead(lease)
    del lease
    assert await held(key.id) == 1


async def test_a_grantees_choice_does_not_outlive_the_renewal(
    leases: Leases, source: Source, time: Time
) -> None:
    key = source.add("owner")
    source.keys[("grantee", Provider.OPENAI)] = [key]
    for user in ("owner", "grantee"):
        await leases.get(user, MODEL)
        assert leases.find(user, MODEL) is not None
    time.seconds += LEASE_SECONDS - RENEWAL_SECONDS + 1
    lease = leases.find("owner", MODEL)
    assert lease is not None
    assert lease.renewal is not None
    await lease.renewal
    del lease
    assert await held(key.id) == 1
    assert leases.find("grantee", MODEL) is leases.find("owner", MODEL)


async def test_a_choice_does_not_keep_a_value_that_made_room(
    leases: Leases, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_service.gateway.leases.MOST", 1)
    key = source.add("user")
    source.keys[("other", Provider.OPENAI)] = [source.add("another")]
    await leases.get("user", MODEL)
    assert leases.find("user", MODEL) is not None
    await leases.get("other", MODEL)
    assert await held(key.id) == 0


async def test_holdings_that_nobody_asks_for_go_with_their_time(
    leases: Leases, source: Source, time: Time
) -> None:
    for user in ("one", "two"):
        source.add(user)
        await leases.get(user, MODEL)
    time.seconds += LEASE_SECONDS
    leases.forget_ended()
    assert leases.holdings == 0
    source.failure = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await leases.get("one", MODEL)
