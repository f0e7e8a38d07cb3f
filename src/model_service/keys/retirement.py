"""Ending the grace of replaced values, and closing rotations that nobody finished."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from model_service.kernel.types import Clock
from model_service.kernel.unit import Transactions
from model_service.keys.rotation_domain import Rotation, RotationStore, StepState
from model_service.keys.rotation_journal import Journal

log = structlog.get_logger(__name__)

#: Seconds between two looks. A grace period is over so much later at the most.
INTERVAL: Final = 15.0
#: Values retired in one step: a bound, so that a step ends.
MOST: Final = 500
#: A manual rotation asks its provider for seconds; one that is older was cut off.
CUT_OFF_AFTER: Final = timedelta(minutes=10)


class Retirer:
    """Destroys values whose grace is over. May run in every worker at once.

    A value that this service made the provider give out is only revoked here: it is taken
    back from the provider first (`WithdrawalDesk`), then destroyed.
    """

    def __init__(
        self, transactions: Transactions, store: RotationStore, journal: Journal, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._journal = journal
        self._clock = clock

    async def run(self) -> None:
        """Step for ever. A step that fails is logged; the next one finds what it left."""
        while True:
            try:
                await self.step()
            except Exception as error:  # noqa: BLE001 - logged; the next step finds what it left
                log.error("values could not be retired", error_type=type(error).__name__)
            await asyncio.sleep(INTERVAL)

    async def step(self) -> int:
        """End every grace that is over now; gives how many that were.

        Raises:
            AuditUnavailable, DatabaseUnavailable: those not retired yet stay as they are.
        """
        await self._close_cut_off()
        done = 0
        while done < MOST and await self._retire_next():
            done += 1
        return done

    async def _retire_next(self) -> bool:
        async with self._transactions.transaction():
            due = await self._store.next_due(self._clock.now())
            if due is None:
                return False
            key, version = due
            rotation = await self._journal.origin(key, version.version)
            is_issued = version.version in await self._store.issued(key.id)
            state = StepState.REVOKED if is_issued else StepState.DESTROYED
            await self._journal.ended(rotation, version.version, state, "the grace is over")
            if is_issued:
                await self._store.revoke(key.id, version.version, self._clock.now())
            else:
                await self._store.destroy(key.id, version.version)
            return True

    async def _close_cut_off(self) -> None:
        """Write an end to manual rotations that a crash or a caller's leaving cut off."""
        async with self._transactions.transaction():
            before = self._clock.now() - CUT_OFF_AFTER
            for step in await self._store.abandoned(before, MOST):
                key = await self._store.lock(step.key_id)
                if key is not None:
                    rotation = Rotation(step.rotation_id, key, automatic=step.automatic)
                    await self._journal.ended(
                        rotation, step.version, StepState.DESTROYED, "cut off"
                    )
