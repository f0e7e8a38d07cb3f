"""Tokens in PostgreSQL, and the key of their hashes."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import delete, func, insert, select, update

from model_service.access.domain import TOPIC, Token, TokenHasher
from model_service.access.hashing import open_token_hasher
from model_service.access.store import SqlTokenStore
from model_service.db.locks import Lock
from model_service.db.notices import CHANNEL
from model_service.db.tables import access_keys, access_tokens
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, StartupFault
from model_service.kernel.principal import Permission, Role, Scopes
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from tests.access_tokens import NOW, make_token
from tests.fakes import PlainBox
from tests.locks import after, apart


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


@pytest_asyncio.fixture
async def heard(database: Database, database_url: Secret[str]) -> AsyncIterator[asyncio.Queue[str]]:
    """What another process hears of tokens."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    def listener(_connection: object, _process: int, _channel: str, notice: str) -> None:
        topic, _, rest = notice.partition(":")
        if topic == TOPIC:
            queue.put_nowait(rest.partition(":")[2])

    connection = await asyncpg.connect(database_url.reveal())
    await connection.add_listener(CHANNEL, listener)
    yield queue
    await connection.close()


async def test_every_process_is_told_of_a_token_made_and_of_one_deleted_and_of_no_more(
    store: SqlTokenStore, heard: asyncio.Queue[str]
) -> None:
    (first, _), (second, _) = make_token(), make_token()
    await store.add(first)
    await store.delete(uuid7())
    await store.delete(first.id)
    await store.delete(first.id)
    await store.add(second)
    async with asyncio.timeout(20):
        told = [await heard.get() for _ in range(3)]
    assert told == [str(first.id), str(first.id), str(second.id)]


async def test_a_deletion_leaves_the_other_tokens(store: SqlTokenStore) -> None:
    (first, _), (second, _) = make_token(), make_token()
    await store.add(first)
    await store.add(second)
    await store.delete(first.id)
    assert list(await store.list(None, None, 10)) == [second]


async def test_a_token_comes_with_its_label_and_its_last_use(store: SqlTokenStore) -> None:
    token = Token(
        uuid7(), b"d" * 32, Role.SERVICE, None, "agents", Scopes(), NOW, None,
        NOW + timedelta(seconds=1),
    )  # fmt: skip
    await store.add(token)
    assert await store.get(token.id) == token


async def test_uses_are_noted_in_one_order_without_waiting_for_who_refers_to_a_token(
    database: Database, store: SqlTokenStore
) -> None:
    token, _ = make_token()
    await store.add(token)
    async with database.transaction() as connection:
        # As a foreign key locks what it refers to.
        held = select(access_tokens.c.id).with_for_update(read=True, key_share=True)
        await connection.execute(held)
        async with asyncio.timeout(20):
            await apart(store.note_uses({token.id: NOW}))
    noted = await store.get(token.id)
    assert noted is not None
    assert noted.last_used_at == NOW


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


async def test_one_process_at_a_time_looks_for_the_key_and_makes_it(keyless: Database) -> None:
    opened = open_token_hasher(keyless, PlainBox())
    hasher = await after(keyless, Lock.ACCESS_KEYS, opened)
    assert isinstance(hasher, TokenHasher)


async def test_the_key_is_stored_where_every_later_release_looks_for_it(keyless: Database) -> None:
    hasher = await open_token_hasher(keyless, PlainBox())
    async with keyless.single() as connection:
        row = (await connection.execute(select(access_keys))).one()
    place, sealed_id, value = row.sealed.split("|")
    assert (row.purpose, place, sealed_id) == ("token_hash", "access_keys", str(row.id))
    assert len(b64decode(value)) == 32
    assert hasher.digest(b"t") == TokenHasher(Secret(b64decode(value))).digest(b"t")


async def test_a_key_of_another_purpose_is_not_the_one(keyless: Database) -> None:
    row = {"id": uuid7(), "purpose": "another", "sealed": "", "created_at": func.now()}
    async with keyless.transaction() as connection:
        await connection.execute(insert(access_keys).values(row))
    hasher = await open_token_hasher(keyless, PlainBox())
    again = await open_token_hasher(keyless, PlainBox())
    assert hasher.digest(b"token") == again.digest(b"token")


async def test_a_database_that_goes_away_stops_the_start(
    keyless: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(keyless, "transaction", gone)
    with pytest.raises(StartupFault, match="went away"):
        await open_token_hasher(keyless, PlainBox())
