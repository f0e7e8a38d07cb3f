"""`model-service secret`, as an operator runs it beside running instances."""

import asyncio
import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import delete, select, update
from typer.testing import CliRunner

from model_service.cli import commands
from model_service.db import tables
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable, StartupFault
from model_service.kernel.secret import Secret
from model_service.settings import Settings
from tests.conftest import _drop_database, _new_database
from tests.e2e.commands import production, run, start
from tests.keyrings import NEW_SECRET, OLD_SECRET, Process, closed, emptied, engines, let_pass
from tests.transit_stand_in import TOKEN, serving

Done = subprocess.CompletedProcess[str]


@pytest_asyncio.fixture(scope="module")
async def url(server_url: Secret[str]) -> AsyncIterator[Secret[str]]:
    name, url = await _new_database(server_url)
    await migrate(url)
    yield url
    await _drop_database(server_url, name)


@pytest_asyncio.fixture
async def database(url: Secret[str]) -> AsyncIterator[Database]:
    databases = engines(url, 1)
    await emptied(databases[0])
    yield databases[0]
    await closed(databases)


class Operator:
    """Runs the command with the secrets that an instance would be started with."""

    def __init__(self, settings: Settings, url: Secret[str], directory: Path) -> None:
        self.directory = directory
        self.environment = production(settings, url)
        self.new_file = directory / "new-secret"
        self.new_file.write_text(NEW_SECRET.reveal() + "\n")

    def with_new_secret(self) -> dict[str, str]:
        return self.environment | {
            "ENCRYPTION_SECRET": NEW_SECRET.reveal(),
            "ENCRYPTION_SECRET_PREVIOUS": OLD_SECRET.reveal(),
        }

    async def __call__(self, *arguments: str, new: bool = False) -> Done:
        environment = self.with_new_secret() if new else self.environment
        done = await asyncio.to_thread(
            run, "secret", *arguments, directory=self.directory, environment=environment
        )
        assert "Traceback" not in done.stderr
        for secret in (OLD_SECRET, NEW_SECRET):
            assert secret.reveal() not in done.stdout + done.stderr
        return done

    async def status(self, *, new: bool = False) -> dict[str, Any]:
        done = await self("status", "--json", new=new)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def operator(settings: Settings, url: Secret[str], tmp_path: Path) -> Operator:
    return Operator(settings, url, tmp_path)


@pytest.fixture
def transit(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a key in Vault."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    with serving() as engine:
        engine.create_key("model-service")
        yield {
            "KEY_WRAPPER": "transit",
            "VAULT_ADDR": engine.address,
            "VAULT_TOKEN_FILE": str(token_file),
            "VAULT_TRANSIT_KEY": "model-service",
        }


async def test_the_secret_is_replaced_while_instances_run(
    operator: Operator, database: Database
) -> None:
    old = await Process.start(database, "old-instance:1")
    key = await old.add_key("sk-value")
    await old.watch.enter()
    staged = await operator("rotate", "--stage", "--new-secret-file", str(operator.new_file))
    assert staged.returncode == 0
    assert "ENCRYPTION_SECRET_PREVIOUS=<the old one>" in staged.stderr
    assert staged.stdout == ""

    early = await operator("rotate", "--finalize", new=True)
    assert early.returncode == 1
    assert "1 running instances still use the old secret: old-instance:1" in early.stderr

    status = await operator.status()
    assert [wrap["newest"] for wrap in status["wraps"]] == [False, True]
    assert [wrap["instances"] for wrap in status["wraps"]] == [["old-instance:1"], []]
    assert status["rewrap"] == {"moved": 3, "total": 3}, "the key, and the trail's two"

    new = await Process.start(database, "new-instance:1", NEW_SECRET)
    await new.watch.enter()
    await old.watch.leave()
    finalized = await operator("rotate", "--finalize", new=True)
    assert finalized.returncode == 0, finalized.stderr
    assert "does not open the keyring any more" in finalized.stdout
    assert await new.value_of(key.id) == "sk-value"
    refused = await operator("status")
    assert refused.returncode == 1
    assert "ENCRYPTION_SECRET does not match" in refused.stderr


async def test_a_term_is_changed_once_every_instance_has_taken_it_in(
    operator: Operator, database: Database
) -> None:
    instance = await Process.start(database, "instance:1")
    await instance.watch.enter()
    changing = asyncio.create_task(operator("rotate", "--term"))
    while not changing.done():
        await instance.watch.step()
        await asyncio.sleep(0)
    assert (await changing).returncode == 0
    await instance.watch.step()
    assert instance.keyring.active_term == 2
    shown = await operator("status")
    assert "decrypt_only" in shown.stdout
    assert "instance:1" in shown.stdout


async def test_after_a_leak_everything_is_encrypted_anew_and_what_to_replace_is_listed(
    operator: Operator, database: Database
) -> None:
    before = await Process.start(database)
    keys = [await before.add_key(f"sk-value-{n}", user_id=f"user-{n}") for n in range(3)]
    await before.add_version(keys[0], 5, "sk-not-in-use")
    await before.add_service_secrets("of the service's own")
    async with database.transaction() as connection:
        await connection.execute(delete(tables.audit_keys))
        await connection.execute(delete(tables.access_keys))
    missing = await operator("rotate", "--compromised")
    assert (missing.returncode, "say which secret" in missing.stderr) == (1, True)
    staged = await operator("rotate", "--compromised", "--new-secret-file", str(operator.new_file))
    assert staged.returncode == 0, staged.stderr
    assert "rotate --compromised" in staged.stderr
    done = await operator("rotate", "--compromised", "--json", new=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["destroyed"] is True
    assert report["remainingTerms"] == []
    assert [(k["id"], k["userId"], k["keyName"]) for k in report["providerKeys"]] == [
        (str(key.id), key.user_id, key.key_name) for key in keys
    ]
    assert report["providerKeys"][0].keys() == {
        "id", "userId", "provider", "keyName", "keyPrefix", "keyVersion",
    }  # fmt: skip
    assert report["others"]["webhook_secrets"] == 1
    assert report["others"]["api_key_versions"] == 1
    assert "sk-value" not in done.stdout + done.stderr

    after = await Process.start(database, secret=NEW_SECRET)
    assert [await after.value_of(key.id) for key in keys] == [f"sk-value-{n}" for n in range(3)]
    status = await operator.status(new=True)
    assert [(term["state"], term["exposed"]) for term in status["terms"]] == [
        ("destroyed", False),
        ("active", False),
    ]
    again = await operator("rotate", "--compromised", new=True)
    assert again.returncode == 0
    assert all(str(key.id) in again.stdout for key in keys)
    with pytest.raises(DatabaseUnavailable):
        await before.add_key("sk-under-an-exposed-term")


async def test_records_that_do_not_open_keep_an_exposed_term_and_this_is_a_failure(
    operator: Operator, database: Database
) -> None:
    process = await Process.start(database)
    await process.add_key("sk-good")
    bad = await process.add_key("sk-bad")
    async with database.transaction() as connection:
        await connection.execute(
            update(tables.api_keys)
            .where(tables.api_keys.c.id == bad.id)
            .values(user_id="somebody-else")
        )
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    done = await operator("rotate", "--compromised", "--json", new=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["remainingTerms"] == [1]
    assert str(bad.id) in done.stderr
    assert "1 records do not open" in done.stderr
    assert (await operator.status(new=True))["terms"][0]["exposed"] is True


@pytest.mark.parametrize("staged_before", [False, True], ids=["at once", "staged before"])
async def test_a_secret_that_leaked_is_replaced_by_a_key_of_transit_and_that_by_a_secret(
    operator: Operator, database: Database, transit: dict[str, str], *, staged_before: bool
) -> None:
    key = await (await Process.start(database)).add_key("sk-value")
    secret_alone = operator.environment
    operator.environment = secret_alone | transit
    if staged_before:
        assert (await operator("rotate", "--stage")).returncode == 0
    staged = await operator("rotate", "--compromised")
    assert staged.returncode == 0, staged.stderr
    assert "run\n    model-service secret rotate --compromised" in staged.stderr
    assert [wrap["exposedThrough"] for wrap in (await operator.status())["wraps"]] == [None, 1]
    done = await operator("rotate", "--compromised", "--json")
    assert done.returncode == 0, done.stderr
    assert [found["id"] for found in json.loads(done.stdout)["providerKeys"]] == [str(key.id)]
    status = await operator.status()
    assert [wrap["kind"] for wrap in status["wraps"]] == ["transit"]
    assert [term["state"] for term in status["terms"]] == ["destroyed", "active"]

    away = await operator("rotate", "--compromised", "--new-secret-file", str(operator.new_file))
    assert away.returncode == 0, away.stderr
    assert "KEY_WRAPPER=scrypt" in away.stderr
    unchanged = await operator("rotate", "--compromised")
    assert "This command runs with the old secret" in unchanged.stderr
    new = {"KEY_WRAPPER": "scrypt", "ENCRYPTION_SECRET": NEW_SECRET.reveal()}
    operator.environment = secret_alone | transit | new
    done = await operator("rotate", "--compromised", "--json")
    assert done.returncode == 0, done.stderr
    after = await Process.start(database, secret=NEW_SECRET)
    assert (after.keyring.active_term, await after.value_of(key.id)) == (3, "sk-value")


async def test_after_a_leak_a_key_that_is_in_use_already_does_not_replace_itself(
    operator: Operator, database: Database, transit: dict[str, str]
) -> None:
    await Process.start(database)
    operator.environment = operator.environment | transit
    assert (await operator("rotate", "--stage")).returncode == 0
    assert (await operator("rotate", "--finalize")).returncode == 0
    refused = await operator("rotate", "--compromised")
    assert refused.returncode == 1
    assert "set KEY_WRAPPER to another key" in refused.stderr


async def test_an_exposed_term_that_has_to_wait_is_not_taken_for_one_with_spoilt_records(
    operator: Operator, database: Database
) -> None:
    process = await Process.start(database)
    await process.custody.secrets.stage(NEW_SECRET, compromised=True)
    async with database.transaction():
        await process.add_key("sk-being-stored")
        done = await operator("rotate", "--compromised", "--json", new=True)
    assert done.returncode == 1
    assert json.loads(done.stdout)["remainingTerms"] == [1]
    assert "not destroyed yet: 1. Records were being stored" in done.stderr
    assert "do not open" not in done.stderr


@pytest.mark.parametrize("seed", range(2))
async def test_a_rotation_after_a_leak_that_is_killed_goes_on_where_it_was(
    operator: Operator, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    before = await Process.start(database)
    keys = {}
    for number in range(300):
        value = f"sk-value-{number}"
        keys[(await before.add_key(value)).id] = value
    await before.custody.secrets.stage(NEW_SECRET, compromised=True)

    def killed() -> None:
        process = start(
            "secret",
            "rotate",
            "--compromised",
            directory=operator.directory,
            environment=operator.with_new_secret(),
        )
        try:
            process.communicate(timeout=chance.uniform(1.2, 2.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    await asyncio.to_thread(killed)
    after = await Process.start(database, secret=NEW_SECRET)
    for key_id in chance.sample(list(keys), 20):
        assert await after.value_of(key_id) == keys[key_id]
    # What was killed may count as running still; time does away with it.
    await let_pass(database, 31)
    done = await operator("rotate", "--compromised", "--json", new=True)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["providerKeys"]) == 300
    assert await after.counts(1) == {}
    for key_id, value in keys.items():
        assert await after.value_of(key_id) == value
    async with database.single() as connection:
        wraps = await connection.scalars(select(tables.keyring_wraps.c.wrap_id))
        assert list(wraps) == [after.keyring.wrap_id]


async def test_a_generated_secret_is_printed_once_and_opens_the_keyring(
    operator: Operator, database: Database
) -> None:
    await Process.start(database)
    done = await operator("rotate", "--stage", "--generate")
    assert done.returncode == 0, done.stderr
    generated = done.stdout.strip()
    assert len(generated) == 64
    assert generated not in done.stderr
    assert (await Process.start(database, secret=Secret(generated))).keyring.active_term == 1
    assert (await operator("rotate", "--abandon")).stdout == "The staged secret was taken back.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "name one of --stage", id="no step"),
        pytest.param(["--stage", "--term"], "name one of --stage", id="two steps"),
        pytest.param(["--term", "--generate"], "--term takes no new secret", id="wrong step"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(commands.build(), ["secret", "rotate", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", "").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "--new-secret-file", id="no secret and nobody to ask"),
        pytest.param(["--new-secret-file", "absent"], "absent cannot be read", id="no file"),
        pytest.param(["--new-secret-file", "short", "--generate"], "not both", id="both"),
        pytest.param(["--new-secret-file", "short"], "at least 32 characters", id="short"),
        pytest.param(["--new-secret-file", "copied"], "is a placeholder", id="placeholder"),
    ],
)
def test_a_secret_that_no_service_would_start_with_is_not_staged(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(operator.directory)
    Path("short").write_text("too short")
    Path("copied").write_text("change-me-please-this-is-32-characters")
    done = CliRunner(env=operator.environment).invoke(
        commands.build(), ["secret", "rotate", "--stage", *arguments]
    )
    assert isinstance(done.exception, StartupFault)
    assert said in done.exception.message
