"""`model-service billing`, as an operator runs it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from model_service.app import build
from model_service.billing.domain import NewAccount, Terms
from model_service.billing.months import Month
from model_service.db.migrate import migrate
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.settings import Environment, Settings
from tests.conftest import _drop_database, _new_database
from tests.e2e.commands import run
from tests.faults.service_process import (
    ADMIN_TOKEN,
    ENCRYPTION_SECRET,
    INTERNAL_SECRET,
    PRODUCTION,
)

LAST_MONTH = Month.of(datetime.now(UTC)).shifted(-1)


@pytest_asyncio.fixture(scope="module")
async def accounts(
    server_url: Secret[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Path, dict[str, str], list[UUID]]]:
    """A database with two accounts: one since last month, one since this one."""
    name, url = await _new_database(server_url)
    await migrate(url)
    directory = tmp_path_factory.mktemp("billing")
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        environment=Environment.PRODUCTION,
        data_dir=directory,
        encryption_secret=Secret(ENCRYPTION_SECRET),
        internal_secret=Secret(INTERNAL_SECRET),
        admin_token=Secret(ADMIN_TOKEN),
    )
    service = await build(settings, url, Redactor())
    opened = [
        await service.traffic.billing.accounts.create(
            NewAccount("acme", Terms(monthly_fee=Terms().monthly_fee + 20), None, LAST_MONTH)
        ),
        await service.traffic.billing.accounts.create(NewAccount("young\n")),
    ]
    await service.close()
    yield directory, PRODUCTION | {"DATABASE_URL": url.reveal()}, [one.id for one in opened]
    await _drop_database(server_url, name)


async def test_an_operator_lists_accounts_closes_a_month_and_lists_its_statements(
    accounts: tuple[Path, dict[str, str], list[UUID]],
) -> None:
    directory, environment, ids = accounts

    def billing(*arguments: str) -> tuple[int, str, str]:
        done = run("billing", *arguments, directory=directory, environment=environment)
        return done.returncode, done.stdout, done.stderr

    status, output, errors = billing("accounts", "--json")
    assert status == 0, errors
    assert [one["id"] for one in json.loads(output)] == [str(one) for one in ids[::-1]]

    status, output, errors = billing("close", str(LAST_MONTH))
    assert (status, output) == (0, f"S-000001  {LAST_MONTH}  20.00 USD  acme\n"), errors

    status, output, errors = billing("close", str(LAST_MONTH), "--account", str(ids[1]))
    assert (status, output) == (1, "")
    assert "not closed: month is before the account's first one" in errors

    status, output, errors = billing("statements", "--month", str(LAST_MONTH), "--json")
    assert status == 0, errors
    (statement,) = json.loads(output)
    assert (statement["accountId"], statement["total"]) == (str(ids[0]), 20)

    assert billing("close", "2026-13")[0] == 2
