"""Editions of the price book in a real PostgreSQL: brought in, taken up, never changed."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select, text

from model_service.catalog.domain import Model
from model_service.catalog.price_assembly import Pricing
from model_service.catalog.prices import PriceBook
from model_service.catalog.store import SqlModelStore
from model_service.db.notices import Notices
from model_service.db.tables import price_editions
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, uuid7
from model_service.providers.chat import Usage
from tests.audit_trails import SetClock
from tests.fakes import RecordingTrail

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
MILLION = Usage(input=1_000_000)


def house(edition: str = "house 1", price: float = 7, **changes: Any) -> bytes:
    document = {
        "format": "model-service-prices/1",
        "edition": edition,
        "models": [
            {"provider": "OPENAI", "model": "gpt-house", "prices": [{"input": price, "output": 1}]}
        ],
    }
    return json.dumps(document | changes).encode()


def model(model_id: str = "gpt-house") -> Model:
    return Model(
        id=uuid7(),
        name="m",
        provider=Provider.OPENAI,
        model_id=model_id,
        created_at=NOON,
        updated_at=NOON,
    )


class World:
    """A process's prices on the shared database."""

    def __init__(self, database: Database, url: Secret[str]) -> None:
        self.clock = SetClock(NOON)
        self.trail = RecordingTrail()
        self.notices = Notices(url)
        self.pricing = Pricing.build(
            database,
            self.notices,
            SqlModelStore(database),
            PriceBook(),
            self.trail,
            self.clock,
            names={},
        )

    def million(self, at: datetime, model_id: str = "gpt-house") -> Decimal | None:
        """What a million tokens of input cost."""
        price = self.pricing.prices.schedule_of(model(model_id)).at(at.timestamp())
        return None if price is None else price.cost(MILLION)


@pytest_asyncio.fixture
async def emptied(database: Database) -> AsyncIterator[Database]:
    yield database
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE price_editions"))


@pytest.fixture
def world(emptied: Database, database_url: Secret[str]) -> World:
    return World(emptied, database_url)


async def test_an_edition_counts_from_now_on_and_not_before(world: World) -> None:
    await world.pricing.service.bring_in(house(), "op")
    assert world.million(NOON) == 7
    assert world.million(NOON - timedelta(seconds=1)) is None


async def test_the_version_names_the_edition_and_its_first_moment(world: World) -> None:
    await world.pricing.service.bring_in(house(), "op")
    price = world.pricing.prices.schedule_of(model()).at(NOON.timestamp())
    assert price is not None
    assert price.version == "house 1@2026-12-01T12:00:00Z"


async def test_an_edition_may_say_itself_from_when_it_counts(world: World) -> None:
    await world.pricing.service.bring_in(house(effectiveFrom="2027-01-01T00:00:00Z"), "op")
    assert world.million(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert world.million(datetime(2027, 1, 1, tzinfo=UTC)) == 7


async def test_models_that_an_edition_does_not_know_keep_their_prices(world: World) -> None:
    await world.pricing.service.load()
    before = world.million(NOON, "gpt-4o")
    await world.pricing.service.bring_in(house(), "op")
    assert world.million(NOON, "gpt-4o") == before == Decimal("2.5")


async def test_of_two_editions_the_later_one_counts_from_its_moment_on(world: World) -> None:
    await world.pricing.service.bring_in(house(), "op")
    world.clock.moment = NOON + timedelta(days=1)
    await world.pricing.service.bring_in(house("house 2", 9), "op")
    assert world.million(NOON + timedelta(hours=23)) == 7
    assert world.million(NOON + timedelta(days=1)) == 9


async def test_a_schedule_in_use_changes_with_the_book(world: World) -> None:
    schedule = world.pricing.prices.schedule_of(model())
    assert schedule.at(NOON.timestamp()) is None
    await world.pricing.service.bring_in(house(), "op")
    price = schedule.at(NOON.timestamp())
    assert price is not None
    assert price.cost(MILLION) == 7


async def test_the_past_is_not_changed_without_leave(world: World) -> None:
    past = house(effectiveFrom="2026-11-01T00:00:00Z")
    with pytest.raises(InvalidInput) as refused:
        await world.pricing.service.bring_in(past, "op")
    assert refused.value.errors[0].field == "effectiveFrom"
    assert world.million(NOON) is None


async def test_with_leave_an_edition_counts_from_a_past_moment(world: World) -> None:
    past = house(effectiveFrom="2026-11-01T00:00:00Z")
    await world.pricing.service.bring_in(past, "op", may_backdate=True)
    assert world.million(datetime(2026, 11, 1, tzinfo=UTC)) == 7


async def test_a_file_that_is_known_is_not_brought_in_again(world: World) -> None:
    first, was_new = await world.pricing.service.bring_in(house(), "op")
    world.clock.moment = NOON + timedelta(days=1)
    again, is_new = await world.pricing.service.bring_in(house(), "op")
    assert (was_new, is_new) == (True, False)
    assert again == first


async def test_two_editions_cannot_have_one_name(world: World) -> None:
    await world.pricing.service.bring_in(house(), "op")
    with pytest.raises(AlreadyExists):
        await world.pricing.service.bring_in(house(price=8), "op")


async def test_the_same_file_brought_in_twice_at_once_is_stored_once(
    world: World, database_url: Secret[str], emptied: Database
) -> None:
    other = World(emptied, database_url)
    outcomes = await asyncio.gather(
        *(one.pricing.service.bring_in(house(), "op") for one in (world, other) * 4)
    )
    assert sum(is_new for _, is_new in outcomes) == 1
    async with emptied.single() as connection:
        assert await connection.scalar(select(func.count()).select_from(price_editions)) == 1


async def test_nothing_is_stored_of_a_file_with_one_fault(world: World) -> None:
    document = json.loads(house())
    document["models"].append({"provider": "OPENAI", "model": "x", "prices": [{"input": -1}]})
    with pytest.raises(InvalidInput) as refused:
        await world.pricing.service.bring_in(json.dumps(document).encode(), "op")
    assert refused.value.errors[0].field == "models[1].prices[0].input"
    assert await world.pricing.service.editions() == []


async def test_bringing_in_is_recorded(world: World) -> None:
    await world.pricing.service.bring_in(house(), "op")
    assert [(event.type, event.subject) for event in world.trail.events] == [
        ("prices.update", "prices:house 1")
    ]


async def test_another_process_hears_of_an_edition(
    world: World, database_url: Secret[str], emptied: Database
) -> None:
    other = World(emptied, database_url)
    heard = asyncio.Event()

    async def on_change(_: str | None) -> None:
        if other.million(NOON) == 7:
            heard.set()

    other.notices.subscribe("prices", on_change)
    listening = asyncio.create_task(other.notices.run())
    try:
        await world.pricing.service.bring_in(house(), "op")
        async with asyncio.timeout(10):
            await heard.wait()
    finally:
        listening.cancel()
    assert other.million(NOON) == 7


async def test_a_new_process_knows_what_was_brought_in(
    world: World, database_url: Secret[str], emptied: Database
) -> None:
    await world.pricing.service.bring_in(house(), "op")
    later = World(emptied, database_url)
    await later.pricing.service.load()
    assert later.million(NOON) == 7


async def test_an_edition_that_this_release_cannot_read_is_passed_over(
    world: World, emptied: Database
) -> None:
    async with emptied.transaction() as connection:
        await connection.execute(
            price_editions.insert().values(
                id=uuid7(),
                name="of tomorrow",
                digest="0" * 64,
                format="model-service",
                effective_from=NOON,
                imported_at=NOON,
                imported_by="op",
                models=1,
                text='{"format": "model-service-prices/2"}',
            )
        )
    await world.pricing.service.bring_in(house(), "op")
    assert world.million(NOON) == 7
