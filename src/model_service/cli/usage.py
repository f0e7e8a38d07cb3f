"""`model-service usage summary`, `list` and `export`: what was used, from the database itself."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final

import orjson
import typer
from pydantic import ValidationError
from rich.table import Table

from model_service.cli.console import printable, report_console
from model_service.cli.moments import moment_of
from model_service.cli.opened import with_service
from model_service.http.wire import format_moment
from model_service.kernel.errors import InvalidInput
from model_service.service import Service
from model_service.usage.domain import Dimension, UsageFilter
from model_service.usage.export import export
from model_service.usage.wire import (
    MOST_GROUPS,
    ExportFormat,
    SumsView,
    UsageQuery,
    UsageView,
)

#: The option that gives each field of a query.
_OPTIONS: Final = {
    "userId": "--user", "model": "--model", "provider": "--provider", "keyId": "--key",
    "tokenId": "--token", "status": "--status", "tag": "--tag", "from": "--from", "to": "--to",
}  # fmt: skip
_DAY: Final = len("2026-01-31")


def wanted_calls(
    user: str | None,
    model: str | None,
    provider: str | None,
    key: str | None,
    token: str | None,
    status: int | None,
    tag: str | None,
    since: str | None,
    until: str | None,
) -> UsageFilter:
    """The filter that options give.

    Raises:
        BadParameter: naming the options that make no sense.
    """
    given = {
        "userId": user, "model": model, "provider": provider and provider.upper(), "keyId": key,
        "tokenId": token, "status": None if status is None else str(status), "tag": tag,
    }  # fmt: skip
    if since is not None:
        given["from"] = format_moment(moment_of("--from", since))
    if until is not None:
        end = moment_of("--to", until) + timedelta(days=int(len(until) == _DAY))
        given["to"] = format_moment(end)
    try:
        query = UsageQuery.model_validate({k: v for k, v in given.items() if v is not None})
        return query.wanted(query.user_id)
    except ValidationError as error:
        faults = [
            f"{_OPTIONS[str(fault['loc'][0])]}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise typer.BadParameter("; ".join(faults)) from None
    except InvalidInput as error:
        raise _bad(error) from None


def summarise(wanted: UsageFilter, by: str | None, *, as_json: bool) -> None:
    """Show sums, as a table or as one JSON document."""
    dimension = None if by is None else _dimension(by)

    async def report(service: Service) -> None:
        dimensions = () if dimension is None else (dimension,)
        try:
            found = await service.traffic.usage.reader.groups(
                wanted, dimensions, limit=MOST_GROUPS + 1
            )
        except InvalidInput as error:
            raise _bad(error) from None
        views = [SumsView.of(group, dimension) for group in found[:MOST_GROUPS]]
        if as_json:
            _say_json(
                [view.model_dump(mode="json", by_alias=True, exclude_unset=True) for view in views]
            )
        else:
            report_console().print(_sums(views, dimension))
        if len(found) > MOST_GROUPS:
            typer.echo(f"there are more than these {MOST_GROUPS:,}", err=True)

    with_service(report)


def show(wanted: UsageFilter, limit: int, *, as_json: bool) -> None:
    """List calls, as a table or as one JSON document."""

    async def report(service: Service) -> None:
        found = await service.traffic.usage.reader.page(wanted, None, limit)
        views = [UsageView.of(event) for event in found]
        if as_json:
            _say_json([view.model_dump(mode="json", by_alias=True) for view in views])
        else:
            report_console().print(_calls(views))

    with_service(report)


def write(wanted: UsageFilter, form: str, out: Path | None) -> None:
    """Write calls to a file, which has its name once it is whole, or to standard output."""
    if form not in set(ExportFormat):
        raise typer.BadParameter("is csv or jsonl", param_hint="--format")

    async def run(service: Service) -> None:
        with _output(out) as file:
            async for chunk in await export(
                service.traffic.usage.reader, wanted, ExportFormat(form)
            ):
                file.write(chunk)

    with_service(run)


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
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


def _dimension(text: str) -> Dimension:
    try:
        return Dimension(text)
    except ValueError:
        known = ", ".join(Dimension)
        raise typer.BadParameter(f"is one of {known}", param_hint="--by") from None


def _bad(error: InvalidInput) -> typer.BadParameter:
    return typer.BadParameter(
        "; ".join(f"{_OPTIONS[fault.field]} {fault.message}" for fault in error.errors)
    )


def _say_json(document: object) -> None:
    typer.echo(orjson.dumps(document).decode())


def _sums(views: Sequence[SumsView], by: Dimension | None) -> Table:
    table = Table(box=None, pad_edge=False)
    if by is not None:
        table.add_column(by.value)
    for head in ("requests", "errors", "input", "cached", "written", "output", "cost USD"):
        table.add_column(head, justify="right")
    for view in views:
        name = [] if by is None else [printable(getattr(view, by.value) or "none")]
        table.add_row(
            *name,
            *(f"{count:,}" for count in (view.requests, view.errors, view.input_tokens)),
            *(f"{count:,}" for count in (view.cached_input_tokens, view.cache_write_tokens)),
            f"{view.output_tokens:,}",
            _money(view.cost_usd) + (f" ({view.unpriced:,} unpriced)" if view.unpriced else ""),
        )
    return table


def _calls(views: Sequence[UsageView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("time", "request", "user", "model", "provider", "status"):
        table.add_column(head)
    for head in ("input", "output", "cost USD", "ms"):
        table.add_column(head, justify="right")
    for view in views:
        table.add_row(
            format_moment(view.time),
            printable(view.request_id),
            printable(view.user_id or ""),
            printable(view.model),
            printable(view.provider),
            str(view.status),
            f"{view.input_tokens + view.cached_input_tokens + view.cache_write_tokens:,}",
            f"{view.output_tokens:,}",
            _money(view.cost_usd),
            f"{view.latency_ms:,.0f}",
        )
    return table


def _money(cost: Decimal | None) -> str:
    return "unknown" if cost is None else f"{cost:,.6f}"
