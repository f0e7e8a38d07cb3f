"""What is refused, in the audit trail: the first ones each by itself, of a flood its size."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision
from model_service.kernel.caller import SYSTEM
from model_service.kernel.errors import AuditUnavailable

log = structlog.get_logger(__name__)

#: Seconds of a window, and the refusals in it that are recorded each by itself.
WINDOW: Final = 60.0
RECORDED_SINGLY: Final = 20
#: Sources told apart when a flood is counted.
_MOST_SOURCES: Final = 1000


@dataclass(slots=True)
class _Flood:
    """Refusals of one type that were only counted."""

    count: int = 0
    sources: set[str | None] = field(default_factory=set)

    def add(self, source: str | None) -> None:
        self.count += 1
        if len(self.sources) < _MOST_SOURCES:
            self.sources.add(source)

    @property
    def description(self) -> str:
        many = "+" if len(self.sources) == _MOST_SOURCES else ""
        return f"{self.count} more, from {len(self.sources)}{many} addresses"


class Refusals:
    """Records refusals without letting whoever causes them fill the trail.

    A trail that cannot be written changes nothing for the one refused: what could not be
    recorded is counted, and the count recorded later.
    """

    def __init__(self, trail: AuditTrail, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds that never go back."""
        self._trail = trail
        self._now = now
        self._window_ends = now() + WINDOW
        self._singly = 0
        self._floods: defaultdict[str, _Flood] = defaultdict(_Flood)

    async def note(self, event: AuditEvent) -> None:
        """Record a refusal, or count it. Returns when that is done; raises nothing."""
        if self._now() >= self._window_ends:
            await self.step()
        if self._singly >= RECORDED_SINGLY:
            self._count(event)
            return
        self._singly += 1
        try:
            await self._trail.record(event)
        except AuditUnavailable:
            log.warning("a refusal could not be recorded; it is counted", reason=event.type)
            self._count(event)

    async def step(self) -> None:
        """Begin a window, and record how many were only counted in those before."""
        self._window_ends = self._now() + WINDOW
        self._singly = 0
        floods, self._floods = self._floods, defaultdict(_Flood)
        if not floods:
            return
        events = [
            AuditEvent(type=kind, decision=Decision.DENY, reason=flood.description, caller=SYSTEM)
            for kind, flood in floods.items()
        ]
        try:
            await self._trail.record(*events)
        except AuditUnavailable:
            for kind, flood in floods.items():
                self._floods[kind].count += flood.count
                self._floods[kind].sources |= flood.sources

    async def run(self) -> None:
        """Begin a window every minute, until cancelled; the last counts are recorded then."""
        try:
            while True:
                await asyncio.sleep(WINDOW)
                await self.step()
        finally:
            await self.step()

    def _count(self, event: AuditEvent) -> None:
        self._floods[event.type].add(event.caller.client if event.caller else None)
