"""The master secret and the data key replaced under four processes that are in use."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.service_process import (
    ENCRYPTION_SECRET,
    INTERNAL_SECRET,
    PRODUCTION,
    ServiceProcess,
    free_port,
)

NEW_SECRET = "process-master-secret-of-tomorrow-51c0"
OLD = PRODUCTION
NEW = PRODUCTION | {
    "ENCRYPTION_SECRET": NEW_SECRET,
    "ENCRYPTION_SECRET_PREVIOUS": ENCRYPTION_SECRET,
}
PROCESSES = 4
#: Seconds between two rounds of about six requests.
PACE = 0.1


def secret(directory: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """`model-service secret ...` beside the services; exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "model_service", "secret", *arguments],
        cwd=directory,
        env={"PATH": "", "DATA_DIR": str(directory / "data"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


class Load:
    """Decrypts and stores keys at one process, all the time."""

    def __init__(self, port: int, values: dict[str, str]) -> None:
        self.port = port
        self.given = 0
        self.stored = 0
        self.faults: list[str] = []
        #: Whether the process is being restarted: only then may a connection not come about.
        self.restarting = False
        self._values = dict(values)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        headers = {
            "authorization": f"Bearer {PRODUCTION['ADMIN_TOKEN']}",
            "x-internal-secret": INTERNAL_SECRET,
        }
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers=headers,
            timeout=20,
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as client:
            # Paced: the commands and restarts beside it need a part of the machine too.
            while not self._stop.wait(PACE):
                was_restarting = self.restarting
                try:
                    self._round(client)
                except httpx.TransportError as error:
                    if not (was_restarting or self.restarting):
                        self.faults.append(repr(error))

    def _round(self, client: httpx.Client) -> None:
        for key_id, value in list(self._values.items()):
            answer = client.get(f"/api/api-keys/{key_id}/decrypt")
            if answer.status_code != 200 or answer.json() != {"key": value}:
                self.faults.append(f"decrypt: {answer.status_code} {answer.text}")
            else:
                self.given += 1
        name = f"{self.port}-{self.stored}"
        body = {"userId": "u1", "provider": "CUSTOM", "keyName": name, "apiKey": f"value-{name}"}
        made = client.post("/api/api-keys", json=body)
        if made.status_code != 201:
            self.faults.append(f"create: {made.status_code} {made.text}")
            return
        self.stored += 1
        self._values = dict(list(self._values.items())[-4:])
        self._values[made.json()["id"]] = f"value-{name}"


@contextmanager
def loads(ports: list[int], values: dict[str, str]) -> Iterator[dict[int, Load]]:
    """One load on each process."""
    running = {port: Load(port, values) for port in ports}
    for load in running.values():
        load.start()
    try:
        yield running
    finally:
        for load in running.values():
            load.stop()


def restart(service: ServiceProcess, load: Load) -> ServiceProcess:
    load.restarting = True
    assert service.stop() == 0
    replacement = ServiceProcess(service.directory, **NEW, PORT=str(service.port)).start()
    load.restarting = False
    return replacement


@pytest.mark.timeout(300)  # ten processes start one after the other, and others may use the machine
def test_no_decrypt_fails_while_secret_and_data_key_are_replaced_under_four_processes(
    tmp_path: Path,
) -> None:
    services = [
        ServiceProcess(tmp_path, **OLD, PORT=str(free_port())).launch() for _ in range(PROCESSES)
    ]
    file = tmp_path / "new-secret"
    file.write_text(NEW_SECRET)
    try:
        for service in services:
            service.wait_until_up(90)
        body = {"userId": "u1", "provider": "CUSTOM", "keyName": "first", "apiKey": "value-first"}
        made = services[0].client.post("/api/api-keys", json=body).json()
        with loads([service.port for service in services], {made["id"]: "value-first"}) as load:
            status, _, said = secret(
                tmp_path, OLD, "rotate", "--stage", "--new-secret-file", str(file)
            )
            assert status == 0, said
            for index, service in enumerate(services):
                if index == PROCESSES - 1:
                    status, _, said = secret(tmp_path, NEW, "rotate", "--finalize")
                    assert (status, "1 running instances still use" in said) == (1, True)
                    assert service.process is not None
                    assert f":{service.process.pid}." in said
                services[index] = restart(service, load[service.port])
            status, _, said = secret(tmp_path, NEW, "rotate", "--finalize")
            assert status == 0, said

            before = {port: (one.given, one.stored) for port, one in load.items()}
            status, said, _ = secret(tmp_path, NEW, "rotate", "--term")
            assert (status, "Term 2 seals new records" in said) == (0, True)
            deadline = time.monotonic() + 60
            while terms(tmp_path)[0]["records"]["api_keys"]:
                assert time.monotonic() < deadline
        assert [one.faults for one in load.values()] == [[]] * PROCESSES
        for port, one in load.items():
            assert one.given > before[port][0] > 0
            assert one.stored > before[port][1] > 0
        second = terms(tmp_path)[1]
        assert second["state"] == "active"
        assert second["records"]["api_keys"] == 1 + sum(one.stored for one in load.values())
        answer = services[2].client.get(
            f"/api/api-keys/{made['id']}/decrypt", headers={"x-internal-secret": INTERNAL_SECRET}
        )
        assert answer.json() == {"key": "value-first"}
    finally:
        statuses = [service.stop() for service in services]
    assert statuses == [0] * PROCESSES


def terms(directory: Path) -> list[dict[str, Any]]:
    status, said, errors = secret(directory, NEW, "status", "--json")
    assert status == 0, errors
    found: list[dict[str, Any]] = json.loads(said)["terms"]
    return found
