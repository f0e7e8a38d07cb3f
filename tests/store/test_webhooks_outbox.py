"""The outbox: stored with its cause, for those who want it, claimed by one process at a time."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.sql.schema import Table

from model_service.db.tables import (
    webhook_attempts,
    webhook_deliveries,
    webhook_events,
    webhook_secrets,
)
from model_service.db.uow import Database
from model_service.kernel.events import EventType
from model_service.kernel.types import uuid7
from model_service.webhooks.delivery import LEASE, PERSISTENCE, RETENTION
from model_service.webhooks.domain import Attempt, Claim, DeliveryState, Outcome, Settlement
from tests.webhook_receiver import Parts, parts

URL = "http://127.0.0.1:9/"


async def count(database: Database, table: Table) -> int:
    async with database.single() as connection:
        return int(await connection.scalar(select(func.count()).select_from(table)) or 0)


async def claims_of(slice_: Parts, webhook_id: UUID, limit: int = 100) -> list[Claim]:
    now = slice_.clock.now()
    return list(
        await slice_.outbox.claim(webhook_id, limit=limit, now=now, leased_until=now + LEASE)
    )


def an_attempt(slice_: Parts, number: int, outcome: Outcome = Outcome.DELIVERED) -> Attempt:
    return Attempt(number, slice_.clock.now(), outcome, 204, 3)


def done(slice_: Parts) -> Settlement:
    return Settlement(DeliveryState.DELIVERED, slice_.clock.now())


async def test_an_event_is_for_every_active_webhook_that_wants_its_type(database: Database) -> None:
    async with parts(database) as slice_:
        all_events = await slice_.subscribe(URL)
        this_one = await slice_.subscribe(URL, EventType.KEY_ROTATED, EventType.KEY_INVALID)
        another = await slice_.subscribe(URL, EventType.TOKEN_CREATED)
        inactive = await slice_.subscribe(URL)
        await slice_.service.change(inactive.webhook.id, {"is_active": False})
        await slice_.announcer.announce("key.rotated", {"keyId": "1"})
        assert [await slice_.states(one) for one in (all_events, this_one, another, inactive)] == [
            ["pending"],
            ["pending"],
            [],
            [],
        ]
        assert await count(database, webhook_events) == 1


async def test_an_event_that_nobody_wants_is_not_stored(database: Database) -> None:
    async with parts(database) as slice_:
        await slice_.subscribe(URL, EventType.TOKEN_CREATED)
        await slice_.announcer.announce("key.rotated", {})
        assert await count(database, webhook_events) == 0


async def test_an_event_is_undone_with_what_it_speaks_of(database: Database) -> None:
    async def fail_after_announcing(slice_: Parts) -> None:
        async with database.transaction():
            await slice_.announcer.announce("key.rotated", {})
            raise RuntimeError

    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        with pytest.raises(RuntimeError):
            await fail_after_announcing(slice_)
        assert await slice_.states(created) == []


async def test_an_event_is_not_seen_before_its_transaction_commits(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        async with database.transaction():
            await slice_.announcer.announce("key.rotated", {})
            elsewhere = asyncio.create_task(self_contained_claims(slice_, created.webhook.id))
            assert await elsewhere == []
        assert len(await claims_of(slice_, created.webhook.id)) == 1


async def self_contained_claims(slice_: Parts, webhook_id: UUID) -> list[Claim]:
    """Claims of another process: outside of the transaction of whoever waits for this task."""
    slice_.outbox._db._current.set(None)
    return await claims_of(slice_, webhook_id)


async def test_an_unknown_type_is_no_event(database: Database) -> None:
    async with parts(database) as slice_:
        await slice_.subscribe(URL)
        with pytest.raises(ValueError, match=r"key\.stolen"):
            await slice_.announcer.announce("key.stolen", {})


async def test_a_delivery_is_claimed_once_however_many_claim(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        for number in range(30):
            await slice_.announcer.announce("key.rotated", {"number": number})
        found = await asyncio.gather(
            *(claims_of(slice_, created.webhook.id, 7) for _ in range(8)),
        )
        claimed = Counter(claim.event.id for claims in found for claim in claims)
        rest = await claims_of(slice_, created.webhook.id)
        claimed.update(claim.event.id for claim in rest)
        assert len(claimed) == 30
        assert set(claimed.values()) == {1}


async def test_the_longest_waiting_receiver_comes_first(database: Database) -> None:
    async with parts(database) as slice_:
        first = await slice_.subscribe(URL, EventType.KEY_ROTATED)
        second = await slice_.subscribe(URL, EventType.TOKEN_CREATED)
        await slice_.announcer.announce("token.created", {})
        slice_.clock.advance(timedelta(seconds=1))
        await slice_.announcer.announce("key.rotated", {})
        due = await slice_.outbox.due_webhooks(slice_.clock.now())
        assert list(due) == [second.webhook.id, first.webhook.id]


async def test_nothing_is_due_while_it_is_leased_and_again_after(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        (first,) = await claims_of(slice_, created.webhook.id)
        assert await slice_.outbox.due_webhooks(slice_.clock.now()) == []
        slice_.clock.advance(LEASE)
        assert list(await slice_.outbox.due_webhooks(slice_.clock.now())) == [created.webhook.id]
        (second,) = await claims_of(slice_, created.webhook.id)
        assert (first.attempt, second.attempt) == (1, 2)
        assert first.event == second.event


async def test_a_result_is_not_stored_once_another_process_took_over(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        (lost,) = await claims_of(slice_, created.webhook.id)
        slice_.clock.advance(LEASE)
        (held,) = await claims_of(slice_, created.webhook.id)
        assert not await slice_.outbox.settle(lost, an_attempt(slice_, 1), done(slice_))
        assert await slice_.states(created) == ["pending"]
        assert await slice_.outbox.settle(held, an_attempt(slice_, 2), done(slice_))
        assert await slice_.states(created) == ["delivered"]
        (delivery,) = await slice_.service.deliveries(created.webhook.id, None, 10)
        assert [attempt.number for attempt in delivery.attempts] == [2]


async def test_deleting_a_webhook_deletes_its_secrets_deliveries_and_log(
    database: Database,
) -> None:
    async with parts(database) as slice_:
        created, kept = await slice_.subscribe(URL), await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        (claim,) = await claims_of(slice_, created.webhook.id)
        await slice_.outbox.settle(claim, an_attempt(slice_, 1), done(slice_))
        await slice_.announcer.announce("key.rotated", {})
        await slice_.service.delete(created.webhook.id)
        assert await count(database, webhook_secrets) == 1
        assert await count(database, webhook_attempts) == 0
        assert await count(database, webhook_deliveries) == 2
        assert await slice_.states(kept) == ["pending", "pending"]


async def test_announcing_does_not_wait_for_whoever_deletes_a_webhook(database: Database) -> None:
    async def announce_elsewhere(slice_: Parts) -> None:
        slice_.outbox._db._current.set(None)
        await slice_.announcer.announce("key.rotated", {})

    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        async with database.transaction():
            await slice_.service.delete(created.webhook.id)
            await asyncio.wait_for(asyncio.create_task(announce_elsewhere(slice_)), 5)
        # The delivery was counted in before the deletion was to be seen; nobody attempts it.
        assert await count(database, webhook_deliveries) == 1
        assert await slice_.outbox.due_webhooks(slice_.clock.now()) == []
        assert await claims_of(slice_, created.webhook.id) == []


async def test_deliveries_wait_while_a_webhook_is_inactive(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        await slice_.service.change(created.webhook.id, {"is_active": False})
        assert await slice_.outbox.due_webhooks(slice_.clock.now()) == []
        assert await claims_of(slice_, created.webhook.id) == []
        await slice_.service.change(created.webhook.id, {"is_active": True})
        assert len(await claims_of(slice_, created.webhook.id)) == 1


async def test_old_deliveries_are_given_up_and_older_events_forgotten(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        (claim,) = await claims_of(slice_, created.webhook.id)
        await slice_.outbox.settle(claim, an_attempt(slice_, 1), done(slice_))
        await slice_.announcer.announce("key.rotated", {})
        await slice_.service.change(created.webhook.id, {"is_active": False})
        slice_.clock.advance(PERSISTENCE + timedelta(hours=1))
        deliverer = slice_.deliverer()
        await deliverer.step()
        assert await slice_.states(created) == ["delivered", "failed"]
        slice_.clock.advance(RETENTION)
        await slice_.service.change(created.webhook.id, {"is_active": True})
        await slice_.announcer.announce("token.created", {})
        await slice_.service.change(created.webhook.id, {"is_active": False})
        await deliverer.step()
        assert await count(database, webhook_events) == 1
        assert await count(database, webhook_attempts) == 0
        assert await slice_.states(created) == ["pending"]


async def test_more_than_one_batch_is_swept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_service.webhooks.outbox._SWEEP_BATCH", 3)
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        for _ in range(7):
            await slice_.announcer.announce("key.rotated", {})
        later = slice_.clock.now() + timedelta(seconds=1)
        never = later - timedelta(days=9)
        await slice_.outbox.sweep(give_up_before=later, forget_before=never)
        assert set(await slice_.states(created)) == {"failed"}
        assert await slice_.outbox.sweep(give_up_before=later, forget_before=later) == 7
        assert await count(database, webhook_deliveries) == 0


async def test_the_log_is_read_in_pages_newest_first(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        for _ in range(5):
            await slice_.announcer.announce("key.rotated", {})
        whole = await slice_.service.deliveries(created.webhook.id, None, 10)
        ids = [delivery.event_id for delivery in whole]
        assert ids == sorted(ids, reverse=True)
        page = await slice_.service.deliveries(created.webhook.id, ids[1], 2)
        assert [delivery.event_id for delivery in page] == ids[2:4]


async def test_a_result_for_a_deleted_webhook_is_dropped(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await slice_.announcer.announce("key.rotated", {})
        (claim,) = await claims_of(slice_, created.webhook.id)
        await slice_.service.delete(created.webhook.id)
        assert not await slice_.outbox.settle(claim, an_attempt(slice_, 1), done(slice_))
        assert await count(database, webhook_attempts) == 0


async def test_rotating_leaves_two_secrets_and_then_one(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        for _ in range(3):
            await slice_.service.rotate_secret(created.webhook.id)
        assert await count(database, webhook_secrets) == 2
        store = slice_.service._store
        signing = await store.target(created.webhook.id, slice_.clock.now())
        assert signing is not None
        assert [secret.expires_at is None for secret in signing.secrets] == [True, False]
        slice_.clock.advance(timedelta(hours=24))
        signing = await store.target(created.webhook.id, slice_.clock.now())
        assert signing is not None
        assert len(signing.secrets) == 1


async def test_two_rotations_at_once_leave_one_secret_in_use(database: Database) -> None:
    async with parts(database) as slice_:
        created = await slice_.subscribe(URL)
        await asyncio.gather(*(slice_.service.rotate_secret(created.webhook.id) for _ in range(4)))
        assert await count(database, webhook_secrets) == 2


async def test_no_webhook_has_no_target(database: Database) -> None:
    async with parts(database) as slice_:
        assert await slice_.service._store.target(uuid7(), slice_.clock.now()) is None
