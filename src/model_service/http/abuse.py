"""What is refused, in the audit trail: each by itself within a budget, of a flood its size.

Budgets are apart, so that nobody can hide what another was refused: whoever showed a credential
has one of his own, whoever showed none, or a wrong one, shares that of his address. What goes
beyond a budget is counted, and the count recorded with the addresses and subjects seen most.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from model_service.kernel.audit import AuditEvent, AuditTrail, Decision
from model_service.kernel.caller import SYSTEM, Caller, current_caller
from model_service.kernel.errors import AuditUnavailable
from model_service.kernel.rate import source_of

log = structlog.get_logger(__name__)

#: Seconds of a window.
WINDOW: Final = 60.0
#: Refusals of one type in a window that are recorded each by itself: of one token or user, and
#: of one address that showed none that is good.
SINGLY_BY_PRINCIPAL: Final = 60
SINGLY_BY_SOURCE: Final = 20
#: The same of all addresses together: whoever has many must not fill the trail either. What
#: principals were refused is not part of it.
SINGLY_BY_SOURCES: Final = 200
#: Principals told apart in a window; of those beyond it refusals are counted only.
MOST_PRINCIPALS: Final = 10_000
#: Floods told apart, and in each the addresses and subjects.
_MOST_FLOODS: Final = 1000
_MOST_NAMES: Final = 1000
#: Of those the ones that its record names, and the characters it gives to each.
_NAMED: Final = 3
_NAME_LENGTH: Final = 80

#: Actors that stand for nobody in particular, or for many at once.
_ANONYMOUS: Final = "anonymous"
_SHARED: Final = frozenset({"internal", "administrator"})


@dataclass(slots=True)
class _Tally:
    """How often names were seen; those beyond a bound only that there are more."""

    seen: Counter[str] = field(default_factory=Counter)
    more: bool = False

    def add(self, name: str, count: int = 1) -> None:
        if name in self.seen or len(self.seen) < _MOST_NAMES:
            self.seen[name] += count
        else:
            self.more = True

    def merge(self, other: "_Tally") -> None:
        for name, count in other.seen.items():
            self.add(name, count)
        self.more |= other.more

    def describe(self, what: str) -> str:
        top = ", ".join(f"{name[:_NAME_LENGTH]} ({n})" for name, n in self.seen.most_common(_NAMED))
        return f"{len(self.seen)}{'+' if self.more else ''} {what}: {top}"


@dataclass(slots=True)
class _Flood:
    """Refusals that were only counted."""

    count: int = 0
    sources: _Tally = field(default_factory=_Tally)
    subjects: _Tally = field(default_factory=_Tally)

    def add(self, caller: Caller, subject: str | None) -> None:
        self.count += 1
        self.sources.add(source_of(caller.client))
        if subject is not None:
            self.subjects.add(subject)

    def merge(self, other: "_Flood") -> None:
        self.count += other.count
        self.sources.merge(other.sources)
        self.subjects.merge(other.subjects)

    @property
    def description(self) -> str:
        told = f"{self.count} more, from {self.sources.describe('addresses')}"
        if self.subjects.seen:
            told += f"; at {self.subjects.describe('subjects')}"
        return told


#: The type of a refusal, and who shares a budget for it, or a flood's record.
_Kind = tuple[str, str]


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
        self._of_principals: Counter[_Kind] = Counter()
        self._of_sources: Counter[_Kind] = Counter()
        self._floods: dict[_Kind, _Flood] = {}

    async def note(self, event: AuditEvent) -> None:
        """Record a refusal, or count it. Returns when that is done; raises nothing."""
        if self._now() >= self._window_ends:
            await self.step()
        caller = event.caller or current_caller()
        if not self._spend(event.type, caller):
            self._count(event, caller)
            return
        try:
            await self._trail.record(event)
        except AuditUnavailable:
            log.warning("a refusal could not be recorded; it is counted", reason=event.type)
            self._count(event, caller)

    async def step(self) -> None:
        """Begin a window, and record how many were only counted in those before."""
        self._window_ends = self._now() + WINDOW
        self._of_principals.clear()
        self._of_sources.clear()
        floods, self._floods = self._floods, {}
        if not floods:
            return
        events = [
            AuditEvent(
                type=kind,
                decision=Decision.DENY,
                reason=flood.description,
                caller=Caller(actor) if actor else SYSTEM,
            )
            for (kind, actor), flood in floods.items()
        ]
        try:
            await self._trail.record(*events)
        except AuditUnavailable:
            for (kind, actor), flood in floods.items():
                self._flood(kind, actor).merge(flood)

    async def run(self) -> None:
        """Begin a window every minute, until cancelled; the last counts are recorded then."""
        try:
            while True:
                await asyncio.sleep(WINDOW)
                await self.step()
        finally:
            await self.step()

    def _spend(self, kind: str, caller: Caller) -> bool:
        """Whether a budget has room for one more record by itself."""
        source = source_of(caller.client)
        if caller.actor == _ANONYMOUS:
            budget, spent, most = self._of_sources, (kind, source), SINGLY_BY_SOURCE
            is_full = budget.total() >= SINGLY_BY_SOURCES
        else:
            # Many share a secret, few of them an address.
            who = f"{caller.actor} {source}" if caller.actor in _SHARED else caller.actor
            budget, spent, most = self._of_principals, (kind, who), SINGLY_BY_PRINCIPAL
            is_full = spent not in budget and len(budget) >= MOST_PRINCIPALS
        if is_full or budget[spent] >= most:
            return False
        budget[spent] += 1
        return True

    def _count(self, event: AuditEvent, caller: Caller) -> None:
        actor = "" if caller.actor == _ANONYMOUS else caller.actor
        self._flood(event.type, actor).add(caller, event.subject)

    def _flood(self, kind: str, actor: str) -> _Flood:
        """The flood of a principal; of those that are nobody, or too many, one together."""
        if (kind, actor) not in self._floods and len(self._floods) >= _MOST_FLOODS:
            actor = ""
        return self._floods.setdefault((kind, actor), _Flood())
