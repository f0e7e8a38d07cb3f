"""The background work that tells receivers what is in the outbox."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import Clock
from model_service.webhooks.domain import (
    GONE,
    Claim,
    DeliveryState,
    Event,
    Outbox,
    Outcome,
    Sender,
    Sent,
    Settlement,
)

log = structlog.get_logger(__name__)

#: How long a process may work on a delivery before another takes it over: the longest attempt
#: takes 15 s, the rest is for a database that answers slowly.
LEASE: Final = timedelta(seconds=60)
#: How long after an event it is tried to tell it ("multiple days").
PERSISTENCE: Final = timedelta(hours=72)
#: How long an event and its deliveries stay in the log.
RETENTION: Final = timedelta(days=30)
# The wait before the second attempt, the factor from one wait to the next, the longest wait:
# 5 s, 25 s, 2 min, 10 min, 52 min, 4.3 h, then every 12 h.
_FIRST_WAIT: Final = timedelta(seconds=5)
_FACTOR: Final = 5
_LONGEST_WAIT: Final = timedelta(hours=12)
# Receivers served at the same time in this process, and requests to each of them.
_RECEIVERS: Final = 16
_PER_RECEIVER: Final = 4
_SWEEP_EVERY: Final = timedelta(hours=1)
# Seconds between two looks at the outbox when nobody says that there is something in it.
_POLL_SECONDS: Final = 1.0


class Deliverer:
    """Attempts due deliveries, whatever process announced them; any number may run at once.

    Each receiver has a lane of its own, so that a slow one holds up nobody but itself. A
    delivery is attempted at least once: when this process dies between an answer and its
    being noted, the lease lapses and another attempt is made, under the same id.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        clock: Clock,
        *,
        chance: Callable[[], float],
        on_attempt: Callable[[Outcome], None],
    ) -> None:
        """`chance` gives numbers from 0 to 1, for the jitter of retries.

        `on_attempt` hears what came of each attempt.
        """
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._chance = chance
        self._on_attempt = on_attempt
        self._lanes: dict[UUID, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._swept_at: datetime | None = None

    def wake(self) -> None:
        """Look at the outbox now: something was announced."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is broken off and tried again later."""
        try:
            while True:
                self._woken.clear()
                try:
                    await self._look()
                except DatabaseUnavailable:
                    log.warning("webhooks wait for the database")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._woken.wait()
        finally:
            lanes = list(self._lanes.values())
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def step(self) -> None:
        """Attempt everything that is due now, and return when all of it is settled.

        Raises:
            DatabaseUnavailable: the outbox cannot be read.
        """
        while lanes := await self._look():
            await asyncio.gather(*lanes)

    async def _look(self) -> Sequence[asyncio.Task[None]]:
        """Open lanes to receivers that something is due for, those that wait longest first."""
        now = self._clock.now()
        if self._swept_at is None or now - self._swept_at >= _SWEEP_EVERY:
            await self._sweep(now)
        due = await self._outbox.due_webhooks(now)
        free = _RECEIVERS - len(self._lanes)
        without_lane = [webhook_id for webhook_id in due if webhook_id not in self._lanes]
        return [self._open_lane(webhook_id) for webhook_id in without_lane[:free]]

    def _open_lane(self, webhook_id: UUID) -> asyncio.Task[None]:
        lane = asyncio.create_task(self._serve(webhook_id), name=f"webhook {webhook_id}")
        self._lanes[webhook_id] = lane
        lane.add_done_callback(lambda done: self._close_lane(webhook_id, done))
        return lane

    def _close_lane(self, webhook_id: UUID, lane: asyncio.Task[None]) -> None:
        del self._lanes[webhook_id]
        if lane.cancelled():
            return
        error = lane.exception()
        if error is None:
            self.wake()  # there may be more for this receiver
        else:
            log.error(
                "serving a webhook failed", webhook_id=str(webhook_id), error=type(error).__name__
            )

    async def _serve(self, webhook_id: UUID) -> None:
        """Attempt a few deliveries to one receiver, all at once."""
        now = self._clock.now()
        claims = await self._outbox.claim(
            webhook_id, limit=_PER_RECEIVER, now=now, leased_until=now + LEASE
        )
        async with asyncio.TaskGroup() as group:
            for claim in claims:
                group.create_task(self._deliver(claim))

    async def _deliver(self, claim: Claim) -> None:
        try:
            sent = await self._sender.send(claim.target, claim.event, claim.attempt)
        except DatabaseUnavailable:
            log.warning("a webhook waits for the database", event_id=str(claim.event.id))
            return  # the lease lapses, and the next attempt is made
        self._on_attempt(sent.attempt.outcome)
        settlement = settlement_of(sent, claim.event, self._clock.now(), self._chance())
        try:
            ours = await self._outbox.settle(claim, sent.attempt, settlement)
        except DatabaseUnavailable:
            ours = False
        log.info(
            "webhook attempted" if ours else "webhook attempted; the outcome was not stored",
            webhook_id=str(claim.target.webhook_id),
            event_id=str(claim.event.id),
            attempt=claim.attempt,
            outcome=sent.attempt.outcome.value,
            state=settlement.state.value,
        )

    async def _sweep(self, now: datetime) -> None:
        forgotten = await self._outbox.sweep(
            give_up_before=now - PERSISTENCE - LEASE, forget_before=now - RETENTION
        )
        self._swept_at = now
        if forgotten:
            log.info("old events forgotten", count=forgotten)


def settlement_of(sent: Sent, event: Event, now: datetime, chance: float) -> Settlement:
    """What follows from an attempt: done, another one at a later time, or no more of them.

    `chance`, from 0 to 1, moves the next attempt by up to a quarter either way.
    """
    attempt = sent.attempt
    if attempt.outcome is Outcome.DELIVERED:
        return Settlement(DeliveryState.DELIVERED, now)
    if attempt.outcome is Outcome.GONE:
        return Settlement(DeliveryState.FAILED, now, disables=GONE)
    wait = wait_after(attempt.number) * (0.75 + chance / 2)
    if sent.retry_after is not None:
        wait = max(wait, timedelta(seconds=sent.retry_after))
    due_at = now + wait
    if due_at > event.created_at + PERSISTENCE:
        return Settlement(DeliveryState.FAILED, now)
    return Settlement(DeliveryState.PENDING, due_at)


def wait_after(attempt: int) -> timedelta:
    """The wait after the attempt of that number, from 1, before jitter."""
    # The sixth power is past the longest wait already; a higher one need not be known.
    factor: int = _FACTOR ** min(attempt - 1, 6)
    return min(_FIRST_WAIT * factor, _LONGEST_WAIT)
