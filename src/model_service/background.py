"""Work that goes on beside the requests, for as long as the service runs."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

log = structlog.get_logger(__name__)

#: Seconds after which a job that failed is run again.
AGAIN_AFTER: Final = 1.0


class Job(Protocol):
    """One such work."""

    async def run(self) -> None:
        """Do it until cancelled."""
        ...


class Background:
    """The jobs, each in a task of its own."""

    def __init__(self, jobs: Sequence[Job] = ()) -> None:
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin with all of them. Has no effect while they run."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(_keep_running(job), name=type(job).__name__)
                for job in self._jobs
            ]

    async def close(self) -> None:
        """Cancel all of them and wait until they have ended."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(job: Job) -> None:
    """Run a job again whenever it ends: a fault in one must not silently stop it for good."""
    while True:
        try:
            await job.run()
        except Exception as error:  # noqa: BLE001 - the last resort: logged here, tried again
            log.error("a job failed", action=type(job).__name__, error_type=type(error).__name__)
        await asyncio.sleep(AGAIN_AFTER)
