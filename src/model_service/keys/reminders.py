"""Reminding of keys that expire, and of rotations that are due: each time once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

import structlog

from model_service.kernel.events import Announcer, EventType
from model_service.kernel.types import Clock
from model_service.kernel.unit import Transactions
from model_service.keys.domain import ProviderKey
from model_service.keys.rotation_domain import announced

log = structlog.get_logger(__name__)

#: Seconds between two looks.
INTERVAL: Final = 60.0
#: Reminders in one step: a bound, so that a step ends.
MOST: Final = 1000


class Notice(StrEnum):
    """Which reminder it is, by how near its moment has come."""

    WEEK = "7d"
    DAY = "1d"
    DUE = "due"
    STUCK = "stuck"
    """It cannot go on until somebody does something."""


class Kind(StrEnum):
    """What a reminder is about."""

    EXPIRY = "expiry"
    ROTATION = "rotation"
    WITHDRAWAL = "withdrawal"
    RETIREMENT = "retirement"


#: From when before a moment on the notice is the one to send, until the next one is.
LEAD: Final = {
    Notice.WEEK: timedelta(days=7),
    Notice.DAY: timedelta(days=1),
    Notice.DUE: timedelta(0),
}
#: Somebody who begins to use the service is not told of what expired longer ago.
STALE: Final = timedelta(days=7)
#: A rotation that ought to happen by itself and did not for so long does not work.
OVERDUE: Final = timedelta(days=1)

_EVENTS: Final = {
    Kind.EXPIRY: EventType.KEY_EXPIRING,
    Kind.ROTATION: EventType.KEY_ROTATION_DUE,
    Kind.WITHDRAWAL: EventType.KEY_ROTATION_DUE,
    Kind.RETIREMENT: EventType.KEY_ROTATION_DUE,
}


@dataclass(frozen=True, slots=True)
class Approaching:
    """A moment that a key is near to; `reason` says what stands in the way, if that is known."""

    key: ProviderKey
    kind: Kind
    moment: datetime
    notice: Notice
    reason: str | None = None


class ReminderStore(Protocol):
    """Where is seen what approaches, and kept what was reminded of."""

    async def approaching(self, now: datetime, most: int) -> Sequence[Approaching]:
        """Moments near to now of which the present notice was not sent yet.

        Expiry of every active key; due rotations of those with a policy that nothing will
        rotate by itself, or should have; ends of a grace that goes on because the new value
        is refused.
        """
        ...

    async def mark_sent(self, approaching: Approaching, now: datetime) -> bool:
        """Note that the notice is sent; False when another process just did."""
        ...


class Reminders:
    """Sends reminders. May run in every worker at once: each is sent by one of them.

    Only the notice of the present span is sent: after a pause nobody gets those that were
    missed. A moment that is changed is reminded of anew.
    """

    def __init__(
        self,
        transactions: Transactions,
        store: ReminderStore,
        announcer: Announcer,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._announcer = announcer
        self._clock = clock

    async def step(self) -> int:
        """Send what is to be sent now; gives how many reminders that were.

        Raises:
            DatabaseUnavailable: those not sent yet will be with the next step.
        """
        now = self._clock.now()
        sent = 0
        for approaching in await self._store.approaching(now, MOST):
            sent += await self.send(approaching)
        return sent

    async def send(self, approaching: Approaching) -> bool:
        """Send one reminder, unless it was sent before.

        Raises:
            DatabaseUnavailable: it was not sent.
        """
        async with self._transactions.transaction():
            if not await self._store.mark_sent(approaching, self._clock.now()):
                return False
            await self._announcer.announce(_EVENTS[approaching.kind], _told(approaching))
        log.info(
            "reminded of a key",
            key_id=str(approaching.key.id),
            action=approaching.kind.value,
            phase=approaching.notice.value,
        )
        return True


class AutomaticStep(Protocol):
    """Whatever rotates keys by itself."""

    async def step(self) -> int:
        """Do what is to be done now; gives how many things that were."""
        ...


class RotationScheduler:
    """The background work that time alone brings about: reminders, and automatic rotations."""

    def __init__(self, reminders: Reminders, *automatic: AutomaticStep) -> None:
        self._parts = (reminders, *automatic)

    async def run(self) -> None:
        """Step for ever. A part that fails is logged and does not keep the others from theirs."""
        while True:
            await self.step()
            await asyncio.sleep(INTERVAL)

    async def step(self) -> int:
        """Do what is to be done now; gives how many things that were."""
        done = 0
        for part in self._parts:
            try:
                done += await part.step()
            except Exception as error:  # noqa: BLE001 - logged; the others have their work to do
                log.error("scheduled work on keys failed", error_type=type(error).__name__)
        return done


def _told(approaching: Approaching) -> dict[str, object]:
    moment = approaching.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = "expiresAt" if approaching.kind is Kind.EXPIRY else "dueAt"
    told = {**announced(approaching.key), "notice": approaching.notice.value, name: moment}
    return told if approaching.reason is None else {**told, "reason": approaching.reason}
