"""The sandbox as a process, for services that are processes too."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_service.sandbox.server import Sandbox
from tests.faults.service_process import free_port


@pytest.fixture
def sandbox_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The sandbox as a process; gives the variables that lead the service to it."""
    port = free_port() % 60_000
    process = subprocess.Popen(
        [sys.executable, "-m", "model_service", "sandbox", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    sandbox = Sandbox()
    for offset, stand_in in enumerate(sandbox.everything, start=1):
        stand_in.origin = f"http://127.0.0.1:{port + offset}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(sandbox.ollama.origin)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield sandbox.environment()
    process.terminate()
    process.wait(30)
