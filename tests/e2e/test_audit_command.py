"""`model-service audit`, as an operator runs it, and the verifier as an auditor does."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select

import model_service.audit.standalone
from model_service.cli.operator import author
from model_service.db.tables import audit_records
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.settings import Settings
from tests.audit_trails import empty_trail
from tests.e2e.commands import production, run

LATER = "2999-01-01"
AUTHOR = f"operator:{author()}"


class Operator:
    """Runs the commands on the shared database."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        done = run("audit", *arguments, directory=self.directory, environment=self.environment)
        return done.returncode, done.stdout, done.stderr


@pytest_asyncio.fixture
async def operator(
    client: httpx.AsyncClient,
    database: Database,
    database_url: Secret[str],
    settings: Settings,
    tmp_path: Path,
) -> Operator:
    """On a trail of three records."""
    await empty_trail(database)
    key = {"userId": "u1", "provider": "CUSTOM", "keyName": "k", "apiKey": "a-value-of-a-key"}
    made = await client.post("/api/api-keys?validate=false", json=key)
    for name in ("renamed", "again"):
        await client.put(f"/api/api-keys/{made.json()['id']}", json={"keyName": name})
    return Operator(tmp_path, production(settings, database_url))


async def tamper(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(statement)


async def test_verify_says_what_is_right_or_where_it_is_not(
    operator: Operator, database: Database
) -> None:
    status, output, _ = operator("verify")
    assert (status, output) == (
        0,
        "right: records 1 to 3, of which a checkpoint covers those up to 0; 1 stored keys\n",
    )
    await tamper(database, "UPDATE audit_records SET actor = 'nobody' WHERE seq = 2")
    status, output, errors = operator("verify")
    assert (status, output) == (2, "")
    assert "WRONG: audit record 2: the record is not the one that was written" in errors


def alone(operator: Operator, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, model_service.audit.standalone.__file__, *arguments],
        cwd=operator.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


async def test_an_export_is_checked_by_the_stand_alone_verifier_and_against_the_trail(
    operator: Operator, database: Database
) -> None:
    status, output, errors = operator("export", "--out", "trail.jsonl", "--public-key", "key.pem")
    assert (status, output) == (0, "")
    assert "exported records 1 to 4" in errors
    right = "right: records 1 to 4, 1 checkpoints\n"
    assert alone(operator, "trail.jsonl", "key.pem") == (0, right)
    await empty_trail(database)
    status, _, errors = operator("verify", "--checkpoint", "trail.jsonl")
    assert status == 2
    assert "WRONG: audit record 1: the record is missing" in errors


def test_an_export_goes_to_standard_output_and_its_key_to_standard_error(
    operator: Operator,
) -> None:
    status, output, errors = operator("export", "--from", "2020-01-01")
    assert status == 0
    assert len(output.splitlines()) == 5
    assert "-----BEGIN PUBLIC KEY-----" in errors


def test_prune_removes_what_an_export_holds_and_nothing_else(operator: Operator) -> None:
    assert operator("export", "--out", "trail.jsonl")[0] == 0
    prune = ("prune", "--before", LATER, "--export", "trail.jsonl")
    status, output, errors = operator(*prune)
    assert (status, output) == (0, "removed records 1 to 4\n"), errors
    status, output, _ = operator("verify", "--checkpoint", "trail.jsonl")
    assert (status, output.split(",")[0]) == (0, "right: records 5 to 6")
    assert operator("export")[0] == 0, "to nowhere that is kept"
    status, output, errors = operator(*prune)
    assert (status, output) == (1, "")
    assert "The export does not hold the oldest records, from 5 on" in errors


async def test_prune_leaves_a_trail_alone_that_was_altered(
    operator: Operator, database: Database
) -> None:
    assert operator("export", "--out", "trail.jsonl")[0] == 0
    await tamper(database, "UPDATE audit_records SET ciphertext_sha256 = 'ab' WHERE seq = 1")
    status, output, errors = operator("prune", "--before", LATER, "--export", "trail.jsonl")
    assert (status, output) == (2, "")
    assert "WRONG: audit record 1: the record is not the one that was written" in errors
    async with database.transaction() as connection:
        assert await connection.scalar(select(func.min(audit_records.c.seq))) == 1


async def test_what_a_command_does_is_recorded_as_its_operator_s(
    operator: Operator, database: Database
) -> None:
    operator("export", "--out", "trail.jsonl")
    operator("prune", "--before", "2020-01-01", "--export", "trail.jsonl")
    assert await actors(database, "audit.export") == [AUTHOR]
    operator("prune", "--before", LATER, "--export", "trail.jsonl")
    assert await actors(database, "audit.prune") == [AUTHOR, AUTHOR]


async def actors(database: Database, kind: str) -> list[str]:
    query = select(audit_records.c.actor).where(audit_records.c.type == kind)
    async with database.transaction() as connection:
        return list((await connection.execute(query)).scalars())


@pytest.mark.parametrize(
    "arguments",
    [
        ("prune",),
        ("prune", "--before", LATER),
        ("export", "--from", "soon"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(
    operator: Operator, arguments: tuple[str, ...]
) -> None:
    status, output, errors = operator(*arguments)
    assert (status, output) == (2, "")
    assert "Usage" in errors


def test_a_checkpoint_file_must_hold_one(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("{}\n")
    status, _, errors = operator("verify", "--checkpoint", "empty.jsonl")
    assert status == 1
    assert "holds no checkpoint" in errors


def test_a_file_that_cannot_be_read_is_named(operator: Operator) -> None:
    for arguments in (
        ("verify", "--checkpoint", "nowhere.jsonl"),
        ("prune", "--before", LATER, "--export", "nowhere.jsonl"),
    ):
        status, output, errors = operator(*arguments)
        assert (status, output) == (1, "")
        assert "nowhere.jsonl cannot be read: No such file or directory" in errors
