"""`model-service prices`: what models cost, and new editions of the price book."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import typer
from rich.table import Table

from model_service.catalog.price_editions import Edition
from model_service.catalog.price_file import MOST_BYTES
from model_service.catalog.prices_api import EditionList, EditionView, PriceList, PriceView
from model_service.cli.console import printable, report_console
from model_service.cli.moments import moment_of
from model_service.cli.opened import with_service
from model_service.cli.operator import author
from model_service.http.wire import format_moment
from model_service.kernel.errors import InvalidInput
from model_service.kernel.types import Provider, SystemClock
from model_service.service import Service

_CLASSES: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "output")


def show(provider: str | None, model: str | None, at: str | None, *, as_json: bool) -> None:
    """Show what models cost, in US dollars for a million tokens."""
    asked = _provider(provider)
    moment = SystemClock().now() if at is None else moment_of("--at", at)

    async def report(service: Service) -> None:
        found = await service.pricing.service.applied(moment, asked, model)
        views = [PriceView.of(one) for one in found]
        if as_json:
            typer.echo(PriceList(data=views).model_dump_json(by_alias=True))
        else:
            report_console().print(_prices(views))

    with_service(report)


def update(
    file: Path, name: str | None, effective_from: str | None, *, backdate: bool, check: bool
) -> None:
    """Bring in an edition of the price book; with `check` only say what the file holds."""
    since = None if effective_from is None else moment_of("--effective-from", effective_from)
    content = _content(file)

    async def bring_in(service: Service) -> None:
        prices = service.pricing.service
        try:
            if check:
                found = await prices.check(content, name)
                typer.echo(f"{found.name}: {found.count} models, sound; nothing was stored")
                return
            edition, is_new = await prices.bring_in(
                content, author(), name=name, effective_from=since, may_backdate=backdate
            )
        except InvalidInput as error:
            raise _refusal(error) from None
        typer.echo(_told(edition, is_new=is_new))

    with_service(bring_in)


def editions(*, as_json: bool) -> None:
    """List the editions, in the order in which they begin to count."""

    async def report(service: Service) -> None:
        prices = service.pricing.service
        found = [EditionView.of(one) for one in await prices.editions()]
        if as_json:
            answer = EditionList(bundled=prices.bundled, data=found)
            typer.echo(answer.model_dump_json(by_alias=True))
        else:
            report_console().print(_editions(prices.bundled, found))

    with_service(report)


def _provider(name: str | None) -> Provider | None:
    if name is None:
        return None
    try:
        return Provider(name.upper())
    except ValueError:
        raise typer.BadParameter(f"--provider is one of {', '.join(Provider)}") from None


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            # One more than allowed tells that it is too many.
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None


def _refusal(error: InvalidInput) -> typer.BadParameter:
    lines = [f"{fault.field} {fault.message}" for fault in error.errors] or [error.message]
    return typer.BadParameter("nothing was stored: " + "; ".join(lines))


def _told(edition: Edition, *, is_new: bool) -> str:
    if not is_new:
        return f"{edition.name} is known already; nothing was changed"
    since = format_moment(edition.effective_from)
    return f"{edition.name}: {edition.models} models, from {since} on"


def _prices(views: list[PriceView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("model", "provider", "model id", "tier", *_CLASSES, "version"):
        table.add_column(head.replace("_", " "), justify="right" if head in _CLASSES else "left")
    for view in views:
        names = (printable(view.model or ""), view.provider.value, printable(view.model_id))
        rows = [("", view.rates, view.version or "unpriced")]
        rows += [(f"above {long.above}", long, "") for long in view.long_context]
        rows += [(name, tier.rates, tier.version) for name, tier in view.tiers.items()]
        for tier, rates, version in rows:
            amounts = [_amount(getattr(rates, name, None)) for name in _CLASSES]
            table.add_row(*names, printable(tier), *amounts, printable(version))
            names = ("", "", "")
    return table


def _editions(bundled: str, views: list[EditionView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("edition", "from", "models", "format", "brought in", "by", "sha256"):
        table.add_column(head)
    table.add_row(bundled, "ever since", "", "bundled", "", "", "")
    for view in views:
        table.add_row(
            printable(view.name),
            _moment(view.effective_from),
            str(view.models),
            view.format,
            _moment(view.imported_at),
            printable(view.imported_by),
            view.digest[:12],
        )
    return table


def _amount(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount:f}"


def _moment(moment: datetime) -> str:
    return format_moment(moment)
