"""What the options of `model-service usage` make of what is typed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import pytest
import typer

from model_service.cli.usage import summarise, wanted_calls, write
from model_service.usage.domain import UsageFilter

KEY = "0198c1f0-0000-7000-8000-000000000001"
NOTHING: Mapping[str, None] = dict.fromkeys(
    ("user", "model", "provider", "key", "token", "status", "tag", "since", "until")
)


def wanted(**options: str | int) -> UsageFilter:
    return wanted_calls(**{**NOTHING, **options})  # type: ignore[arg-type]


def test_without_options_every_call_is_wanted() -> None:
    assert wanted() == UsageFilter()


def test_options_become_the_filter() -> None:
    assert wanted(
        user="ada", provider="openai", key=KEY, status=429, tag="night", since="2026-01-01"
    ) == UsageFilter(
        user_id="ada",
        provider="OPENAI",
        key_id=UUID(KEY),
        status=429,
        tag="night",
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("until", "moment"),
    [
        ("2026-01-31", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
    ids=["a day, which is counted in", "a time, which is not"],
)
def test_the_end_of_a_period(until: str, moment: datetime) -> None:
    assert wanted(until=until).until == moment


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"provider": "acme"}, "--provider"),
        ({"key": "1"}, "--key"),
        ({"token": "1"}, "--token"),
        ({"status": 7}, "--status"),
        ({"user": ""}, "--user"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "--to"),
        ({"since": "yesterday"}, "--from"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_with_the_options_name(
    options: dict[str, str | int], named: str
) -> None:
    with pytest.raises(typer.BadParameter, match=named):
        wanted(**options)


def test_a_dimension_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="user, model") as refused:
        summarise(UsageFilter(), "month", as_json=False)
    assert refused.value.param_hint == "--by"


def test_a_format_that_there_is_not_is_refused() -> None:
    with pytest.raises(typer.BadParameter) as refused:
        write(UsageFilter(), "xml", None)
    assert refused.value.param_hint == "--format"
