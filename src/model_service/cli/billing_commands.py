"""The commands of billing and their options. What they do is imported when they are called."""

from typing import Annotated
from uuid import UUID

import typer


def group() -> typer.Typer:
    """`model-service billing`."""
    commands = typer.Typer(
        name="billing",
        help="Accounts and their monthly statements.",
        no_args_is_help=True,
    )
    commands.command(name="accounts")(accounts)
    commands.command(name="statements")(statements)
    commands.command(name="close")(close)
    return commands


def accounts(
    json: Annotated[bool, typer.Option("--json", help="All of them as one JSON document.")] = False,
) -> None:
    """List accounts, newest first, with their terms."""
    from model_service.cli.billing import show_accounts

    show_accounts(as_json=json)


def statements(
    account: Annotated[
        UUID | None, typer.Option("--account", help="Only this account's, by its id.")
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", help="Only this month's, as 2026-01.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All of them as one JSON document.")] = False,
) -> None:
    """List closed statements, those closed last first."""
    from model_service.cli.billing import show_statements

    show_statements(account, month, as_json=json)


def close(
    month: Annotated[str, typer.Argument(help="A month that is over, as 2026-01.")],
    account: Annotated[
        UUID | None, typer.Option("--account", help="Only this account's, by its id.")
    ] = None,
) -> None:
    """Close the statements of a month for good; those that are closed stay as they are."""
    from model_service.cli.billing import close_month

    close_month(month, account)
