"""Grants under simultaneous changes: one a grantee, none without its key, none after its end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import AlreadyExists, AuditUnavailable, NotFound
from model_service.kernel.secret import Secret
from model_service.keys.service import KeyService
from model_service.keys.shares import Share
from model_service.service import Service
from tests.rotation import START
from tests.sharing import INTERNAL, VALUE, shared, stored
from tests.store.shares import GRANTEE, OWNER, Bench


@pytest.fixture
def bench(service: Service, database: Database) -> Bench:
    """With the service, so that the keyring is there before the keys are."""
    return Bench(database)


async def is_waiting_for_a_lock(database: Database) -> None:
    """Return once some statement of this database waits for another transaction."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10):
        while True:
            async with database.single() as connection:
                if await connection.scalar(query):
                    return


@asynccontextmanager
async def uncommitted(database: Database, work: Any) -> AsyncIterator[asyncio.Event]:
    """Work that is done but not committed, until the event is set."""
    done, finish = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            await work()
            done.set()
            await finish.wait()

    task = asyncio.create_task(hold())
    await done.wait()
    try:
        yield finish
    finally:
        finish.set()
        await task


@pytest.mark.parametrize("is_expired_one_there", [False, True])
async def test_of_simultaneous_grants_to_one_user_one_is_given(
    bench: Bench, is_expired_one_there: bool
) -> None:
    key = await bench.key()
    if is_expired_one_there:
        bench.clock.advance(days=-2)
        await bench.share(key, expires_at=START)
        bench.clock.advance(days=2)
    told = len(bench.trail.events)
    results = await asyncio.gather(*(bench.share(key) for _ in range(20)), return_exceptions=True)
    given = [result for result in results if isinstance(result, Share)]
    assert len(given) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 19
    assert await bench.store.of_key(key.id, None, 10) == given
    assert bench.trail.types[told:] == ["key.share"]


async def test_two_simultaneous_requests_get_one_201_and_one_409(
    client: httpx.AsyncClient,
) -> None:
    key = await stored(client)
    answers = await asyncio.gather(
        *(
            client.post(f"/api/api-keys/{key['id']}/shares", json={"granteeUserId": "grantee"})
            for _ in range(2)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_grants_to_many_users_at_once_are_all_given(bench: Bench) -> None:
    key = await bench.key()
    await asyncio.gather(*(bench.share(key, f"grantee {number}") for number in range(20)))
    assert await bench.count() == 20


async def test_a_deletion_waits_for_a_grant_under_way_and_takes_it_along(bench: Bench) -> None:
    key = await bench.key()
    async with uncommitted(bench.database, lambda: bench.share(key)) as finish:
        deleting = asyncio.create_task(bench.keys.delete(key.id))
        await is_waiting_for_a_lock(bench.database)
        finish.set()
        assert await deleting
    assert await bench.count() == 0


async def test_a_grant_of_a_key_being_deleted_finds_no_key(bench: Bench) -> None:
    key = await bench.key()
    async with uncommitted(bench.database, lambda: bench.keys.delete(key.id)) as finish:
        sharing = asyncio.create_task(bench.share(key))
        await is_waiting_for_a_lock(bench.database)
        finish.set()
        with pytest.raises(NotFound):
            await sharing
    assert await bench.count() == 0
    assert bench.trail.events == []


async def test_grants_revocations_and_deletions_at_once_leave_nothing_and_block_nobody(
    bench: Bench,
) -> None:
    async def live(number: int) -> None:
        key = await bench.key(name=f"key {number}")
        share = await bench.share(key, "first")
        outcomes = await asyncio.gather(
            bench.share(key, "second"),
            bench.sharing.revoke(OWNER, key.id, share.id),
            bench.keys.delete(key.id),
            return_exceptions=True,
        )
        assert outcomes[2] is True
        for outcome in outcomes[:2]:
            assert outcome is None or isinstance(outcome, Share | NotFound), outcome

    await asyncio.gather(*(live(number) for number in range(25)))
    assert await bench.count() == 0


async def test_of_simultaneous_revocations_one_finds_the_grant(bench: Bench) -> None:
    key = await bench.key()
    share = await bench.share(key)
    results = await asyncio.gather(
        *(bench.sharing.revoke(OWNER, key.id, share.id) for _ in range(10)),
        return_exceptions=True,
    )
    assert results.count(None) == 1
    assert sum(isinstance(result, NotFound) for result in results) == 9
    assert bench.trail.types == ["key.share", "key.unshare"]


@pytest.mark.parametrize("is_given", [False, True])
async def test_what_cannot_be_recorded_is_neither_granted_nor_revoked(
    bench: Bench, is_given: bool
) -> None:
    key = await bench.key()
    share = await bench.share(key) if is_given else None
    bench.trail.available = False
    doing = bench.sharing.revoke(OWNER, key.id, share.id) if share else bench.share(key)
    with pytest.raises(AuditUnavailable):
        await doing
    assert await bench.count() == is_given


async def test_a_value_under_way_when_its_grant_is_revoked_stays_in(
    service: Service,
    client: httpx.AsyncClient,
    anonymous: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = await stored(client)
    path = f"/api/api-keys/{key['id']}"
    share = await shared(client, key, "grantee", scope="reveal")
    reveal = KeyService.reveal

    async def reveal_then_revoke(keys: KeyService, key_id: Any, purpose: Purpose) -> Secret[str]:
        value = await reveal(keys, key_id, purpose)
        revoked = await client.delete(f"{path}/shares/{share['id']}")
        assert revoked.status_code == 204
        return value

    monkeypatch.setattr(KeyService, "reveal", reveal_then_revoke)
    answer = await anonymous.get(f"{path}/decrypt", headers=INTERNAL | {"x-user-id": "grantee"})
    assert answer.status_code == 403
    assert VALUE not in answer.text
    records = (await client.get(f"{path}/audit")).json()["data"]
    decisions = [one["decision"] for one in records if one["type"] == "key.reveal"]
    assert decisions == ["deny", "allow"], "newest first: given by the vault, then withheld"


async def test_no_reveal_begun_after_the_revocation_succeeds(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await stored(client)
    path = f"/api/api-keys/{key['id']}"
    share = await shared(client, key, "grantee", scope="reveal")
    revoked = asyncio.Event()
    late: list[int] = []

    async def read() -> None:
        while len(late) < 8:
            is_late = revoked.is_set()
            answer = await anonymous.get(
                f"{path}/decrypt", headers=INTERNAL | {"x-user-id": "grantee"}
            )
            assert answer.status_code in (200, 403)
            if is_late:
                late.append(answer.status_code)

    async def revoke() -> None:
        assert (await client.delete(f"{path}/shares/{share['id']}")).status_code == 204
        revoked.set()

    await asyncio.gather(*(read() for _ in range(4)), revoke())
    assert set(late) == {403}


async def test_a_revoked_grantee_is_told_nothing_of_the_key(bench: Bench) -> None:
    key = await bench.key()
    share = await bench.share(key)
    await bench.sharing.revoke(OWNER, key.id, share.id)
    with pytest.raises(NotFound):
        await bench.sharing.page(GRANTEE, key.id, None, 10)
