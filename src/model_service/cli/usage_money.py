"""`model-service usage what-if` and `usage reconcile`: money reckoned anew, and checked."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
import typer
from rich.table import Table

from model_service.catalog.domain import ModelFilter
from model_service.cli.console import printable, report_console
from model_service.cli.moments import period_of
from model_service.cli.opened import with_service
from model_service.kernel.errors import InvalidInput
from model_service.kernel.types import Page, Provider
from model_service.keys.domain import KeyFilter, ProviderKey
from model_service.service import Service
from model_service.usage.domain import UsageFilter
from model_service.usage.money_api import WhatIfView
from model_service.usage.provider_exports import MOST_BYTES, ProviderExport, read_export
from model_service.usage.reconcile import (
    CLASSES,
    Names,
    Reconciliation,
    Row,
    Tally,
    reconcile,
)
from model_service.usage.what_if import what_if

#: Exit status when both sides drift apart by more than is let pass; 1 and 2 are faults.
DRIFT: Final = 3
#: The metadata field of a key that holds its provider's id for it.
PROVIDER_KEY_ID: Final = "providerKeyId"
#: Rows of a report that are shown; all of them are in the JSON document.
_SHOWN: Final = 50


def reckon(model: str, since: str, until: str, user_id: str | None, *, as_json: bool) -> None:
    """Show what a past period would have cost at another model's prices."""
    start, end = period_of(since, until)

    async def report(service: Service) -> None:
        wanted = UsageFilter(user_id=user_id, since=start, until=end)
        outcome = await what_if(
            service.traffic.usage.reader, service.pricing.service, model, wanted
        )
        view = WhatIfView.of(outcome)
        if as_json:
            typer.echo(view.model_dump_json(by_alias=True))
        else:
            _show_reckoning(view)

    with_service(report)


def compare(
    provider: str,
    file: Path,
    keys: Sequence[str],
    period: tuple[str | None, str | None],
    threshold: Decimal,
    *,
    per_row: bool,
    as_json: bool,
) -> None:
    """Compare usage with a provider's export; exits with `DRIFT` when that drifts too far."""
    export = _export(provider, file)
    given = _given_keys(keys)
    since, until = period
    asked = None
    if since is not None and until is not None:
        asked = period_of(since, until)
    elif since is not None or until is not None:
        raise typer.BadParameter("--from and --to go together")
    drifts: list[bool] = []

    async def report(service: Service) -> None:
        names = await names_of(service, export.provider, given)
        outcome = await reconcile(service.traffic.usage.reader, export, names, asked)
        judged = outcome.worst if per_row else outcome.drift
        drifts.append(judged > threshold)
        if as_json:
            typer.echo(orjson.dumps(_document(outcome, export, drifts[0])).decode())
        else:
            _show_comparison(outcome, export)
            verdict = "above" if drifts[0] else "within"
            typer.echo(f"drift {judged:f}%, {verdict} the {threshold:f}% that pass")

    with_service(report)
    if drifts[0]:
        raise typer.Exit(DRIFT)


def _export(provider: str, file: Path) -> ProviderExport:
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    try:
        return read_export(Provider(provider.upper()), content)
    except ValueError:
        raise typer.BadParameter("--provider is openai or anthropic") from None
    except InvalidInput as error:
        lines = (f"{fault.field} {fault.message}" for fault in error.errors)
        raise typer.BadParameter("; ".join(lines)) from None


def _given_keys(pairs: Sequence[str]) -> dict[str, UUID]:
    given = {}
    for pair in pairs:
        theirs, _, ours = pair.rpartition("=")
        try:
            given[theirs] = UUID(ours)
        except ValueError:
            raise typer.BadParameter("--key is such as key_abc=<the id of our key>") from None
        if not theirs:
            raise typer.BadParameter("--key is such as key_abc=<the id of our key>")
    return given


async def names_of(service: Service, provider: Provider, given: dict[str, UUID]) -> Names:
    """What is called how: as given, by the keys' metadata, else by names that only one has."""
    found: list[ProviderKey] = []
    number = 1
    while page := await service.keys.list(KeyFilter(provider=provider), Page(number, 200)):
        found += page
        number += 1
    called = Counter(key.key_name for key in found)
    keys = {key.key_name: key.id for key in found if called[key.key_name] == 1}
    for key in found:
        theirs = (key.metadata or {}).get(PROVIDER_KEY_ID)
        if isinstance(theirs, str):
            keys[theirs] = key.id
    models = await service.models.list_all(ModelFilter(provider=provider))
    return Names(keys | given, {model.name: model.model_id for model in models})


def _show_reckoning(view: WhatIfView) -> None:
    table = Table(box=None, pad_edge=False)
    for head in ("answered by", "calls", "cost", f"with {printable(view.model)}", "unpriced"):
        table.add_column(head, justify="left" if head == "answered by" else "right")
    for share in view.data:
        table.add_row(
            printable(share.model or ""),
            str(share.requests),
            f"{share.cost_usd:f}",
            f"{share.what_if_cost_usd:f}",
            str(share.what_if_unpriced or ""),
        )
    table.add_row(
        "all",
        str(view.requests),
        f"{view.cost_usd:f}",
        f"{view.what_if_cost_usd:f}",
        str(view.what_if_unpriced or ""),
    )
    report_console().print(table)
    if view.unpriced:
        typer.echo(f"{view.unpriced} calls had no price when they were made")
    if view.price_versions:
        typer.echo(f"prices: {', '.join(printable(one) for one in view.price_versions)}")
    for assumption in view.assumptions:
        typer.echo(assumption.text)


def _show_comparison(outcome: Reconciliation, export: ProviderExport) -> None:
    if export.is_partial:
        typer.echo("the file says that more pages belong to it", err=True)
    table = Table(box=None, pad_edge=False)
    columns = ("cost",) if outcome.of_costs else ("calls", *CLASSES)
    for head in ("day", "key", "model", "side", *columns, "drift %"):
        table.add_column(head.replace("_", " "), justify="right" if head in columns else "left")
    for row in outcome.rows[:_SHOWN]:
        place = row.place
        head = (place.day.isoformat(), printable(place.key or ""), printable(place.model or ""))
        table.add_row(*head, "ours", *_cells(row.ours, row), "")
        table.add_row("", "", "", "theirs", *_cells(row.theirs, row), f"{row.drift:f}")
    report_console().print(table)
    left = len(outcome.rows) - _SHOWN
    if left > 0:
        typer.echo(f"and {left} more, which drift less; --json has them all")
    if outcome.estimated:
        typer.echo(f"{outcome.estimated} of our calls are estimates")


def _cells(tally: Tally | None, row: Row) -> list[str]:
    if tally is None:
        return ["none"] + [""] * (0 if row.of_costs else len(CLASSES))
    if row.of_costs:
        return [f"{tally.cost:f}"]
    calls = "" if tally.requests is None else str(tally.requests)
    return [calls, *(str(getattr(tally.usage, name)) for name in CLASSES)]


def _document(
    outcome: Reconciliation,
    export: ProviderExport,
    is_above: bool,
) -> dict[str, Any]:
    return {
        "provider": export.provider.value,
        "of": "costs" if outcome.of_costs else "tokens",
        "isPartial": export.is_partial,
        "driftPercent": float(outcome.drift),
        "worstRowPercent": float(outcome.worst),
        "isAboveThreshold": is_above,
        "estimated": outcome.estimated,
        "data": [
            {
                "day": row.place.day.isoformat(),
                "key": row.place.key,
                "model": row.place.model,
                "ours": _side(row.ours, row),
                "theirs": _side(row.theirs, row),
                "driftPercent": float(row.drift),
            }
            for row in outcome.rows
        ],
    }


def _side(tally: Tally | None, row: Row) -> dict[str, Any] | None:
    if tally is None:
        return None
    if row.of_costs:
        return {"costUsd": float(tally.cost)}
    usage = tally.usage
    return {
        "requests": tally.requests,
        "inputTokens": usage.input,
        "cachedInputTokens": usage.cached_input,
        "cacheWriteTokens": usage.cache_write,
        "cacheWrite1hTokens": usage.cache_write_1h,
        "outputTokens": usage.output,
    }
