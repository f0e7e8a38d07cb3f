"""Hostile clients: endless heads, slow ones, too many of them. The others are still served."""

import contextlib
import resource
import socket
import time
from pathlib import Path

from model_service.http.server import HEAD_SECONDS, MAX_HEAD
from tests.faults.service_process import PRODUCTION, ServiceProcess


def connected(service: ServiceProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60)


def answer_of(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    while True:
        try:
            piece = client.recv(65_536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def resident_kib(service: ServiceProcess) -> int:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_an_endless_head_is_cut_off_before_it_fills_the_memory(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION) as service:
        before = resident_kib(service)
        with connected(service) as client:
            client.sendall(b"GET /api/health HTTP/1.1\r\nhost: x\r\nx-endless: ")
            piece, pieces = b"a" * 65_536, 1000
            with contextlib.suppress(ConnectionError):
                while pieces:
                    client.sendall(piece)
                    pieces -= 1
        assert pieces > 0, "the service took all of it"
        assert resident_kib(service) - before < 20_000
        assert service.client.get("/api/health").status_code == 200


def test_a_head_just_too_large_is_told_so(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION) as service, connected(service) as client:
        client.sendall(b"GET /api/health HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * MAX_HEAD)
        answer = answer_of(client)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"statusCode":431' in answer
        assert b"x-request-id: " in answer


def test_slow_clients_are_sent_away_and_do_not_keep_others_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 512
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few) if hard < 0 else (few, hard))
    try:
        service = ServiceProcess(tmp_path, **PRODUCTION).start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.closing(service):
        silent = [connected(service) for _ in range(100)]
        half = [connected(service) for _ in range(100)]
        for client in half:
            client.sendall(b"GET /api/health HTTP/1.1\r\nhost:")
        started = time.monotonic()
        assert service.client.get("/api/health").status_code == 200
        for client in (*silent, *half):
            answer = answer_of(client)
            assert answer.startswith(b"HTTP/1.1 408 ")
            client.close()
        assert time.monotonic() - started < HEAD_SECONDS + 15
        assert service.client.get("/api/health").status_code == 200


def test_malformed_http_gets_the_one_error_shape(tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, **PRODUCTION) as service:
        for garbage in (b"garbage\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            with connected(service) as client:
                client.sendall(garbage)
                answer = answer_of(client)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request")
            request_id = head.split(b"x-request-id: ")[1].split(b"\r\n")[0]
            assert b'"requestId":"%s"' % request_id in body
