"""`model-service billing`: accounts and statements, in the database itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import orjson
import typer
from rich.table import Table

from model_service.app import build, load_settings
from model_service.billing.assembly import Billing
from model_service.billing.domain import Account, ClosedStatement
from model_service.billing.months import Month
from model_service.billing.statements import plain
from model_service.billing.views import AccountView, StatementSummary
from model_service.cli.console import log_to_stderr, printable, report_console
from model_service.cli.database import database
from model_service.cli.operator import operator
from model_service.db.migrate import schema_state
from model_service.http.wire import ResponseModel, format_moment
from model_service.kernel.caller import set_caller
from model_service.kernel.errors import InvalidInput, ServiceError, StartupFault
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.settings import Settings

#: Read at a time.
_BATCH: Final = 500

Work = Callable[[Billing], Awaitable[None]]


def show_accounts(*, as_json: bool) -> None:
    """List accounts, newest first."""

    async def report(billing: Billing) -> None:
        found = [account async for account in _accounts(billing)]
        if as_json:
            _print_json([AccountView.of(account) for account in found])
        else:
            report_console().print(_table_of_accounts(found))

    _with_billing(report)


def show_statements(account_id: UUID | None, month: str | None, *, as_json: bool) -> None:
    """List closed statements, those closed last first."""
    wanted = None if month is None else _month(month)

    async def report(billing: Billing) -> None:
        found: list[ClosedStatement] = []
        last: UUID | None = None
        while batch := await billing.statements.page(account_id, wanted, last, _BATCH):
            found += batch
            last = batch[-1].id
        if as_json:
            _print_json([StatementSummary.of(statement) for statement in found])
        else:
            report_console().print(_table_of_statements(found))

    _with_billing(report)


def close_month(month: str, account_id: UUID | None) -> None:
    """Close the statements of a month, of one account or of all that have that month open.

    One that cannot be closed holds up no other; the exit status then says that there was one.
    """
    wanted = _month(month)

    async def close(billing: Billing) -> None:
        if account_id is not None:
            chosen = [await billing.accounts.get(account_id)]
        else:
            chosen = [
                account async for account in _accounts(billing) if account.open_month <= wanted
            ]
        failed = 0
        for account in chosen:
            try:
                statement = await billing.statements.close(account.id, wanted)
            except ServiceError as error:
                failed += 1
                reason = _sentence(error)
                typer.echo(f"{printable(account.name)}: not closed: {reason}", err=True)
            else:
                typer.echo(
                    f"{statement.label}  {wanted}  {plain(statement.total)} USD"
                    f"  {printable(account.name)}"
                )
        if failed:
            raise typer.Exit(1)

    _with_billing(close)


async def _accounts(billing: Billing) -> AsyncIterator[Account]:
    last: UUID | None = None
    while batch := await billing.accounts.page(last, _BATCH):
        for account in batch:
            yield account
        last = batch[-1].id


def _with_billing(work: Work) -> None:
    settings = load_settings()
    redactor = log_to_stderr(settings)
    with database(settings) as url:
        asyncio.run(_inside(settings, url, redactor, work))


async def _inside(settings: Settings, url: Secret[str], redactor: Redactor, work: Work) -> None:
    if await schema_state(url) != "current":
        raise StartupFault("the database is at another migration; see `model-service migrate`")
    set_caller(operator())
    service = await build(settings, url, redactor)
    try:
        await work(service.traffic.billing)
    finally:
        await service.close()


def _month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"month {error}") from None


def _sentence(error: ServiceError) -> str:
    if isinstance(error, InvalidInput) and error.errors:
        return "; ".join(f"{fault.field} {fault.message}" for fault in error.errors)
    return error.message


def _print_json(views: Sequence[ResponseModel]) -> None:
    documents = [view.model_dump(mode="json", by_alias=True) for view in views]
    typer.echo(orjson.dumps(documents).decode())


def _table_of_accounts(accounts: Sequence[Account]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("id", "name", "markup %", "monthly fee", "minimum", "open month", "stripe"):
        table.add_column(head)
    for account in accounts:
        table.add_row(
            str(account.id),
            printable(account.name),
            plain(account.terms.markup_percent),
            plain(account.terms.monthly_fee),
            plain(account.terms.minimum_charge),
            str(account.open_month),
            account.stripe_customer_id or "",
        )
    return table


def _table_of_statements(statements: Sequence[ClosedStatement]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("number", "month", "total", "account", "closed", "sha-256", "id"):
        table.add_column(head)
    for one in statements:
        table.add_row(
            f"S-{one.number:06}",
            str(one.month),
            plain(one.total),
            str(one.account_id),
            format_moment(one.closed_at),
            one.digest[:16],
            str(one.id),
        )
    return table
