"""Files with prices: what they hold, checked as a whole before any of it counts.

Two formats are read: our own, which `docs/money.md` describes, and the data of `genai-prices`
(its `data.json`), which covers all known vendors.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Protocol

from pydantic import ValidationError

from model_service.catalog.genai_listings import read_vendors
from model_service.catalog.house_prices import HouseFile, HousePrices
from model_service.catalog.prices import PriceBook
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.providers.price_schedule import Listing

#: Bytes of the largest file that is read; that of `genai-prices` has some two million.
MOST_BYTES: Final = 32 * 1024 * 1024
#: Characters of an edition's name: it is in the price version of every call.
MOST_OF_NAME: Final = 100
#: Faults that are told at once.
MOST_FAULTS: Final = 20


Location = tuple[int | str, ...]


class Format(StrEnum):
    """How a file is written."""

    HOUSE = "model-service"
    GENAI = "genai-prices"


class PricedModels(Protocol):
    """The models of an edition."""

    def listings(
        self, provider: Provider, model_id: str, base_url: str | None = None
    ) -> tuple[Listing, ...]:
        """All that the edition says of a model's prices; nothing if it knows none."""
        ...


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A file that was found sound. `effective_from` None: it does not say."""

    name: str
    digest: str
    format: Format
    effective_from: datetime | None
    text: str
    models: PricedModels
    count: int
    """How many models it prices."""


def read_price_file(
    content: bytes, name: str | None = None, names: dict[str, str] | None = None
) -> PriceFile:
    """What a file holds; `name` instead of the one it gives its edition.

    `names` are those of `genai-prices` for vendors, by their base URLs.

    Raises:
        InvalidInput: it is no price file; says where it is wrong and how.
    """
    if len(content) > MOST_BYTES:
        raise _fault("file", f"must have at most {MOST_BYTES} bytes")
    text, document = _parsed(content)
    digest = hashlib.sha256(content).hexdigest()
    if isinstance(document, list):
        vendors = read_vendors(document)
        edition = _checked_name(name or f"genai-prices {digest[:12]}")
        book = PriceBook.of(vendors, edition, names or {})
        count = sum(len(vendor.models) for vendor in vendors)
        return PriceFile(edition, digest, Format.GENAI, None, text, book, count)
    try:
        house = HouseFile.model_validate(document)
    except ValidationError as error:
        raise _faults(error) from None
    models = HousePrices.of(house)
    return PriceFile(
        _checked_name(name or house.edition),
        digest,
        Format.HOUSE,
        None if house.effective_from is None else house.effective_from.astimezone(UTC),
        text,
        models,
        len(house.models),
    )


def _parsed(content: bytes) -> tuple[str, Any]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _fault("file", f"is not UTF-8: byte {error.start} cannot be read") from None
    if "\0" in text:
        raise _fault("file", "must not contain NUL characters")
    try:
        return text, json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _fault("file", f"is not JSON: {error.msg} at {where}") from None
    except (RecursionError, ValueError):
        raise _fault("file", "is not JSON that can be read") from None


def _refuse_constant(name: str) -> None:
    raise _fault("file", f"must not contain {name}, which is no JSON")


def _checked_name(name: str) -> str:
    if not name.isprintable() or not 1 <= len(name) <= MOST_OF_NAME or set(name) & set("@#[]+"):
        raise _fault(
            "edition", f"must be 1 to {MOST_OF_NAME} printable characters without any of @#[]+"
        )
    return name


def _fault(field: str, message: str) -> InvalidInput:
    return InvalidInput(errors=[FieldFault(field, message)])


def _faults(error: ValidationError) -> InvalidInput:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    places = [fault["loc"] for fault in found]
    return InvalidInput(
        errors=[
            FieldFault(_place(fault["loc"]), fault["msg"].removeprefix("Value error, "))
            for fault in found
            # What holds something wrong is said to be too short as well.
            if not _has_within(fault["loc"], places)
        ][:MOST_FAULTS]
    )


def _has_within(place: Location, places: Sequence[Location]) -> bool:
    return any(len(one) > len(place) and one[: len(place)] == place for one in places)


def _place(location: Location) -> str:
    """As `models[3].prices[0].input`."""
    place = ""
    for part in location:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    return place or "file"
