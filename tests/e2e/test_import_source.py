"""The earlier service's database: found, read in batches, never written to."""

from pathlib import Path

import pytest

from model_service.cli.earlier import BATCH, EarlierDatabase, earlier_database
from model_service.cli.earlier_rows import EarlierModel
from model_service.cli.import_earlier import read_secret
from model_service.cli.import_report import Outcome
from model_service.kernel.errors import StartupFault
from model_service.kernel.secret import Secret
from model_service.service import Service
from tests.e2e.earlier_service import EarlierService, Importer


async def _ids(earlier: EarlierDatabase) -> list[list[str | None]]:
    shape = await earlier.shape(EarlierModel)
    assert shape is not None
    return [[raw["id"] for raw in batch] async for batch in earlier.batches(shape)]


@pytest.mark.parametrize("id_type", ["text", "uuid", "char(36)"])
async def test_every_row_is_read_once_in_batches_whatever_the_ids_type(
    earlier: EarlierService, id_type: str
) -> None:
    rows = 2 * BATCH + 1
    await earlier.execute(f"ALTER TABLE models ALTER COLUMN id TYPE {id_type} USING id::{id_type}")
    await earlier.execute(
        'INSERT INTO models (id, name, provider, "modelId", "updatedAt")'  # noqa: S608
        f" SELECT gen_random_uuid()::{id_type}, n, 'OPENAI', 'm', now()"
        f" FROM generate_series(1, {rows}) n"
    )
    async with earlier_database(earlier.url) as database:
        batches = await _ids(database)
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 1]
    assert len({row_id for batch in batches for row_id in batch}) == rows


async def test_tables_are_looked_for_in_the_schema_that_the_url_names(
    empty_database_url: Secret[str], importer: Importer, service: Service
) -> None:
    schema = 'old "App"'
    earlier = await EarlierService.create(empty_database_url, schema.replace('"', '""'))
    await earlier.add_model("m")
    await earlier.connection.close()
    url = empty_database_url.reveal()
    with pytest.raises(StartupFault, match=r"neither a table models nor api_keys"):
        await importer(Secret(url))
    joint = "&" if "?" in url else "?"
    report = await importer(Secret(f"{url}{joint}schema=old%20%22App%22"))
    assert report.counted("models", Outcome.IMPORTED) == 1


async def test_what_reads_the_source_cannot_write_to_it(earlier: EarlierService) -> None:
    async with earlier_database(earlier.url) as database:
        with pytest.raises(StartupFault, match="25006"):  # read_only_sql_transaction
            async with database._reading():
                await database._connection.execute("DELETE FROM models")


async def test_a_source_that_goes_away_meanwhile_is_a_fault(
    earlier: EarlierService, importer: Importer
) -> None:
    async with earlier_database(earlier.url) as database:
        await earlier.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(StartupFault, match="--from is right"):
            await database.shape(EarlierModel)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "--from must start with postgresql://"),
        ("postgresql://host:port/db", "--from is not a valid URL"),
    ],
)
async def test_a_url_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(StartupFault, match=message):
        async with earlier_database(Secret(url)):
            pytest.fail("opened")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"ENCRYPTION_SECRET=x\nOTHER=y\n", "must hold the secret alone"),
        (b"\xff\xfe", "cannot be read: UnicodeDecodeError"),
        (None, "cannot be read: FileNotFoundError"),
    ],
)
def test_a_secret_file_must_hold_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartupFault, match=message):
        read_secret(file)


def test_the_line_end_of_a_secret_file_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" a secret with spaces \r\n")
    assert read_secret(file).reveal() == " a secret with spaces "
