"""Models under simultaneous changes: one name, one default, no lost field."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from model_service.catalog.domain import Model, ModelChanges, ModelFilter
from model_service.catalog.store import SqlModelStore
from model_service.db.tables import models
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists
from model_service.kernel.types import Provider, uuid7

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def store(database: Database) -> SqlModelStore:
    return SqlModelStore(database)


def model(name: str, *, is_default: bool = False) -> Model:
    return Model(
        id=uuid7(),
        name=name,
        provider=Provider.OPENAI,
        model_id="gpt-4o",
        is_default=is_default,
        created_at=NOW,
        updated_at=NOW,
    )


async def change(store: SqlModelStore, one: Model, changes: ModelChanges) -> Model | None:
    return await store.update(
        one.id, lambda _: changes, now=NOW, claims_default=changes.is_default is True
    )


async def defaults(database: Database) -> int:
    async with database.single() as connection:
        query = select(func.count()).select_from(models).where(models.c.is_default)
        return int(await connection.scalar(query) or 0)


@pytest.mark.parametrize("is_default", [False, True])
async def test_of_twenty_simultaneous_creates_of_one_name_one_succeeds(
    store: SqlModelStore, is_default: bool
) -> None:
    results = await asyncio.gather(
        *(store.add(model("same", is_default=is_default)) for _ in range(20)),
        return_exceptions=True,
    )
    stored = [result for result in results if isinstance(result, Model)]
    assert stored == await store.list_all(ModelFilter(), most=100)
    assert len(stored) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 19


async def test_of_simultaneous_changes_to_one_name_one_succeeds(store: SqlModelStore) -> None:
    candidates = [await store.add(model(f"m{number}")) for number in range(10)]
    results = await asyncio.gather(
        *(change(store, one, ModelChanges(name="same")) for one in candidates),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Model) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 9


async def test_fifty_simultaneous_switches_leave_exactly_one_default(
    store: SqlModelStore, database: Database
) -> None:
    candidates = [await store.add(model(f"m{number}")) for number in range(10)]
    results = await asyncio.gather(
        *(
            change(store, candidates[number % 10], ModelChanges(is_default=True))
            for number in range(50)
        )
    )
    assert all(result is not None and result.is_default for result in results)
    assert await defaults(database) == 1


async def test_creates_switches_renames_and_deletes_at_once_neither_fail_nor_leave_two_defaults(
    store: SqlModelStore, database: Database
) -> None:
    candidates = [await store.add(model(f"m{number}")) for number in range(6)]
    doomed = await store.add(model("doomed", is_default=True))
    await asyncio.gather(
        *(store.add(model(f"new-{number}", is_default=True)) for number in range(8)),
        *(change(store, one, ModelChanges(is_default=True)) for one in candidates),
        *(change(store, one, ModelChanges(name=f"{one.name}-renamed")) for one in candidates),
        *(change(store, one, ModelChanges(is_default=False)) for one in candidates),
        store.delete(doomed.id),
    )
    assert await defaults(database) <= 1
    names = {found.name for found in await store.list_all(ModelFilter(), most=100)}
    assert names == {f"m{number}-renamed" for number in range(6)} | {
        f"new-{number}" for number in range(8)
    }


async def test_simultaneous_changes_of_different_fields_all_hold(store: SqlModelStore) -> None:
    one = await store.add(model("one"))
    await asyncio.gather(
        change(store, one, ModelChanges(description="described")),
        change(store, one, ModelChanges(max_tokens=7)),
        change(store, one, ModelChanges(is_active=False)),
        change(store, one, ModelChanges(metadata={"a": [1]})),
        change(store, one, ModelChanges(rate_limit_per_day=9)),
        change(store, one, ModelChanges(is_default=True)),
        change(store, one, ModelChanges(name="renamed")),
    )
    found = await store.get(one.id)
    assert found is not None
    assert (found.description, found.max_tokens, found.is_active) == ("described", 7, False)
    assert (found.metadata, found.rate_limit_per_day) == ({"a": [1]}, 9)
    assert (found.is_default, found.name) == (True, "renamed")


async def test_a_revision_sees_what_the_change_before_it_left(store: SqlModelStore) -> None:
    one = await store.add(model("one"))

    def count_up(stored: Model) -> ModelChanges:
        return ModelChanges(max_tokens=stored.max_tokens + 1)

    await asyncio.gather(
        *(store.update(one.id, count_up, now=NOW, claims_default=False) for _ in range(20))
    )
    found = await store.get(one.id)
    assert found is not None
    assert found.max_tokens == one.max_tokens + 20
