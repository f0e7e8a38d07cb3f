"""Types that requests and responses are made of."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from model_service.kernel.types import MAX_USER_ID, Page, is_user_id

#: Largest value of PostgreSQL's `integer`, the column type of limits and token counts.
MAX_INTEGER = 2**31 - 1
#: How deep free-form objects may nest, and how many bytes they may take as JSON.
MAX_DEPTH = 16
MAX_OBJECT_BYTES = 65_536
#: Items of a page when the caller does not say.
DEFAULT_LIMIT = 50


def _camel(name: str) -> str:
    # pydantic's own `to_camel` makes `inputCostPer1KTokens` of `input_cost_per_1k_tokens`.
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


class RequestModel(BaseModel):
    """A body or query: camelCase, no unknown fields, no silent conversions."""

    model_config = ConfigDict(
        alias_generator=_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class ResponseModel(BaseModel):
    """An answer, in camelCase."""

    model_config = ConfigDict(alias_generator=_camel, populate_by_name=True, frozen=True)


_ISO_8601 = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?"
)

Item = TypeVar("Item", bound=ResponseModel)


class PageOf(ResponseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    total: int
    page: int
    limit: int


def _storable(text: str) -> str:
    # PostgreSQL's text cannot hold NUL; a lone surrogate is not text at all.
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    return text


def _user_id(text: str) -> str:
    if not is_user_id(text):
        raise ValueError("must be printable characters, without blanks around them")
    return text


def _walk(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"must not nest deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _storable(str(key))
            _walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _walk(item, depth + 1)


def _free_form(value: dict[str, Any]) -> dict[str, Any]:
    import orjson

    _walk(value, 0)
    if len(orjson.dumps(value)) > MAX_OBJECT_BYTES:
        raise ValueError(f"must not be larger than {MAX_OBJECT_BYTES} bytes as JSON")
    return value


def _spelled_flag(value: object) -> object:
    # A query has strings only; pydantic alone would also take 1, on, yes and their like.
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return value


def _spelled_number(value: object) -> object:
    # Neither 1.0 nor 1_0 nor a number in blanks, which pydantic alone would take.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("must be a whole number")
    return value


def _moment(value: object) -> object:
    if isinstance(value, str) and _ISO_8601.fullmatch(value):
        return value
    raise ValueError("must be an ISO 8601 time such as 2026-01-31T12:00:00.000Z")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must carry a time zone, such as Z")
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
    if not 1970 <= moment.year <= 9998:
        raise ValueError("must lie between the years 1970 and 9998")
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def format_moment(value: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exact(value: float) -> Decimal:
    # The shortest decimal that reads back as the same number is what the caller wrote.
    return Decimal(repr(value)).normalize()


Text255 = Annotated[
    str, StringConstraints(min_length=1, max_length=255, strict=True), AfterValidator(_storable)
]
"""One to 255 characters."""

Text10k = Annotated[
    str, StringConstraints(max_length=10_000, strict=True), AfterValidator(_storable)
]
"""Up to 10,000 characters."""

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
"""A whole number from 0."""

PositiveCount = Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)]
"""A whole number from 1."""

Flag = Annotated[bool, Field(strict=True)]
"""true or false, nothing that looks like it."""

QueryFlag = Annotated[bool, Field(strict=True), BeforeValidator(_spelled_flag)]
"""`true` or `false` in a query, spelled just so."""

IN_DIGITS = BeforeValidator(_spelled_number)
"""Of a whole number in a query: spelled in digits. Comes after its bounds."""

Price = Annotated[float, Field(strict=True, ge=0, le=1e9), AfterValidator(_exact)]
"""US dollars, not negative; becomes a Decimal."""

FreeForm = Annotated[dict[str, Any], AfterValidator(_free_form)]
"""Any JSON object within bounds."""

MomentIn = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_in_utc)]
"""A point in time given with its zone."""

Moment = Annotated[
    datetime,
    PlainSerializer(format_moment, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A point in time, shown in UTC."""

Money = Annotated[
    Decimal,
    PlainSerializer(float, return_type=float),
    WithJsonSchema({"type": "number"}, mode="serialization"),
]
"""US dollars, shown as a JSON number."""

UserId = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_USER_ID), AfterValidator(_user_id)
]
"""Whose it is: the caller's own name for a user, of characters that `x-user-id` can carry too."""


class NoQuery(RequestModel):
    """A query without parameters: any is an unknown field."""


class PageQuery(RequestModel):
    """Paging by number: given none of these, a list comes whole as an array."""

    page: Annotated[int, Field(ge=1, le=MAX_INTEGER), IN_DIGITS] | None = None
    page_size: Annotated[int, Field(ge=1, le=200), IN_DIGITS] | None = None
    limit: Annotated[int, Field(ge=1, le=200), IN_DIGITS] | None = None

    def asked(self) -> Page | None:
        """The page asked for, or None when the whole list was."""
        if self.page is None and self.page_size is None and self.limit is None:
            return None
        return Page(self.page or 1, self.limit or self.page_size or DEFAULT_LIMIT)
