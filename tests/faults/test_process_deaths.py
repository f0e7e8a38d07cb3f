"""Deaths of the service, its workers and its database: clear answers, nothing lost."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.service_process import INTERNAL_SECRET, PRODUCTION, ServiceProcess, postmaster_pid

HEADERS = {"x-internal-secret": INTERNAL_SECRET}


def key(name: str) -> dict[str, Any]:
    return {"userId": "u1", "provider": "CUSTOM", "keyName": name, "apiKey": f"value-of-{name}"}


def store_until_it_fails(
    service: ServiceProcess, prefix: str, under_way: threading.Event
) -> dict[str, str]:
    """Ids and values of the keys whose storing was acknowledged; `under_way` from the first on."""
    acknowledged: dict[str, str] = {}
    index = 0
    with httpx.Client(base_url=service.client.base_url, headers=service.client.headers) as client:
        while True:
            body = key(f"{prefix}-{index}")
            try:
                answer = client.post("/api/api-keys", json=body)
            except httpx.TransportError:
                return acknowledged
            if answer.status_code == 201:
                acknowledged[answer.json()["id"]] = body["apiKey"]
                under_way.set()
            index += 1


def during_load(service: ServiceProcess, blow: Callable[[], None]) -> dict[str, str]:
    """Deal the blow while four clients store keys; gives what was acknowledged."""
    found: list[dict[str, str]] = []
    under_way = threading.Event()

    def store(number: int) -> None:
        found.append(store_until_it_fails(service, f"c{number}", under_way))

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert under_way.wait(60)
    blow()
    for thread in threads:
        thread.join()
    return {key_id: value for part in found for key_id, value in part.items()}


@pytest.mark.parametrize("seed", range(4))
def test_no_acknowledged_key_is_lost_when_service_and_database_are_killed(
    tmp_path: Path, seed: int
) -> None:
    service = ServiceProcess(tmp_path, **PRODUCTION).start()

    def blow() -> None:
        time.sleep(random.Random(seed).uniform(0.1, 0.6))
        postmaster = postmaster_pid(tmp_path)
        assert postmaster is not None
        service.kill()
        if seed % 2:  # on odd seeds the database dies with it
            os.kill(postmaster, signal.SIGKILL)

    acknowledged = during_load(service, blow)
    service.client.close()
    assert acknowledged
    with ServiceProcess(tmp_path, **PRODUCTION) as again:
        for key_id, value in acknowledged.items():
            answer = again.client.get(f"/api/api-keys/{key_id}/decrypt", headers=HEADERS)
            assert answer.json() == {"key": value}


def test_a_database_that_goes_away_is_a_503_and_comes_back_by_itself(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION) as service:
        made = service.client.post("/api/api-keys", json=key("one")).json()
        path = f"/api/api-keys/{made['id']}/decrypt"
        assert service.client.get(path, headers=HEADERS).status_code == 200
        postmaster = postmaster_pid(tmp_path)
        assert postmaster is not None
        os.kill(postmaster, signal.SIGQUIT)  # pg_ctl stop -m immediate
        while postmaster_pid(tmp_path) is not None:
            time.sleep(0.01)
        for answer in (
            service.client.get("/api/models"),
            service.client.get(path, headers=HEADERS),
            service.client.post("/api/api-keys", json=key("two")),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] == "database_unavailable"
            assert int(answer.headers["retry-after"]) >= 1
        assert service.client.get("/api/health").status_code == 200
        ready = service.client.get("/api/health/ready")
        assert ready.status_code == 503
        assert ready.json()["checks"]["database"] == "database_unavailable"
        deadline = time.monotonic() + 30
        while service.client.get("/api/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.client.get(path, headers=HEADERS).json() == {"key": "value-of-one"}
        assert service.client.get("/api/models").status_code == 200


def test_a_dead_worker_is_replaced_and_all_stop_together(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION, WORKERS="2") as service:
        made = service.client.post("/api/api-keys", json=key("one")).json()
        path = f"/api/api-keys/{made['id']}/decrypt"
        assert service.process is not None
        supervisor = service.process.pid

        def workers() -> set[int]:
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            return {
                int(pid)
                for pid in children
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
            }

        before = workers()
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while len(workers() - before) < 1 or len(workers()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(20):
            with httpx.Client(base_url=service.client.base_url) as client:
                answer = client.get(path, headers=HEADERS, timeout=20)
                assert answer.json() == {"key": "value-of-one"}
        after = workers()
        metrics = service.client.get("/metrics").text
        assert 'model_service_key_reveals_total{outcome="given"} 20.0' in metrics
        assert service.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in after)
        assert postmaster_pid(tmp_path) is None


def test_a_request_under_way_is_answered_before_the_service_stops(
    tmp_path: Path, sandbox_environment: dict[str, str]
) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION, **sandbox_environment) as service:
        body = key("slow") | {"provider": "OPENAI", "apiKey": "sk-sandbox-silent-0123456789"}
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.post(
                    f"http://127.0.0.1:{service.port}/api/api-keys",
                    json=body,
                    headers=service.client.headers,
                    timeout=20,
                )
            )
        )
        asking.start()
        with httpx.Client(base_url=service.client.base_url, headers=service.client.headers) as ask:
            deadline = time.monotonic() + 10
            while "http_server_active_requests 2.0" not in ask.get("/metrics").text:
                assert time.monotonic() < deadline
        assert service.stop() == 0
        asking.join()
        assert answers[0].status_code == 503, "the provider is silent; the caller still hears so"
        assert "timeout" in answers[0].json()["message"]
