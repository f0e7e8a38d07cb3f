"""`model-service tokens`: access tokens, made and revoked in the database itself.

For the first administrator's token, and for when nobody has one. Running services hear of
each change within a second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
import typer
from pydantic import ValidationError
from rich.table import Table

from model_service.access.api import CreatedTokenView, CreateToken, TokenView
from model_service.access.service import TokenService
from model_service.app import build, load_settings
from model_service.cli.console import log_to_stderr, printable, report_console
from model_service.cli.database import database
from model_service.cli.operator import operator
from model_service.db.migrate import migrate, schema_state
from model_service.http.wire import format_moment
from model_service.kernel.caller import set_caller
from model_service.kernel.errors import InvalidInput, StartupFault
from model_service.kernel.principal import Principal, Role
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.settings import Settings

#: Whoever may open the vault and write the database may do everything anyway.
_OPERATOR: Final = Principal(Role.ADMINISTRATOR)
#: Tokens read at a time.
_BATCH: Final = 500

Work = Callable[[TokenService], Awaitable[None]]


def create(wanted: dict[str, Any], *, as_json: bool) -> None:
    """Make a token and print it, this once: alone, or as one JSON document."""

    async def make(tokens: TokenService) -> None:
        try:
            new = CreateToken.model_validate(wanted).to_new()
            made = CreatedTokenView.of(await tokens.create(new, _OPERATOR))
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False)
            raise _usage((_place(fault["loc"]), fault["msg"]) for fault in faults) from None
        except InvalidInput as error:
            raise _usage((fault.field, fault.message) for fault in error.errors) from None
        if as_json:
            typer.echo(made.model_dump_json(by_alias=True))
            return
        typer.echo(made.token)
        typer.echo(f"token {made.id}; it is shown this once", err=True)

    _with_tokens(make)


def show(user_id: str | None, *, as_json: bool) -> None:
    """List tokens, newest first, without their text."""

    async def report(tokens: TokenService) -> None:
        views: list[TokenView] = []
        last: UUID | None = None
        while found := await tokens.list(user_id, last, _BATCH):
            views += map(TokenView.of, found)
            last = found[-1].id
        if as_json:
            documents = [view.model_dump(mode="json", by_alias=True) for view in views]
            typer.echo(orjson.dumps(documents).decode())
        else:
            report_console().print(_table(views))

    _with_tokens(report)


def revoke(token_id: UUID) -> None:
    """Revoke a token, everywhere within a second."""

    async def end(tokens: TokenService) -> None:
        await tokens.revoke(token_id, _OPERATOR)
        typer.echo(f"token {token_id} is revoked")

    _with_tokens(end)


def _with_tokens(work: Work) -> None:
    settings = load_settings()
    redactor = log_to_stderr(settings)
    with database(settings) as url:
        asyncio.run(_inside(settings, url, redactor, work))


async def _inside(settings: Settings, url: Secret[str], redactor: Redactor, work: Work) -> None:
    state = await schema_state(url)
    if state == "empty":
        await migrate(url)
    elif state != "current":
        raise StartupFault("the database is at another migration; see `model-service migrate`")
    set_caller(operator())
    service = await build(settings, url, redactor)
    try:
        await work(service.access.service)
    finally:
        await service.close()


def _place(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _usage(faults: Any) -> typer.BadParameter:  # noqa: ANN401 - pairs of texts
    return typer.BadParameter("; ".join(f"{place} {message}" for place, message in faults))


def _table(views: Sequence[TokenView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("id", "role", "user", "label", "scopes", "expires", "last used"):
        table.add_column(head)
    for view in views:
        scopes = view.scopes
        limits = [] if scopes is None else [*(scopes.models or ()), *(scopes.routes or ())]
        table.add_row(
            str(view.id),
            view.role.value,
            printable(view.user_id or ""),
            printable(view.label or ""),
            printable(", ".join(limits)),
            _moment(view.expires_at),
            _moment(view.last_used_at),
        )
    return table


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else format_moment(moment)
