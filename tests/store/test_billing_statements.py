"""Statements: what is on them, closed once and for good, in whole calendar months of UTC."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from model_service.billing.domain import LineKind, NewCreditNote, Statement
from model_service.billing.statements import digest_of, total_of
from model_service.db.uow import Database
from model_service.kernel.errors import Conflict, InvalidInput
from tests.billing_world import BillingWorld, billing_world, world

__all__ = ["world"]


def amounts(statement: Statement) -> list[tuple[str, str]]:
    return [(line.kind.value, f"{line.amount:f}") for line in statement.lines]


async def test_a_statement_has_lines_by_user_and_model_with_the_markup(
    world: BillingWorld,
) -> None:
    account = await world.account("acme", "ann", "bob", markup="10")
    world.usage.say("ann", date(2026, 1, 2), "1.00", model="large")
    world.usage.say("ann", date(2026, 1, 30), "2.00", model="large")
    world.usage.say("ann", date(2026, 1, 30), "0.50", model="small")
    world.usage.say("bob", date(2026, 1, 30), "4.00", model="large")
    world.usage.say("nobody's", date(2026, 1, 30), "100", model="large")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    assert [
        (line.user_id, line.model, line.used and line.used.requests, line.amount)
        for line in statement.lines
    ] == [
        ("ann", "large", 2, Decimal("3.30")),
        ("ann", "small", 1, Decimal("0.55")),
        ("bob", "large", 1, Decimal("4.40")),
    ]
    assert statement.total == Decimal("8.25")


async def test_a_fee_and_what_is_missing_to_the_minimum_are_lines(world: BillingWorld) -> None:
    account = await world.account("acme", "ann", fee="5", minimum="20")
    world.usage.say("ann", date(2026, 1, 2), "3.25")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    assert amounts(statement) == [("usage", "3.25"), ("fee", "5.00"), ("minimum", "11.75")]
    assert statement.total == 20


async def test_what_rounding_leaves_over_is_carried_to_the_next_statement(
    world: BillingWorld,
) -> None:
    account = await world.account("acme", "ann")
    for month in (1, 2, 3):
        world.usage.say("ann", date(2026, month, 2), "0.004")
        world.clock.set(2026, month + 1, 1)
        await world.close(account.id, f"2026-{month:02}")
    listed = await world.billing.statements.page(account.id, None, None, 10)
    assert [one.total for one in listed[::-1]] == [
        Decimal("0.00"),
        Decimal("0.01"),
        Decimal("0.00"),
    ]


async def test_a_draft_follows_what_is_used(world: BillingWorld) -> None:
    account = await world.account("acme", "ann")
    world.usage.say("ann", date(2026, 1, 2), "1.00")
    first = await world.draft(account.id, "2026-01")
    world.usage.say("ann", date(2026, 1, 3), "1.00")
    second = await world.draft(account.id, "2026-01")
    assert (first.total, second.total) == (Decimal("1.00"), Decimal("2.00"))
    assert first.is_draft


async def test_a_closed_statement_stays_as_it_is_and_late_usage_is_on_the_next(
    world: BillingWorld,
) -> None:
    account = await world.account("acme", "ann", markup="50")
    world.usage.say("ann", date(2026, 1, 31), "1.00")
    world.clock.set(2026, 2, 1)
    january = await world.close(account.id, "2026-01")
    world.usage.say("ann", date(2026, 1, 31), "0.20")
    world.usage.say("ann", date(2026, 2, 1), "2.00")
    await world.billing.accounts.change(account.id, {"markup_percent": Decimal(0)})
    assert await world.draft(account.id, "2026-01") == january
    world.clock.set(2026, 3, 1)
    february = await world.close(account.id, "2026-02")
    # Late usage costs what it would have cost in time.
    assert amounts(february) == [("usage", "2.00"), ("late", "0.30")]


async def test_late_usage_is_billed_once(world: BillingWorld) -> None:
    account = await world.account("acme", "ann")
    world.clock.set(2026, 2, 1)
    await world.close(account.id, "2026-01")
    world.usage.say("ann", date(2026, 1, 5), "7.00")
    world.clock.set(2026, 4, 1)
    february = await world.close(account.id, "2026-02")
    march = await world.close(account.id, "2026-03")
    assert [february.total, march.total] == [7, 0]


async def test_purged_usage_takes_nothing_back(world: BillingWorld) -> None:
    account = await world.account("acme", "ann")
    world.usage.say("ann", date(2026, 1, 5), "7.00")
    world.clock.set(2026, 2, 1)
    await world.close(account.id, "2026-01")
    world.usage.sums.clear()
    world.clock.set(2026, 3, 1)
    assert (await world.close(account.id, "2026-02")).lines == ()


@pytest.mark.parametrize(
    ("year", "month", "last"), [(2028, 2, 29), (2026, 2, 28), (2026, 12, 31), (2026, 4, 30)]
)
async def test_a_month_ends_with_its_last_day(
    world: BillingWorld, year: int, month: int, last: int
) -> None:
    world.clock.set(year, month, 1)
    account = await world.account("acme", "ann")
    after = date.fromordinal(date(year, month, last).toordinal() + 1)
    world.usage.say("ann", date(year, month, last), "1.00")
    world.usage.say("ann", after, "10.00")
    world.clock.set(after.year, after.month, 1)
    assert (await world.close(account.id, f"{year}-{month:02}")).total == 1


async def test_a_month_that_is_not_over_in_utc_is_not_closed(world: BillingWorld) -> None:
    account = await world.account()
    world.clock.set(2026, 1, 31, 23, 59, 59)
    with pytest.raises(InvalidInput):
        await world.close(account.id, "2026-01")


async def test_months_are_closed_in_their_order(world: BillingWorld) -> None:
    account = await world.account()
    world.clock.set(2026, 3, 1)
    with pytest.raises(Conflict, match="2026-01"):
        await world.close(account.id, "2026-02")


async def test_many_who_close_at_once_get_one_statement(database: Database) -> None:
    async with billing_world(database) as world:
        account = await world.account("acme", "ann")
        world.usage.say("ann", date(2026, 1, 5), "7.00")
        world.clock.set(2026, 2, 1)
        statements = await asyncio.gather(*(world.close(account.id, "2026-01") for _ in range(12)))
        assert len({statement.id for statement in statements}) == 1
        assert world.announcer.types == ["statement.closed"]
        assert len(await world.billing.statements.page(None, None, None, 10)) == 1


async def test_statements_are_numbered_without_gaps_though_closing_fails(
    world: BillingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [await world.account(f"account {number}") for number in range(3)]
    world.clock.set(2026, 2, 1)

    async def fail(*_: object) -> None:
        raise RuntimeError

    await world.close(accounts[0].id, "2026-01")
    with monkeypatch.context() as patched:
        patched.setattr(world.announcer, "announce", fail)
        with pytest.raises(RuntimeError):
            await world.close(accounts[1].id, "2026-01")
    assert (await world.close(accounts[2].id, "2026-01")).number == 2
    assert (await world.draft(accounts[1].id, "2026-01")).is_draft


@pytest.mark.parametrize(
    "tampering",
    ["UPDATE billing_statements SET total = 0", "DELETE FROM billing_statements"],
)
async def test_the_database_refuses_to_change_a_closed_statement(
    world: BillingWorld, tampering: str
) -> None:
    account = await world.account()
    world.clock.set(2026, 2, 1)
    await world.close(account.id, "2026-01")
    with pytest.raises(DBAPIError, match="never changed"):
        async with world.database.transaction() as connection:
            await connection.execute(text(tampering))


async def test_the_digest_is_of_the_content_that_is_kept(world: BillingWorld) -> None:
    account = await world.account("acme", "ann", fee="5")
    world.usage.say("ann", date(2026, 1, 5), "0.0000001")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    kept = await world.billing.statements.kept(statement.id)
    assert kept.digest == statement.digest == digest_of(kept.content)
    assert '"cost":"0.0000001"' in kept.content


async def test_a_user_who_moves_in_mid_month_is_billed_by_day(world: BillingWorld) -> None:
    left = await world.account("left", "ann")
    right = await world.account("right")
    await world.join(right.id, "ann", date(2026, 1, 20))
    world.usage.say("ann", date(2026, 1, 19), "1.00")
    world.usage.say("ann", date(2026, 1, 20), "10.00")
    world.clock.set(2026, 2, 1)
    assert (await world.close(left.id, "2026-01")).total == 1
    assert (await world.close(right.id, "2026-01")).total == 10


async def test_late_usage_goes_to_the_account_of_its_day(world: BillingWorld) -> None:
    left = await world.account("left", "ann")
    right = await world.account("right")
    world.clock.set(2026, 2, 1)
    await world.close(left.id, "2026-01")
    await world.close(right.id, "2026-01")
    await world.join(right.id, "ann")
    world.usage.say("ann", date(2026, 1, 31), "3.00")
    world.clock.set(2026, 3, 1)
    assert (await world.close(right.id, "2026-02")).total == 0
    assert (await world.close(left.id, "2026-02")).lines[0].kind is LineKind.LATE


async def test_nobody_moves_in_a_month_that_is_closed(world: BillingWorld) -> None:
    left = await world.account("left", "ann")
    right = await world.account("right")
    world.clock.set(2026, 2, 1)
    await world.close(left.id, "2026-01")
    with pytest.raises(Conflict, match="left"):
        await world.join(right.id, "ann", date(2026, 1, 31))


async def test_the_closer_closes_each_month_some_hours_after_its_end(
    world: BillingWorld,
) -> None:
    account = await world.account()
    world.clock.set(2026, 3, 1, 5, 59)
    assert await world.closer.step() == 1
    world.clock.set(2026, 3, 1, 6)
    assert await world.closer.step() == 1
    assert await world.closer.step() == 0
    listed = await world.billing.statements.page(account.id, None, None, 10)
    assert [str(one.month) for one in listed] == ["2026-02", "2026-01"]


async def test_two_closers_close_what_is_due_once(world: BillingWorld) -> None:
    for number in range(5):
        await world.account(f"account {number}")
    world.clock.set(2026, 2, 2)
    await asyncio.gather(world.closer.step(), world.closer.step(), world.closer.step())
    listed = await world.billing.statements.page(None, None, None, 100)
    assert sorted(one.number for one in listed) == [1, 2, 3, 4, 5]


async def test_credit_notes_are_numbered_and_do_not_exceed_their_statement(
    world: BillingWorld,
) -> None:
    account = await world.account(fee="10")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    credit = world.billing.statements.credit
    outcomes = await asyncio.gather(
        *(credit(statement.id, NewCreditNote(Decimal(4), "outage")) for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, InvalidInput) for outcome in outcomes) == 3
    notes = await world.billing.statements.notes(statement.id, None, 10)
    assert [note.label for note in notes] == ["CN-000002", "CN-000001"]


async def test_a_credit_note_is_given_once_under_one_reference(world: BillingWorld) -> None:
    account = await world.account(fee="10")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    credit = world.billing.statements.credit
    note = NewCreditNote(Decimal(4), "outage", "case 7")
    first, second = await asyncio.gather(credit(statement.id, note), credit(statement.id, note))
    assert first == second
    with pytest.raises(Conflict):
        await credit(statement.id, NewCreditNote(Decimal(5), "outage", "case 7"))


async def test_the_sum_of_a_statements_lines_is_its_total(world: BillingWorld) -> None:
    account = await world.account("acme", "ann", markup="3.3333", fee="1.01")
    world.usage.say("ann", date(2026, 1, 5), "0.123456789123456789")
    world.clock.set(2026, 2, 1)
    statement = await world.close(account.id, "2026-01")
    assert total_of(statement.lines) == statement.total
