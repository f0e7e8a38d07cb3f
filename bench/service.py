"""The service as a process of its own, on loopback, in production mode, pinned to a core."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ADMIN_TOKEN = "bench-administrator-3f9c1d7a5e"
INTERNAL_SECRET = "bench-internal-8b2e6a4f0c9d"
ENCRYPTION_SECRET = "bench-master-5d1f8e3b7a2c9046bench-master"

#: The core the service runs on; PostgreSQL and the load generator have the others.
CORE = 0


@dataclass(frozen=True, slots=True)
class Running:
    """A started service."""

    port: int
    pid: int
    start_seconds: float

    def resident_mib(self) -> float:
        """Memory the service process holds, without PostgreSQL's."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS line; is this Linux?")


def environment(database_url: str | None, data_dir: Path) -> dict[str, str]:
    """What the service, or one of its commands, is started with."""
    given = {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "production",
        "HOST": "127.0.0.1",
        "DATA_DIR": str(data_dir),
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "INTERNAL_SECRET": INTERNAL_SECRET,
        "ENCRYPTION_SECRET": ENCRYPTION_SECRET,
    }
    return given | ({"DATABASE_URL": database_url} if database_url else {})


@asynccontextmanager
async def running(
    database_url: str | None, data_dir: Path, extra: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """The service, started and answering; stopped by SIGTERM at the end.

    `extra` are further environment variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "model_service", "serve"],
        env=environment(database_url, data_dir) | {"PORT": str(port), **(extra or {})},
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {CORE}),
    )
    try:
        await _answers(port, process)
        yield Running(port, process.pid, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def _answers(port: int, process: "subprocess.Popen[bytes]") -> None:
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            await asyncio.sleep(0.01)
            continue
        writer.write(b"GET /api/health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if answer.startswith(b"HTTP/1.1 200"):
            return
