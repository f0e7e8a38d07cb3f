"""Grants as they are stored, found and expired, and that finding them is flat in size."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from model_service.db.uow import Database
from model_service.kernel.errors import InvalidInput, NotFound
from model_service.kernel.types import Page, Provider
from model_service.keys.domain import KeyFilter
from model_service.keys.ownership import Action
from model_service.keys.shares import ShareScope
from model_service.service import Service
from tests.rotation import START
from tests.store.shares import GRANTEE, Bench

#: How often this transaction has read each of the tables from end to end.
WHOLE_READS = text(
    "SELECT relname, seq_scan FROM pg_stat_xact_user_tables"
    " WHERE relname IN ('api_keys', 'key_shares') ORDER BY relname"
)
BOTH = (ShareScope.USE, ShareScope.REVEAL)


@pytest.fixture
def bench(service: Service, database: Database) -> Bench:
    """With the service, so that the keyring is there before the keys are."""
    return Bench(database)


async def test_a_grant_ends_at_its_expiry_by_the_clock_on_every_question(bench: Bench) -> None:
    key = await bench.key()
    share = await bench.share(key, scope=ShareScope.REVEAL, expires_at=START + timedelta(minutes=1))

    async def questions() -> list[bool]:
        held = await bench.store.held(key.id, "grantee")
        assert held is not None
        return [
            held.share == share,
            await bench.store.is_live(share.id),
            len(await bench.store.list_held(KeyFilter("grantee"), None, 10)) == 1,
            await bench.store.count_held(KeyFilter("grantee")) == 1,
            await bench.store.find_active("grantee", Provider.OPENAI, BOTH, None) is not None,
        ]

    bench.clock.advance(seconds=59.999)
    assert all(await questions())
    await bench.doorkeeper.admit(GRANTEE, Action.SEE, key.id)
    bench.clock.advance(seconds=0.001)
    assert not any(await questions())
    with pytest.raises(NotFound):
        await bench.doorkeeper.admit(GRANTEE, Action.SEE, key.id)
    assert await bench.store.of_key(key.id, None, 10) == [share], "its owner still sees it"


async def test_an_expiry_is_in_the_future(bench: Bench) -> None:
    key = await bench.key()
    with pytest.raises(InvalidInput):
        await bench.share(key, expires_at=START)
    assert await bench.count() == 0


async def test_a_grant_is_told_of_with_its_key(bench: Bench) -> None:
    key = await bench.key()
    share = await bench.share(key)
    assert bench.announcer.told == [
        (
            "share.granted",
            {
                "shareId": str(share.id),
                "keyId": str(key.id),
                "userId": "owner",
                "granteeUserId": "grantee",
                "provider": "OPENAI",
                "keyName": "main",
                "scope": "use",
            },
        )
    ]


async def test_keys_are_found_by_grants_of_the_scopes_and_models_asked_for(bench: Bench) -> None:
    use = await bench.key("a", "use")
    limited = await bench.key("b", "limited")
    await bench.share(use)
    await bench.share(limited, scope=ShareScope.REVEAL, models=("m",))

    async def found(scopes: tuple[ShareScope, ...], model: str | None) -> str | None:
        held = await bench.store.find_active("grantee", Provider.OPENAI, scopes, model)
        return None if held is None else held.key.key_name

    assert await found(BOTH, None) == "use", "what is not limited comes first"
    assert await found((ShareScope.USE,), None) == "use"
    assert await found((ShareScope.REVEAL,), "m") == "limited"
    assert await found((ShareScope.REVEAL,), "n") is None
    assert await found(BOTH, "n") == "use"
    assert await bench.store.find_active("grantee", Provider.GOOGLE, BOTH, None) is None


async def test_an_inactive_or_expired_key_is_not_found_by_a_grant(bench: Bench) -> None:
    key = await bench.key()
    await bench.share(key)
    for change in ({"is_active": False}, {"is_active": True, "expires_at": START}):
        await bench.keys.change(key.id, change)
        assert await bench.store.find_active("grantee", Provider.OPENAI, BOTH, None) is None


async def test_pages_of_what_somebody_has_leave_nothing_out(bench: Bench) -> None:
    for number in range(7):
        key = await bench.key("owner" if number % 2 else "grantee", f"key {number}")
        if number % 2:
            await bench.share(key)
    wanted = KeyFilter("grantee")
    everything = await bench.store.list_held(wanted, None, 10)
    pages = [await bench.store.list_held(wanted, Page(number, 3), 10) for number in (1, 2, 3)]
    assert [held for page in pages for held in page] == everything
    assert len(everything) == await bench.store.count_held(wanted) == 7
    assert [held.share is not None for held in everything].count(True) == 3


async def test_finding_keys_and_grants_reads_by_index_alone(bench: Bench) -> None:
    """However many keys others have: the plan, not the time, is what is looked at."""
    async with bench.database.transaction() as connection:
        await connection.execute(
            text(
                "INSERT INTO api_keys (id, user_id, provider, key_name, encrypted_key, key_version,"
                " key_prefix, usage_count, is_active, is_valid, created_at, updated_at)"
                " SELECT gen_random_uuid(), 'u' || n % 5000, 'OPENAI', n::text, '', 1, '', 0, true,"
                " true, now(), now() FROM generate_series(1, 20000) n"
            )
        )
        await connection.execute(
            text(
                "INSERT INTO key_shares (id, key_id, grantee_user_id, scope, created_at)"
                " SELECT gen_random_uuid(), id, 'g' || row_number() OVER () % 5000, 'use', now()"
                " FROM api_keys"
            )
        )
        await connection.execute(text("ANALYZE api_keys, key_shares"))
        key_id = await connection.scalar(text("SELECT id FROM api_keys LIMIT 1"))
        before = (await connection.execute(WHOLE_READS)).all()
        await bench.store.held(key_id, "g1")
        assert len(await bench.store.list_held(KeyFilter("g1"), None, 10)) == 4
        await bench.store.count_held(KeyFilter("g1"))
        await bench.store.find_active("g1", Provider.OPENAI, BOTH, "m")
        await bench.store.of_key(key_id, None, 10)
        assert (await connection.execute(WHOLE_READS)).all() == before
