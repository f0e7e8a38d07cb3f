"""The journal of this process and all that goes on around it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from model_service.kernel.errors import JournalFull, StartupFault, Unavailable
from model_service.usage.adoption import Adopter
from model_service.usage.delivery import Delivery
from model_service.usage.domain import UsageSink
from model_service.usage.drain import Drainer
from model_service.usage.journal import MOST_BYTES, SEGMENT_BYTES, Journal
from model_service.usage.owners import Holding
from model_service.usage.upkeep import Upkeep

log = structlog.get_logger(__name__)

#: Most seconds spent on storing what is left when the service ends.
CLOSE_SECONDS: Final = 5.0
#: Age in seconds of the oldest event not stored from which on readiness speaks of it.
BEHIND_SECONDS: Final = 30.0
#: The file below the directory of all journals for events that no store takes.
REFUSED_FILE: Final = "refused.jsonl"


@dataclass(frozen=True, slots=True)
class Metering:
    """What writes usage down and brings it to where it is kept."""

    journal: Journal
    drainer: Drainer
    adopter: Adopter
    delivery: Delivery
    upkeep: Upkeep
    holding: Holding

    @classmethod
    def open(
        cls,
        root: Path,
        sink: UsageSink,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> "Metering":
        """A journal of this process's own below `root`, ready to be written to.

        Raises:
            StartupFault: there is no room for it, or it cannot be made.
        """
        holding: Holding | None = None
        try:
            holding = Holding.new(root)
            journal = Journal(holding.path, segment_bytes=segment_bytes, most_bytes=most_bytes)
        except OSError as error:
            if holding is not None:
                holding.release()
            raise StartupFault(
                f"DATA_DIR: the usage journal cannot be made: {error.strerror}"
            ) from error
        delivery = Delivery(sink, root / REFUSED_FILE)
        upkeep = Upkeep(journal)
        upkeep.start()
        drainer = Drainer(journal, holding, delivery)
        return cls(journal, drainer, Adopter(root, delivery), delivery, upkeep, holding)

    @property
    def jobs(self) -> Sequence[Drainer | Adopter]:
        """What goes on beside the requests."""
        return (self.drainer, self.adopter)

    async def check(self) -> str | None:
        """Readiness: whether calls can be accounted for; `behind` when usage is stored late.

        Raises:
            JournalFull: they cannot.
        """
        if not self.upkeep.is_alive:
            raise JournalFull
        self.journal.check()
        return "behind" if self.drainer.oldest_seconds > BEHIND_SECONDS else None

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Store what is left, for so long at most; the next start takes up the rest.

        No call may be under way any more, and the jobs must have ended.
        """
        try:
            async with asyncio.timeout(seconds):
                await self.drainer.drain()
        except (Unavailable, TimeoutError, OSError):
            log.warning(
                "usage is left in the journal until the next start",
                events=self.drainer.undrained_events,
            )
        await asyncio.to_thread(self.upkeep.stop)
        journal = self.journal
        is_damaged = any(segment.is_damaged for segment in (*journal.kept, journal.current))
        is_empty = not (journal.undrained_bytes or journal.under_way or is_damaged)
        journal.close()
        if is_empty:
            await asyncio.to_thread(self.holding.remove)
        self.holding.release()
