"""Giving out a key that somebody changes, removes or locks at the same moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import pytest
from sqlalchemy import select
from typing_extensions import override

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.audit import Purpose
from model_service.kernel.errors import DatabaseUnavailable, KeyInactive, NotFound
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider, SystemClock
from model_service.keys import reveal
from model_service.keys.domain import NewKey, SealedKey
from model_service.keys.reveal import RevealDesk
from model_service.keys.store import SqlKeyStore
from model_service.service import Service
from tests.fakes import RecordingTrail

OLD: Final = Secret("sk-sandbox-0123456789abcdef")
NEW: Final = Secret("sk-sandbox-fedcba9876543210")

Interruption = Callable[[], Awaitable[object]]


class _InterruptedStore(SqlKeyStore):
    """Has something happen between the first reading of ciphertexts and what follows."""

    def __init__(self, database: Database, interruption: Interruption) -> None:
        super().__init__(database, SystemClock())
        self._interruption: Interruption | None = interruption

    @override
    async def get_sealed(self, key_ids: Sequence[UUID]) -> list[SealedKey]:
        found = await super().get_sealed(key_ids)
        if self._interruption is not None:
            interruption, self._interruption = self._interruption, None
            await interruption()
        return found


def desk(
    service: Service, trail: RecordingTrail, interruption: Interruption | None = None
) -> RevealDesk:
    async def nothing() -> None:
        return

    return RevealDesk(
        _InterruptedStore(service.database, interruption or nothing),
        service.database,
        trail,
        service.keys._sealer.open,
        SystemClock(),
        on_reveal=lambda _: None,
        on_failure=lambda _: None,
    )


async def stored(service: Service) -> UUID:
    new = NewKey("ada", Provider.OPENAI, "main", OLD)
    return (await service.keys.create(new, validate=False)).id


@asynccontextmanager
async def locked(database: Database, key_id: UUID) -> AsyncIterator[None]:
    """Somebody else's transaction holds the key's row."""
    async with database.transaction() as connection:
        query = select(api_keys.c.id).where(api_keys.c.id == key_id).with_for_update()
        await connection.execute(query)
        yield


async def test_a_key_rotated_after_it_was_read_gives_the_new_value(service: Service) -> None:
    key_id, trail = await stored(service), RecordingTrail()
    asked = desk(service, trail, lambda: service.rotation.service.rotate(key_id, NEW))
    value = await asked.reveal(key_id, Purpose.DECRYPT)
    assert value.reveal() == NEW.reveal()
    assert [(event.type, event.decision.value) for event in trail.events] == [
        ("key.reveal", "allow")
    ]
    assert (await service.keys.get(key_id)).usage_count == 1


async def test_a_key_deleted_after_it_was_read_is_not_found(service: Service) -> None:
    key_id, trail = await stored(service), RecordingTrail()
    asked = desk(service, trail, lambda: service.keys.delete(key_id))
    with pytest.raises(NotFound):
        await asked.reveal(key_id, Purpose.DECRYPT)
    assert [event.reason for event in trail.events] == ["not_found"]


async def test_a_key_made_inactive_after_it_was_read_stays_in(service: Service) -> None:
    key_id, trail = await stored(service), RecordingTrail()
    asked = desk(service, trail, lambda: service.keys.change(key_id, {"is_active": False}))
    with pytest.raises(KeyInactive):
        await asked.reveal(key_id, Purpose.DECRYPT)
    assert [event.reason for event in trail.events] == ["key_inactive"]
    assert (await service.keys.get(key_id)).usage_count == 0


async def test_a_row_that_stays_locked_ends_its_batch_and_not_the_next(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reveal, "BATCH_SECONDS", 0.3)
    first, trail = await stored(service), RecordingTrail()
    other = NewKey("ada", Provider.OPENAI, "other", NEW)
    second = (await service.keys.create(other, validate=False)).id
    asked = desk(service, trail)
    async with locked(service.database, first):
        with pytest.raises(DatabaseUnavailable):
            await asyncio.create_task(asked.reveal(first, Purpose.DECRYPT))
        value = await asyncio.create_task(asked.reveal(second, Purpose.DECRYPT))
    assert value.reveal() == NEW.reveal()


async def test_nobody_waits_longer_than_the_bound_for_a_batch_to_come(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reveal, "ANSWER_SECONDS", 0.2)
    key_id, trail = await stored(service), RecordingTrail()
    asked = desk(service, trail)
    async with locked(service.database, key_id):
        with pytest.raises(DatabaseUnavailable):
            await asked.reveal(key_id, Purpose.DECRYPT)
    await asked.close()


async def test_more_than_can_wait_are_told_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reveal, "MOST_WAITING", 2)
    key_id, trail = await stored(service), RecordingTrail()
    asked = desk(service, trail)
    answers = await asyncio.gather(
        *(asked.reveal(key_id, Purpose.DECRYPT) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Secret, Secret, DatabaseUnavailable]
