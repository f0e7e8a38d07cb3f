"""`model-service audit`: checking the trail, taking it out, shortening it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import typer

from model_service.app import build, load_settings
from model_service.audit.ledger import Ledger
from model_service.audit.standalone import read_lines
from model_service.cli.console import log_to_stderr
from model_service.cli.database import database
from model_service.cli.operator import operator
from model_service.db.migrate import schema_state
from model_service.kernel.caller import set_caller
from model_service.kernel.errors import AuditBroken, StartupFault

#: Exit status of a trail that is not as it was written.
BROKEN: Final = 2

Result = TypeVar("Result")


def verify(checkpoint: Path | None) -> None:
    """Check everything and say what was found."""
    kept = [] if checkpoint is None else _signed_lines(checkpoint)

    async def check(ledger: Ledger) -> str:
        found = await ledger.verify([ledger.keys.require_signed_line(line) for line in kept])
        return (
            f"right: records {found.first_seq} to {found.last_seq}, of which a checkpoint covers"
            f" those up to {found.signed_seq}; {found.keys} stored keys"
        )

    typer.echo(_with_ledger(check))


def export(since: str | None, until: str | None, out: Path | None, public_key: Path | None) -> None:
    """Write segments."""
    first, last = _moment("--from", since), _moment("--to", until)

    async def write(ledger: Ledger) -> str:
        _show(ledger.keys.public_pem, public_key)
        with _output(out) as file:
            exported = await ledger.export(file.write, since=first, until=last)
        if exported is None:
            return "no record is of that time; nothing was exported"
        return f"exported records {exported.first_seq} to {exported.last_seq}"

    typer.echo(_with_ledger(write), err=True)


def prune(before: str, export: Path) -> None:
    """Remove what an export holds and is older."""
    moment = _moment("--before", before)
    if moment is None:
        raise typer.BadParameter("a time is needed", param_hint="--before")

    async def remove(ledger: Ledger) -> str:
        with _readable(export) as kept:
            pruned = await ledger.prune(moment, read_lines(kept))
        if pruned is None:
            return "no whole segment is older; nothing was removed"
        return f"removed records {pruned.first_seq} to {pruned.last_seq}"

    typer.echo(_with_ledger(remove))


def _with_ledger(work: Callable[[Ledger], Awaitable[Result]]) -> Result:
    """Do something with the trail of the configured database.

    Raises:
        StartupFault: the database is away or at another migration, or the keys do not open.
        Exit: the trail is not as it was written; says so first.
    """
    settings = load_settings()
    redactor = log_to_stderr(settings)

    async def run() -> Result:
        set_caller(operator())
        if await schema_state(url) != "current":
            raise StartupFault("the database is at another migration; run `model-service migrate`")
        service = await build(settings, url, redactor)
        try:
            return await work(service.ledger)
        finally:
            await service.close()

    with database(settings) as url:
        try:
            return asyncio.run(run())
        except AuditBroken as broken:
            typer.echo(f"WRONG: {broken.message}", err=True)
            raise typer.Exit(BROKEN) from None


def _signed_lines(file: Path) -> list[bytes]:
    with _readable(file) as lines:
        found = [line for line in read_lines(lines) if line.startswith(b'{"signed":')]
    if not found:
        raise StartupFault(f"{file} holds no checkpoint; give what `audit export` wrote")
    return found


@contextmanager
def _readable(file: Path) -> Iterator[BinaryIO]:
    try:
        lines = file.open("rb")
    except OSError as error:
        raise StartupFault(f"{file} cannot be read: {error.strerror}") from error
    with lines:
        yield lines


def _show(pem: bytes, file: Path | None) -> None:
    if file is None:
        typer.echo(pem.decode(), err=True, nl=False)
    else:
        file.write_bytes(pem)


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    """Where an export goes. A file is complete and on the disk when it has its name."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = file.with_name(f"{file.name}.partial")
    with partial.open("wb") as output:
        yield output
        output.flush()
        os.fsync(output.fileno())
    partial.replace(file)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("must be an ISO 8601 time", param_hint=option) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
