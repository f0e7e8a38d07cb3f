"""Tokens in PostgreSQL, and the key of their hashes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import delete, insert, select, update

from model_service.access.domain import Token
from model_service.access.hashing import open_token_hasher
from model_service.access.store import SqlTokenStore
from model_service.db.tables import access_keys, access_tokens
from model_service.db.uow import Database
from model_service.kernel.errors import IntegrityFailure, StartupFault
from model_service.kernel.principal import Permission, Role, Scopes
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from tests.access_tokens import NOW, make_token


@pytest.fixture
def store(database: Database) -> SqlTokenStore:
    return SqlTokenStore(database)


SCOPES = [
    Scopes(),
    Scopes.of(models=["a", "b"]),
    Scopes.of(routes=[Permission.AUDITOR, Permission.KEYS_READ]),
    Scopes.of(models=['ü "quoted"'], routes=[Permission.GATEWAY_CALL]),
]


@pytest.mark.parametrize("scopes", SCOPES)
@pytest.mark.parametrize(("role", "user_id"), [(Role.USER, "alice"), (Role.SERVICE, None)])
async def test_a_token_comes_back_as_it_was_stored(
    store: SqlTokenStore, scopes: Scopes, role: Role, user_id: str | None
) -> None:
    token, _ = make_token(role=role, user_id=user_id, scopes=scopes, expires_at=NOW)
    await store.add(token)
    assert await store.get(token.id) == token
    assert await store.find(token.digest) == token
    assert await store.find(bytes(32)) is None
    assert await store.get(uuid7()) is None


async def test_a_deleted_token_is_gone_and_deleting_it_again_does_nothing(
    store: SqlTokenStore,
) -> None:
    token, _ = make_token()
    await store.add(token)
    assert await store.delete(token.id) is True
    assert await store.delete(token.id) is False
    assert await store.find(token.digest) is None


async def test_of_two_who_delete_a_token_one_did(store: SqlTokenStore) -> None:
    token, _ = make_token()
    await store.add(token)
    outcomes = await asyncio.gather(*(store.delete(token.id) for _ in range(5)))
    assert sorted(outcomes) == [False] * 4 + [True]


async def test_lists_come_newest_first_by_user_and_page(store: SqlTokenStore) -> None:
    tokens = [make_token(role=Role.USER, user_id=f"user-{n % 2}")[0] for n in range(6)]
    for token in tokens:
        await store.add(token)
    newest_first = tokens[::-1]
    assert list(await store.list(None, None, 10)) == newest_first
    assert list(await store.list(None, newest_first[1].id, 2)) == newest_first[2:4]
    assert list(await store.list("user-1", None, 10)) == newest_first[::2]


async def test_the_live_ones_come_in_order_without_the_expired(store: SqlTokenStore) -> None:
    live = [make_token(expires_at=moment)[0] for moment in (None, NOW + timedelta(seconds=1))]
    for token in (*live, make_token(expires_at=NOW)[0]):
        await store.add(token)
    assert list(await store.live(NOW, None, 10)) == live
    assert list(await store.live(NOW, live[0].id, 10)) == live[1:]


async def test_uses_are_noted_and_an_earlier_one_does_not_undo_a_later_one(
    store: SqlTokenStore,
) -> None:
    (first, _), (second, _) = make_token(), make_token()
    await store.add(first)
    await store.add(second)
    later = NOW + timedelta(seconds=5)
    await store.note_uses({first.id: later, second.id: NOW, uuid7(): NOW})
    await store.note_uses({first.id: NOW})
    found = [await store.get(token.id) for token in (first, second)]
    assert [token and token.last_used_at for token in found] == [later, NOW]


async def test_many_who_note_uses_at_once_do_not_wait_for_each_other_in_a_circle(
    store: SqlTokenStore,
) -> None:
    tokens = [make_token()[0] for _ in range(30)]
    for token in tokens:
        await store.add(token)
    ids = [token.id for token in tokens]
    await asyncio.gather(
        *(store.note_uses(dict.fromkeys(ids[:: (-1) ** n], NOW)) for n in range(16))
    )
    assert all(token.last_used_at == NOW for token in await store.list(None, None, 50))


@pytest.mark.parametrize(
    ("role", "user_id"), [("user", None), ("service", "alice"), ("administrator", "alice")]
)
async def test_the_database_itself_refuses_a_token_whose_user_does_not_fit_its_role(
    database: Database, role: str, user_id: str | None
) -> None:
    token, _ = make_token()
    row = {
        "id": token.id, "digest": token.digest, "role": role, "user_id": user_id,
        "created_at": NOW,
    }  # fmt: skip
    with pytest.raises(Exception, match="user_of_user_tokens"):
        async with database.transaction() as connection:
            await connection.execute(insert(access_tokens).values(row))


class PlainBox:
    """`SecretBox` that shows what it does."""

    def seal(self, place: str, record_id: UUID, value: Secret[str]) -> str:
        return f"{place}|{record_id}|{value.reveal()}"

    def open(self, place: str, record_id: UUID, stored: str) -> Secret[str]:
        sealed_place, sealed_id, value = stored.split("|")
        if (sealed_place, sealed_id) != (place, str(record_id)):
            raise IntegrityFailure
        return Secret(value)


@pytest_asyncio.fixture
async def keyless(database: Database) -> AsyncIterator[Database]:
    """The database without a hash key; the one that was there comes back."""
    async with database.transaction() as connection:
        before = (await connection.execute(select(access_keys))).mappings().all()
        await connection.execute(delete(access_keys))
    yield database
    async with database.transaction() as connection:
        await connection.execute(delete(access_tokens))
        await connection.execute(delete(access_keys))
        for row in before:
            await connection.execute(insert(access_keys).values(dict(row)))


async def test_all_who_start_at_once_hash_alike(keyless: Database) -> None:
    hashers = await asyncio.gather(*(open_token_hasher(keyless, PlainBox()) for _ in range(8)))
    assert len({hasher.digest(b"token") for hasher in hashers}) == 1
    again = await open_token_hasher(keyless, PlainBox())
    assert again.digest(b"token") == hashers[0].digest(b"token")


async def test_a_key_that_is_missing_while_tokens_exist_is_not_made_anew(
    keyless: Database,
) -> None:
    token: Token = make_token()[0]
    await SqlTokenStore(keyless).add(token)
    with pytest.raises(StartupFault, match="restore the table access_keys"):
        await open_token_hasher(keyless, PlainBox())


async def test_a_key_that_was_tampered_with_stops_the_start(keyless: Database) -> None:
    await open_token_hasher(keyless, PlainBox())
    async with keyless.transaction() as connection:
        await connection.execute(update(access_keys).values(id=uuid7()))
    with pytest.raises(StartupFault, match="does not open"):
        await open_token_hasher(keyless, PlainBox())
