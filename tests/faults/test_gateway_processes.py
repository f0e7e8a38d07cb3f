"""Several worker processes: calls at any of them, meters of all, one truth, and a stop in order."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from typing_extensions import override

from model_service.calling import METER_INTERVAL
from tests.faults.service_process import PRODUCTION, ServiceProcess, free_port

CALLS = 40

Outcome = tuple[int, bool]
"""The status of a call, and whether a key paid for it."""
ANSWERED: Outcome = (200, True)


class Upstream(ThreadingHTTPServer):
    """A provider whose streams wait in their middle until they may go on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.streaming = threading.Event()
        self.go_on = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not body.get("stream"):
            choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
            choice["message"] = {"role": "assistant", "content": "hi"}
            self._send("application/json", json.dumps({"choices": [choice]}).encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self._event({"content": "first"}, None)
        self.server.streaming.set()
        self.server.go_on.wait(20)
        self._event({"content": "last"}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _send(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _event(self, delta: dict[str, str], finish: str | None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        self.wfile.flush()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


#: Seconds after which every worker has told what it counted.
METERED = METER_INTERVAL + 0.3


class Pair:
    """A service of two workers, and an upstream for it."""

    def __init__(self, service: ServiceProcess, upstream: Upstream) -> None:
        self.service = service
        self.upstream = upstream
        self.model = self.model_id = self.user = self.key_id = ""

    def renew(self) -> None:
        """A new model, and a new user with a key for it."""
        self.model, self.user = secrets.token_hex(6), secrets.token_hex(6)
        settings = {"baseUrl": self.upstream.base_url}
        made = self.admin(
            "POST",
            "/api/models",
            name=self.model,
            provider="CUSTOM",
            modelId="up",
            providerSettings=settings,
        )
        self.model_id = made["id"]
        key = self.admin(
            "POST",
            "/api/api-keys?validate=false",
            userId=self.user,
            provider="CUSTOM",
            keyName="k",
            apiKey="sk-sandbox-" + secrets.token_hex(8),
        )
        self.key_id = key["id"]

    def admin(self, method: str, path: str, **body: Any) -> Any:
        answer = self.service.client.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def token(self) -> dict[str, Any]:
        """A token of the user, whom both workers know by now."""
        made: dict[str, Any] = self.admin("POST", "/api/tokens", role="user", userId=self.user)
        deadline = time.monotonic() + 2
        while self.calls(made["token"]) != {ANSWERED}:
            assert time.monotonic() < deadline
        return made

    def call(self, token: str) -> Outcome:
        """What came of one call, on a connection of its own."""
        answer = httpx.post(
            self.service.client.base_url.join("/v1/chat/completions"),
            headers={"authorization": f"Bearer {token}", "connection": "close"},
            json={"model": self.model, "messages": [{"role": "user", "content": "x"}]},
            timeout=20,
        )
        return answer.status_code, "x-model-service-key-id" in answer.headers

    def calls(self, token: str) -> set[Outcome]:
        """What came of many calls at once: both workers take some of them."""
        with ThreadPoolExecutor(10) as many:
            return set(many.map(lambda _: self.call(token), range(CALLS)))

    def counted(self) -> int:
        """How many calls were answered with 200, as the metrics of any worker say."""
        lines = self.service.client.get("/metrics").text.splitlines()
        name = "gen_ai_server_request_duration_seconds_count"
        return sum(
            int(float(line.rsplit(" ", 1)[1]))
            for line in lines
            if line.startswith(name) and 'status_code="200"' in line
        )


@contextmanager
def _upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        thread = threading.Thread(target=upstream.serve_forever)
        thread.start()
        yield upstream
        upstream.go_on.set()
        upstream.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with (
        TemporaryDirectory(prefix="model-service-tests-") as directory,
        _upstream() as upstream,
        ServiceProcess(
            Path(directory),
            **PRODUCTION,
            PORT=str(free_port()),
            WORKERS="2",
            UPSTREAM_ALLOWED_HOSTS="127.0.0.0/8",
            AUTH_FAILURES_PER_MINUTE="10000",
        ) as service,
    ):
        yield Pair(service, upstream)


def test_calls_are_answered_by_whichever_worker_and_counted_together(pair: Pair) -> None:
    pair.renew()
    token = pair.token()["token"]
    time.sleep(METERED)
    before = pair.counted()
    assert pair.calls(token) == {ANSWERED}
    time.sleep(METERED)
    for _ in range(5):  # whichever worker tells
        assert pair.counted() == before + CALLS


@pytest.mark.parametrize("what", ["token", "key", "model"])
def test_what_one_worker_takes_away_the_other_obeys_within_a_second(pair: Pair, what: str) -> None:
    pair.renew()
    token = pair.token()
    match what:
        case "token":
            pair.admin("DELETE", f"/api/tokens/{token['id']}")
        case "key":
            pair.admin("DELETE", f"/api/api-keys/{pair.key_id}")
        case _:
            pair.admin("PUT", f"/api/models/{pair.model_id}", isActive=False)
    time.sleep(1)  # what is promised
    # The provider needs no key, so the call is made without the one that is gone.
    outcomes = {"token": (401, False), "key": (200, False), "model": (404, False)}
    assert pair.calls(token["token"]) == {outcomes[what]}


def test_at_a_stop_the_stream_under_way_is_finished_and_nothing_new_begun(pair: Pair) -> None:
    """The last of this module: the service is stopped."""
    pair.renew()
    token = pair.token()["token"]
    assert pair.service.process is not None
    said = b""
    with httpx.stream(
        "POST",
        pair.service.client.base_url.join("/v1/chat/completions"),
        headers={"authorization": f"Bearer {token}"},
        json={
            "model": pair.model,
            "stream": True,
            "messages": [{"role": "user", "content": "x"}],
        },
        timeout=20,
    ) as answer:
        pieces = answer.iter_raw()
        while b"first" not in said:
            said += next(pieces)
        pair.service.process.terminate()
        _until_refused(pair.service.port)
        assert pair.service.process.poll() is None
        pair.upstream.go_on.set()
        for piece in pieces:
            said += piece
    assert b"last" in said
    assert said.endswith(b"data: [DONE]\n\n")
    assert pair.service.process.wait(20) == 0


def _until_refused(port: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("new connections are still taken")
