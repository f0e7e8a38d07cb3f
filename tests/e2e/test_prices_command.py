"""`model-service prices` and the money of `usage`, as an operator runs them."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from model_service.kernel.secret import Secret
from tests.conftest import _drop_database, _new_database
from tests.e2e.commands import run
from tests.faults.service_process import PRODUCTION

HOUSE: dict[str, Any] = {
    "format": "model-service-prices/1",
    "edition": "house 1",
    "effectiveFrom": "2099-01-01T00:00:00Z",
    "models": [{"provider": "OPENAI", "model": "gpt-house", "prices": [{"input": 7, "output": 9}]}],
}
EXPORT = {
    "data": [
        {
            "start_time": 1_767_225_600,
            "results": [
                {"input_tokens": 10, "output_tokens": 5, "model": "gpt-4o", "api_key_id": "key_a"}
            ],
        }
    ]
}

Command = Callable[..., tuple[int, str, str]]


@pytest_asyncio.fixture(scope="module")
async def environment(server_url: Secret[str]) -> AsyncIterator[dict[str, str]]:
    """Production, on a database of its own."""
    name, url = await _new_database(server_url)
    yield PRODUCTION | {"DATABASE_URL": url.reveal()}
    await _drop_database(server_url, name)


@pytest.fixture
def command(tmp_path: Path, environment: dict[str, str]) -> Command:
    def runs(*arguments: str) -> tuple[int, str, str]:
        done = run(*arguments, directory=tmp_path, environment=environment)
        return done.returncode, done.stdout, done.stderr

    return runs


def written(directory: Path, document: object) -> str:
    file = directory / "file.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_an_edition_is_checked_brought_in_and_listed(command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, HOUSE)
    assert command("prices", "update", file, "--check")[:2] == (
        0,
        "house 1: 1 models, sound; nothing was stored\n",
    )
    assert command("prices", "update", file)[:2] == (
        0,
        "house 1: 1 models, from 2099-01-01T00:00:00.000Z on\n",
    )
    assert command("prices", "update", file)[1] == "house 1 is known already; nothing was changed\n"
    listed = json.loads(command("prices", "list", "--json")[1])
    assert [edition["name"] for edition in listed["data"]] == ["house 1"]
    shown = command(
        "prices", "show", "--provider", "openai", "--model", "gpt-house",
        "--at", "2099-01-01", "--json",
    )  # fmt: skip
    (price,) = json.loads(shown[1])["data"]
    assert price["rates"]["input"] == 7


def test_a_file_that_is_not_sound_is_refused_by_the_place(command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, HOUSE | {"edition": "a@b"})
    status, _, errors = command("prices", "update", file)
    assert status == 2
    assert "nothing was stored: edition must be" in errors


def test_prices_are_shown_as_a_table(command: Command) -> None:
    status, output, _ = command("prices", "show", "--provider", "OPENAI", "--model", "gpt-5.4")
    assert status == 0
    assert "above 272000" in output


def test_what_if_says_what_it_takes_for_granted(command: Command) -> None:
    status, output, _ = command(
        "usage", "what-if", "--model", "OPENAI/gpt-5.4", "--from", "2026-01-01",
        "--to", "2026-01-31", "--json",
    )  # fmt: skip
    assert status == 0
    assert json.loads(output)["to"] == "2026-02-01T00:00:00.000Z"


def test_drift_above_the_threshold_is_told_by_the_exit_status(
    command: Command, tmp_path: Path
) -> None:
    file = written(tmp_path, EXPORT)
    status, output, _ = command("usage", "reconcile", "--provider", "openai", "--file", file)
    assert status == 3
    assert "drift 100.00%, above the 1.0% that pass" in output


def test_drift_that_is_let_pass_is_no_failure(command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, EXPORT)
    status, output, _ = command(
        "usage", "reconcile", "--provider", "openai", "--file", file, "--threshold", "100", "--json"
    )
    assert status == 0
    assert json.loads(output)["data"][0]["ours"] is None


def test_a_file_that_is_no_export_is_refused(command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, {"data": [{}]})
    status, _, errors = command("usage", "reconcile", "--provider", "openai", "--file", file)
    assert status == 2
    assert "file.data[0].results" in errors
