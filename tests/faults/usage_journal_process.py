"""Processes that write usage, drain it and take over from one another until they are killed.

Run as `python -m tests.faults.usage_journal_process ROOT FIRST_NUMBER SEED`. It answers each
call on standard output: a `b` and the call's number (8 bytes) when it was begun, an `e` when it
was ended. What is kept goes to `ROOT/kept`: ids of 16 bytes, then one byte, 1 for an estimate.
Each line of standard input makes a new process, forked; the answer is its process id, `p`.
"""

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from struct import Struct

import structlog

from model_service.kernel.errors import DatabaseUnavailable
from model_service.usage.domain import UsageEvent
from model_service.usage.metering import Metering
from model_service.usage.records import parse_event
from tests.usage_journals import SEGMENT, begun, event

SAID = Struct("<cQ")
KEPT = Struct("<16s?")


class FileSink:
    """`UsageSink` in a file that all processes share; it is away now and then.

    It does not look whether it has an event: whoever reads the file counts.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._chance = chance

    async def keep(self, events: Sequence[UsageEvent]) -> None:
        if self._chance.random() < 0.1:
            raise DatabaseUnavailable
        data = b"".join(KEPT.pack(event.id.bytes, event.estimated) for event in events)
        os.write(self._file, data)

    async def keep_payloads(self, payloads: Sequence[bytes]) -> None:
        await self.keep([parse_event(payload) for payload in payloads])


def _say(kind: bytes, number: int) -> None:
    os.write(1, SAID.pack(kind, number))


async def _call(metering: Metering, chance: random.Random, number: int) -> None:
    padding = "m" * chance.randrange(2000)
    ticket = metering.journal.begin(begun(number, padding))
    _say(b"b", number)
    for _ in range(chance.choice((0, 0, 1, 5, 200))):
        await asyncio.sleep(0)
    metering.journal.finish(ticket, event(number, model=padding))
    _say(b"e", number)


async def _live(root: Path, first: int, seed: int) -> None:
    chance = random.Random(seed)
    sink = FileSink(root / "kept", chance)
    metering = Metering.open(root / "journal", sink, segment_bytes=SEGMENT)
    metering.drainer._interval = metering.adopter._interval = 0.001
    jobs = [asyncio.create_task(job.run()) for job in metering.jobs]
    _say(b"p", os.getpid())
    number = first
    while not any(job.done() for job in jobs):
        await asyncio.gather(
            *(_call(metering, chance, number + offset) for offset in range(chance.randrange(20)))
        )
        number += 20
        await asyncio.sleep(0)


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    root, number, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for child, _ in enumerate(sys.stdin):
        number += 10_000_000
        if os.fork() == 0:
            asyncio.run(_live(root, number, seed * 1000 + child))
            os._exit(1)


if __name__ == "__main__":
    main()
