"""What the doctor says of a database."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service.catalog.domain import NewModel
from model_service.cli import doctor, doctor_database
from model_service.cli.doctor_database import clock_finding, opened, version_finding
from model_service.cli.findings import Finding, State
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import NewKey
from model_service.service import Service
from model_service.settings import Settings
from tests.e2e.earlier_service import EarlierService


@pytest_asyncio.fixture
async def empty(empty_database_url: Secret[str]) -> AsyncIterator[Database]:
    async with opened(empty_database_url) as database:
        yield database


async def _execute(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))


class _TakenBack(Exception):
    pass


async def _undone(
    database: Database, statement: str, look: Callable[[], Awaitable[Finding]]
) -> Finding:
    """What a check finds after a statement that is taken back afterwards."""
    found: list[Finding] = []
    with suppress(_TakenBack):
        async with database.transaction() as connection:
            await connection.execute(text(statement))
            found.append(await look())
            raise _TakenBack
    return found[0]


async def test_a_healthy_database_is_fine_throughout(
    service: Service, settings: Settings, database_url: Secret[str]
) -> None:
    findings = await doctor._inside(settings, database_url)
    assert [(finding.check, finding.state) for finding in findings] == [
        (check, State.OK)
        for check in (
            "database", "privileges", "clock", "migrations", "keyring", "fallbacks",
            "default model",
        )
    ]  # fmt: skip
    keyring = next(finding for finding in findings if finding.check == "keyring")
    assert "term 1 active of 1" in keyring.message


async def test_a_database_that_is_away_is_one_finding_without_the_password(
    settings: Settings,
) -> None:
    url = Secret("postgresql://ada:hunter2@127.0.0.1:9/none")
    (finding,) = await doctor._inside(settings, url)
    assert finding.state is State.FAIL
    assert "127.0.0.1:9/none" in finding.message
    assert "hunter2" not in f"{finding.message} {finding.remedy}"


@pytest.mark.parametrize(("number", "state"), [(130022, State.FAIL), (140000, State.OK)])
def test_a_postgresql_that_is_too_old_fails(number: int, state: State) -> None:
    assert version_finding(number, "here").state is state


@pytest.mark.parametrize(
    ("seconds", "state"),
    [(0, State.OK), (2, State.OK), (2.1, State.WARN), (-2.1, State.WARN), (-86400, State.WARN)],
)
def test_clocks_more_than_two_seconds_apart_are_a_warning(seconds: float, state: State) -> None:
    assert clock_finding(timedelta(seconds=seconds)).state is state


async def test_an_empty_database_is_a_warning_and_stays_empty(
    settings: Settings, empty: Database, empty_database_url: Secret[str]
) -> None:
    findings = await doctor._inside(settings, empty_database_url)
    assert [finding.check for finding in findings] == [
        "database", "privileges", "clock", "migrations",
    ]  # fmt: skip
    assert findings[-1].state is State.WARN
    async with empty.single() as connection:
        assert (
            await connection.scalar(
                text("SELECT count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information)'")
            )
            == 0
        )


async def test_the_earlier_services_database_is_recognised(
    earlier: EarlierService,
) -> None:
    async with opened(earlier.url) as database:
        finding = await doctor_database.migrations(database)
    assert finding.state is State.FAIL
    assert "import --from" in (finding.remedy or "")


@pytest.mark.parametrize(("revision", "state"), [("0000", State.WARN), ("9999", State.FAIL)])
async def test_another_migration_is_told_of(
    database: Database, revision: str, state: State
) -> None:
    finding = await _undone(
        database,
        f"UPDATE alembic_version SET version_num = '{revision}'",  # noqa: S608
        lambda: doctor_database.migrations(database),
    )
    assert finding.state is state
    assert f"at {revision}; this release needs {SCHEMA_REVISION}" in finding.message


async def test_missing_privileges_are_named(database: Database) -> None:
    finding = await _undone(
        database,
        "SET LOCAL ROLE pg_read_all_data",
        lambda: doctor_database.privileges(database),
    )
    assert finding.state is State.FAIL
    assert finding.message.startswith("the user pg_read_all_data lacks privileges on ")
    assert "api_keys (INSERT, UPDATE, DELETE)" in finding.message
    assert "SELECT" not in finding.message


async def test_a_user_who_cannot_create_tables_in_an_empty_database_fails(empty: Database) -> None:
    finding = await _undone(
        empty, "SET LOCAL ROLE pg_monitor", lambda: doctor_database.privileges(empty)
    )
    assert finding.state is State.FAIL
    assert "may not create tables in the schema public" in finding.message


async def test_a_database_that_only_reads_fails(database: Database) -> None:
    finding = await _undone(
        database, "SET TRANSACTION READ ONLY", lambda: doctor_database.privileges(database)
    )
    assert finding.state is State.FAIL
    assert "read-only" in finding.message


async def test_a_search_path_that_leads_nowhere_fails(database: Database) -> None:
    finding = await _undone(
        database, "SET LOCAL search_path TO nowhere", lambda: doctor_database.privileges(database)
    )
    assert finding.state is State.FAIL


_NO_KEYRING = "TRUNCATE keyring_wraps, keyring_terms, keyring_term_keys"
#: Also of what the keyring seals for the service itself: then it is no longer missed.
_NOTHING_SEALED = f"{_NO_KEYRING}, audit_keys, access_keys"


async def test_a_database_without_a_keyring_gets_none(
    service: Service, settings: Settings, database: Database
) -> None:
    counts: list[int] = []

    async def look() -> Finding:
        finding = await doctor_database.keyring(settings, database)
        async with database.single() as connection:
            counts.append(await connection.scalar(text("SELECT count(*) FROM keyring_wraps")) or 0)
        return finding

    finding = await _undone(database, _NOTHING_SEALED, look)
    assert finding.state is State.OK
    assert counts == [0]


async def test_keys_without_their_keyring_fail(
    service: Service, settings: Settings, database: Database
) -> None:
    new = NewKey("ada", Provider.OPENAI, "k", Secret("sk-0123456789abcdef"))
    await service.keys.create(new, validate=False)
    finding = await _undone(
        database, _NO_KEYRING, lambda: doctor_database.keyring(settings, database)
    )
    assert finding.state is State.FAIL
    assert "keyring they need is gone" in finding.message


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (Secret("another secret of enough characters"), "ENCRYPTION_SECRET does not match"),
        (Secret("short"), "must be at least 32 characters long"),
        (None, "not the ENCRYPTION_SECRET that opens it"),
    ],
)
async def test_a_keyring_that_does_not_open_fails(
    service: Service,
    settings: Settings,
    database: Database,
    secret: Secret[str] | None,
    message: str,
) -> None:
    changed = settings.model_copy(update={"encryption_secret": secret})
    finding = await doctor_database.keyring(changed, database)
    assert finding.state is State.FAIL
    assert message in finding.message
    assert finding.remedy is not None


async def test_a_second_wrap_is_a_rotation_to_finish(
    service: Service, settings: Settings, database: Database
) -> None:
    another = (
        "INSERT INTO keyring_wraps SELECT 'another', kind, params, check_value,"
        " created_at - interval '1 day' FROM keyring_wraps"
    )
    finding = await _undone(database, another, lambda: doctor_database.keyring(settings, database))
    assert finding.state is State.WARN
    assert "2 secrets open it" in finding.message


async def test_fallbacks_that_name_no_model_are_a_warning(service: Service) -> None:
    def new(name: str, **values: Any) -> NewModel:
        return NewModel(name=name, provider=Provider.OPENAI, model_id="m", **values)

    await service.models.create(new("one", fallbacks=("two", "gone")))
    await service.models.create(new("two", fallbacks=("one",)))
    finding = await doctor_database.fallbacks(service.database)
    assert finding.state is State.WARN
    assert finding.message == "1 name models that do not exist: one -> gone"


async def test_a_default_that_is_inactive_is_a_warning(service: Service) -> None:
    async def finding() -> Finding:
        return await doctor_database.default_model(service.database)

    assert (await finding()).state is State.OK
    model = NewModel(
        name="m", provider=Provider.OPENAI, model_id="m", is_default=True, is_active=False
    )
    await service.models.create(model)
    assert (await finding()).state is State.WARN
    await _execute(service.database, "UPDATE models SET is_active = true")
    assert (await finding()).message == "'m'"
