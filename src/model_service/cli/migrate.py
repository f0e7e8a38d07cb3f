"""`model-service migrate`."""

import asyncio

import typer

from model_service.app import configure_logging, load_settings
from model_service.cli.database import database
from model_service.db.migrate import migrate, schema_state
from model_service.db.tables import SCHEMA_REVISION

_SENTENCES = {
    "empty": "the database is empty; `model-service migrate` will create the tables",
    "behind": "the database is behind; `model-service migrate` will bring it up to date",
    "ahead": "the database was migrated by a newer release",
}


def run(*, check: bool) -> None:
    """Migrate, or with `check` only say whether there is something to do (exit status 1)."""
    settings = load_settings()
    configure_logging(settings)
    with database(settings) as url:
        if not check:
            changed = asyncio.run(migrate(url))
            typer.echo(f"migrated to {SCHEMA_REVISION}" if changed else "nothing to do")
            return
        state = asyncio.run(schema_state(url))
    if state == "current":
        typer.echo(f"the database is at {SCHEMA_REVISION}, as it should be")
        return
    typer.echo(_SENTENCES[state], err=True)
    raise typer.Exit(1)
