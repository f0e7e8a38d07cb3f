"""Pauses of jobs that end when a test says, and not after a time."""

import asyncio
from types import ModuleType

import pytest


class Pauses:
    """Stands in for `asyncio.sleep` in one module; keeps how long each pause was to be.

    What runs in this loop already, as the jobs of a service that other tests share, sleeps as ever.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.taken: list[float] = []
        self._begun = asyncio.Semaphore(0)
        self._ended = asyncio.Semaphore(0)
        self._others = asyncio.all_tasks() - {asyncio.current_task()}
        # The module's own name alone: other modules sleep as ever.
        monkeypatch.setattr(module, "asyncio", _With(self))

    async def sleep(self, seconds: float) -> None:
        """Wait until the test ends the pause."""
        if asyncio.current_task() in self._others:
            await asyncio.sleep(seconds)
            return
        self.taken.append(seconds)
        self._begun.release()
        await self._ended.acquire()

    async def begun(self) -> None:
        """Wait until the job pauses."""
        async with asyncio.timeout(20):
            await self._begun.acquire()

    def end(self) -> None:
        """End the pause."""
        self._ended.release()

    async def over(self) -> None:
        """End the pause, and wait until the job pauses again."""
        self.end()
        await self.begun()


class _With:
    """`asyncio` with another `sleep`."""

    def __init__(self, pauses: Pauses) -> None:
        self.sleep = pauses.sleep

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)


async def stopped(job: "asyncio.Task[None]") -> None:
    """Cancel a job as the service does when it stops, and wait until it is over."""
    job.cancel()
    await asyncio.wait([job])
    assert job.cancelled(), "it was stopped, and nothing else"
