"""Starting: from nothing, again, with faults, and many at once."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import httpx
import pytest

from model_service.db.embedded import running
from tests.faults.service_process import PRODUCTION, ServiceProcess, free_port, postmaster_pid

KEY = {"userId": "u1", "provider": "OLLAMA", "keyName": "local", "apiKey": "super-local-key-1234"}


def test_development_starts_from_nothing_keeps_its_keys_and_stops_cleanly(tmp_path: Path) -> None:
    secrets = tmp_path / "data" / "secrets.env"
    with ServiceProcess(tmp_path) as service:
        made = service.client.post("/api/api-keys", json=KEY)
        assert made.status_code == 201, made.text
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        internal = dict(
            line.split("=", 1) for line in secrets.read_text().splitlines() if "=" in line
        )["INTERNAL_SECRET"]
        path = f"/api/api-keys/{made.json()['id']}/decrypt"
        headers = {"x-internal-secret": internal}
        assert service.client.get(path, headers=headers).json() == {"key": KEY["apiKey"]}
        assert service.client.get(path).status_code == 401
        assert service.stop() == 0
        assert postmaster_pid(tmp_path) is None
    with ServiceProcess(tmp_path) as service:
        assert service.client.get(path, headers=headers).json() == {"key": KEY["apiKey"]}
    assert str(KEY["apiKey"]) not in service.output.read_text()
    assert internal not in service.output.read_text()


def test_production_lists_every_fault_and_opens_no_port(tmp_path: Path) -> None:
    service = ServiceProcess(
        tmp_path,
        ENVIRONMENT="production",
        ENCRYPTION_SECRET="too-short",
        INTERNAL_SECRET="change-me-please-now",
        WORKERS="many",
        DATABASE_URL="mysql://u:open-sesame@h/d",
        OPENAI_BASE_URL="ftp://api.openai.com",
        UPSTREAM_ALLOWED_HOSTS="intranet",
        HOST="127.0.0.1",
    ).launch()
    assert service.ended() == 1
    said = service.output.read_text()
    assert "ENCRYPTION_SECRET must be at least 32 characters long" in said
    assert "INTERNAL_SECRET is a placeholder" in said
    assert "ADMIN_TOKEN is required in production" in said
    assert "WORKERS: input should be a valid integer" in said
    assert "DATABASE_URL must start with postgresql://" in said
    assert "OPENAI_BASE_URL is malformed" in said
    assert "UPSTREAM_ALLOWED_HOSTS has a malformed entry 'intranet'" in said
    assert "too-short" not in said
    assert "open-sesame" not in said
    assert "Traceback" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{service.port}/api/health")


def test_a_wrong_secret_or_a_missing_keyring_ends_the_start(tmp_path: Path) -> None:
    async def forget_keyring(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("TRUNCATE keyring_wraps, keyring_terms, keyring_term_keys")
        await connection.close()

    import asyncio

    with ServiceProcess(tmp_path, **PRODUCTION) as service:
        assert service.client.post("/api/api-keys", json=KEY).status_code == 201
    other = {**PRODUCTION, "ENCRYPTION_SECRET": "another-secret-that-is-long-enough-00"}
    wrong = ServiceProcess(tmp_path, **other).launch()
    assert wrong.ended() == 1
    assert "ENCRYPTION_SECRET does not match" in wrong.output.read_text()
    with running(tmp_path / "data") as url:
        asyncio.run(forget_keyring(url.reveal()))
    bereft = ServiceProcess(tmp_path, **PRODUCTION).launch()
    assert bereft.ended() == 1
    assert "keyring" in bereft.output.read_text()
    assert "Traceback" not in wrong.output.read_text() + bereft.output.read_text()


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    port = free_port()
    service = ServiceProcess(
        tmp_path,
        **PRODUCTION,
        DATABASE_URL=f"postgresql://someone:open-sesame-9@127.0.0.1:{port}/models",
    ).launch()
    assert service.ended() == 1
    said = service.output.read_text()
    assert f"127.0.0.1:{port}/models" in said
    assert "DATABASE_URL" in said
    assert "open-sesame-9" not in said
    assert "Traceback" not in said


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service = ServiceProcess(tmp_path, PORT=str(taken.getsockname()[1])).launch()
        assert service.ended() == 1
    assert "cannot listen on 127.0.0.1" in service.output.read_text()
    assert "Traceback" not in service.output.read_text()
    assert postmaster_pid(tmp_path) is None


def test_eight_first_starts_at_once_share_one_database_and_one_keyring(tmp_path: Path) -> None:
    services = [ServiceProcess(tmp_path).launch() for _ in range(8)]
    try:
        for service in services:
            service.wait_until_up(90)
        internal = (tmp_path / "data" / "secrets.env").read_text().split("INTERNAL_SECRET=")[1]
        for index, service in enumerate(services):
            made = service.client.post("/api/api-keys", json=KEY | {"keyName": str(index)})
            path = f"/api/api-keys/{made.json()['id']}/decrypt"
            headers = {"x-internal-secret": internal.strip()}
            for other in services:
                answer = other.client.get(path, headers=headers)
                assert answer.json() == {"key": KEY["apiKey"]}
    finally:
        statuses = [service.stop() for service in services]
    assert statuses == [0] * 8
    assert postmaster_pid(tmp_path) is None


def test_migrate_check_says_whether_there_is_something_to_do(tmp_path: Path) -> None:
    def migrate(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "model_service", "migrate", *options],
            cwd=tmp_path,
            env={"DATA_DIR": str(tmp_path / "data"), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    before = migrate("--check")
    assert (before.returncode, "empty" in before.stderr) == (1, True)
    assert migrate().returncode == 0
    assert migrate("--check").returncode == 0
    assert migrate().stdout.strip() == "nothing to do"
