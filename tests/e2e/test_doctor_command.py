"""`model-service doctor` as an operator runs it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from model_service.cli import doctor, doctor_machine, doctor_providers
from model_service.cli.findings import State
from model_service.db.embedded import running
from model_service.db.migrate import migrate
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings
from tests.e2e.commands import production, run


def _states(document: dict[str, Any]) -> dict[str, str]:
    return {finding["check"]: finding["state"] for finding in document["findings"]}


def test_before_the_first_start_nothing_is_made(tmp_path: Path) -> None:
    done = run("doctor", "--json", directory=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["status"] == "warn"
    assert all(set(f) == {"check", "state", "message", "remedy"} for f in found["findings"])
    assert _states(found)["data directory"] == "warn"
    assert _states(found)["database"] == "warn"
    assert list(tmp_path.iterdir()) == []


async def test_the_embedded_database_is_left_as_it_was_found(tmp_path: Path) -> None:
    home = tmp_path / ".data"
    running_mark = home / "postgres" / "postmaster.pid"
    with running(home) as url:
        await migrate(url)
        during = run("doctor", "--json", directory=tmp_path)
        assert running_mark.exists()
    assert not running_mark.exists()
    after = run("doctor", "--json", directory=tmp_path)
    assert not running_mark.exists()
    for done in (during, after):
        assert done.returncode == 0, done.stderr
        states = _states(json.loads(done.stdout))
        assert states["database"] == states["migrations"] == states["keyring"] == "ok"


async def test_in_production_everything_is_found_and_shown_as_a_table(
    service: Service, settings: Settings, database_url: Secret[str], tmp_path: Path
) -> None:
    environment = production(settings, database_url)
    # In a thread: the stand-ins of the providers answer on this loop.
    done = await asyncio.to_thread(run, "doctor", directory=tmp_path, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing failed" in done.stdout
    assert done.stdout.count(" answers (") == 4
    for check in ("keyring", "provider OLLAMA", "workers", "tls", "admin token"):
        assert check in done.stdout
    for name in ("ENCRYPTION_SECRET", "INTERNAL_SECRET", "ADMIN_TOKEN"):
        assert environment[name] not in done.stdout + done.stderr


def test_every_fault_is_shown_at_once(tmp_path: Path) -> None:
    environment = {
        "ENVIRONMENT": "production",
        "PORT": "none",
        "ENCRYPTION_SECRET": "change-me",
        "DATABASE_URL": "mysql://ada:hunter2@host/db",
        "OLLAMA_BASE_URL": "http://127.0.0.1:9",
        "DATA_DIR": "/dev/null/below",
    }
    done = run("doctor", "--json", directory=tmp_path, environment=environment)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["status"] == "fail"
    messages = "\n".join(finding["message"] for finding in found["findings"])
    for part in (
        "PORT: ",
        "ENCRYPTION_SECRET must be at least 32 characters long",
        "INTERNAL_SECRET is required",
        "ADMIN_TOKEN is required",
        "DATABASE_URL must start with postgresql://",
        "/dev/null/below does not exist",
    ):
        assert part in messages
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("with a secret in it"), "could not be checked: RuntimeError"),
        (DatabaseUnavailable(), "could not be checked: The database cannot be reached right now"),
    ],
)
def test_a_check_that_breaks_is_a_finding_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, message: str
) -> None:
    def broken(directory: Path) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "log_to_stderr", lambda settings: None)
    monkeypatch.setattr(doctor_machine, "disk", broken)
    monkeypatch.setattr(doctor_providers, "providers", _no_providers)
    findings = {finding.check: finding for finding in doctor.diagnose(None)}
    assert findings["disk"].state is State.FAIL
    assert findings["disk"].message == message
    assert {"configuration", "data directory", "database", "port"} < findings.keys()


async def _no_providers(settings: Settings) -> list[Any]:
    return []
