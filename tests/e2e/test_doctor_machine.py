"""What the doctor says of this machine."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from model_service.cli import doctor_machine, doctor_providers
from model_service.cli.doctor_machine import MEBIBYTE, disk_space
from model_service.cli.doctor_providers import reach
from model_service.cli.findings import Finding, State, document, fail, ok, warn, worst
from model_service.kernel.errors import ConnectFailed
from model_service.kernel.secret import Secret
from model_service.providers.endpoint import Endpoint
from model_service.sandbox.server import Sandbox
from model_service.settings import Environment, Settings


def given(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def test_every_fault_of_the_configuration_is_a_finding() -> None:
    settings = given(upstream_allowed_hosts="nonsense")
    findings = doctor_machine.configuration(settings, ["PORT: is no number"])
    assert [finding.state for finding in findings] == [State.FAIL, State.FAIL]
    assert findings[0].message == "PORT: is no number"
    assert "UPSTREAM_ALLOWED_HOSTS" in findings[1].message


def test_a_configuration_that_holds_is_one_finding() -> None:
    (finding,) = doctor_machine.configuration(given(), [])
    assert finding.state is State.OK


def test_a_data_directory_that_is_missing_is_told_of_and_not_made(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    finding = doctor_machine.data_directory(directory)
    assert finding.state is State.WARN
    assert "does not exist yet" in finding.message
    assert doctor_machine.disk(directory).state is not State.FAIL
    assert list(tmp_path.iterdir()) == []


def test_a_data_directory_that_is_a_file_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert doctor_machine.data_directory(file).state is State.FAIL
    assert doctor_machine.data_directory(file / "below").state is State.FAIL
    assert doctor_machine.data_directory(tmp_path).state is State.OK


def test_a_data_directory_that_may_not_be_written_to_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere, so the system's answer is what is set here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert doctor_machine.data_directory(tmp_path).state is State.FAIL
    assert doctor_machine.data_directory(tmp_path / "new").state is State.FAIL


@pytest.mark.parametrize(
    ("free", "state"),
    [
        (100 * MEBIBYTE - 1, State.FAIL),
        (100 * MEBIBYTE, State.WARN),
        (1024 * MEBIBYTE - 1, State.WARN),
        (1024 * MEBIBYTE, State.OK),
    ],
)
def test_little_free_disk_warns_and_hardly_any_fails(free: int, state: State) -> None:
    assert disk_space(Path("/"), free).state is state


@pytest.mark.parametrize(
    ("mode", "state"),
    [(0o600, State.OK), (0o400, State.OK), (0o640, State.FAIL), (0o604, State.FAIL)],
)
def test_a_secrets_file_that_others_may_read_fails(tmp_path: Path, mode: int, state: State) -> None:
    file = tmp_path / "secrets.env"
    file.touch()
    file.chmod(mode)
    (finding,) = doctor_machine.secrets_file(tmp_path)
    assert finding.state is state


def test_without_generated_secrets_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert doctor_machine.secrets_file(tmp_path) == []


@contextmanager
def listening(answer: object) -> Iterator[int]:
    """A server on some port that gives this answer as JSON to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_port_that_the_service_listens_on_is_fine() -> None:
    answer = {"status": "ok", "service": "model-service", "version": "1.2.3"}
    with listening(answer) as port:
        finding = doctor_machine.port(given(host="127.0.0.1", port=port))
    assert finding.state is State.OK
    assert "Model Service 1.2.3 is listening" in finding.message


@pytest.mark.parametrize("answer", [{"service": "another"}, ["model-service"], "text"])
def test_a_port_that_something_else_listens_on_fails(answer: object) -> None:
    with listening(answer) as port:
        finding = doctor_machine.port(given(host="127.0.0.1", port=port))
    assert finding.state is State.FAIL
    assert finding.remedy is not None


def test_a_port_whose_holder_says_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "_ASK_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = doctor_machine.port(given(host="127.0.0.1", port=silent.getsockname()[1]))
    assert finding.state is State.FAIL


def test_a_free_port_is_fine_and_free_again_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        number = held.getsockname()[1]
    settings = given(host="127.0.0.1", port=number)
    assert "is free" in doctor_machine.port(settings).message
    assert "is free" in doctor_machine.port(settings).message


def test_hints_for_production_are_given_in_production_alone() -> None:
    assert doctor_machine.production(given(), cores=8) == []


@pytest.mark.parametrize(
    ("values", "cores", "check", "state"),
    [
        ({"workers": 1}, 8, "workers", State.WARN),
        ({"workers": 1}, 2, "workers", State.OK),
        ({"workers": 9}, 8, "workers", State.WARN),
        ({"workers": 8}, 8, "workers", State.OK),
        ({"admin_token": None}, 1, "admin token", State.FAIL),
        ({"admin_token": Secret("x" * 31)}, 1, "admin token", State.WARN),
        ({"admin_token": Secret("x" * 32)}, 1, "admin token", State.OK),
    ],
)
def test_a_hint_for_production(
    values: dict[str, Any], cores: int, check: str, state: State
) -> None:
    settings = given(environment=Environment.PRODUCTION, host="0.0.0.0", **values)  # noqa: S104
    findings = {f.check: f for f in doctor_machine.production(settings, cores)}
    assert findings[check].state is state


def test_a_public_address_comes_with_advice_on_tls() -> None:
    def advice(host: str) -> str | None:
        settings = given(environment=Environment.PRODUCTION, host=host)
        findings = {f.check: f for f in doctor_machine.production(settings, 1)}
        return findings["tls"].remedy

    assert advice("127.0.0.1") is None
    assert advice("::1") is None
    assert "TLS" in (advice("0.0.0.0") or "")  # noqa: S104


async def test_providers_that_answer_anything_are_reachable(
    sandbox: Sandbox, settings: Settings
) -> None:
    findings = await doctor_providers.providers(settings)
    assert [finding.state for finding in findings] == [State.OK] * 4
    assert [finding.check for finding in findings] == [
        f"provider {name}" for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "OLLAMA")
    ]


async def test_a_provider_that_cannot_be_reached_is_a_warning() -> None:
    async def refuse(endpoint: Endpoint) -> int:
        raise ConnectFailed("No connection")

    finding = await reach("OPENAI", "https://api.example.org/v1", refuse)
    assert finding.state is State.WARN
    assert finding.message == "https://api.example.org: No connection"
    assert "OPENAI_BASE_URL" in (finding.remedy or "")


async def test_a_provider_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(endpoint: Endpoint) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(doctor_providers, "PATIENCE", 0.01)
    finding = await reach("OPENAI", "https://api.example.org/v1", hang)
    assert finding.state is State.WARN
    assert "did not answer" in finding.message


async def test_a_base_url_that_is_none_fails_without_repeating_it() -> None:
    async def never(endpoint: Endpoint) -> int:
        raise AssertionError

    finding = await reach("OPENAI", "https://user:hunter2@api.example.org/v1", never)
    assert finding.state is State.FAIL
    assert "hunter2" not in finding.message


def test_the_worst_finding_decides_the_status() -> None:
    fine, odd, broken = ok("a", "m"), warn("b", "m", "r"), fail("c", "m", "r")
    assert worst([]) is State.OK
    assert worst([odd, fine]) is State.WARN
    assert worst([fine, broken, odd]) is State.FAIL
    assert document([fine, odd]) == {
        "status": "warn",
        "findings": [
            {"check": "a", "state": "ok", "message": "m", "remedy": None},
            {"check": "b", "state": "warn", "message": "m", "remedy": "r"},
        ],
    }
    assert isinstance(broken, Finding)
