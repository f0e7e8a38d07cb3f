"""Looking at meters, and letting those go on that were parked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from model_service.billing.meters import Meter, MeterState
from model_service.kernel.audit import AuditEvent, AuditTrail
from model_service.kernel.errors import NotFound
from model_service.kernel.types import Clock
from model_service.kernel.unit import Transactions


class MeterReader(Protocol):
    """Where meters are kept, as far as people look at them. See `meter_store.SqlMeterStore`."""

    async def page(
        self,
        account_id: UUID | None,
        state: MeterState | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[Meter]:
        """Meters, newest first."""
        ...

    async def unpark(self, meter_id: UUID, now: datetime) -> Meter | None:
        """Let a parked meter be sent again."""
        ...


@dataclass(frozen=True, slots=True)
class MeterService:
    """The use cases of meters."""

    transactions: Transactions
    store: MeterReader
    trail: AuditTrail
    clock: Clock

    async def page(
        self,
        account_id: UUID | None,
        state: MeterState | None,
        before: UUID | None,
        limit: int,
    ) -> Sequence[Meter]:
        """Meters, newest first."""
        return await self.store.page(account_id, state, before, limit)

    async def retry(self, meter_id: UUID) -> Meter:
        """Send a parked meter again: whoever asks has made sure that Stripe has it not.

        Raises:
            NotFound: there is no parked meter of that id.
        """
        async with self.transactions.transaction():
            meter = await self.store.unpark(meter_id, self.clock.now())
            if meter is None:
                raise NotFound("No such parked meter")
            await self.trail.record(
                AuditEvent(type="billing.meter.retry", subject=f"meter:{meter_id}")
            )
        return meter
