"""`model-service secret`: rotating the master secret and the terms of the keyring."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import TypeVar

import typer

from model_service.app import load_settings
from model_service.cli.console import log_to_stderr, report_console
from model_service.cli.database import database
from model_service.cli.import_progress import progress
from model_service.cli.operator import author, operator
from model_service.cli.secret_report import (
    print_exposed,
    status_document,
    status_tables,
)
from model_service.custody import Custodian, open_custody, unlockers
from model_service.kernel.caller import set_caller
from model_service.kernel.errors import StartupFault
from model_service.kernel.keyring import LEAKED
from model_service.kernel.secret import Secret
from model_service.settings import Settings, secret_faults

#: Bytes of a generated secret, which is twice as many characters.
_GENERATED_BYTES = 32

_RESTART = """\
Now restart one instance after the other with
    ENCRYPTION_SECRET={new}
    ENCRYPTION_SECRET_PREVIOUS=<the old one>
`model-service secret status` shows who uses which. When all have been restarted, run
    model-service secret rotate {last}
with the same two variables set, and take ENCRYPTION_SECRET_PREVIOUS away."""

_RESTART_WITHOUT_KEY = """\
Now restart one instance after the other with
    KEY_WRAPPER=scrypt
    ENCRYPTION_SECRET={new}
and leave the settings of the former key as they are. `model-service secret status` shows who uses
which. When all have been restarted, run
    model-service secret rotate {last}
with the same settings, and take those of the former key away."""

_RESTART_WITH_KEY = """\
Now restart one instance after the other with the settings of this command, KEY_WRAPPER={kind}
among them. `model-service secret status` shows who uses which. When all have been restarted, run
    model-service secret rotate {last}
with the same settings; then what the keyring was opened with before may be taken away."""

_UNOPENED = """\
{count} records do not open, so the terms they were sealed under stay, and so does the harm; the
log lines above name them. Delete or restore them, then run this again."""

_NOT_DESTROYED = """\
Every record was moved, but these terms are not destroyed yet: {terms}. Records were being stored
all the time, or an instance sealed under one of them. Run this again."""

Result = TypeVar("Result")


class Step(Enum):
    """What `secret rotate` is to do."""

    STAGE = "--stage"
    FINALIZE = "--finalize"
    ABANDON = "--abandon"
    TERM = "--term"
    COMPROMISED = "--compromised"


def status(*, as_json: bool) -> None:
    """Report how far a rotation has come."""

    async def report(custodian: Custodian) -> None:
        found = await custodian.custody.status()
        if as_json:
            typer.echo(json.dumps(status_document(found)))
            return
        console = report_console()
        for table in status_tables(found):
            console.print(table)

    _with_custody(load_settings(), report)


def rotate(
    step: Step,
    *,
    new_secret_file: Path | None = None,
    generate: bool = False,
    as_json: bool = False,
) -> None:
    """Take one step of a rotation."""
    settings = load_settings()
    staged_elsewhere = settings.key_wrapper != "scrypt" and new_secret_file is None and not generate
    if step is Step.STAGE and staged_elsewhere:
        _with_custody(settings, lambda custodian: _stage_remote_key(custodian, settings))
    elif step is Step.STAGE:
        new = _new_secret(settings, new_secret_file, generate=generate)
        _with_custody(
            settings, lambda custodian: _stage(custodian, settings, new, generated=generate)
        )
    elif step is Step.FINALIZE:
        _with_custody(settings, _finalize)
    elif step is Step.ABANDON:
        _with_custody(settings, _abandon)
    elif step is Step.TERM:
        _with_custody(settings, _change_term)
    elif new_secret_file is not None or generate:
        new = _new_secret(settings, new_secret_file, generate=generate)
        _with_custody(
            settings,
            lambda custodian: _stage(
                custodian, settings, new, generated=generate, compromised=True
            ),
        )
    else:
        _with_custody(
            settings, lambda custodian: _replace_leaked(custodian, settings, as_json=as_json)
        )


async def _stage(
    custodian: Custodian,
    settings: Settings,
    new: Secret[str],
    *,
    generated: bool,
    compromised: bool = False,
) -> None:
    custodian.redactor.remember(new.reveal())
    added = await custodian.custody.secrets.stage(new, compromised=compromised)
    _say("The new secret opens the keyring now." if added else "It was staged already.")
    shown = "<the new one, printed below this once>" if generated else "<the new one>"
    last = Step.COMPROMISED.value if compromised else Step.FINALIZE.value
    restart = _RESTART if settings.key_wrapper == "scrypt" else _RESTART_WITHOUT_KEY
    _say(restart.format(new=shown, last=last))
    if generated:
        typer.echo(new.reveal())


async def _stage_remote_key(
    custodian: Custodian, settings: Settings, *, compromised: bool = False
) -> None:
    configured = unlockers(settings)[0]
    stage = custodian.custody.secrets.stage_unlocker
    added = await stage(configured, compromised=compromised)
    _say("The configured key opens the keyring now." if added else "It was staged already.")
    last = Step.COMPROMISED.value if compromised else Step.FINALIZE.value
    _say(_RESTART_WITH_KEY.format(kind=configured.kind, last=last))


async def _replace_leaked(custodian: Custodian, settings: Settings, *, as_json: bool) -> None:
    """Stage the configured key when that is yet to be done; else what follows the restarts."""
    if settings.key_wrapper != "scrypt":
        configured = unlockers(settings)[0]
        if await custodian.custody.is_to_replace(configured):
            await _stage_remote_key(custodian, settings, compromised=True)
            return
    await _renew(custodian, as_json=as_json)


async def _finalize(custodian: Custodian) -> None:
    deleted = await custodian.custody.secrets.finalize()
    if deleted:
        typer.echo("The old secret does not open the keyring any more.")
    else:
        typer.echo("There is nothing to finalize: only one secret opens the keyring.")


async def _abandon(custodian: Custodian) -> None:
    taken_back = await custodian.custody.secrets.abandon()
    typer.echo("The staged secret was taken back." if taken_back else "No secret is staged.")


async def _change_term(custodian: Custodian) -> None:
    term = await custodian.custody.change_term()
    typer.echo(
        f"Term {term} seals new records. The running instances move the others to it and then"
        " destroy the former term; `model-service secret status` shows how far they are."
    )


async def _renew(custodian: Custodian, *, as_json: bool) -> None:
    found = await custodian.custody.status()
    if found.wraps[-1].exposed_through in (None, LEAKED):
        raise StartupFault(
            "say which secret is to replace the one that leaked, with --new-secret-file or"
            " --generate, or set KEY_WRAPPER to another key that is to"
        )
    total = sum(sum(t.records.values()) for t in found.terms if t.row.term in found.exposed)
    with progress("records", total) as advance:

        def moved(count: int) -> None:
            for _ in range(count):
                advance()

        remaining = await custodian.custody.renew(moved)
    found = await custodian.custody.status()
    await print_exposed(custodian.database, found, remaining, as_json=as_json)
    unopened = sum(custodian.custody.unopened_of(term) for term in remaining)
    if unopened:
        _say(_UNOPENED.format(count=unopened))
    elif remaining:
        _say(_NOT_DESTROYED.format(terms=", ".join(map(str, remaining))))
    if remaining:
        raise typer.Exit(1)


def _with_custody(settings: Settings, work: Callable[[Custodian], Awaitable[Result]]) -> Result:
    """Do something with the keyring of the configured database."""
    redactor = log_to_stderr(settings)

    async def inside(url: Secret[str]) -> Result:
        set_caller(operator())
        async with open_custody(settings, url, redactor, author()) as custodian:
            return await work(custodian)

    with database(settings) as url:
        return asyncio.run(inside(url))


def _new_secret(settings: Settings, file: Path | None, *, generate: bool) -> Secret[str]:
    """The secret that is to replace the present one.

    Raises:
        StartupFault: it cannot be read, or a service would not start with it.
    """
    if generate and file is not None:
        raise StartupFault("give --new-secret-file or --generate, not both")
    if generate:
        return Secret(secrets.token_hex(_GENERATED_BYTES))
    if file is not None:
        try:
            new = Secret(file.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise StartupFault(f"{file} cannot be read: {type(error).__name__}") from error
    elif sys.stdin.isatty():
        new = Secret(
            typer.prompt("New secret", hide_input=True, confirmation_prompt=True, err=True)
        )
    else:
        raise StartupFault(
            "give the new secret with --new-secret-file, or have one made with --generate"
        )
    faults = secret_faults(settings, new)
    if faults:
        raise StartupFault(*faults)
    return new


def _say(text: str) -> None:
    typer.echo(text, err=True)
