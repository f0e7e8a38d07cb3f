"""Meters on their way to Stripe: each is counted there once, whatever breaks in between."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime

import pytest
import pytest_asyncio
from typing_extensions import override

from model_service.billing.assembly import StripeAccess
from model_service.billing.meter_store import SqlMeterStore
from model_service.billing.meters import MeterState
from model_service.billing.outbox import LEASE, Claim, Exporter, Settlement
from model_service.billing.stripe_meter import StripeMeters
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.providers.endpoint import parse_endpoint
from model_service.sandbox.stripe import (
    EVENT_NAME,
    SECRET_KEY,
    UNKNOWN_CUSTOMER,
    Fault,
    Stripe,
    serve_stripe,
)
from tests.billing_world import BillingWorld, billing_world

TODAY = date(2026, 1, 15)


@dataclass
class AtStripe:
    world: BillingWorld
    stripe: Stripe
    sender: StripeMeters
    exporter: Exporter

    async def metered(self, cost: str = "1.25", customer: str = "cus_acme") -> None:
        """One meter that waits to be sent."""
        await self.world.account("acme", "ann", customer=customer)
        self.world.usage.say("ann", TODAY, cost)
        assert await self.world.collector.step() == 1

    async def exported(self, rounds: int = 12) -> None:
        """Sent again and again, as time goes by."""
        for _ in range(rounds):
            await self.exporter.step()
            self.world.clock.advance(minutes=30)

    async def states(self) -> list[MeterState]:
        return [meter.state for meter in await self.world.meters()]


@pytest_asyncio.fixture
async def there(database: Database) -> AsyncIterator[AtStripe]:
    async with billing_world(database) as world:
        stand_in = Stripe(now=lambda: world.clock.now().timestamp())
        async with serve_stripe(stand_in) as stripe:
            sender = sender_to(world, stripe.origin)
            yield AtStripe(world, stripe, sender, world.exporter(sender))


def sender_to(world: BillingWorld, origin: str, key: str = SECRET_KEY) -> StripeMeters:
    address = parse_endpoint(origin, trusted=True)
    return StripeMeters(world.transport, address, Secret(key), EVENT_NAME)


async def test_a_meter_arrives_with_customer_value_time_and_identifier(there: AtStripe) -> None:
    await there.metered("1.2500019")
    await there.exporter.step()
    (meter,) = await there.world.meters()
    (event,) = there.stripe.events
    assert (event.identifier, event.customer, event.value) == (str(meter.id), "cus_acme", 1250001)
    assert event.timestamp == int(there.world.clock.now().timestamp())
    assert meter.state is MeterState.SENT


async def test_nothing_but_what_the_request_needs_is_told_to_stripe(there: AtStripe) -> None:
    await there.metered()
    await there.exporter.step()
    (request,) = there.stripe.requests
    assert set(request) == {
        "event_name",
        "identifier",
        "timestamp",
        "payload[stripe_customer_id]",
        "payload[value]",
        "idempotency-key",
    }


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("status", [None, 500, 503, 429, 409])
async def test_a_broken_attempt_is_repeated_and_counted_once(
    there: AtStripe, status: int | None, done: bool
) -> None:
    await there.metered()
    there.stripe.faults.extend([Fault(status, done), Fault(status, done)])
    await there.exported()
    assert there.stripe.total("cus_acme") == 1250000
    assert await there.states() == [MeterState.SENT]


async def test_a_500_that_stripe_would_repeat_for_its_key_is_asked_under_another(
    there: AtStripe,
) -> None:
    await there.metered()
    there.stripe.faults.append(Fault(500))
    await there.exported(2)
    keys = [request["idempotency-key"] for request in there.stripe.requests]
    assert len(set(keys)) == 2


async def test_after_a_lost_answer_the_key_stays_the_same(there: AtStripe) -> None:
    await there.metered()
    there.stripe.faults.append(Fault(None, done=True))
    await there.exported(2)
    keys = [request["idempotency-key"] for request in there.stripe.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_retry_after_is_kept_to(there: AtStripe) -> None:
    await there.metered()
    there.stripe.faults.append(Fault(429, headers={"retry-after": "120"}))
    await there.exporter.step()
    there.world.clock.advance(seconds=119)
    assert await there.exporter.step() == 0
    there.world.clock.advance(seconds=1)
    assert await there.exporter.step() == 1


async def test_what_stripe_refuses_is_parked_with_its_reason(there: AtStripe) -> None:
    await there.metered(customer=UNKNOWN_CUSTOMER)
    await there.exported(3)
    (meter,) = await there.world.meters()
    assert meter.state is MeterState.PARKED
    assert meter.reason == "400 resource_missing No such customer: 'cus_unknown'"
    assert len(there.stripe.requests) == 1


async def test_a_parked_meter_goes_once_it_is_retried(there: AtStripe) -> None:
    there.stripe.event_names.clear()
    await there.metered()
    await there.exporter.step()
    there.stripe.event_names.add(EVENT_NAME)
    (meter,) = await there.world.meters()
    await there.world.billing.meters.retry(meter.id)
    await there.exporter.step()
    assert there.stripe.total("cus_acme") == 1250000
    assert "billing.meter.retry" in there.world.trail.types


async def test_with_a_wrong_key_meters_wait_for_a_right_one(there: AtStripe) -> None:
    await there.metered()
    wrong = there.world.exporter(sender_to(there.world, there.stripe.origin, "sk_test_wrong"))
    await wrong.step()
    (meter,) = await there.world.meters()
    assert (meter.state, (meter.reason or "")[:3]) == (MeterState.PENDING, "401")
    there.world.clock.advance(minutes=1)
    await there.exporter.step()
    assert await there.states() == [MeterState.SENT]


async def test_the_key_is_in_no_reason_that_is_kept(there: AtStripe) -> None:
    await there.metered()
    there.stripe.faults.append(Fault(500))
    await there.exporter.step()
    (meter,) = await there.world.meters()
    assert SECRET_KEY not in (meter.reason or "")


async def test_an_unreachable_stripe_is_tried_for_days_and_nothing_is_lost(
    there: AtStripe, unused_tcp_port: int
) -> None:
    await there.metered()
    nowhere = there.world.exporter(sender_to(there.world, f"http://127.0.0.1:{unused_tcp_port}"))
    for _ in range(5):
        await nowhere.step()
        there.world.clock.advance(days=1)
    await there.exporter.step()
    assert there.stripe.total("cus_acme") == 1250000


class Dying(SqlMeterStore):
    """The outbox of a process that dies between Stripe's answer and its being noted."""

    @override
    async def settle(self, claim: Claim, settlement: Settlement, now: datetime) -> bool:
        raise asyncio.CancelledError


class DyingBefore:
    """The sender of a process that dies before anything is sent."""

    async def send(self, _: object) -> object:
        raise asyncio.CancelledError


async def test_a_process_that_dies_after_sending_sends_each_meter_once(there: AtStripe) -> None:
    await there.metered()
    dying = Exporter(
        Dying(there.world.database), there.sender, there.world.clock, chance=lambda: 0.5
    )
    with pytest.raises(asyncio.CancelledError):
        await dying.step()
    assert await there.exporter.step() == 0  # the lease is the dead process's still
    there.world.clock.moment += LEASE
    await there.exporter.step()
    assert len(there.stripe.requests) == 2
    assert there.stripe.total("cus_acme") == 1250000


async def test_a_process_that_dies_before_sending_loses_no_meter(there: AtStripe) -> None:
    await there.metered()
    with pytest.raises(asyncio.CancelledError):
        await there.world.exporter(DyingBefore()).step()  # type: ignore[arg-type]
    there.world.clock.moment += LEASE
    await there.exporter.step()
    assert there.stripe.total("cus_acme") == 1250000


async def test_what_may_be_at_stripe_is_not_sent_again_when_it_is_forgotten_there(
    there: AtStripe,
) -> None:
    await there.metered()
    there.stripe.faults.append(Fault(None, done=True))
    await there.exporter.step()
    there.world.clock.advance(hours=25)
    await there.exporter.step()
    (meter,) = await there.world.meters()
    assert (meter.state, (meter.reason or "").partition(":")[0]) == (
        MeterState.PARKED,
        "uncertain",
    )
    assert there.stripe.total("cus_acme") == 1250000


async def test_what_is_too_old_for_stripe_is_parked_unsent(there: AtStripe) -> None:
    await there.metered()
    there.world.clock.advance(days=35)
    await there.exporter.step()
    (meter,) = await there.world.meters()
    assert (meter.reason or "").startswith("too_old")
    assert there.stripe.requests == []


async def test_many_exporters_send_each_meter_once(there: AtStripe) -> None:
    for number in range(30):
        await there.world.account(f"a{number}", f"u{number}", customer=f"cus_{number}")
        there.world.usage.say(f"u{number}", TODAY, "0.5")
    await there.world.collector.step()
    others = [there.world.exporter(there.sender) for _ in range(4)]
    await asyncio.gather(*(exporter.step() for exporter in others))
    assert len(there.stripe.requests) == 30
    assert sorted(event.value for event in there.stripe.events) == [500000] * 30


async def test_without_a_key_meters_wait(there: AtStripe) -> None:
    await there.metered()
    assert await there.world.exporter(None).step() == 0
    assert await there.states() == [MeterState.PENDING]


async def test_the_assembled_slice_sends_with_the_access_it_is_given(
    database: Database,
) -> None:
    async with serve_stripe() as stripe:
        access = StripeAccess(
            parse_endpoint(stripe.origin, trusted=True), Secret(SECRET_KEY), EVENT_NAME
        )
        async with billing_world(database, access) as world:
            stripe.now = lambda: world.clock.now().timestamp()
            await world.account("acme", "ann", customer="cus_acme")
            world.usage.say("ann", TODAY, "2")
            await world.collector.step()
            await world.billing.exporter.step()
        assert stripe.total("cus_acme") == 2000000
