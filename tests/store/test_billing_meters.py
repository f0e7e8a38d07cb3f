"""Meters: what is new, told once, hour by hour, and conserved to the millionth of a dollar."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

from model_service.billing.meters import MeterState
from tests.billing_world import BillingWorld, world

__all__ = ["world"]

TODAY = date(2026, 1, 15)


async def test_an_hours_usage_is_one_meter_and_one_announcement(world: BillingWorld) -> None:
    account = await world.account("acme", "ann", "bob", markup="20")
    world.usage.say("ann", TODAY, "0.10", model="large")
    world.usage.say("bob", TODAY, "0.20", model="small", requests=3)
    await world.collector.step()
    (meter,) = await world.meters()
    assert (meter.used.requests, meter.used.cost, meter.microdollars) == (
        4,
        Decimal("0.30"),
        360000,
    )
    ((kind, data),) = world.announcer.told
    assert kind == "usage.metered"
    assert data == {
        "meterId": str(meter.id),
        "accountId": str(account.id),
        "day": "2026-01-15",
        "requests": 4,
        "inputTokens": 40,
        "cachedInputTokens": 0,
        "cacheWriteTokens": 0,
        "outputTokens": 20,
        "unpricedRequests": 0,
        "cost": 0.3,
        "billedMicrodollars": 360000,
        "currency": "USD",
    }


async def test_within_an_hour_an_account_is_metered_once(world: BillingWorld) -> None:
    await world.account("acme", "ann")
    world.usage.say("ann", TODAY, "1")
    assert await world.collector.step() == 1
    world.usage.say("ann", TODAY, "1")
    assert await world.collector.step() == 0
    world.clock.advance(hours=1)
    assert await world.collector.step() == 1
    assert [meter.microdollars for meter in await world.meters()] == [1000000, 1000000]


async def test_an_hour_without_usage_is_not_told(world: BillingWorld) -> None:
    await world.account("acme", "ann")
    assert await world.collector.step() == 0
    assert world.announcer.types == []


async def test_collectors_at_once_tell_each_thing_once(world: BillingWorld) -> None:
    for number in range(8):
        await world.account(f"a{number}", f"u{number}")
        world.usage.say(f"u{number}", TODAY, "1")
    await asyncio.gather(*(world.collector.step() for _ in range(4)))
    assert len(await world.meters()) == 8


async def test_millionths_that_are_not_whole_come_with_the_days_next(
    world: BillingWorld,
) -> None:
    await world.account("acme", "ann")
    for _ in range(3):
        world.usage.say("ann", TODAY, "0.0000004")
        await world.collector.step()
        world.clock.advance(hours=1)
    meters = await world.meters()
    assert [meter.microdollars for meter in meters] == [0, 0, 1]
    assert sum(meter.used.cost for meter in meters) == Decimal("0.0000012")


async def test_late_usage_of_an_earlier_day_is_told_in_that_day(world: BillingWorld) -> None:
    world.clock.set(2026, 2, 1, 10)
    await world.account("acme", "ann", first="2026-01")
    world.usage.say("ann", date(2026, 1, 31), "1")
    await world.collector.step()
    (meter,) = await world.meters()
    assert meter.occurred_at == datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)


async def test_usage_that_came_weeks_late_is_found_once_a_day(world: BillingWorld) -> None:
    world.clock.set(2026, 2, 2, 23)
    await world.account("acme", "ann", first="2026-01")
    await world.collector.step()
    world.usage.say("ann", date(2026, 1, 5), "1")
    world.clock.advance(hours=1)
    assert await world.collector.step() == 1


async def test_a_user_who_moves_back_in_time_takes_his_meters_along(
    world: BillingWorld,
) -> None:
    left = await world.account("left", "ann", customer="cus_left")
    right = await world.account("right", customer="cus_right")
    world.usage.say("ann", TODAY, "1")
    await world.collector.step()
    await world.join(right.id, "ann", TODAY)
    world.clock.advance(hours=1)
    await world.collector.step()
    sums = {account.id: 0 for account in (left, right)}
    for meter in await world.meters():
        sums[meter.account_id] += meter.microdollars
    assert sums == {left.id: 0, right.id: 1000000}


async def test_an_account_without_a_customer_is_not_for_stripe(world: BillingWorld) -> None:
    await world.account("acme", "ann")
    world.usage.say("ann", TODAY, "1")
    await world.collector.step()
    (meter,) = await world.meters()
    assert meter.state is MeterState.UNEXPORTED


async def test_days_of_a_closed_month_keep_the_markup_they_were_billed_at(
    world: BillingWorld,
) -> None:
    account = await world.account("acme", "ann", markup="100", first="2026-01")
    world.usage.say("ann", date(2026, 1, 31), "1")
    world.clock.set(2026, 2, 1, 8)
    await world.collector.step()
    await world.close(account.id, "2026-01")
    await world.billing.accounts.change(account.id, {"markup_percent": Decimal(0)})
    world.clock.advance(days=1)
    assert await world.collector.step() == 0
