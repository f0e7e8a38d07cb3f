"""What the last resort writes down about an unexpected error, and what it must not."""

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from model_service.db.uow import Database
from model_service.service import Service


async def test_an_unexpected_sql_error_is_a_500_and_its_place_is_logged(
    service: Service,
    client: httpx.AsyncClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> None:
        async with database.single() as connection:
            await connection.execute(text("SELECT nonsense_column"))

    monkeypatch.setattr(type(service.models), "get", fail)
    with capture_logs() as logged:
        answer = await client.get("/api/models/01890000-0000-7000-8000-000000000000")
    assert answer.status_code == 500
    assert "nonsense" not in answer.text
    (entry,) = [entry for entry in logged if entry["event"] == "unexpected error"]
    assert entry["error_type"] == "ProgrammingError"
    assert "model_service.catalog.api" in entry["where"]
    assert "nonsense" not in str(entry)
