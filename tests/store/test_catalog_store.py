"""Models in a real PostgreSQL: what goes in comes out, and in which order."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from model_service.catalog.domain import Model, ModelChanges, ModelFilter, ModelStats
from model_service.catalog.store import SqlModelStore
from model_service.db.uow import Database
from model_service.http.wire import MAX_INTEGER
from model_service.kernel.errors import AlreadyExists
from model_service.kernel.types import Page, Provider, uuid7

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def model(name: str = "m", **values: Any) -> Model:
    given: dict[str, Any] = {
        "id": uuid7(),
        "name": name,
        "provider": Provider.OPENAI,
        "model_id": "gpt-4o",
        "created_at": NOON,
        "updated_at": NOON,
    }
    return Model(**given | values)


@pytest.fixture
def store(database: Database) -> SqlModelStore:
    return SqlModelStore(database)


def texts(least: int, most: int) -> st.SearchStrategy[str]:
    storable = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
    return st.text(storable, min_size=least, max_size=most)


def as_jsonb(number: float) -> float:
    """The number as PostgreSQL writes it: an integral one in digits, never with an exponent."""
    if not number.is_integer():
        return number
    digits = int(Decimal(repr(number)))
    return digits if -(2**63) <= digits < 2**64 else number


# Prices as they arrive: what a JSON number can say, to the last digit.
prices = st.none() | st.floats(0, 1e9, allow_nan=False).map(lambda n: Decimal(repr(n)))
counts = st.none() | st.integers(0, MAX_INTEGER)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).map(as_jsonb)
    | texts(0, 20)
)
documents = st.none() | st.dictionaries(
    texts(0, 10),
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(0, 5), inner, max_size=3),
        max_leaves=12,
    ),
    max_size=4,
)
anything = st.builds(
    model,
    name=texts(1, 255),
    provider=st.sampled_from(Provider),
    model_id=texts(1, 255),
    description=st.none() | texts(0, 300),
    max_tokens=st.integers(1, MAX_INTEGER),
    supports_streaming=st.booleans(),
    default_temperature=st.none() | st.floats(0, 2),
    rate_limit_per_minute=counts,
    rate_limit_per_hour=counts,
    rate_limit_per_day=counts,
    input_cost_per_1k_tokens=prices,
    output_cost_per_1k_tokens=prices,
    cached_input_cost_per_1k_tokens=prices,
    cache_write_cost_per_1k_tokens=prices,
    provider_settings=documents,
    is_active=st.booleans(),
    is_default=st.booleans(),
    metadata=documents,
    context_window=st.none() | st.integers(1, MAX_INTEGER),
    capabilities=st.none()
    | st.dictionaries(st.sampled_from(["tools", "vision"]), st.none() | st.booleans()),
    fallbacks=st.none() | st.lists(texts(1, 50), max_size=5).map(tuple),
    created_at=st.datetimes(datetime(1, 1, 2), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(anything)
async def test_any_valid_model_comes_back_as_it_was_stored(
    store: SqlModelStore, wanted: Model
) -> None:
    try:
        assert await store.add(wanted) == wanted
        assert await store.get(wanted.id) == wanted
    finally:
        assert await store.delete(wanted.id) is True


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(anything, anything, st.sets(st.sampled_from([f.name for f in fields(ModelChanges)])))
async def test_a_change_sets_its_fields_and_no_other(
    store: SqlModelStore, before: Model, other: Model, names: set[str]
) -> None:
    await store.add(before)
    changes = ModelChanges(**{name: getattr(other, name) for name in names})
    claims_default = changes.is_default is True
    try:
        after = await store.update(
            before.id, lambda _: changes, now=LATER, claims_default=claims_default
        )
        expected = changes.applied_to(before)
        assert after == (replace(expected, updated_at=LATER) if names else before)
        assert await store.get(before.id) == after
    finally:
        await store.delete(before.id)


async def test_a_name_is_taken_once(store: SqlModelStore) -> None:
    await store.add(model("one"))
    with pytest.raises(AlreadyExists, match="name 'one'"):
        await store.add(model("one"))
    with pytest.raises(AlreadyExists, match="name 'one'"):
        await store.add(model("one", is_default=True))


async def test_a_default_that_cannot_be_added_leaves_the_old_one(store: SqlModelStore) -> None:
    await store.add(model("one"))
    default = await store.add(model("default", is_default=True))
    with pytest.raises(AlreadyExists):
        await store.add(model("one", is_default=True))
    assert await store.get_default() == default


async def test_a_change_to_a_taken_name_changes_nothing(store: SqlModelStore) -> None:
    one = await store.add(model("one", is_default=True))
    two = await store.add(model("two"))
    with pytest.raises(AlreadyExists, match="name 'one'"):
        await store.update(
            two.id,
            lambda _: ModelChanges(name="one", is_default=True),
            now=LATER,
            claims_default=True,
        )
    assert await store.get(two.id) == two
    assert await store.get_default() == one


async def test_a_new_default_makes_the_old_one_step_down(store: SqlModelStore) -> None:
    old = await store.add(model("old", is_default=True))
    new = await store.add(model("new", is_default=True, updated_at=LATER))
    assert await store.get_default() == new
    assert await store.get(old.id) == replace(old, is_default=False, updated_at=LATER)


async def test_an_inactive_default_is_not_given(store: SqlModelStore) -> None:
    await store.add(model(is_default=True, is_active=False))
    assert await store.get_default() is None


async def test_what_is_not_there_is_not_found(store: SqlModelStore) -> None:
    assert await store.get(uuid7()) is None
    assert await store.delete(uuid7()) is False
    changed = await store.update(
        uuid7(), lambda _: ModelChanges(name="x"), now=NOON, claims_default=False
    )
    assert changed is None


async def test_the_default_comes_first_then_the_newest_and_ties_by_id(
    store: SqlModelStore,
) -> None:
    tied = sorted(uuid7() for _ in range(3))
    for number, identity in enumerate(tied):
        await store.add(model(f"tied-{number}", id=identity))
    await store.add(model("newest", created_at=LATER))
    await store.add(model("oldest", created_at=NOON - timedelta(days=1), is_default=True))
    names = [found.name for found in await store.list_all(ModelFilter(), most=10)]
    assert names == ["oldest", "newest", "tied-2", "tied-1", "tied-0"]


async def test_pages_partition_the_list(store: SqlModelStore) -> None:
    for number in range(7):
        await store.add(model(f"m{number}", is_default=number == 2))
    everything = await store.list_all(ModelFilter(), most=100)
    paged: list[Model] = []
    for number in (1, 2, 3):
        found, total = await store.list_page(ModelFilter(), Page(number, 3))
        assert total == 7
        paged += found
    assert paged == everything


async def test_a_page_past_the_end_is_empty_and_still_tells_the_total(
    store: SqlModelStore,
) -> None:
    assert await store.list_page(ModelFilter(), Page(1, 5)) == ([], 0)
    await store.add(model())
    assert await store.list_page(ModelFilter(), Page(2**31 - 1, 200)) == ([], 1)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (ModelFilter(), {"a", "b", "c", "d"}),
        (ModelFilter(provider=Provider.OPENAI), {"a", "b", "c"}),
        (ModelFilter(is_active=False), {"b"}),
        (ModelFilter(supports_streaming=False), {"c"}),
        (ModelFilter(provider=Provider.OPENAI, is_active=True, supports_streaming=True), {"a"}),
        (ModelFilter(provider=Provider.AZURE), set()),
    ],
)
async def test_filters_combine(store: SqlModelStore, wanted: ModelFilter, names: set[str]) -> None:
    await store.add(model("a"))
    await store.add(model("b", is_active=False))
    await store.add(model("c", supports_streaming=False))
    await store.add(model("d", provider=Provider.OLLAMA))
    assert {found.name for found in await store.list_all(wanted, most=10)} == names
    found, total = await store.list_page(wanted, Page(1, 10))
    assert ({item.name for item in found}, total) == (names, len(names))


async def test_the_statistics_count_what_is_there(store: SqlModelStore) -> None:
    assert await store.stats(ModelFilter()) == ModelStats(0, 0, {}, None)
    await store.add(model("a"))
    await store.add(model("b", is_active=False))
    await store.add(model("c", provider=Provider.OLLAMA, is_default=True))
    assert await store.stats(ModelFilter()) == ModelStats(
        total=3,
        active=2,
        by_provider={Provider.OPENAI: 2, Provider.OLLAMA: 1},
        default_name="c",
    )


async def test_the_database_itself_refuses_a_second_default(
    store: SqlModelStore, database: Database
) -> None:
    await store.add(model("one", is_default=True))
    two = await store.add(model("two"))
    with pytest.raises(Exception, match="uq_models_is_default"):
        await _make_default_behind_the_back(database, two.id)


async def _make_default_behind_the_back(database: Database, identity: UUID) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE models SET is_default = true WHERE id = :id"), {"id": identity}
        )
