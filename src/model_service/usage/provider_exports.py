"""What providers say was used: their usage and cost exports, read into one form.

Read are, for OpenAI, the pages of `/v1/organization/usage/...` and `/v1/organization/costs`
(https://developers.openai.com/api/reference/resources/admin/subresources/organization) and the
CSV files of its usage page; for Anthropic, the pages of `/v1/organizations/usage_report/messages`
and `/v1/organizations/cost_report` (https://platform.claude.com/docs/en/api/usage-cost-api) and
the CSV files of its Console. What else is in them is passed over.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage

#: Bytes of the largest file that is read.
MOST_BYTES: Final = 256 * 1024 * 1024
#: More tokens than anybody uses; what is above is no count.
_MOST: Final = 10**18

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """What was used with one key and model on one day, as far as the export tells them apart.

    `usage` is None in an export of costs, `cost` (in US dollars) in one of usage. `key` is the
    provider's id of the key, `key_name` its name there.
    """

    day: date
    key: str | None = None
    key_name: str | None = None
    model: str | None = None
    requests: int | None = None
    usage: Usage | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ProviderExport:
    """A provider's export. `is_partial`: it says itself that more belongs to it."""

    provider: Provider
    lines: Sequence[Line]
    is_partial: bool = False

    @property
    def is_of_costs(self) -> bool:
        """Whether it tells costs rather than tokens."""
        return any(line.cost is not None for line in self.lines)


def read_export(provider: Provider, content: bytes) -> ProviderExport:
    """Read a file.

    Raises:
        InvalidInput: it is no export of that provider; says where it is wrong and how.
    """
    if provider not in _READERS:
        raise _fault("provider", f"must be one of {', '.join(sorted(_READERS))}")
    if len(content) > MOST_BYTES:
        raise _fault("file", f"must have at most {MOST_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault("file", f"is not UTF-8: byte {error.start} cannot be read") from None
    read = _READERS[provider]
    is_partial = False
    if text.lstrip()[:1] in ("{", "["):
        document = _document(text)
        is_partial = _has_more(document)
        records = _of_buckets(document)
    else:
        records = _of_table(text)
    lines = []
    for place, record in records:
        try:
            line = read(record)
        except _Unsound as unsound:
            raise _fault(f"{place}.{unsound.field}", unsound.message) from None
        if line is not None:
            lines.append(line)
    if any(line.cost is None for line in lines) and any(line.usage is None for line in lines):
        raise _fault("file", "holds both usage and costs")
    return ProviderExport(provider, lines, is_partial)


class _Unsound(Exception):
    """A record that cannot be read."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def _fault(field: str, message: str) -> InvalidInput:
    return InvalidInput(errors=[FieldFault(field, message)])


def _document(text: str) -> Any:  # noqa: ANN401 - JSON from outside
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _fault("file", f"is not JSON: {error.msg} at {where}") from None
    except (RecursionError, ValueError):
        raise _fault("file", "is not JSON that can be read") from None


def _has_more(document: object) -> bool:
    last = document[-1] if isinstance(document, list) and document else document
    return isinstance(last, dict) and bool(last.get("has_more"))


def _of_buckets(document: object) -> Iterator[tuple[str, Record]]:
    """The results in a page, in several, or in bare buckets, each with its bucket's beginning."""
    parts = document if isinstance(document, list) else [document]
    for number, part in enumerate(parts):
        place = f"[{number}]" if isinstance(document, list) else ""
        if not isinstance(part, dict):
            raise _fault(f"file{place}", "must be an object")
        buckets = part["data"] if isinstance(part.get("data"), list) else [part]
        inner = f"{place}.data" if "data" in part else place
        for index, bucket in enumerate(buckets):
            where = f"file{inner}[{index}]" if "data" in part else f"file{inner}"
            results = bucket.get("results") if isinstance(bucket, dict) else None
            if not isinstance(results, list):
                raise _fault(f"{where}.results", "must be an array: this is no page of an export")
            start = bucket.get("start_time", bucket.get("starting_at"))
            for nth, result in enumerate(results):
                if not isinstance(result, dict):
                    raise _fault(f"{where}.results[{nth}]", "must be an object")
                yield f"{where}.results[{nth}]", {**result, "start_time": start}


def _of_table(text: str) -> Iterator[tuple[str, Record]]:
    """The rows of a CSV file, whose columns are separated by commas, semicolons or tabs."""
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if not reader.fieldnames or len(reader.fieldnames) == 1:
        raise _fault("file", "is neither JSON nor a table of comma-separated values")
    try:
        for row in reader:
            given = {
                name.strip(): value.strip()
                for name, value in row.items()
                if isinstance(name, str) and isinstance(value, str)
            }
            yield f"line {reader.line_num}", given
    except csv.Error as error:
        raise _fault(f"line {reader.line_num}", f"is no CSV: {error}") from None


def _openai(record: Record) -> Line | None:
    cost = record.get("amount")
    if "input_tokens" not in record and "amount_value" not in record and cost is None:
        raise _Unsound("input_tokens", "is missing: this is no usage or cost export of OpenAI")
    day = _day(record, "start_time", "start_time_iso")
    name, key = _text(record, "api_key_name"), _text(record, "api_key_id")
    if "amount_value" in record or cost is not None:
        table = {"value": record.get("amount_value"), "currency": record.get("amount_currency")}
        amount: Any = table if cost is None else cost
        if not isinstance(amount, dict):
            raise _Unsound("amount", "must be an object")
        if amount.get("value") in (None, ""):
            return None
        _check_currency(amount.get("currency"))
        dollars = _number(amount.get("value"), "amount.value")
        return Line(day, key, name, cost=dollars)
    if record["input_tokens"] in (None, ""):
        return None  # a day without any
    given = _count(record, "input_tokens")
    cached = _count(record, "input_cached_tokens")
    written = _count(record, "input_cache_write_tokens")
    if cached + written > given:
        raise _Unsound("input_tokens", "is less than those cached and written")
    usage = Usage(
        input=given - cached - written,
        cached_input=cached,
        cache_write=written,
        output=_count(record, "output_tokens"),
    )
    requests = _count(record, "num_model_requests")
    return Line(day, key, name, _text(record, "model"), requests, usage)


def _anthropic(record: Record) -> Line | None:
    day = _day(record, "start_time", "usage_date_utc")
    key, name = _text(record, "api_key_id"), _text(record, "api_key")
    model = _text(record, "model", "model_version")
    if "cost_usd" in record:
        if record["cost_usd"] == "":
            return None
        return Line(day, key, name, model, cost=_number(record["cost_usd"], "cost_usd"))
    if "amount" in record:
        _check_currency(record.get("currency"))
        # In the currency's smallest unit, as a decimal in a string.
        cents = _number(record["amount"], "amount")
        return Line(day, key, name, model, cost=cents.scaleb(-2))
    names = _ANTHROPIC_TABLE if "usage_input_tokens_no_cache" in record else _ANTHROPIC_PAGE
    if names["input"] not in record:
        raise _Unsound(names["input"], "is missing: this is no usage or cost export of Anthropic")
    creation = record.get("cache_creation")
    counted = {**record, **creation} if isinstance(creation, dict) else record
    told = {to: _count(counted, column) for to, column in names.items()}
    usage = Usage(
        told["input"],
        told["cached_input"],
        told["cache_write"],
        told["cache_write_1h"],
        told["output"],
    )
    return Line(day, key, name, model, usage=usage)


_ANTHROPIC_PAGE: Final = {
    "input": "uncached_input_tokens",
    "cached_input": "cache_read_input_tokens",
    "cache_write": "ephemeral_5m_input_tokens",
    "cache_write_1h": "ephemeral_1h_input_tokens",
    "output": "output_tokens",
}
_ANTHROPIC_TABLE: Final = {
    "input": "usage_input_tokens_no_cache",
    "cached_input": "usage_input_tokens_cache_read",
    "cache_write": "usage_input_tokens_cache_write_5m",
    "cache_write_1h": "usage_input_tokens_cache_write_1h",
    "output": "usage_output_tokens",
}

_READERS: Final[Mapping[Provider, Callable[[Record], Line | None]]] = {
    Provider.OPENAI: _openai,
    Provider.ANTHROPIC: _anthropic,
}


def _day(record: Record, *fields: str) -> date:
    """The UTC day that a bucket begins on: seconds since 1970, or an ISO 8601 date or time."""
    for field in fields:
        given = record.get(field)
        if given in (None, ""):
            continue
        try:
            if isinstance(given, int) or str(given).isdigit():
                return datetime.fromtimestamp(int(given), UTC).date()
            moment = datetime.fromisoformat(str(given))
        except (ValueError, OverflowError, OSError):
            raise _Unsound(field, "must be a date or a time") from None
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    raise _Unsound(fields[-1], "is missing")


def _text(record: Record, *fields: str) -> str | None:
    given = next((record[field] for field in fields if record.get(field)), None)
    return given if isinstance(given, str) else None


def _number(given: object, field: str) -> Decimal:
    try:
        if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
            raise InvalidOperation
        number = Decimal(given)
    except InvalidOperation:
        raise _Unsound(field, "must be a number") from None
    if not number.is_finite() or abs(number) > _MOST:
        raise _Unsound(field, "is out of range")
    return number


def _count(record: Record, field: str) -> int:
    """A number of tokens or calls; tables may have `59200.0`, or nothing for none."""
    given = record.get(field)
    if given in (None, ""):
        return 0
    number = _number(given, field)
    if number != number.to_integral_value() or number < 0:
        raise _Unsound(field, "must be a whole number from 0")
    return int(number)


def _check_currency(currency: object) -> None:
    if not isinstance(currency, str) or currency.lower() != "usd":
        raise _Unsound("currency", "must be US dollars")
