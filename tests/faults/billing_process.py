"""Run by test_billing_processes.py: closes a month, or meters and dies where it is told to."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from typing_extensions import override

from model_service.billing.assembly import Billing, StripeAccess
from model_service.billing.meter_store import SqlMeterStore
from model_service.billing.meters import Meter, Metered
from model_service.billing.months import Month
from model_service.billing.outbox import Claim, Exporter, Sent, Settlement
from model_service.billing.stripe_meter import StripeMeters
from model_service.db.engine import create_engine
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.providers.egress import EgressPolicy
from model_service.providers.endpoint import parse_endpoint
from model_service.providers.transport import Transport
from model_service.sandbox.stripe import EVENT_NAME, SECRET_KEY
from tests.billing_world import SaidUsage, SetClock
from tests.fakes import RecordingAnnouncer, RecordingTrail

TODAY = date(2026, 1, 15)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Announcer(RecordingAnnouncer):
    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    @override
    async def announce(self, type: str, data: Mapping[str, Any]) -> None:
        if self._where == "announced" and len(self.told) == 1:
            die()
        await super().announce(type, data)


class Store(SqlMeterStore):
    where = ""

    @override
    async def add(self, meter: Meter, now_told: Metered) -> None:
        await super().add(meter, now_told)
        if self.where == "told":
            die()

    @override
    async def settle(self, claim: Claim, settlement: Settlement, now: datetime) -> bool:
        if self.where == "sent":
            die()
        done = await super().settle(claim, settlement, now)
        if self.where == "settled":
            die()
        return done


class Sender(StripeMeters):
    where = ""

    @override
    async def send(self, meter: Meter) -> Sent:
        if self.where == "claimed":
            die()
        return await super().send(meter)


async def main(kind: str, *arguments: str) -> None:
    database = Database(create_engine(Secret(os.environ["DATABASE_URL"])))
    transport = Transport(EgressPolicy((), loopback_allowed=True))
    usage = SaidUsage()
    for number in range(3):
        usage.say(f"u{number}", TODAY, "1.5")
    clock = SetClock(datetime(2026, 1, 15, 12, tzinfo=UTC))
    where = arguments[1] if kind == "meter" else ""
    announcer = Announcer(where)
    billing = Billing.build(database, usage, transport, None, RecordingTrail(), announcer, clock)
    await database.ping()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    if kind == "close":
        clock.set(2026, 2, 1)
        closed = await billing.statements.close(UUID(arguments[0]), Month(2026, 1))
        sys.stdout.write(f"{closed.id} {closed.number} {closed.digest}\n")
    else:
        address = parse_endpoint(arguments[0], trusted=True)
        access = StripeAccess(address, Secret(SECRET_KEY), EVENT_NAME)
        await meter(database, billing, access, transport, clock, where)
    await transport.aclose()
    await database.close()


async def meter(
    database: Database,
    billing: Billing,
    access: StripeAccess,
    transport: Transport,
    clock: SetClock,
    where: str,
) -> None:
    store = Store(database)
    store.where = where
    billing.collector._store = store
    await billing.collector.step()
    sender = Sender(transport, access.address, access.key, access.event_name)
    sender.where = where
    await Exporter(store, sender, clock, chance=lambda: 0.5).step()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
