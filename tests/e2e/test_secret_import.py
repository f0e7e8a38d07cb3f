"""An import and the rotation of terms: it seals, so it counts as an instance."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from model_service.cli import import_earlier
from model_service.cli.earlier import EarlierDatabase
from model_service.cli.import_report import Report
from model_service.custody import sealed_tables
from model_service.db import tables
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings
from tests.conftest import _drop_database, _new_database
from tests.e2e.earlier_service import SECRET, EarlierService
from tests.keyrings import Process, closed, engines


@pytest_asyncio.fixture
async def target(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    name, url = await _new_database(server_url)
    yield url
    await _drop_database(server_url, name)


async def test_an_import_is_seen_by_rotation_and_its_seals_are_counted(
    earlier: EarlierService,
    target: Secret[str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await earlier.add_key("main")
    running: list[int] = []
    take_over = import_earlier.take_over

    async def watched(
        source: EarlierDatabase, service: Service, secret: Secret[str], report: Report
    ) -> None:
        await take_over(source, service, secret, report)
        async with service.database.single() as connection:
            rows = await connection.scalars(select(tables.keyring_instances.c.active_term))
            running.extend(rows)

    monkeypatch.setattr(import_earlier, "take_over", watched)
    report = Report(lambda _: None, dry_run=False)
    await import_earlier.import_all(settings, target, earlier.url, SECRET, Redactor(), report)
    assert running == [1]
    databases = engines(target, 1)
    try:
        after = await Process.start(databases[0])
        stored = [await table.count(1) for table in sealed_tables(databases[0], after.keyring)]
        async with databases[0].single() as connection:
            seals = await connection.scalar(select(tables.keyring_terms.c.seals))
            left = await connection.scalar(
                select(func.count()).select_from(tables.keyring_instances)
            )
        assert seals == sum(stored) > 1
        assert left == 0
    finally:
        await closed(databases)
