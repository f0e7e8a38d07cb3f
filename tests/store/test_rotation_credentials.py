"""Administrative credentials: checked, sealed, bound to their origin, and never had back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, text, update

from model_service.db.tables import provider_admin_credentials
from model_service.db.uow import Database
from model_service.kernel.errors import (
    AdministrationRefused,
    AuditUnavailable,
    Conflict,
    IntegrityFailure,
    InvalidInput,
    NotFound,
    ProviderUnreachable,
)
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, uuid7
from model_service.keys.admin_credentials import AdminCredential
from model_service.keys.automatic_rotation import Point
from model_service.keys.issue_store import Issue, SqlIssueStore
from model_service.keys.rotation_domain import IssueState
from model_service.sandbox import Behaviour, Sandbox
from model_service.vault.keyring import Keyring
from tests.rotation import START, Bench, keyring_of
from tests.rotation_sandbox import CREDENTIALS, automatic_key, bench_on, credential, work

NEW = CREDENTIALS[Provider.OPENAI]
SECRET = NEW.secret.reveal()


@pytest_asyncio.fixture(scope="module")
async def keyring(shared_database: Database) -> Keyring:
    return await keyring_of(shared_database)


@pytest_asyncio.fixture
async def bench(database: Database, keyring: Keyring, sandbox: Sandbox) -> AsyncIterator[Bench]:
    async with bench_on(sandbox, database, keyring) as bench:
        yield bench


async def rows(database: Database) -> list[Any]:
    async with database.single() as connection:
        return list(await connection.execute(select(provider_admin_credentials)))


@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.AZURE])
async def test_a_credential_is_checked_sealed_and_audited(
    bench: Bench, database: Database, provider: Provider
) -> None:
    stored = await credential(bench, provider)
    (row,) = await rows(database)
    assert CREDENTIALS[provider].secret.reveal() not in str(row)
    assert list(await bench.credentials.list()) == [stored]
    _, secret = await bench.credentials.find(provider, stored.id)
    assert secret.reveal() == CREDENTIALS[provider].secret.reveal()
    assert bench.trail.types == ["credential.create"]
    assert bench.trail.events[0].subject == f"credential:{stored.id}"
    await bench.credentials.delete(stored.id)
    assert await rows(database) == []
    assert bench.trail.types[-1] == "credential.delete"


async def test_a_credential_the_provider_refuses_is_not_stored(
    bench: Bench, database: Database
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await bench.credentials.add(replace(NEW, secret=Secret("sk-admin-of-somebody-else")))
    assert "sk-admin" not in refusal.value.message
    assert await rows(database) == []


async def test_a_provider_that_cannot_be_asked_decides_nothing(
    bench: Bench, database: Database, sandbox: Sandbox
) -> None:
    sandbox.openai_admin.always = Behaviour.BROKEN
    with pytest.raises(ProviderUnreachable):
        await bench.credentials.add(NEW)
    assert await rows(database) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"provider": Provider.GOOGLE}, "provider"),
        ({"settings": {}}, "settings.projectId"),
        ({"settings": {"projectId": "a/../b"}}, "settings.projectId"),
        ({"secret": Secret("short")}, "secret"),
        ({"secret": Secret("evil\r\nx-admin: 1")}, "secret"),
    ],
)
async def test_what_cannot_be_a_credential_is_refused_before_anybody_is_asked(
    bench: Bench, sandbox: Sandbox, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await bench.credentials.add(replace(NEW, **changes))
    assert [fault.field for fault in refusal.value.errors] == [field]
    assert not sandbox.openai_admin.requests


async def test_nothing_is_stored_or_forgotten_that_cannot_be_audited(
    bench: Bench, database: Database
) -> None:
    stored = await credential(bench, Provider.OPENAI)
    bench.trail.available = False
    with pytest.raises(AuditUnavailable):
        await bench.credentials.add(NEW)
    with pytest.raises(AuditUnavailable):
        await bench.credentials.delete(stored.id)
    assert len(await rows(database)) == 1


async def test_a_credential_is_not_used_at_another_address(bench: Bench, sandbox: Sandbox) -> None:
    stored = await credential(bench, Provider.OPENAI)

    class Moved:
        origin = "https://elsewhere.example"

    bench.administrations = {Provider.OPENAI: Moved()}  # type: ignore[dict-item]
    bench.build()
    with pytest.raises(AdministrationRefused, match="another address"):
        await bench.credentials.find(Provider.OPENAI, stored.id)


async def test_a_credential_moved_to_another_row_or_provider_does_not_open_or_is_not_used(
    bench: Bench, database: Database
) -> None:
    first = await credential(bench, Provider.OPENAI)
    c = provider_admin_credentials.c
    async with database.single() as connection:
        await connection.execute(update(provider_admin_credentials).values(provider="AZURE"))
    with pytest.raises(AdministrationRefused, match="another address"):
        await bench.credentials.find(Provider.AZURE, first.id)
    moved = uuid7()
    async with database.single() as connection:
        await connection.execute(
            update(provider_admin_credentials).values(provider="OPENAI", id=moved)
        )
        assert await connection.scalar(select(c.id)) == moved
    with pytest.raises(IntegrityFailure):
        await bench.credentials.find(Provider.OPENAI, moved)


async def test_the_newest_credential_of_the_provider_is_the_default(bench: Bench) -> None:
    older = await credential(bench, Provider.OPENAI)
    bench.clock.advance(minutes=1)
    newer = await credential(bench, Provider.OPENAI)
    await credential(bench, Provider.AZURE)
    assert (await bench.credentials.find(Provider.OPENAI, None))[0] == newer
    assert (await bench.credentials.find(Provider.OPENAI, older.id))[0] == older
    for missing in (uuid7(), (await bench.credentials.find(Provider.AZURE, None))[0].id):
        with pytest.raises(NotFound):
            await bench.credentials.find(Provider.OPENAI, missing)


async def test_what_is_stored_is_made_ready_before_it_is_opened(bench: Bench) -> None:
    ready: list[str] = []

    async def prepare(stored: Sequence[str]) -> bool:
        ready.extend(stored)
        return False

    made = await credential(bench, Provider.OPENAI)
    bench.prepare = prepare
    bench.build()
    await bench.credentials.find(Provider.OPENAI, made.id)
    assert len(ready) == 1


async def test_one_that_was_moved_to_another_data_key_is_read_once_more(bench: Bench) -> None:
    answers = [True, False]

    async def prepare(stored: Sequence[str]) -> bool:
        return answers.pop(0)

    made = await credential(bench, Provider.OPENAI)
    bench.prepare = prepare
    bench.build()
    assert (await bench.credentials.find(Provider.OPENAI, made.id))[0] == made
    assert answers == []


async def test_a_rotation_makes_credentials_ready_before_its_transaction(
    bench: Bench, sandbox: Sandbox, database: Database
) -> None:
    """A reload of the keyring within one would hold the keyring's lock until its end."""
    key = await automatic_key(bench, sandbox, Provider.OPENAI)
    bench.clock.advance(days=30)
    within: list[bool] = []

    async def prepare(stored: Sequence[str]) -> bool:
        async with database.single() as one, database.single() as other:
            within.append(one is other)
        return False

    bench.prepare = prepare
    bench.build()
    await bench.parts.automatic.step()
    assert within
    assert not any(within)
    assert (await bench.service.overview(key.id)).key.key_version == 2


async def test_a_credential_at_work_cannot_be_forgotten(bench: Bench, sandbox: Sandbox) -> None:
    await automatic_key(bench, sandbox, Provider.OPENAI)

    def end(point: Point) -> None:
        raise KeyboardInterrupt

    bench.at = end
    bench.build()
    bench.clock.advance(days=30)
    with pytest.raises(KeyboardInterrupt):
        await work(bench)
    (stored,) = await bench.credentials.list()
    with pytest.raises(Conflict):
        await bench.credentials.delete(stored.id)
    assert len(await bench.credentials.list()) == 1
    with pytest.raises(NotFound):
        await bench.credentials.delete(uuid7())


async def test_a_credential_that_a_rotation_begins_with_cannot_be_forgotten_meanwhile(
    bench: Bench, database: Database
) -> None:
    stored = await credential(bench, Provider.OPENAI)
    async with database.transaction():
        await bench.credentials.find(Provider.OPENAI, None, hold=True)
        # In a context of its own, for it is another request's.
        deletion = asyncio.create_task(bench.credentials.delete(stored.id), context=Context())
        await asyncio.create_task(waiting_for_a_lock(database), context=Context())
        await SqlIssueStore(database, bench.clock).add(begun_with(stored))
    with pytest.raises(Conflict):
        await deletion
    assert await bench.credentials.list() == [stored]


async def test_the_next_newest_is_found_when_the_newest_is_deleted_just_then(
    bench: Bench, database: Database
) -> None:
    older = await credential(bench, Provider.OPENAI)
    bench.clock.advance(minutes=1)
    newer = await credential(bench, Provider.OPENAI)
    async with database.transaction():
        await bench.credentials.delete(newer.id)
        finding = asyncio.create_task(
            bench.credentials.find(Provider.OPENAI, None, hold=True), context=Context()
        )
        await asyncio.create_task(waiting_for_a_lock(database), context=Context())
    found, _ = await finding
    assert found == older


async def waiting_for_a_lock(database: Database) -> None:
    """Until somebody waits for a lock that another transaction holds."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    # Each look in a transaction of its own: within one, the view stays as it was first seen.
    async with asyncio.timeout(10):
        while True:
            async with database.single() as connection:
                if await connection.scalar(query):
                    return


def begun_with(stored: AdminCredential) -> Issue:
    return Issue(
        id=uuid7(),
        key_id=uuid7(),
        rotation_id=uuid7(),
        version=2,
        provider=stored.provider,
        credential_id=stored.id,
        target="proj_sandbox",
        state=IssueState.REQUESTED,
        claimed_until=START,
        created_at=START,
    )
