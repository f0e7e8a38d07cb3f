"""Billing by processes that race and die: one statement, each meter counted once."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest
import pytest_asyncio

from model_service.billing.assembly import StripeAccess
from model_service.billing.outbox import LEASE
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.providers.endpoint import parse_endpoint
from model_service.sandbox.stripe import EVENT_NAME, SECRET_KEY, Stripe, serve_stripe
from tests.billing_world import BillingWorld, billing_world

#: What a process does. It says that it is ready, waits to be told to go, and goes.
PROCESS = Path(__file__).with_name("billing_process.py")
TODAY = date(2026, 1, 15)


class Process:
    """One beside this one, on the same database."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self._running = running

    @classmethod
    async def started(cls, url: Secret[str], *arguments: str) -> "Process":
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROCESS),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "DATABASE_URL": url.reveal(),
            },
        )
        assert running.stdout is not None
        assert await running.stdout.readline() == b"ready\n"
        return cls(running)

    def go(self) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(b"go\n")

    async def ended(self) -> tuple[int, str]:
        """Its exit status, and the last thing it said."""
        output, _ = await self._running.communicate()
        assert self._running.returncode is not None
        return self._running.returncode, output.decode().strip().rpartition("\n")[2]


@pytest_asyncio.fixture
async def there(database: Database) -> AsyncIterator[tuple[BillingWorld, Stripe]]:
    async with serve_stripe() as stripe:
        access = StripeAccess(
            parse_endpoint(stripe.origin, trusted=True), Secret(SECRET_KEY), EVENT_NAME
        )
        async with billing_world(database, access) as world:
            stripe.now = lambda: world.clock.now().timestamp()
            yield world, stripe


async def test_processes_that_close_at_once_close_one_statement(
    there: tuple[BillingWorld, Stripe], database_url: Secret[str]
) -> None:
    world, _ = there
    account = await world.account("acme", fee="10")
    racing = [await Process.started(database_url, "close", str(account.id)) for _ in range(3)]
    for process in racing:
        process.go()
    said = [await process.ended() for process in racing]
    (kept,) = await world.billing.statements.page(account.id, None, None, 10)
    assert said == [(0, f"{kept.id} {kept.number} {kept.digest}")] * 3


@pytest.mark.parametrize("where", ["told", "announced", "claimed", "sent", "settled"])
async def test_a_process_killed_anywhere_between_usage_and_stripe_sends_each_meter_once(
    there: tuple[BillingWorld, Stripe], database_url: Secret[str], where: str
) -> None:
    world, stripe = there
    for number in range(3):
        await world.account(f"a{number}", f"u{number}", customer=f"cus_{number}")
        world.usage.say(f"u{number}", TODAY, "1.5")
    killed = await Process.started(database_url, "meter", stripe.origin, where)
    killed.go()
    assert (await killed.ended())[0] == -signal.SIGKILL
    world.clock.moment += LEASE
    await world.collector.step()
    await world.billing.exporter.step()
    assert [stripe.total(f"cus_{number}") for number in range(3)] == [1500000] * 3
    assert len(stripe.events) == 3
