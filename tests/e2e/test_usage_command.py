"""`model-service usage`, as an operator runs it on the service's database."""

import csv
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from model_service.db.engine import create_engine
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.usage.domain import UsageEvent
from tests.conftest import _drop_database, _new_database
from tests.e2e.commands import run
from tests.faults.service_process import PRODUCTION
from tests.usage_events import at, event, sink_on

CALLS = [
    event(cost=Decimal("0.25"), request_id="first"),
    event(cost=Decimal("0.5"), model="best", provider="GOOGLE", time=at(hours=1)),
    event(cost=None, user_id="bob", status=429, time=at(hours=13), request_id="\x1b[31mred"),
]


@pytest_asyncio.fixture(scope="module")
async def environment(server_url: Secret[str]) -> AsyncIterator[dict[str, str]]:
    """Production, on a database of its own with a few calls."""
    name, url = await _new_database(server_url)
    await migrate(url)
    database = Database(create_engine(url))
    await sink_on(database).keep(CALLS)
    await database.close()
    yield PRODUCTION | {"DATABASE_URL": url.reveal()}
    await _drop_database(server_url, name)


class Operator:
    """Runs the commands on that database."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self._environment = environment

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        done = run("usage", *arguments, directory=self.directory, environment=self._environment)
        return done.returncode, done.stdout, done.stderr

    def succeeds(self, *arguments: str) -> str:
        status, output, errors = self(*arguments)
        assert status == 0, errors
        return output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.succeeds(*arguments, "--json"))


@pytest.fixture
def operator(tmp_path: Path, environment: dict[str, str]) -> Operator:
    return Operator(tmp_path, environment)


def ids(calls: list[UsageEvent]) -> list[str]:
    return [str(one.id) for one in reversed(calls)]


def test_a_summary_is_a_table_with_the_costliest_first(operator: Operator) -> None:
    lines = operator.succeeds("summary", "--by", "model").splitlines()
    assert lines[0].split() == [
        "model", "requests", "errors", "input", "cached", "written", "output", "cost", "USD",
    ]  # fmt: skip
    assert lines[1].split() == ["best", "1", "0", "11", "5", "5", "7", "0.500000"]
    assert lines[2].split() == [
        "fast", "2", "1", "22", "10", "10", "14", "0.250000", "(1", "unpriced)",
    ]  # fmt: skip


def test_a_summary_as_json_has_the_fields_of_the_route(operator: Operator) -> None:
    (group,) = operator.json("summary", "--by", "day", "--to", "2026-01-31", "--user", "ada")
    assert group == {
        "day": "2026-01-31", "requests": 2, "errors": 0, "unpriced": 0, "estimated": 0,
        "inputTokens": 22, "cachedInputTokens": 10, "cacheWriteTokens": 10,
        "cacheWrite1hTokens": 4, "outputTokens": 14, "reasoningTokens": 8, "costUsd": 0.75,
    }  # fmt: skip


def test_calls_are_listed_newest_first_and_cannot_command_the_terminal(
    operator: Operator,
) -> None:
    assert [one["id"] for one in operator.json("list")] == ids(CALLS)
    assert [one["id"] for one in operator.json("list", "--limit", "1")] == ids(CALLS)[:1]
    table = operator.succeeds("list")
    assert table.splitlines()[0].split()[:6] == [
        "time", "request", "user", "model", "provider", "status",
    ]  # fmt: skip
    assert "unknown" in table
    assert "\x1b" not in table


def test_options_narrow_what_is_shown(operator: Operator) -> None:
    assert [one["model"] for one in operator.json("list", "--provider", "google")] == ["best"]
    assert [one["userId"] for one in operator.json("list", "--status", "429")] == ["bob"]
    assert operator.json("list", "--from", "2026-02-02") == []


def test_an_export_is_a_whole_file_or_goes_to_standard_output(operator: Operator) -> None:
    assert operator.succeeds("export", "--out", "calls.csv") == ""
    written = operator.directory / "calls.csv"
    rows = list(csv.DictReader(io.StringIO(written.read_bytes().decode(), newline="")))
    assert [row["id"] for row in rows] == ids(CALLS)
    assert [path.name for path in operator.directory.glob("calls.*")] == ["calls.csv"]
    lines = operator.succeeds("export", "--format", "jsonl", "--user", "bob").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids(CALLS)[:1]


def test_wrong_usage_is_status_2_and_names_the_option(operator: Operator) -> None:
    status, output, errors = operator("list", "--provider", "acme")
    assert (status, output) == (2, "")
    assert "--provider" in errors
    assert "Traceback" not in errors
