"""Usage written out for other programs, a few events at a time."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import orjson

from model_service.http.wire import format_moment
from model_service.usage.domain import UsageEvent, UsageFilter, UsageReader
from model_service.usage.wire import ExportFormat, UsageView, fields_of

#: Bytes gathered before they are sent.
_CHUNK: Final = 32_768
# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

MEDIA_TYPES: Final = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.JSONL: "application/x-ndjson",
}


async def export(
    reader: UsageReader, wanted: UsageFilter, form: ExportFormat
) -> AsyncIterator[bytes]:
    """The events, newest first, as chunks of a document.

    Returns when the first events are read, so that a database that is away is an error and not
    half a document.

    Raises:
        DatabaseUnavailable: also later, from the iterator, and the document is then cut off.
    """
    events = reader.stream(wanted)
    first = await anext(events, None)
    return _chunks(first, events, _line_writer(form), form)


async def _chunks(
    first: UsageEvent | None,
    others: AsyncIterator[UsageEvent],
    line: Callable[[UsageEvent], bytes],
    form: ExportFormat,
) -> AsyncIterator[bytes]:
    chunk = bytearray(_head() if form is ExportFormat.CSV else b"")
    if first is not None:
        chunk += line(first)
    async for event in others:
        chunk += line(event)
        if len(chunk) >= _CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _line_writer(form: ExportFormat) -> Callable[[UsageEvent], bytes]:
    return _csv_line if form is ExportFormat.CSV else _json_line


def _head() -> bytes:
    return _joined([str(field.alias) for field in UsageView.model_fields.values()])


def _csv_line(event: UsageEvent) -> bytes:
    return _joined([_cell(value) for value in fields_of(event).values()])


def _json_line(event: UsageEvent) -> bytes:
    names = (str(field.alias) for field in UsageView.model_fields.values())
    document = dict(zip(names, fields_of(event).values(), strict=True))
    return orjson.dumps(document, _plain, orjson.OPT_PASSTHROUGH_DATETIME) + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return format_moment(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, UUID):  # of the database driver's own class
        return str(value)
    raise TypeError


def _joined(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # RFC 4180, section 2
    return line.getvalue().encode()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float() | UUID():
            return str(value)
        case Decimal():
            return f"{value:f}"
        case datetime():
            return format_moment(value)
        case list():
            return harmless(" ".join(value))
        case _:
            return harmless(str(value))


def harmless(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
