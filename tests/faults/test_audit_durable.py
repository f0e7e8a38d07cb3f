"""The trail outlives whatever dies: what was answered is in it, and the chain is whole."""

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.commands import run
from tests.faults.service_process import INTERNAL_SECRET, PRODUCTION, ServiceProcess, postmaster_pid

HEADERS = {"x-internal-secret": INTERNAL_SECRET}


def key(name: str) -> dict[str, Any]:
    return {"userId": "u1", "provider": "CUSTOM", "keyName": name, "apiKey": f"value-of-{name}"}


def reveal_until_it_fails(base_url: httpx.URL, path: str, done: list[str], begun: Any) -> None:
    """Notes the request id of every answer that held the key."""
    with httpx.Client(base_url=base_url, headers=HEADERS) as client:
        while True:
            try:
                answer = client.get(path)
            except httpx.TransportError:
                return
            if answer.status_code != 200:
                return
            done.append(answer.headers["x-request-id"])
            begun.set()


def records(service: ServiceProcess, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = service.client.get(f"{path}?limit=500{cursor}").json()
        found += page["data"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"


def verified(directory: Path) -> int:
    """How many records `audit verify` finds right."""
    environment = PRODUCTION | {"DATA_DIR": str(directory / "data")}
    done = run("audit", "verify", directory=directory, environment=environment)
    assert done.returncode == 0, done.stderr
    match = re.search(r"records 1 to (\d+)", done.stdout)
    assert match is not None
    return int(match.group(1))


@pytest.mark.parametrize("whole_service", [False, True])
def test_a_key_that_was_given_out_is_in_the_trail_though_the_database_is_killed_at_once(
    tmp_path: Path, whole_service: bool
) -> None:
    service = ServiceProcess(tmp_path, **PRODUCTION).start()
    made = service.client.post("/api/api-keys?validate=false", json=key("one")).json()
    path = f"/api/api-keys/{made['id']}/decrypt"
    given: list[str] = []
    begun = threading.Event()
    threads = [
        threading.Thread(
            target=reveal_until_it_fails, args=(service.client.base_url, path, given, begun)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    postmaster = postmaster_pid(tmp_path)
    assert postmaster is not None
    os.kill(postmaster, signal.SIGKILL)
    if whole_service:
        service.kill()
    for thread in threads:
        thread.join()
    if not whole_service:
        service.stop()
    assert given
    with ServiceProcess(tmp_path, **PRODUCTION) as again:
        recorded = {record["requestId"] for record in records(again, "/api/audit")}
    assert set(given) <= recorded
    assert verified(tmp_path) >= len(given)


def test_workers_that_append_at_once_make_one_chain(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION, WORKERS="3") as service:
        made = service.client.post("/api/api-keys?validate=false", json=key("one")).json()
        path = f"/api/api-keys/{made['id']}/decrypt"

        def ask() -> None:
            for _ in range(25):  # a connection each, so that every worker gets some
                answer = httpx.get(
                    f"http://127.0.0.1:{service.port}{path}", headers=HEADERS, timeout=20
                )
                assert answer.json() == {"key": "value-of-one"}

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = [r for r in records(service, "/api/audit") if r["type"] == "key.reveal"]
        assert len(found) == 200
        assert len({record["instance"] for record in found}) > 1
        assert service.stop() == 0
    assert verified(tmp_path) > 200
