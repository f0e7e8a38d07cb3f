"""Our usage, as it is really kept, against a provider's export."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import pytest_asyncio

from model_service.db.uow import Database
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.usage.domain import UsageEvent
from model_service.usage.provider_exports import Line, ProviderExport
from model_service.usage.reading import SqlUsageReader
from model_service.usage.reconcile import Names, Reconciliation, family, reconcile
from tests.usage_events import event, sink_on, without_usage

DAY = date(2028, 2, 29)
NOON = datetime(2028, 2, 29, 12, tzinfo=UTC)
OURS = UUID(int=7)
#: What an event of `tests.usage_events` uses.
USED = Usage(input=11, cached_input=5, cache_write=3, cache_write_1h=2, output=7)
NAMES = Names({"key_a": OURS}, {"fast": "gpt-5-mini"})


@pytest_asyncio.fixture
async def kept(database: Database) -> Database:
    await without_usage(database)
    return database


async def compared(
    database: Database,
    lines: Sequence[Line],
    *events: UsageEvent,
    names: Names = NAMES,
    period: tuple[datetime, datetime] | None = None,
) -> Reconciliation:
    await sink_on(database).keep(events)
    export = ProviderExport(Provider.OPENAI, lines)
    return await reconcile(SqlUsageReader(database), export, names, period)


def line(usage: Usage | None = USED, **changes: object) -> Line:
    given = {"day": DAY, "key": "key_a", "model": "gpt-5-mini-2025-08-07", "usage": usage}
    return Line(**{**given, **changes})  # type: ignore[arg-type]


def call(**changes: object) -> UsageEvent:
    return event(**{"time": NOON, "key_id": OURS, **changes})


async def test_both_sides_alike_do_not_drift(kept: Database) -> None:
    outcome = await compared(kept, [line(requests=1)], call())
    assert [outcome.drift, outcome.worst] == [0, 0]
    (row,) = outcome.rows
    assert (row.place.key, row.place.model) == (str(OURS), "gpt-5-mini")


async def test_drift_is_in_percent_of_what_the_provider_says(kept: Database) -> None:
    # 28 tokens here, 35 there.
    theirs = Usage(input=18, cached_input=5, cache_write=3, cache_write_1h=2, output=7)
    assert (await compared(kept, [line(theirs)], call())).drift == 20


async def test_tokens_in_another_class_drift_although_the_sum_is_the_same(kept: Database) -> None:
    theirs = Usage(input=16, cached_input=0, cache_write=3, cache_write_1h=2, output=7)
    (row,) = (await compared(kept, [line(theirs)], call())).rows
    assert row.apart == 10


async def test_what_only_the_provider_knows_is_shown(kept: Database) -> None:
    (row,) = (await compared(kept, [line()])).rows
    assert row.ours is None
    assert row.drift == 100


async def test_what_only_we_know_is_shown(kept: Database) -> None:
    outcome = await compared(kept, [line()], call(), call(model="other"))
    alone = [row for row in outcome.rows if row.theirs is None]
    assert [row.place.model for row in alone] == ["other"]
    assert alone[0].drift == 100


async def test_a_key_that_is_not_known_here_keeps_the_providers_name(kept: Database) -> None:
    (row,) = (await compared(kept, [line(key="key_b", key_name="b")])).rows
    assert row.place.key == "key_b"


async def test_a_key_is_known_by_its_name_too(kept: Database) -> None:
    names = Names({"ci": OURS}, NAMES.models)
    outcome = await compared(kept, [line(key=None, key_name="ci")], call(), names=names)
    assert outcome.drift == 0


async def test_an_export_without_keys_and_models_is_compared_by_day(kept: Database) -> None:
    twice = Usage(**{name: 2 * getattr(USED, name) for name in ("input", "cached_input",
                  "cache_write", "cache_write_1h", "output")})  # fmt: skip
    bare = [line(twice, key=None, model=None)]
    outcome = await compared(kept, bare, call(), call(key_id=None, model="other"))
    assert outcome.drift == 0
    assert len(outcome.rows) == 1


async def test_a_day_ends_at_midnight_utc(kept: Database) -> None:
    last = datetime(2028, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
    outcome = await compared(
        kept, [line()], call(time=last), call(time=last + timedelta(milliseconds=1))
    )
    assert outcome.drift == 0


async def test_other_providers_calls_are_left_out(kept: Database) -> None:
    assert (await compared(kept, [line()], call(), call(provider="AZURE"))).drift == 0


async def test_snapshots_of_a_model_are_one(kept: Database) -> None:
    half = Usage(input=11, output=3)
    rest = Usage(cached_input=5, cache_write=3, cache_write_1h=2, output=4)
    lines = [line(half, model="gpt-5-mini-2025-08-07"), line(rest, model="gpt-5-mini")]
    assert (await compared(kept, lines, call())).drift == 0


async def test_costs_are_compared_in_dollars(kept: Database) -> None:
    costs = [line(usage=None, cost=Decimal("0.5"), key=None, model=None)]
    outcome = await compared(
        kept, costs, call(cost=Decimal("0.25")), call(cost=Decimal("0.2")), call(cost=None)
    )
    assert outcome.of_costs
    assert outcome.drift == 10


async def test_a_period_may_be_given(kept: Database) -> None:
    begin = datetime(2028, 2, 29, tzinfo=UTC)
    lines = [line(), line(day=date(2028, 3, 1))]
    period = (begin, begin + timedelta(days=1))
    outcome = await compared(kept, lines, call(), period=period)
    assert outcome.drift == 0


async def test_calls_that_used_nothing_are_no_drift(kept: Database) -> None:
    nothing = dict.fromkeys(
        ("input_tokens", "cached_input_tokens", "cache_write_tokens",
         "cache_write_1h_tokens", "output_tokens", "reasoning_tokens"), 0,
    )  # fmt: skip
    failed = call(status=429, key_id=None, cost=None, **nothing)
    assert len((await compared(kept, [line()], call(), failed)).rows) == 1


async def test_guesses_are_counted(kept: Database) -> None:
    assert (await compared(kept, [line()], call(estimated=True))).estimated == 1


async def test_an_empty_export_drifts_from_nothing(kept: Database) -> None:
    assert (await compared(kept, [], call())).rows == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
        ("gpt-4", "gpt-4-0613"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-0", "claude-sonnet-4-20250514"),
        ("claude-haiku-4-5", "Claude Haiku 4.5"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
    ],
)
def test_a_model_is_known_under_all_its_names(one: str, other: str) -> None:
    assert family(one) == family(other)


def test_different_models_stay_apart() -> None:
    names = ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4", "claude-sonnet-4-5", "claude-sonnet-4-0"]
    assert len({family(name) for name in names}) == len(names)
