"""The outbox to Stripe: each meter is sent until it is there, and counted there once."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

import structlog

from model_service.billing.meters import Meter, MeterState
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.types import Clock

log = structlog.get_logger(__name__)

#: How long a process may work on a meter before another takes it over.
LEASE: Final = timedelta(seconds=120)
#: For how long Stripe surely knows an identifier and an idempotency key again. It says "at least
#: 24 hours" of both; an hour is for clocks and for the way.
REMEMBERED: Final = timedelta(hours=23)
#: How old usage may be at Stripe; see
#: https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api.
OLDEST: Final = timedelta(days=35)
# The wait before the second attempt, the factor from one to the next, the longest: 5 s, 15 s,
# 45 s, 2 min, 7 min, 20 min, then every hour.
_FIRST_WAIT: Final = timedelta(seconds=5)
_FACTOR: Final = 3
_LONGEST_WAIT: Final = timedelta(hours=1)
_LOOK_SECONDS: Final = 15.0
# Meters sent at the same time; Stripe takes a thousand a second.
_BATCH: Final = 20


class Answer(StrEnum):
    """What came of sending a meter."""

    TAKEN = "taken"
    """It is there: now, or already before."""
    BUSY = "busy"
    """Refused for now, before anything was done (429)."""
    FAILED = "failed"
    """Stripe answered that it failed itself (5xx, 409): it may be there or not."""
    LOST = "lost"
    """No answer came: it may be there or not."""
    UNREACHABLE = "unreachable"
    """Nothing was sent, as there was no connection."""
    KEY_REFUSED = "key_refused"
    """The key is wrong (401, 403), which says nothing of the meter: it waits for a right one."""
    REFUSED = "refused"
    """It is wrong (other 4xx): sending it again would change nothing."""


_NOT_THERE: Final = frozenset((Answer.BUSY, Answer.UNREACHABLE, Answer.KEY_REFUSED))


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer and what it said, as far as that is fit to be shown."""

    answer: Answer
    reason: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A meter that this process is to send now.

    `uncertain_since` is the time of the first earlier attempt that nobody knows the end of.
    """

    meter: Meter
    uncertain_since: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What follows from an attempt.

    `refused`: Stripe's answer is bound to the idempotency key, so that the next attempt needs
    another one. `surely_not_there`: this attempt left nothing there.
    """

    state: MeterState
    due_at: datetime
    reason: str | None = None
    refused: bool = False
    surely_not_there: bool = False


class MeterOutbox(Protocol):
    """Where meters wait. See `meter_store.SqlMeterStore`."""

    async def claim(self, *, limit: int, now: datetime, leased_until: datetime) -> Sequence[Claim]:
        """Take due meters that no other process holds."""
        ...

    async def settle(self, claim: Claim, settlement: Settlement, now: datetime) -> bool:
        """Note what came of an attempt, unless another process took the meter over."""
        ...


class MeterSender(Protocol):
    """What sends a meter. See `stripe_meter.StripeMeters`."""

    async def send(self, meter: Meter) -> Sent:
        """Attempt it once. Never raises for what Stripe does or says."""
        ...


class Exporter:
    """Sends what is due, whatever process noted it. A job; any number may run at once."""

    def __init__(
        self,
        outbox: MeterOutbox,
        sender: MeterSender | None,
        clock: Clock,
        *,
        chance: Callable[[], float],
    ) -> None:
        """Without a sender nothing is sent: meters wait. `chance` gives numbers from 0 to 1."""
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._chance = chance

    async def run(self) -> None:
        """Send until cancelled; what is under way then is sent again later."""
        while True:
            try:
                await self.step()
            except DatabaseUnavailable:
                log.warning("meters wait for the database")
            await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> int:
        """Attempt everything that is due now; how many attempts that were.

        Raises:
            DatabaseUnavailable: the rest is done later.
        """
        if self._sender is None:
            return 0
        count = 0
        while claims := await self._claims():
            await asyncio.gather(*(self._attempt(self._sender, claim) for claim in claims))
            count += len(claims)
        return count

    async def _claims(self) -> Sequence[Claim]:
        now = self._clock.now()
        return await self._outbox.claim(limit=_BATCH, now=now, leased_until=now + LEASE)

    async def _attempt(self, sender: MeterSender, claim: Claim) -> None:
        now = self._clock.now()
        settlement = unsendable(claim, now)
        if settlement is None:
            sent = await sender.send(claim.meter)
            now = self._clock.now()
            settlement = settlement_of(sent, claim, now, self._chance())
        try:
            ours = await self._outbox.settle(claim, settlement, now)
        except DatabaseUnavailable:
            ours = False  # the lease lapses, and it is sent again under the same identifier
        if settlement.state is MeterState.PARKED:
            log.error("a meter is parked", meter_id=str(claim.meter.id), reason=settlement.reason)
        log.info(
            "meter attempted" if ours else "meter attempted; the outcome was not stored",
            meter_id=str(claim.meter.id),
            attempt=claim.meter.attempts,
            state=settlement.state.value,
        )


def unsendable(claim: Claim, now: datetime) -> Settlement | None:
    """What to do with a meter that must not be sent, or not again; None: it may."""
    if now - claim.meter.occurred_at >= OLDEST:
        reason = "too_old: Stripe takes no usage of more than 35 days ago"
        return Settlement(MeterState.PARKED, now, reason, surely_not_there=True)
    if claim.uncertain_since is not None and now - claim.uncertain_since >= REMEMBERED:
        reason = (
            "uncertain: it may be at Stripe already, which does not know it again after a day;"
            " look for its identifier there"
        )
        return Settlement(MeterState.PARKED, now, reason)
    return None


def settlement_of(sent: Sent, claim: Claim, now: datetime, chance: float) -> Settlement:
    """What follows from an answer. `chance`, from 0 to 1, moves a retry by a quarter either way."""
    if sent.answer is Answer.TAKEN:
        return Settlement(MeterState.SENT, now)
    if sent.answer is Answer.REFUSED:
        return Settlement(MeterState.PARKED, now, sent.reason, refused=True, surely_not_there=True)
    wait = wait_after(claim.meter.attempts) * (0.75 + chance / 2)
    if sent.retry_after is not None:
        wait = max(wait, timedelta(seconds=sent.retry_after))
    return Settlement(
        MeterState.PENDING,
        now + wait,
        sent.reason,
        # Stripe gives the same answer again for the same key, a 500 too. Where none came the
        # key stays: it is what tells the second request for the first.
        refused=sent.answer is Answer.FAILED,
        surely_not_there=sent.answer in _NOT_THERE,
    )


def wait_after(attempt: int) -> timedelta:
    """The wait after the attempt of that number, from 1, before jitter."""
    # The seventh power is past the longest wait already.
    factor: int = _FACTOR ** min(attempt - 1, 7)
    return min(_FIRST_WAIT * factor, _LONGEST_WAIT)
