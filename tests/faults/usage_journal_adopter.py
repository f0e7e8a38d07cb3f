"""A process that takes over dead journals as soon as it is told to.

Run as `python -m tests.faults.usage_journal_adopter ROOT FILE`. It says `r` when it is ready,
begins at the first byte of standard input, and writes the ids of what it stored into FILE.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from model_service.usage.adoption import Adopter
from model_service.usage.delivery import Delivery
from model_service.usage.domain import UsageEvent
from model_service.usage.records import parse_event


class IdSink:
    """`UsageSink` that writes ids down."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def keep(self, events: Sequence[UsageEvent]) -> None:
        os.write(self._file, b"".join(event.id.bytes for event in events))
        await asyncio.sleep(0)

    async def keep_payloads(self, payloads: Sequence[bytes]) -> None:
        await self.keep([parse_event(payload) for payload in payloads])


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    root, file = Path(sys.argv[1]), Path(sys.argv[2])
    adopter = Adopter(root, Delivery(IdSink(file), root / "refused"))
    os.write(1, b"r")
    os.read(0, 1)
    asyncio.run(adopter.adopt())


if __name__ == "__main__":
    main()
