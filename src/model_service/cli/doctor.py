"""`model-service doctor`: look at everything the service needs, and say what to do.

Makes nothing, and no check hides another: what goes wrong inside one becomes its finding.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from model_service import settings as configuration
from model_service.cli import doctor_database, doctor_machine, doctor_providers
from model_service.cli.console import log_to_stderr, printable, report_console
from model_service.cli.database import located
from model_service.cli.findings import Finding, State, document, fail, warn, worst
from model_service.db.migrate import unreachable
from model_service.db.tables import SCHEMA_REVISION
from model_service.db.uow import Database
from model_service.kernel.errors import ServiceError
from model_service.kernel.secret import Secret
from model_service.settings import Settings

_COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red"}
#: Characters of a message that a table shows.
_LONGEST = 1_000

Found = Finding | list[Finding]


def run(*, as_json: bool) -> None:
    """Look, report, and exit with status 1 when something failed."""
    findings = diagnose()
    if as_json:
        typer.echo(json.dumps(document(findings)))
    else:
        report_console().print(_table(findings))
    raise typer.Exit(1 if worst(findings) is State.FAIL else 0)


def diagnose(env_file: Path | None = Path(".env")) -> list[Finding]:
    """Everything there is to find."""
    try:
        settings, faults = configuration.examine(env_file)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return [_broken("configuration", error)]
    log_to_stderr(settings)
    directory = settings.data_dir
    return [
        *_guarded("configuration", lambda: doctor_machine.configuration(settings, faults)),
        *_guarded("data directory", lambda: doctor_machine.data_directory(directory)),
        *_guarded("disk", lambda: doctor_machine.disk(directory)),
        *_guarded("secrets file", lambda: doctor_machine.secrets_file(directory)),
        *_guarded("database", lambda: _database(settings)),
        *_guarded("port", lambda: doctor_machine.port(settings)),
        *_guarded("providers", lambda: asyncio.run(doctor_providers.providers(settings))),
        *_guarded("production", lambda: doctor_machine.production(settings, os.cpu_count() or 1)),
    ]


def _guarded(check: str, look: Callable[[], Found]) -> list[Finding]:
    try:
        found = look()
    except Exception as error:  # noqa: BLE001 - one failing check must not hide the others
        return [_broken(check, error)]
    return found if isinstance(found, list) else [found]


def _broken(check: str, error: Exception) -> Finding:
    # Only our own messages are known to be free of secrets.
    reason = error.message if isinstance(error, ServiceError) else type(error).__name__
    remedy = "see the message; if it stays unclear, report this as a defect"
    return fail(check, f"could not be checked: {reason}", remedy)


def _database(settings: Settings) -> list[Finding]:
    home = settings.data_dir.absolute() / "postgres"
    if settings.database_url is None and not (home / "PG_VERSION").exists():
        message = f"there is no embedded database in {home} yet"
        return [warn("database", message, "the first `model-service serve` makes it")]
    try:
        with located(settings) as location:
            return asyncio.run(_inside(settings, location.url))
    except ServiceError as error:
        return [fail("database", error.message, "start it, or correct DATABASE_URL")]


async def _inside(settings: Settings, url: Secret[str]) -> list[Finding]:
    """What is found in a database; only that it is unreachable when it is."""
    async with doctor_database.opened(url) as database:
        try:
            await database.ping()
        except Exception as error:  # noqa: BLE001 - `unreachable` gives every kind its words
            remedy = "start it, or correct DATABASE_URL"
            return [fail("database", unreachable(url, error), remedy)]
        checks: dict[str, Callable[[], Awaitable[Finding]]] = {
            "database": lambda: doctor_database.version(database, url),
            "privileges": lambda: doctor_database.privileges(database),
            "clock": lambda: doctor_database.clock(database),
            "migrations": lambda: doctor_database.migrations(database),
        }
        if await _is_current(database):
            # The tables that these read are there in this release's shape alone.
            checks |= {
                "keyring": lambda: doctor_database.keyring(settings, database),
                "fallbacks": lambda: doctor_database.fallbacks(database),
                "default model": lambda: doctor_database.default_model(database),
            }
        return [await _guarded_async(check, look) for check, look in checks.items()]


async def _is_current(database: Database) -> bool:
    try:
        return await database.revision() == SCHEMA_REVISION
    except (ServiceError, SQLAlchemyError):
        return False  # the check of the migrations meets the same and tells it


async def _guarded_async(check: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except Exception as error:  # noqa: BLE001 - one failing check must not hide the others
        return _broken(check, error)


def _table(findings: list[Finding]) -> Table:
    table = Table(caption=_verdict(findings), caption_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("finding", overflow="fold")
    table.add_column("state")
    table.add_column("remedy", overflow="fold")
    for finding in findings:
        table.add_row(
            finding.check,
            printable(finding.message, _LONGEST),
            Text(finding.state.value, _COLOURS[finding.state]),
            printable(finding.remedy or "", _LONGEST),
        )
    return table


def _verdict(findings: list[Finding]) -> str:
    counts = Counter(finding.state for finding in findings)
    if counts[State.FAIL]:
        return f"{counts[State.FAIL]} failed, {counts[State.WARN]} to look at"
    return f"nothing failed, {counts[State.WARN]} to look at"
