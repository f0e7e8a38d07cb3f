"""A trail that begins on a database which has keys already."""

import pytest
from sqlalchemy import text

from model_service.audit.baseline import record_stored_keys
from model_service.db.uow import Database
from model_service.kernel.errors import AuditBroken
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import NewKey
from model_service.service import Service
from tests.audit_trails import CHAIN_KEY, Bench, empty_trail, make_bench


async def begun(service: Service, database: Database, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A trail that begins when five keys are there, recorded two at a time."""
    for number in range(5):
        new = NewKey("ada", Provider.OPENAI, f"key {number}", Secret("sk-0123456789abcdef"))
        await service.keys.create(new, validate=False)
    monkeypatch.setattr("model_service.audit.baseline.BATCH", 2)
    await empty_trail(database)
    async with database.transaction() as connection:
        await record_stored_keys(connection, CHAIN_KEY)
    return make_bench(database)


async def test_the_keys_of_before_are_no_forgeries(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await begun(service, database, monkeypatch)
    found = await bench.ledger.verify()
    assert (found.records, found.keys) == (5, 5)
    assert {record.entry.type for record in await bench.records()} == {"audit.baseline"}


async def test_a_ciphertext_changed_afterwards_is_found(
    service: Service, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await begun(service, database, monkeypatch)
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE api_keys SET encrypted_key = 'other' WHERE key_name = 'key 3'")
        )
    with pytest.raises(AuditBroken, match="another ciphertext"):
        await bench.ledger.verify()
