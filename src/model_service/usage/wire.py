"""The request and response types of usage."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field

from model_service.http.paging import CursorPage, CursorQuery
from model_service.http.wire import (
    IN_DIGITS,
    Moment,
    MomentIn,
    Money,
    RequestModel,
    ResponseModel,
    Text255,
    UserId,
)
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.types import Provider
from model_service.usage.domain import (
    Dimension,
    EventPosition,
    Group,
    UsageEvent,
    UsageFilter,
)
from model_service.usage.why import explained

#: Most groups in one answer, and how many there are when the caller does not say.
MOST_GROUPS: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class UsageQuery(RequestModel):
    """Which calls are meant."""

    user_id: UserId | None = None
    model: Text255 | None = None
    provider: Provider | None = None
    key_id: UUID | None = None
    token_id: UUID | None = None
    status: Annotated[int, Field(ge=100, le=599), IN_DIGITS] | None = None
    tag: Text255 | None = None
    since: Annotated[MomentIn | None, Field(alias="from")] = None
    until: Annotated[MomentIn | None, Field(alias="to")] = None

    def wanted(self, user_id: str | None) -> UsageFilter:
        """The filter, for that user's calls alone where one is given.

        Raises:
            InvalidInput: the period ends before it begins.
        """
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InvalidInput(errors=[FieldFault("to", "must not be before from")])
        return UsageFilter(
            user_id=user_id,
            model=self.model,
            provider=None if self.provider is None else self.provider.value,
            key_id=self.key_id,
            token_id=self.token_id,
            status=self.status,
            tag=self.tag,
            since=self.since,
            until=self.until,
        )


class ListUsage(UsageQuery, CursorQuery):
    """Which page of which calls."""

    def before(self) -> EventPosition | None:
        """The last event on the page before.

        Raises:
            InvalidInput: the cursor is none that this service gave.
        """
        if self.cursor is None:
            return None
        try:
            milliseconds, event_id = self.cursor.split("_")
            if not (milliseconds.isascii() and milliseconds.isdigit()):
                raise ValueError
            return EventPosition(_EPOCH + int(milliseconds) * _MILLISECOND, UUID(event_id))
        except (ValueError, OverflowError):
            raise InvalidInput(errors=[FieldFault("cursor", "is not one given here")]) from None


class SummaryQuery(UsageQuery):
    """What to sum, and by what; without `groupBy` everything is one group."""

    group_by: Dimension | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_GROUPS), IN_DIGITS] = MOST_GROUPS


class ExportFormat(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"


class ExportQuery(UsageQuery):
    """What to export."""

    format: ExportFormat = ExportFormat.CSV


class WhoseQuery(RequestModel):
    """Whose call it is."""

    user_id: UserId | None = None


class UsageView(ResponseModel):
    """A call as the API shows it. Classes of tokens are disjoint, but for `reasoningTokens`."""

    id: UUID
    time: Moment
    request_id: str
    user_id: str | None
    token_id: UUID | None
    model: str
    provider: str
    upstream_model: str
    key_id: UUID | None
    door: str
    operation: str
    status: int
    stream: bool
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: Annotated[int, Field(description="Written for either lifetime.")]
    cache_write_1h_tokens: Annotated[int, Field(description="The part of it kept for an hour.")]
    output_tokens: int
    reasoning_tokens: Annotated[int, Field(description="Part of outputTokens.")]
    cost_usd: Annotated[Money | None, Field(description="Null where the price is not known.")]
    price_version: str | None
    latency_ms: float
    time_to_first_token_ms: float | None
    attempts: int
    fallback_from: str | None
    estimated: bool
    error_class: str | None
    tags: list[str]

    @classmethod
    def of(cls, event: UsageEvent) -> "UsageView":
        """The view of an event."""
        return cls(**fields_of(event))


class ExplainedView(UsageView):
    """A call with what led to its answer."""

    why: dict[str, Any]

    @classmethod
    def explaining(cls, event: UsageEvent) -> "ExplainedView":
        """The view of an event with its reasons."""
        return cls(**fields_of(event), why=explained(event))


class WhyView(ExplainedView):
    """The newest call of a request id, and those before it that had the same one."""

    earlier: list[ExplainedView]


class SumsView(ResponseModel):
    """What a group's calls came to. Of `user` to `tag` it has the one that was asked for."""

    user: str | None = None
    model: str | None = None
    provider: str | None = None
    key: str | None = None
    token: str | None = None
    day: str | None = None
    hour: str | None = None
    tag: str | None = None
    requests: int
    errors: int
    unpriced: Annotated[int, Field(description="Calls of unknown cost, not in costUsd.")]
    estimated: Annotated[int, Field(description="Calls whose tokens are a guess.")]
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: Annotated[Money | None, Field(description="Null where no call has a known cost.")]

    @classmethod
    def of(cls, group: Group, by: Dimension | None) -> "SumsView":
        """The view of a group."""
        sums = group.sums
        named = {} if by is None else {by.value: group.values[0]}
        return cls(
            **named,
            requests=sums.requests,
            errors=sums.errors,
            unpriced=sums.unpriced,
            estimated=sums.estimated,
            input_tokens=sums.input_tokens,
            cached_input_tokens=sums.cached_input_tokens,
            cache_write_tokens=sums.cache_write_tokens + sums.cache_write_1h_tokens,
            cache_write_1h_tokens=sums.cache_write_1h_tokens,
            output_tokens=sums.output_tokens,
            reasoning_tokens=sums.reasoning_tokens,
            cost_usd=sums.cost if sums.unpriced < sums.requests or not sums.requests else None,
        )


class Summary(ResponseModel):
    """Groups: those by time in its order, others with the costliest first."""

    data: list[SumsView]
    truncated: Annotated[bool, Field(description="Whether there are more groups than these.")]


UsagePage = CursorPage[UsageView]


def fields_of(event: UsageEvent) -> Mapping[str, Any]:
    """What is shown of an event."""
    return {
        "id": event.id,
        "time": event.time,
        "request_id": event.request_id,
        "user_id": event.user_id,
        "token_id": event.token_id,
        "model": event.model,
        "provider": event.provider,
        "upstream_model": event.upstream_model,
        "key_id": event.key_id,
        "door": event.door,
        "operation": event.operation,
        "status": event.status,
        "stream": event.stream,
        "input_tokens": event.input_tokens,
        "cached_input_tokens": event.cached_input_tokens,
        "cache_write_tokens": event.cache_write_tokens + event.cache_write_1h_tokens,
        "cache_write_1h_tokens": event.cache_write_1h_tokens,
        "output_tokens": event.output_tokens,
        "reasoning_tokens": event.reasoning_tokens,
        "cost_usd": event.cost,
        "price_version": event.price_version,
        "latency_ms": round(event.latency_ms, 3),
        "time_to_first_token_ms": (
            None if event.first_token_ms is None else round(event.first_token_ms, 3)
        ),
        "attempts": event.attempts,
        "fallback_from": event.fallback_from,
        "estimated": event.estimated,
        "error_class": event.error_class,
        "tags": list(event.tags),
    }


def cursor_of(event: UsageEvent) -> str:
    """The cursor of the page after the event."""
    return f"{(event.time - _EPOCH) // _MILLISECOND}_{event.id}"
