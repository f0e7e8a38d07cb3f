"""Remembering for a while what a provider offers, and asking only once at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from model_service.catalog.domain import AvailableModel
from model_service.kernel.types import Clock, Provider

#: How long a listing is given again without asking.
FRESH_FOR: Final = timedelta(minutes=5)
#: Models kept over all listings; at some 500 bytes each about 10 MB.
MOST_KEPT: Final = 20_000

Listing = Sequence[AvailableModel]


@dataclass(frozen=True, slots=True)
class Question:
    """Which models does a provider offer to the holder of this value of this key?

    Of a key that is not valid it is the value that calls fall back to.
    """

    provider: Provider
    key_id: UUID | None = None
    key_version: int = 0
    is_valid: bool = True


@dataclass(frozen=True, slots=True)
class _Kept:
    listing: Listing
    since: datetime


class Listings:
    """Answers to questions: fresh ones from memory, others by asking, once for all who wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Question, _Kept] = OrderedDict()
        self._size = 0
        self._asking: dict[Question, asyncio.Task[Listing]] = {}

    async def answer(self, question: Question, ask: Callable[[], Awaitable[Listing]]) -> Listing:
        """The listing, at most five minutes old. What `ask` raises is raised and not kept."""
        kept = self._kept.get(question)
        # A clock that was set back must not keep an answer alive.
        if kept and timedelta() <= self._clock.now() - kept.since < FRESH_FOR:
            self._kept.move_to_end(question)
            return kept.listing
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(question, ask))
            self._asking[question] = task
            task.add_done_callback(lambda done: self._asked(question, done))
        # Whoever stops waiting does not stop the question for the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up the questions under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, question: Question, ask: Callable[[], Awaitable[Listing]]) -> Listing:
        since = self._clock.now()
        listing = await ask()
        self._forget(question)
        if len(listing) > MOST_KEPT:
            return listing
        self._kept[question] = _Kept(listing, since)
        self._size += len(listing)
        while self._size > MOST_KEPT:
            self._forget(next(iter(self._kept)))
        return listing

    def _asked(self, question: Question, task: asyncio.Task[Listing]) -> None:
        del self._asking[question]
        if not task.cancelled():
            # Fetched, so that nobody complains when everybody who asked has left.
            task.exception()

    def _forget(self, question: Question) -> None:
        kept = self._kept.pop(question, None)
        if kept:
            self._size -= len(kept.listing)
