"""The commands and their options. What they do is imported when they are called."""

from pathlib import Path
from typing import Annotated

import typer

from model_service import __version__


def build() -> typer.Typer:
    """The command tree."""
    app = typer.Typer(
        name="model-service",
        help="LLM models and provider API keys in one place, and one door to call them through.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for command in (serve, migrate, doctor, sandbox, demo):
        app.command()(command)
    app.command(name="import")(import_earlier)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """LLM models and provider API keys in one place, and one door to call them through."""


def serve() -> None:
    """Run the service: check everything, migrate the database, then listen."""
    from model_service.cli.serve import run

    run()


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when there is something to do.")
    ] = False,
) -> None:
    """Bring the database to this release's schema."""
    from model_service.cli.migrate import run

    run(check=check)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Findings as one JSON document.")] = False,
) -> None:
    """Check configuration, database, keyring, clock, disk and providers; say what to do."""
    from model_service.cli.doctor import run

    run(as_json=json)


def sandbox(
    port: Annotated[
        int, typer.Option(min=1, max=65530, help="Base port; the providers take the next five.")
    ] = 4100,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Serve stand-ins of the providers, to try everything without an account."""
    from model_service.sandbox import server

    server.run(host, port, typer.echo)


def demo(
    sandbox_port: Annotated[
        int, typer.Option(min=1, max=65530, help="Base port of the stand-ins.")
    ] = 4100,
) -> None:
    """Run the service against the sandbox, with a few models and keys to try."""
    from model_service.cli.demo import run

    run(sandbox_port)


def import_earlier(
    source: Annotated[
        str, typer.Option("--from", help="PostgreSQL URL of the earlier service's database.")
    ],
    secret_file: Annotated[
        Path, typer.Option("--secret-file", help="File holding its ENCRYPTION_SECRET.")
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read, decrypt and check everything, store no row."),
    ] = False,
) -> None:
    """Take over models and keys from the earlier service; may be run again after an abort."""
    from model_service.cli.import_earlier import run

    run(source, secret_file, dry_run=dry_run)
