"""The commands about prices and money, and their options."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer


def prices() -> typer.Typer:
    """The group `prices`."""
    group = typer.Typer(
        name="prices",
        help="What models cost, and editions of the price book.",
        no_args_is_help=True,
    )
    group.command(name="show")(prices_show)
    group.command(name="update")(prices_update)
    group.command(name="list")(prices_list)
    return group


def usage() -> typer.Typer:
    """The group `usage`."""
    group = typer.Typer(
        name="usage",
        help="What was used: sum it, list it, reckon it anew, check it.",
        no_args_is_help=True,
    )
    group.command(name="what-if")(usage_what_if)
    group.command(name="reconcile")(usage_reconcile)
    return group


def prices_show(
    provider: Annotated[str | None, typer.Option(help="Only this provider's models.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A registered name, or a provider's own id.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="ISO 8601 time or day; now without it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show what models cost in US dollars for a million tokens, and by which edition."""
    from model_service.cli.prices import show

    show(provider, model, at, as_json=json)


def prices_update(
    file: Annotated[
        Path,
        typer.Argument(help="Prices in our format or that of genai-prices; see docs/money.md."),
    ],
    name: Annotated[
        str | None, typer.Option(help="The edition's name, instead of the file's own.")
    ] = None,
    effective_from: Annotated[
        str | None,
        typer.Option(
            "--effective-from", help="ISO 8601 time or day from which it counts; else the file's."
        ),
    ] = None,
    backdate: Annotated[
        bool, typer.Option("--backdate", help="Let it count from a moment that is past.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Read the file, store nothing.")] = False,
) -> None:
    """Bring in an edition of the price book; every running instance prices by it at once."""
    from model_service.cli.prices import update

    update(file, name, effective_from, backdate=backdate, check=check)


def prices_list(
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """List the editions of the price book, in the order in which they begin to count."""
    from model_service.cli.prices import editions

    editions(as_json=json)


def usage_what_if(
    model: Annotated[
        str, typer.Option(help="A registered name, or a provider's model such as OPENAI/gpt-4o.")
    ],
    since: Annotated[str, typer.Option("--from", help="ISO 8601 time or day.")],
    until: Annotated[
        str, typer.Option("--to", help="ISO 8601 time, or a day, which is counted in.")
    ],
    user: Annotated[str | None, typer.Option(help="Only this user's calls.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Show what a past period would have cost at another model's prices."""
    from model_service.cli.usage_money import reckon

    reckon(model, since, until, user, as_json=json)


def usage_reconcile(
    provider: Annotated[str, typer.Option(help="openai or anthropic.")],
    file: Annotated[Path, typer.Option(help="Its usage or cost export, JSON or CSV.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help="<its id or name of a key>=<our id of it>; may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="ISO 8601 time or day; else the file's first day.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="ISO 8601 time or day; else the file's last day.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, help="Percent of drift above which the exit status is 3.")
    ] = 1.0,
    per_row: Annotated[
        bool, typer.Option("--per-row", help="Judge the worst row, not the whole.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As one JSON document.")] = False,
) -> None:
    """Compare usage with a provider's export, per day, key and model; exit 3 when it drifts."""
    from model_service.cli.usage_money import compare

    compare(
        provider,
        file,
        key or (),
        (since, until),
        Decimal(str(threshold)),
        per_row=per_row,
        as_json=json,
    )
