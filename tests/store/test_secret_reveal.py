"""Reading records while their term is changed, and its end comes."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from typing_extensions import override

from model_service.db.locks import Lock, try_take
from model_service.db.uow import Database
from model_service.kernel.audit import AuditEvent, Purpose
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock
from model_service.keys.domain import SealedKey
from model_service.keys.reveal import RevealDesk
from model_service.keys.rotation_store import SqlRotationStore
from model_service.keys.store import SqlKeyStore
from model_service.vault.envelope import term_of
from tests.fakes import RecordingTrail
from tests.keyrings import Process


class Overtaken:
    """Has every record moved and its term destroyed right after it was read for the first time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.asked = 0

    async def prepare(self, stored: Sequence[str]) -> bool:
        self.asked += 1
        if self.asked == 1:
            await self._process.change_term()
            await self._process.finish()
            assert await self._process.terms.destroy(1, self._process.tables, after=0)
        return await self._process.watch.prepare(stored)


async def test_a_key_whose_term_was_destroyed_while_it_was_read_is_read_again(
    process: Process,
) -> None:
    key = await process.add_key("sk-value")
    overtaken = Overtaken(process)
    store = SqlKeyStore(process.database, SystemClock(), overtaken.prepare)
    (sealed,) = await store.get_sealed([key.id])
    assert process.sealer.open(sealed).reveal() == "sk-value"
    assert overtaken.asked == 2


async def test_a_value_not_in_use_whose_term_was_destroyed_is_read_again(
    process: Process,
) -> None:
    key = await process.add_key("sk-value")
    await process.add_version(key, 5, "sk-not-in-use")
    store = SqlRotationStore(process.database, SystemClock(), Overtaken(process).prepare)
    (version,) = await store.openable(key.id)
    assert term_of(version.encrypted_key) == 2


async def test_records_of_living_terms_are_read_once(process: Process) -> None:
    key = await process.add_key("sk-value")
    await process.change_term()
    assert await process.watch.prepare([]) is False
    (sealed,) = await process.keys.get_sealed([key.id])
    assert await process.watch.prepare([sealed.encrypted_key]) is False


class _RotatedStore(SqlKeyStore):
    """Another process rotates each key right after it was read, so many times."""

    def __init__(self, reader: Process, other: Process, times: int) -> None:
        super().__init__(reader.database, SystemClock(), reader.watch.prepare)
        self._other = other
        self._times = times

    @override
    async def get_sealed(self, key_ids: Sequence[UUID]) -> list[SealedKey]:
        found = await super().get_sealed(key_ids)
        if self._times:
            self._times -= 1
            for sealed in found:
                version = sealed.key.key_version
                coming = replace(sealed.key, key_version=version + 1)
                value = Secret(f"sk-value-{version + 1}")
                stored = self._other.sealer.seal(coming, value)
                assert await self._other.keys.replace(stored, was_version=version)
        return found


class _LockWatchingTrail(RecordingTrail):
    """Looks whether somebody holds the keyring's lock while the batch is recorded."""

    def __init__(self, beside: Database) -> None:
        super().__init__()
        self._beside = beside
        self.was_free: list[bool] = []

    @override
    async def record(self, *events: AuditEvent) -> None:
        async with self._beside.transaction() as connection:
            self.was_free.append(await try_take(connection, Lock.KEYRING))
        await super().record(*events)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_key_rotated_to_a_term_not_heard_of_is_revealed_without_holding_up_the_keyring(
    databases: list[Database], process: Process, times: int
) -> None:
    reader = await Process.start(databases[1])
    keys = [await process.add_key(f"sk-{name}") for name in ("one", "two")]
    await process.change_term()
    trail = _LockWatchingTrail(process.database)
    desk = RevealDesk(
        _RotatedStore(reader, process, times),
        reader.database,
        trail,
        reader.sealer.open,
        SystemClock(),
        on_reveal=lambda _: None,
        on_failure=lambda _: None,
    )
    value = await desk.reveal(keys[0].id, Purpose.DECRYPT)
    assert value.reveal() == f"sk-value-{times + 1}"
    assert trail.was_free == [True]
    assert trail.types == ["key.reveal"]
    found = await process.keys.get(keys[0].id)
    assert found is not None
    assert found.usage_count == 1
