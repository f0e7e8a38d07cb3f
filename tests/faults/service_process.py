"""The service as a process, for what can only be seen from outside: starts, stops, deaths."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

ADMIN_TOKEN = "process-administrator-5e7a90c2"
INTERNAL_SECRET = "process-internal-f1d36b8e"
ENCRYPTION_SECRET = "process-master-secret-7f2c9e04b1d8a365"

PRODUCTION = {
    "ENVIRONMENT": "production",
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "INTERNAL_SECRET": INTERNAL_SECRET,
    "ENCRYPTION_SECRET": ENCRYPTION_SECRET,
    "HOST": "127.0.0.1",
}


def free_port() -> int:
    """A port that nobody listens on, and below those that outgoing connections are given."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class ServiceProcess:
    """One `model-service serve`. As a context manager it is stopped at the end."""

    command: tuple[str, ...] = ("-m", "model_service", "serve")
    """What Python is told to run."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.port = int(environment.get("PORT", free_port()))
        self.output = directory / f"output-{self.port}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(directory / "data"),
            **environment,
            "PORT": str(self.port),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
            if "ADMIN_TOKEN" in environment
            else {},
            timeout=20,
        )

    def launch(self) -> "ServiceProcess":
        """Start without waiting."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.directory,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def wait_until_up(self, seconds: float = 60) -> "ServiceProcess":
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended: {self.output.read_text()}")
            try:
                if self.client.get("/api/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError(f"not up after {seconds} s: {self.output.read_text()}")

    def start(self) -> "ServiceProcess":
        return self.launch().wait_until_up()

    def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        assert self.process is not None
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)
        self.client.close()

    def ended(self, seconds: float = 60) -> int:
        """Wait for it to end by itself; gives the exit status."""
        assert self.process is not None
        self.client.close()
        return self.process.wait(seconds)

    def __enter__(self) -> "ServiceProcess":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it unless it has ended."""
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()


def postmaster_pid(directory: Path) -> int | None:
    """The embedded server's process, if it runs."""
    file = directory / "data" / "postgres" / "postmaster.pid"
    if not file.exists():
        return None
    pid = int(file.read_text().split("\n", 1)[0])
    return pid if Path(f"/proc/{pid}").exists() else None
