"""Delivery to real receivers, right, wrong, slow, hostile and gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from sqlalchemy import update
from standardwebhooks import Webhook as ReferenceVerifier
from typing_extensions import override

from model_service.db.tables import webhook_secrets, webhooks
from model_service.db.uow import Database
from model_service.kernel.errors import DatabaseUnavailable
from model_service.providers.egress import EgressPolicy
from model_service.webhooks.delivery import LEASE, PERSISTENCE, Deliverer
from model_service.webhooks.domain import Attempt, Claim, Created, Settlement
from model_service.webhooks.outbox import SqlOutbox
from tests.faults import hostile
from tests.webhook_receiver import Parts, after, answer, answering, is_genuine, parts, receiver


class LosingOutbox(SqlOutbox):
    """An outbox that a process dies on: what came of an attempt is never stored."""

    @override
    async def settle(self, claim: Claim, attempt: Attempt, settlement: Settlement) -> bool:
        raise DatabaseUnavailable


class AwayOutbox(SqlOutbox):
    """An outbox whose database is away for the first looks."""

    def __init__(self, database: Database, looks: int) -> None:
        super().__init__(database)
        self.looks = looks

    @override
    async def due_webhooks(self, now: datetime) -> Sequence[UUID]:
        self.looks -= 1
        if self.looks >= 0:
            raise DatabaseUnavailable
        return await super().due_webhooks(now)


@contextlib.asynccontextmanager
async def running(deliverer: Deliverer) -> AsyncIterator[None]:
    task = asyncio.create_task(deliverer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not deliverer._lanes


async def last_attempt(slice_: Parts, created: Created) -> Attempt:
    (delivery,) = await slice_.service.deliveries(created.webhook.id, None, 10)
    return delivery.attempts[-1]


async def test_an_event_arrives_as_the_specification_says(database: Database) -> None:
    async with receiver(answering(answer(204))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url + "?tenant=a%20b")
        await slice_.announcer.announce("key.rotated", {"keyId": "k", "user": "Zoë"})
        await slice_.deliverer().step()
        (request,) = mailbox.requests
        assert request.line == "POST /hook?tenant=a%20b HTTP/1.1"
        assert request.header("content-type") == ["application/json"]
        headers = {
            name: request.header(name)[0]
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        }
        document = ReferenceVerifier(created.secret.reveal()).verify(request.body, headers)
        assert document == {
            "type": "key.rotated",
            "timestamp": slice_.clock.now().isoformat(timespec="milliseconds")[:23] + "Z",
            "data": {"keyId": "k", "user": "Zoë"},
        }
        assert list(orjson.loads(request.body)) == ["type", "timestamp", "data"]
        assert await slice_.states(created) == ["delivered"]
        assert (await last_attempt(slice_, created)).status == 204


async def test_a_failing_receiver_is_asked_again_under_the_same_id(database: Database) -> None:
    script = answering(answer(500), answer(404), answer(200))
    async with receiver(script) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        deliverer = slice_.deliverer()
        await deliverer.step()
        await deliverer.step()
        assert len(mailbox.requests) == 1
        for seconds in (5, 25):
            slice_.clock.advance(timedelta(seconds=seconds))
            await deliverer.step()
        assert len(set(mailbox.ids)) == 1
        assert len({request.body for request in mailbox.requests}) == 1
        times = [int(request.header("webhook-timestamp")[0]) for request in mailbox.requests]
        assert (times[1] - times[0], times[2] - times[1]) == (5, 25)
        assert all(is_genuine(request, created.secret) for request in mailbox.requests)
        (delivery,) = await slice_.service.deliveries(created.webhook.id, None, 10)
        assert [(a.number, a.outcome, a.status) for a in delivery.attempts] == [
            (1, "receiver_error", 500),
            (2, "refused", 404),
            (3, "delivered", 200),
        ]


async def test_a_receiver_that_never_answers_well_is_given_up_after_three_days(
    database: Database,
) -> None:
    async with receiver(answering(answer(503))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        deliverer, begun = slice_.deliverer(), slice_.clock.now()
        while "pending" in await slice_.states(created):
            await deliverer.step()
            slice_.clock.advance(timedelta(hours=1))
        assert await slice_.states(created) == ["failed"]
        assert timedelta(hours=48) < slice_.clock.now() - begun <= PERSISTENCE
        attempts = len(mailbox.requests)
        slice_.clock.advance(timedelta(days=2))
        await deliverer.step()
        assert len(mailbox.requests) == attempts


async def test_a_receiver_is_left_alone_as_long_as_it_asks(database: Database) -> None:
    script = answering(answer(429, "Retry-After: 60"), answer(200))
    async with receiver(script) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        deliverer = slice_.deliverer()
        await deliverer.step()
        slice_.clock.advance(timedelta(seconds=59))
        await deliverer.step()
        assert await slice_.states(created) == ["pending"]
        slice_.clock.advance(timedelta(seconds=1))
        await deliverer.step()
        assert slice_.outcomes == ["throttled", "delivered"]


async def test_a_receiver_that_is_gone_is_told_nothing_more(database: Database) -> None:
    async with receiver(answering(answer(410))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        webhook = await slice_.service.get(created.webhook.id)
        assert (webhook.is_active, webhook.disabled_reason) == (False, "gone")
        assert await slice_.states(created) == ["failed"]
        await slice_.announcer.announce("key.rotated", {})
        assert await slice_.states(created) == ["failed"]
        again = await slice_.service.change(created.webhook.id, {"is_active": True})
        assert (again.is_active, again.disabled_reason) == (True, None)


async def test_a_silent_receiver_runs_into_the_time_limit(database: Database) -> None:
    async with (
        receiver(hostile.silent) as mailbox,
        parts(database, seconds=hostile.BRIEFLY) as slice_,
    ):
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        attempt = await last_attempt(slice_, created)
        assert (attempt.outcome, attempt.status) == ("timeout", None)
        assert attempt.latency_ms >= 40


async def test_an_absent_receiver_is_tried_again(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe("http://127.0.0.1:9/")
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        assert (await last_attempt(slice_, created)).outcome == "unreachable"
        assert await slice_.states(created) == ["pending"]


async def test_nonsense_for_an_answer_is_no_success(database: Database) -> None:
    async with (
        receiver(hostile.answering_then_closing(b"SSH-2.0-OpenSSH_9.7\r\n")) as mailbox,
        parts(database) as slice_,
    ):
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        assert (await last_attempt(slice_, created)).outcome == "not_http"


async def test_an_endless_answer_costs_nothing(database: Database) -> None:
    async def endless(wire: hostile.Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await wire.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    async with receiver(endless) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        assert await slice_.states(created) == ["delivered"]


async def test_a_redirect_is_not_followed_wherever_it_leads(database: Database) -> None:
    async with receiver(answering(answer(200))) as elsewhere:
        script = answering(
            answer(302, f"Location: {elsewhere.url}"),
            answer(307, "Location: http://169.254.169.254/latest/meta-data/"),
        )
        async with receiver(script) as mailbox, parts(database) as slice_:
            created = await slice_.subscribe(mailbox.url)
            deliverer = slice_.deliverer()
            for _ in range(2):
                await slice_.announcer.announce("key.rotated", {})
                await deliverer.step()
            assert slice_.outcomes == ["redirected", "redirected"]
            assert elsewhere.requests == []
            assert await slice_.states(created) == ["pending", "pending"]


async def test_a_name_that_turns_to_a_private_address_is_refused(database: Database) -> None:
    resolver = hostile.resolving_to(["127.0.0.1"], ["10.0.0.7"], ["169.254.169.254"])
    script = answering(answer(200, "Connection: close"))
    async with receiver(script) as mailbox, parts(database, resolver=resolver) as slice_:
        port = mailbox.url.split(":")[2]
        await slice_.subscribe(f"http://rebinding.localhost:{port}")
        deliverer = slice_.deliverer()
        for _ in range(3):
            await slice_.announcer.announce("key.rotated", {})
            await deliverer.step()
        assert slice_.outcomes == ["delivered", "address_refused", "address_refused"]
        assert len(mailbox.requests) == 1


async def test_an_address_swapped_in_the_database_is_checked_at_delivery(
    database: Database,
) -> None:
    async with receiver(answering(answer(200))) as mailbox, parts(database, EgressPolicy()) as one:
        await one.subscribe("https://hooks.example.com/")
        await one.announcer.announce("key.rotated", {})
        async with database.single() as connection:
            await connection.execute(update(webhooks).values(url=mailbox.url))
        await one.deliverer().step()
        assert one.outcomes == ["address_refused"]
        assert mailbox.requests == []


async def test_a_secret_that_does_not_open_signs_nothing(database: Database) -> None:
    async with receiver(answering(answer(200))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        async with database.single() as connection:
            await connection.execute(update(webhook_secrets).values(sealed="swapped"))
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer().step()
        assert mailbox.requests == []
        assert (await last_attempt(slice_, created)).outcome == "unsignable"


async def test_for_a_day_both_secrets_sign(database: Database) -> None:
    async with receiver(answering(answer(200))) as mailbox, parts(database) as slice_:
        before = await slice_.subscribe(mailbox.url)
        now = await slice_.service.rotate_secret(before.webhook.id)
        deliverer = slice_.deliverer()
        for span in (timedelta(hours=23, minutes=59), timedelta(minutes=1)):
            slice_.clock.advance(span)
            await slice_.announcer.announce("key.rotated", {})
            await deliverer.step()
        genuine = [
            (is_genuine(request, before.secret), is_genuine(request, now.secret))
            for request in mailbox.requests
        ]
        assert genuine == [(True, True), (False, True)]


async def test_a_crash_before_the_outcome_is_stored_delivers_again_under_the_same_id(
    database: Database,
) -> None:
    async with receiver(answering(answer(200))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.deliverer(LosingOutbox(database)).step()
        other = slice_.deliverer()
        await other.step()
        assert len(mailbox.requests) == 1
        slice_.clock.advance(LEASE)
        await other.step()
        assert len(mailbox.requests) == 2
        assert len(set(mailbox.ids)) == 1
        assert await slice_.states(created) == ["delivered"]
        assert (await last_attempt(slice_, created)).number == 2


async def test_two_processes_deliver_each_event_once(database: Database) -> None:
    async with receiver(answering(answer(200))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        for _ in range(25):
            await slice_.announcer.announce("key.rotated", {})
        await asyncio.gather(*(slice_.deliverer().step() for _ in range(3)))
        assert len(mailbox.ids) == 25
        assert len(set(mailbox.ids)) == 25
        assert set(await slice_.states(created)) == {"delivered"}


async def test_a_slow_receiver_holds_up_nobody_else(database: Database) -> None:
    busy, release = asyncio.Semaphore(0), asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def hold() -> None:
        busy.release()
        await release.wait()

    async def note() -> None:
        arrived.release()

    async with (
        receiver(after(hold, answer(200))) as slow,
        receiver(after(note, answer(200))) as quick,
        parts(database) as slice_,
    ):
        await slice_.subscribe(slow.url)
        for _ in range(20):
            await slice_.announcer.announce("key.rotated", {})
        deliverer = slice_.deliverer()
        async with running(deliverer), asyncio.timeout(20):
            for _ in range(4):
                await busy.acquire()
            await slice_.subscribe(quick.url)
            for _ in range(10):
                await slice_.announcer.announce("token.created", {})
            deliverer.wake()
            for _ in range(10):
                await arrived.acquire()
            assert len(slow.requests) == 4  # of 30: a receiver gets no more at a time
            release.set()
            for _ in range(26):
                await busy.acquire()
        assert len(set(slow.ids)) == 30


async def test_a_webhook_deleted_meanwhile_gets_nothing_more(database: Database) -> None:
    busy, release = asyncio.Semaphore(0), asyncio.Event()

    async def hold() -> None:
        busy.release()
        await release.wait()

    async with receiver(after(hold, answer(200))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        for _ in range(9):
            await slice_.announcer.announce("key.rotated", {})
        step = asyncio.create_task(slice_.deliverer().step())
        for _ in range(4):
            await busy.acquire()
        await slice_.service.delete(created.webhook.id)
        release.set()
        await step
        assert len(mailbox.requests) == 4
        assert slice_.trail.types == ["webhook.create", "webhook.delete"]


async def test_the_background_work_outlives_an_absent_database(database: Database) -> None:
    arrived = asyncio.Event()

    async def note() -> None:
        arrived.set()

    async with receiver(after(note, answer(200))) as mailbox, parts(database) as slice_:
        await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        outbox = AwayOutbox(database, looks=1)
        async with running(slice_.deliverer(outbox)), asyncio.timeout(20):
            await arrived.wait()
        assert outbox.looks < 0


async def test_what_is_under_way_at_the_end_is_broken_off_and_taken_up_elsewhere(
    database: Database,
) -> None:
    busy = asyncio.Event()
    gates = [asyncio.Event()]

    async def hold() -> None:
        busy.set()
        await gates[0].wait()

    async with receiver(after(hold, answer(200))) as mailbox, parts(database) as slice_:
        created = await slice_.subscribe(mailbox.url)
        await slice_.announcer.announce("key.rotated", {})
        async with running(slice_.deliverer()), asyncio.timeout(20):
            await busy.wait()
        gates[0].set()
        slice_.clock.advance(LEASE)
        await slice_.deliverer().step()
        assert await slice_.states(created) == ["delivered"]
        assert len(set(mailbox.ids)) == 1
