"""`model-service import`: take over the models and keys of the earlier service."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer

from model_service.app import build, earlier_key_opener, load_settings
from model_service.cli.console import log_to_stderr, report_console
from model_service.cli.database import database
from model_service.cli.earlier import EarlierDatabase, earlier_database
from model_service.cli.earlier_rows import EarlierKey, EarlierModel, EarlierRow
from model_service.cli.import_intake import THREADS, KeyIntake, ModelIntake
from model_service.cli.import_report import Report
from model_service.db.migrate import migrate, schema_state
from model_service.kernel.errors import StartupFault
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.service import Service
from model_service.settings import Settings


def run(source: str, secret_file: Path, *, dry_run: bool) -> None:
    """Import, then report; exit status 3 when some rows were left out.

    Raises:
        StartupFault: a database cannot be used, or the secret file not be read.
    """
    settings = load_settings()
    redactor = log_to_stderr(settings)
    secret = read_secret(secret_file)
    redactor.remember(secret.reveal())
    report = Report(_complain, dry_run=dry_run)
    try:
        with database(settings) as target:
            importing = import_all(settings, target, Secret(source), secret, redactor, report)
            asyncio.run(importing)
    finally:
        # After an abort too: what is stored by then stays, and the next run carries on.
        report.show(report_console())
    raise typer.Exit(report.status)


def read_secret(file: Path) -> Secret[str]:
    """The earlier service's secret: the file's one line.

    Raises:
        StartupFault: it cannot be read, is empty or holds more than that.
    """
    try:
        text = file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StartupFault(f"--secret-file {file} cannot be read: {type(error).__name__}") from None
    if not text:
        raise StartupFault(f"--secret-file {file} is empty")
    if "\n" in text:
        raise StartupFault(f"--secret-file {file} must hold the secret alone, on one line")
    return Secret(text)


async def import_all(
    settings: Settings,
    target: Secret[str],
    source: Secret[str],
    secret: Secret[str],
    redactor: Redactor,
    report: Report,
) -> None:
    """Take over the database at `source` into the one at `target`, which is made ready first.

    Raises:
        StartupFault: a database cannot be used; what was stored before stays.
        DatabaseUnavailable: the target went away; likewise.
    """
    async with earlier_database(source) as earlier:
        await _prepare(target, dry_run=report.dry_run)
        service = await build(settings, target, redactor)
        try:
            # It seals like an instance, so rotation has to know of it, and to count its seals.
            async with service.watch.present():
                await take_over(earlier, service, secret, report)
        finally:
            await service.close()


async def take_over(
    earlier: EarlierDatabase, service: Service, secret: Secret[str], report: Report
) -> None:
    """Take over models, then keys, which were encrypted under `secret`.

    Raises:
        As `import_all`.
    """
    kinds: tuple[type[EarlierRow], ...] = (EarlierModel, EarlierKey)
    shapes = {kind: await earlier.shape(kind) for kind in kinds}
    if not any(shapes.values()):
        raise StartupFault(
            "there is neither a table models nor api_keys where --from points; if they are in"
            " a schema of their own, name it: ?schema=..."
        )
    with ThreadPoolExecutor(THREADS, thread_name_prefix="scrypt") as threads:
        keys = KeyIntake(service, report, earlier_key_opener(secret), threads)
        for intake in (ModelIntake(service, report), keys):
            shape = shapes[intake.kind]
            if shape is None:
                report.note(f"There is no table {intake.kind.table} to import.")
            else:
                await intake.take_over(earlier, shape)


async def _prepare(target: Secret[str], *, dry_run: bool) -> None:
    # An empty database is made ready for a dry run too: there is nothing in it to disturb.
    if dry_run and await schema_state(target) == "behind":
        raise StartupFault("a dry run migrates nothing; run `model-service migrate` first")
    await migrate(target)


def _complain(sentence: str) -> None:
    typer.echo(f"model-service: {sentence}", err=True)
