"""The journal on real PostgreSQL: each call is one row, however often it is told."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.db.engine import create_engine
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock
from model_service.usage.assembly import Usage
from model_service.usage.domain import UsageSink
from model_service.usage.metering import Metering
from tests.usage_journals import SEGMENT, begun, event, event_id


class NoKeys:
    """`KeyUse` of calls that no key paid for."""

    async def used(self, counts: str) -> None:
        raise AssertionError(counts)


def _sink(database: Database) -> UsageSink:
    return Usage.build(database, NoKeys(), SystemClock(), months_kept=1200).sink


@pytest_asyncio.fixture
async def stored(database: Database) -> AsyncIterator[Database]:
    """The database without usage."""
    async with database.transaction() as connection:
        await connection.execute(text("TRUNCATE usage_events CASCADE"))
    yield database


async def _rows(database: Database) -> dict[UUID, tuple[int, bool]]:
    async with database.transaction() as connection:
        rows = (
            await connection.execute(text("SELECT id, status, estimated FROM usage_events"))
        ).all()
    found = {row.id: (row.status, row.estimated) for row in rows}
    assert len(found) == len(rows)
    return found


def _call(metering: Metering, numbers: range) -> None:
    for number in numbers:
        metering.journal.finish(metering.journal.begin(begun(number)), event(number))


def _die(metering: Metering) -> None:
    """End as a killed process does, but for what only this one holds."""
    metering.upkeep.stop()
    metering.journal.close()
    metering.holding.release()


async def test_every_call_is_a_row(tmp_path: Path, stored: Database) -> None:
    metering = Metering.open(tmp_path / "journal", _sink(stored), segment_bytes=SEGMENT)
    _call(metering, range(1000))
    await metering.close()
    rows = await _rows(stored)
    assert rows == {event_id(number): (200, False) for number in range(1000)}


async def test_what_a_dead_process_had_stored_but_not_marked_is_no_second_row(
    tmp_path: Path, stored: Database
) -> None:
    dead = Metering.open(tmp_path / "journal", _sink(stored), segment_bytes=SEGMENT)
    _call(dead, range(50))
    dead.journal.begin(begun(50))
    await dead.drainer.drain()
    with dead.journal.current.path.open("r+b") as file:
        file.seek(64)
        file.write(bytes(12))  # the mark had not yet reached the disk
    _die(dead)
    metering = Metering.open(tmp_path / "journal", _sink(stored), segment_bytes=SEGMENT)
    await metering.adopter.adopt()
    await metering.close()
    rows = await _rows(stored)
    assert len(rows) == 51
    assert rows[event_id(50)] == (500, True)


async def test_calls_made_while_the_database_is_away_are_rows_once_it_is_back(
    tmp_path: Path, stored: Database
) -> None:
    away = Database(create_engine(Secret("postgresql://nobody@127.0.0.1:9/none")))
    first = Metering.open(tmp_path / "journal", _sink(away), segment_bytes=SEGMENT)
    _call(first, range(700))
    with pytest.raises(DatabaseUnavailable):
        await first.drainer.drain()
    assert first.drainer.undrained_events == 700
    await first.close()
    await away.close()
    second = Metering.open(tmp_path / "journal", _sink(stored), segment_bytes=SEGMENT)
    await second.adopter.adopt()
    await second.close()
    assert len(await _rows(stored)) == 700
