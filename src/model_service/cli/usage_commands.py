"""The commands about usage, and their options."""

from pathlib import Path
from typing import Annotated

import typer

_User = Annotated[str | None, typer.Option(help="Only this user's calls.")]
_Model = Annotated[str | None, typer.Option(help="Only calls that this model answered.")]
_Provider = Annotated[str | None, typer.Option(help="Only calls that this provider answered.")]
_Key = Annotated[str | None, typer.Option(help="Only calls that this key paid for, by its id.")]
_Token = Annotated[str | None, typer.Option(help="Only calls with this token, by its id.")]
_Status = Annotated[int | None, typer.Option(help="Only calls that ended with this status.")]
_Tag = Annotated[str | None, typer.Option(help="Only calls with this tag.")]
_Since = Annotated[str | None, typer.Option("--from", help="ISO 8601 time, or a day of UTC.")]
_Until = Annotated[
    str | None, typer.Option("--to", help="ISO 8601 time, or a day, which is counted in.")
]


def add_to(group: typer.Typer) -> None:
    """Put the commands into the group `usage`."""
    group.command(name="summary")(usage_summary)
    group.command(name="list")(usage_list)
    group.command(name="export")(usage_export)


def usage_summary(
    by: Annotated[
        str | None,
        typer.Option(help="user, model, provider, key, token, day, hour or tag; else one sum."),
    ] = None,
    user: _User = None,
    model: _Model = None,
    provider: _Provider = None,
    key: _Key = None,
    token: _Token = None,
    status: _Status = None,
    tag: _Tag = None,
    since: _Since = None,
    until: _Until = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show what calls came to: requests, tokens and cost, the costliest groups first."""
    from model_service.cli.usage import summarise, wanted_calls

    wanted = wanted_calls(user, model, provider, key, token, status, tag, since, until)
    summarise(wanted, by, as_json=json)


def usage_list(
    user: _User = None,
    model: _Model = None,
    provider: _Provider = None,
    key: _Key = None,
    token: _Token = None,
    status: _Status = None,
    tag: _Tag = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """List calls, newest first."""
    from model_service.cli.usage import show, wanted_calls

    wanted = wanted_calls(user, model, provider, key, token, status, tag, since, until)
    show(wanted, limit, as_json=json)


def usage_export(
    user: _User = None,
    model: _Model = None,
    provider: _Provider = None,
    key: _Key = None,
    token: _Token = None,
    status: _Status = None,
    tag: _Tag = None,
    since: _Since = None,
    until: _Until = None,
    form: Annotated[str, typer.Option("--format", help="csv or jsonl.")] = "csv",
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write calls out as CSV or as lines of JSON, newest first, however many there are."""
    from model_service.cli.usage import wanted_calls, write

    wanted = wanted_calls(user, model, provider, key, token, status, tag, since, until)
    write(wanted, form, out)
