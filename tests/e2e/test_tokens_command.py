"""`model-service tokens`, as an operator runs it beside a running service."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7
from tests.conftest import _drop_database, _new_database
from tests.e2e.commands import run
from tests.faults.service_process import PRODUCTION, ServiceProcess

#: Seconds in which a revocation reaches everybody (SECURITY.md, "Access").
PROMISE = 1.0
LATER = "2099-01-01T00:00:00.000Z"


@pytest_asyncio.fixture(scope="module")
async def environment(server_url: Secret[str]) -> AsyncIterator[dict[str, str]]:
    """Production, on a database of its own that is still empty."""
    name, url = await _new_database(server_url)
    yield PRODUCTION | {"DATABASE_URL": url.reveal()}
    await _drop_database(server_url, name)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[ServiceProcess]:
    """The service, as a process of its own."""
    with ServiceProcess(tmp_path_factory.mktemp("running"), **environment) as process:
        yield process


class Operator:
    """Runs the commands on the running service's database."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        directory, environment = self._directory, self._environment
        done = run("tokens", *arguments, directory=directory, environment=environment)
        return done.returncode, done.stdout, done.stderr

    def makes(self, *arguments: str) -> dict[str, Any]:
        status, output, errors = self("create", "--json", *arguments)
        assert status == 0, errors
        document: dict[str, Any] = json.loads(output)
        return document

    def lists(self, *arguments: str) -> list[dict[str, Any]]:
        status, output, errors = self("list", "--json", *arguments)
        assert status == 0, errors
        documents: list[dict[str, Any]] = json.loads(output)
        return documents


@pytest.fixture
def operator(tmp_path: Path, environment: dict[str, str], running: ServiceProcess) -> Operator:
    return Operator(tmp_path, environment)


def status_of(running: ServiceProcess, token: str, path: str = "/api/models") -> int:
    headers = {"authorization": f"Bearer {token}"}
    return running.client.get(path, headers=headers).status_code


def test_a_token_is_printed_alone_taken_at_once_and_refused_once_revoked(
    operator: Operator, running: ServiceProcess
) -> None:
    status, output, errors = operator("create", "--role", "service", "--label", "agents")
    assert status == 0, errors
    token = output.removesuffix("\n")
    assert "\n" not in token
    token_id = str(UUID(token.split("_")[1]))
    assert f"token {token_id}; it is shown this once" in errors
    assert token.rpartition("_")[2] not in errors
    assert status_of(running, token) == 200
    status, output, errors = operator("revoke", token_id)
    revoked = time.monotonic()
    assert (status, output) == (0, f"token {token_id} is revoked\n"), errors
    while (found := status_of(running, token)) == 200:
        assert time.monotonic() < revoked + PROMISE
    assert found == 401


def test_a_token_made_with_every_option_is_what_the_running_service_shows(
    operator: Operator, running: ServiceProcess
) -> None:
    made = operator.makes(
        "--role", "user", "--user", "ada", "--label", "laptop", "--model", "b", "--model", "a",
        "--route", "keys:read", "--route", "models:read", "--expires-at", LATER,
    )  # fmt: skip
    token = made.pop("token")
    assert made == {
        "id": made["id"],
        "role": "user",
        "userId": "ada",
        "label": "laptop",
        "scopes": {"models": ["a", "b"], "routes": ["keys:read", "models:read"]},
        "expiresAt": LATER,
        "createdAt": made["createdAt"],
    }
    shown = running.client.get("/api/tokens?userId=ada").json()["data"]
    assert shown == [made | {"lastUsedAt": None}]
    assert operator.lists("--user", "ada") == shown
    assert [status_of(running, token, path) for path in ("/api/models", "/api/tokens")] == [
        200,
        403,
    ]


def test_an_administrators_token_from_the_command_makes_the_next_one_over_http(
    operator: Operator, running: ServiceProcess
) -> None:
    first = operator.makes("--role", "admin")
    headers = {"x-api-key": first["token"]}
    wanted = {"role": "user", "userId": "bob"}
    with httpx.Client(base_url=running.client.base_url) as client:
        answer = client.post("/api/tokens", json=wanted, headers=headers)
    assert answer.status_code == 201
    assert [one["id"] for one in operator.lists("--user", "bob")] == [answer.json()["id"]]


def test_lists_come_newest_first_without_any_text(operator: Operator) -> None:
    made = operator.makes("--role", "user", "--user", "eve", "--label", "\x1b[31mred")
    second = operator.makes("--role", "user", "--user", "eve", "--route", "keys:read")
    assert [one["id"] for one in operator.lists("--user", "eve")] == [second["id"], made["id"]]
    status, table, errors = operator("list", "--user", "eve")
    assert status == 0, errors
    head, first_row, second_row = table.splitlines()
    assert head.split() == ["id", "role", "user", "label", "scopes", "expires", "last", "used"]
    assert first_row.split() == [second["id"], "user", "eve", "keys:read", "never", "never"]
    assert second_row.startswith(made["id"])
    assert "\x1b" not in table, "a label cannot command the terminal"
    for document in (made, second):
        assert document["token"].rpartition("_")[2] not in table
    assert operator.lists("--user", "nobody-has-this-name") == []


def test_what_the_operator_did_is_in_the_trail_under_its_name(
    operator: Operator, running: ServiceProcess
) -> None:
    made = operator.makes("--role", "service")
    assert operator("revoke", made["id"])[0] == 0
    query = {"subject": f"token:{made['id']}"}
    records = running.client.get("/api/audit", params=query).json()["data"]
    assert [record["type"] for record in records] == ["token.revoke", "token.create"]
    assert all(record["actor"].startswith("operator:") for record in records)
    assert all("@" in record["actor"] for record in records)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create",), "--role"),
        (("create", "--role", "root"), "role"),
        (("create", "--role", "user"), "userId is required for the role user"),
        (("create", "--role", "service", "--route", "keys:steal"), "scopes.routes.0"),
        (
            ("create", "--role", "service", "--expires-at", "2020-01-01T00:00:00Z"),
            "expiresAt must be in the future",
        ),
        (("revoke", "not-an-id"), "token_id"),
        (("list", "--page", "2"), "--page"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(
    operator: Operator, arguments: tuple[str, ...], said: str
) -> None:
    status, output, errors = operator(*arguments)
    assert (status, output) == (2, "")
    assert "Usage" in errors
    assert said in " ".join(errors.split())
    assert "Traceback" not in errors


def test_a_token_that_is_not_there_is_status_1_in_one_sentence(operator: Operator) -> None:
    status, output, errors = operator("revoke", str(uuid7()))
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1] == "model-service: No such token"


def test_a_wrong_master_secret_makes_no_token(
    operator: Operator, environment: dict[str, str], tmp_path: Path
) -> None:
    before = operator.lists()
    wrong = Operator(
        tmp_path, environment | {"ENCRYPTION_SECRET": "another-master-secret-9b1f6d20c7e4a853"}
    )
    status, output, errors = wrong("create", "--role", "admin")
    assert (status, output) == (1, "")
    assert "ENCRYPTION_SECRET does not match" in errors
    assert operator.lists() == before
