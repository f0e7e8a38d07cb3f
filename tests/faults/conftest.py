"""The sandbox as a process, and callers whose providers have a bad day."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from model_service.gateway.budget import FLOOR
from model_service.sandbox.server import Sandbox
from tests.faults.failing_well import UNBOUNDED, Stage, staged
from tests.faults.service_process import free_port
from tests.gateway_world import GatewayWorld


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


@pytest_asyncio.fixture(scope="session")
async def shared_stage(shared_world: GatewayWorld) -> AsyncIterator[Stage]:
    async with staged(shared_world) as stage:
        yield stage


@pytest.fixture
def stage(world: GatewayWorld, shared_stage: Stage) -> Iterator[Stage]:
    """A caller with a key for each provider, who may have as many calls repeated as it likes."""
    world.service.traffic.budget.floor = UNBOUNDED
    yield shared_stage
    world.service.traffic.budget.floor = FLOOR


@pytest_asyncio.fixture
async def own_stage(world: GatewayWorld) -> AsyncIterator[Stage]:
    """The same, of a user of the test's own: one whose keys are limited or refused."""
    async with staged(world) as stage:
        world.service.traffic.budget.floor = UNBOUNDED
        yield stage
        world.service.traffic.budget.floor = FLOOR
