"""Webhooks of the service as it runs: two workers, one database, one receiver."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from standardwebhooks import Webhook as ReferenceVerifier
from typing_extensions import override

from tests.faults.service_process import PRODUCTION, ServiceProcess, free_port

Delivered = tuple[dict[str, str], bytes]


@contextmanager
def receiving(port: int) -> Iterator["SimpleQueue[Delivered]"]:
    """A receiver that takes everything; gives what arrives."""
    arrived: SimpleQueue[Delivered] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(204)
            self.end_headers()
            arrived.put((headers, body))

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield arrived
        finally:
            server.shutdown()
            thread.join()


def test_what_happens_is_told_once_however_many_workers_there_are(tmp_path: Path) -> None:
    port = free_port()
    environment = {**PRODUCTION, "WORKERS": "2", "UPSTREAM_ALLOWED_HOSTS": f"127.0.0.1:{port}"}
    with receiving(port) as arrived, ServiceProcess(tmp_path, **environment) as service:
        created = service.client.post(
            "/api/webhooks",
            json={"url": f"http://127.0.0.1:{port}/", "events": ["token.created"]},
        ).json()
        labels = {f"agent-{number}" for number in range(6)}
        for label in labels:
            token = {"role": "service", "label": label}
            assert service.client.post("/api/tokens", json=token).status_code == 201
        told = [arrived.get(timeout=20) for _ in labels]
        secret = created["secret"]
    with pytest.raises(Empty):
        arrived.get_nowait()
    events = [ReferenceVerifier(secret).verify(body, headers) for headers, body in told]
    assert {event["type"] for event in events} == {"token.created"}
    assert {event["data"]["label"] for event in events} == labels
    assert len({headers["webhook-id"] for headers, _ in told}) == len(labels)
    assert secret not in service.output.read_text()
