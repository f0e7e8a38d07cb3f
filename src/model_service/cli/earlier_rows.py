"""Rows of the earlier service, checked against the bounds that this service's API has.

Every column arrives as text, so that a value of an odd type or range spoils its own row
and no other. A row that does not hold is refused with a reason; nothing is cut to fit.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Self
from uuid import UUID, uuid5

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from model_service.catalog.domain import DEFAULT_MAX_TOKENS, Model
from model_service.http.wire import MAX_INTEGER, FreeForm, Text10k, Text255
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.keys.domain import ProviderKey, key_prefix

RawRow = Mapping[str, str | None]
"""A row as it was read: each column's text, None for null."""

#: Names ids that are no UUIDs (Prisma also makes cuids): the same one at every run.
_NAMESPACE: Final = UUID("6f1c2f6e-0c55-5d0b-9a3c-3f6f1f0d7a41")
#: Largest value of PostgreSQL's `bigint`, the column type of use counts.
_MAX_BIGINT: Final = 2**63 - 1

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# A word that is safe to repeat: neither a key, which has digits, nor control characters.
_PLAIN_WORD = re.compile(r"[A-Z][A-Z_]{1,31}")


def _provider(text: str) -> Provider:
    word = text.strip().upper()
    try:
        return Provider(word)
    except ValueError:
        shown = f" {word}" if _PLAIN_WORD.fullmatch(word) else ""
        raise ValueError(f"unknown provider{shown}") from None


def _json(text: str) -> object:
    # As the earlier service saw it: it was JavaScript, whose numbers are doubles too.
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("is not valid JSON") from None


def _in_utc(moment: datetime) -> datetime:
    """Prisma stores UTC in columns without a time zone."""
    try:
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


ProviderName = Annotated[Provider, BeforeValidator(_provider)]
Price = Annotated[Decimal, Field(ge=0, le=10**9), AfterValidator(Decimal.normalize)]
Limit = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Document = Annotated[FreeForm | None, BeforeValidator(_json)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class EarlierRow(BaseModel):
    """What rows of both tables have. Fields with a default may be null or lack their column."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )
    table: ClassVar[str]

    id: Annotated[str, Field(min_length=1)]
    provider: ProviderName
    is_active: bool = True
    metadata: Document = None
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @classmethod
    def columns(cls) -> dict[str, bool]:
        """The table's columns by name, and whether one is required."""
        return {
            field.alias or name: field.is_required() for name, field in cls.model_fields.items()
        }

    @classmethod
    def parse(cls, raw: RawRow) -> Self:
        """The checked row.

        Raises:
            InvalidInput: with what is wrong in each column, never with what stands there.
        """
        given = {name: text for name, text in raw.items() if text is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise InvalidInput(
            errors=[
                FieldFault(str(fault["loc"][0]), fault["msg"].removeprefix("Value error, "))
                for fault in faults
            ]
        )

    def times(self, now: datetime) -> tuple[datetime, datetime]:
        """When it was created and last changed; `now` where nothing says."""
        created = self.created_at or self.updated_at or now
        return created, self.updated_at or created


class EarlierModel(EarlierRow):
    """A row of `models`."""

    table = "models"

    name: Text255
    model_id: Text255
    description: Text10k | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = DEFAULT_MAX_TOKENS
    supports_streaming: bool = True
    default_temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    rate_limit_per_minute: Limit | None = None
    rate_limit_per_hour: Limit | None = None
    rate_limit_per_day: Limit | None = None
    input_cost: Annotated[Price | None, Field(alias="inputCostPer1kTokens")] = None
    output_cost: Annotated[Price | None, Field(alias="outputCostPer1kTokens")] = None
    provider_settings: Document = None
    is_default: bool = False

    def entity(self, now: datetime) -> Model:
        """The model it becomes."""
        created, updated = self.times(now)
        return Model(
            id=stable_id(self.table, self.id),
            name=self.name,
            provider=self.provider,
            model_id=self.model_id,
            description=self.description,
            max_tokens=self.max_tokens,
            supports_streaming=self.supports_streaming,
            default_temperature=self.default_temperature,
            rate_limit_per_minute=self.rate_limit_per_minute,
            rate_limit_per_hour=self.rate_limit_per_hour,
            rate_limit_per_day=self.rate_limit_per_day,
            input_cost_per_1k_tokens=self.input_cost,
            output_cost_per_1k_tokens=self.output_cost,
            provider_settings=self.provider_settings,
            is_active=self.is_active,
            is_default=self.is_default,
            metadata=self.metadata,
            created_at=created,
            updated_at=updated,
        )


class EarlierKey(EarlierRow):
    """A row of `api_keys`. Its stored prefix is not read: it is made anew from the key."""

    table = "api_keys"

    user_id: Text255
    key_name: Text255
    encrypted_key: str
    last_used_at: Moment | None = None
    usage_count: Annotated[int, Field(ge=0, le=_MAX_BIGINT)] = 0
    is_valid: bool = False
    expires_at: Moment | None = None
    validated_at: Moment | None = None

    def entity(self, value: Secret[str], now: datetime) -> ProviderKey:
        """The key it becomes."""
        created, updated = self.times(now)
        return ProviderKey(
            id=stable_id(self.table, self.id),
            user_id=self.user_id,
            provider=self.provider,
            key_name=self.key_name,
            key_version=1,
            key_prefix=key_prefix(value),
            last_used_at=self.last_used_at,
            usage_count=self.usage_count,
            is_active=self.is_active,
            is_valid=self.is_valid,
            metadata=self.metadata,
            created_at=created,
            updated_at=updated,
            expires_at=self.expires_at,
            validated_at=self.validated_at,
        )


def stable_id(table: str, earlier_id: str) -> UUID:
    """The id a row has here: its own when that is a UUID, else one derived from it."""
    if _UUID.fullmatch(earlier_id):
        return UUID(earlier_id)
    return uuid5(_NAMESPACE, f"{table}:{earlier_id}")
