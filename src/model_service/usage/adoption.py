"""Taking over what processes left behind that died: their events, and the calls they cut."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from model_service.kernel.errors import Unavailable
from model_service.usage.delivery import Delivery
from model_service.usage.owners import Holding, take_over
from model_service.usage.records import interrupted
from model_service.usage.segments import (
    BEGUN,
    START,
    mark,
    marked,
    read_part,
    segment_paths,
)

log = structlog.get_logger(__name__)

#: Seconds between two looks for journals that nobody owns any more.
ADOPTION_INTERVAL: Final = 5.0


class Adopter:
    """Drains the journals of dead processes, and deletes them. A `Job`.

    Only one process at a time has such a journal. One that dies over it leaves it to the next,
    which begins it anew: what was stored already is known by its mark or by its id.
    """

    def __init__(self, root: Path, delivery: Delivery, interval: float = ADOPTION_INTERVAL) -> None:
        """`root` is the directory of all journals."""
        self._root = root
        self._delivery = delivery
        self._interval = interval
        self._unreadable: frozenset[str] = frozenset()
        self.adopted = 0
        """Journals drained so far."""
        self.interrupted = 0
        """Calls found so far that were begun and never ended."""

    async def run(self) -> None:
        """Adopt until cancelled."""
        while True:
            try:
                await self.adopt()
            except Unavailable as error:
                log.warning("a dead process's usage cannot be stored yet", reason=error.code)
            await asyncio.sleep(self._interval)

    async def adopt(self) -> None:
        """Drain every journal whose owner is dead.

        Raises:
            DatabaseUnavailable, Refused: its events cannot be stored now; it stays as it is.
            OSError: the directory of all cannot be read.
        """
        while True:
            holding = await asyncio.to_thread(take_over, self._root, self._unreadable)
            if holding is None:
                return
            try:
                await self._settle(holding)
            except OSError as error:
                self._unreadable |= {holding.path.name}
                log.error("a usage journal cannot be read", reason=error.strerror)
            finally:
                holding.release()

    async def _settle(self, holding: Holding) -> None:
        paths = await asyncio.to_thread(_trim, holding.path)
        unfinished: dict[int, bytes] = {}
        damaged = [path for path in paths if await self._drain(path, unfinished)]
        payloads = list(unfinished.values())
        await self._delivery.tell_each(payloads, interrupted)
        for path in damaged:
            log.error("a dead process's usage journal is damaged", segment=path.name)
            await asyncio.to_thread(holding.keep_damaged, path)
        await asyncio.to_thread(holding.remove)
        self.adopted += 1
        self.interrupted += len(payloads)
        log.info("a dead process's usage is stored", interrupted=len(payloads))

    async def _drain(self, path: Path, unfinished: dict[int, bytes]) -> bool:
        """Store a segment's events; whether it is damaged. `unfinished` is kept up to date."""
        drained = await asyncio.to_thread(marked, path)
        at, is_damaged, is_last = START, False, False
        while not is_last:
            part = await asyncio.to_thread(read_part, path, at)
            payloads = []
            for record in part.records:
                if record.kind == BEGUN:
                    unfinished[record.ticket] = record.payload
                    continue
                unfinished.pop(record.ticket, None)
                if record.end > drained:
                    payloads.append(record.payload)
            if payloads:
                await self._delivery.tell(payloads)
                await asyncio.to_thread(mark, path, part.end)
            at, is_last = part.end, part.is_last
            is_damaged = is_damaged or part.damaged > 0
        return is_damaged


def _trim(directory: Path) -> Sequence[Path]:
    """The segments in use, oldest first, without the room that a dead process will never use.

    A process that dies and starts again and again would else fill the disk with it.
    """
    paths = segment_paths(directory)
    while paths:
        part = read_part(paths[-1], START)
        while not part.is_last:
            part = read_part(paths[-1], part.end)
        if part.damaged or part.is_torn:
            break
        if part.end > START:
            os.truncate(paths[-1], part.end)
            break
        paths.pop().unlink()
    return paths
