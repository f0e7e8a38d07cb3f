"""What this process learns goes to the others, and what they learn comes here.

Calls never wait for any of it. With the database away each process goes by what it sees itself;
what changed meanwhile is told when the database is back.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

import orjson
import structlog

from model_service.health.domain import Board, HealthStore
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import Clock, Provider
from model_service.providers.condition import Change, Place, State

log = structlog.get_logger("model_service.health")

#: Seconds between two times that numbers are told, and that old rows are let go of.
INTERVAL: Final = 5.0
FORGET_INTERVAL: Final = 3600.0
#: Changes that wait to be told; of more the oldest are lost.
MOST_WAITING: Final = 4096
#: Seconds after which an open state that nobody has confirmed is not taken up: its process is
#: gone, and what it knew is old.
CONFIRMED_WITHIN: Final = 120.0


class Sharing:
    """Tells and hears. A job: see `background`."""

    def __init__(self, store: HealthStore, board: Board, clock: Clock, instance: str) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._instance = instance
        self._waiting: deque[Change] = deque()
        self._told = asyncio.Event()
        self._forgotten_at: float | None = None

    def note(self, change: Change) -> None:
        """A circuit of this process changed: tell it soon. Takes no time."""
        # That something stays as it is replaces what was to be told of it before.
        for at, waiting in enumerate(self._waiting):
            if waiting.place == change.place and waiting.state is change.state is State.OPEN:
                is_last = not any(
                    later.place == change.place for later in list(self._waiting)[at + 1 :]
                )
                if is_last:
                    self._waiting[at] = change
                    return
        self._waiting.append(change)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
        self._told.set()

    async def run(self) -> None:
        """Tell until cancelled, and once more then."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while True:
                if loop.time() >= due:
                    due = loop.time() + INTERVAL
                    await self.tell_numbers()
                await self.tell_changes()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._told.wait()
        finally:
            await self.tell_changes()

    async def tell_changes(self) -> None:
        """Tell what changed; what cannot be told waits."""
        self._told.clear()
        while self._waiting:
            change = self._waiting[0]
            try:
                await self._store.record(change, self._instance)
            except DatabaseUnavailable:
                log.warning("what changed of providers was not told; again later")
                return
            if self._waiting and self._waiting[0] is change:
                self._waiting.popleft()

    async def tell_numbers(self) -> None:
        """Tell what this process counted."""
        now = self._clock.now()
        # What had no calls is left to age.
        told = [numbers for numbers in self._board.numbers() if numbers.calls]
        try:
            await self._store.keep_numbers(told, self._instance, now)
            at = now.timestamp()
            if self._forgotten_at is None or at - self._forgotten_at >= FORGET_INTERVAL:
                await self._store.forget(now)
                self._forgotten_at = at
        except DatabaseUnavailable:
            log.warning("the numbers of providers were not told; again later")

    async def on_change(self, subject: str | None) -> None:
        """Take up what another process told: of one place, or of any.

        Raises:
            DatabaseUnavailable: it cannot be read.
        """
        if subject is None:
            known = await self._store.states()
        else:
            provider, endpoint, model = orjson.loads(subject)
            one = await self._store.state(Place(Provider(provider), endpoint, model))
            known = [] if one is None else [one]
        now = self._clock.now()
        for state in known:
            age = (now - (state.retry_at or state.changed_at)).total_seconds()
            if state.state is State.CLOSED or age < CONFIRMED_WITHIN:
                self._board.adopt(state.as_change())
