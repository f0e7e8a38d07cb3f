"""What a call came to, as it is kept for good."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One call: who made it, what answered, what was used and what that cost.

    The classes of tokens are disjoint, save that `reasoning_tokens` are part of
    `output_tokens`; `cache_write_tokens` are those written for the shortest lifetime,
    `cache_write_1h_tokens` those for an hour. `cost` is in US dollars and never changes; None:
    nobody knows what the model costs (`price_version` is then None too). `time` is when the
    call began. `id` is a version 7 UUID, by which the event is stored once however often it is
    told.
    """

    id: UUID
    time: datetime
    request_id: str
    user_id: str | None
    token_id: UUID | None
    model: str
    """The registered name of the model that answered, or was to answer."""
    provider: str
    upstream_model: str
    key_id: UUID | None
    door: str
    operation: str
    status: int
    """The HTTP status that the caller got; 499 when it left before it got one."""
    stream: bool
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    price_version: str | None = None
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    attempts: int = 0
    fallback_from: str | None = None
    """The registered name of the model that was asked for, when another one answered."""
    estimated: bool = False
    """Whether the tokens are a guess: the provider did not say, or was not heard to the end."""
    error_class: str | None = None
    tags: tuple[str, ...] = ()
    why: Mapping[str, Any] | None = None
    """What led to this answer, where it is not plain from the rest: candidates, those skipped
    and why, attempts that failed, what was reserved. JSON-able, camelCase, without secrets."""


class UsageSink(Protocol):
    """Where events are kept for good."""

    async def keep(self, events: Sequence[UsageEvent]) -> None:
        """Store all of them or none; returns when they are durable.

        An event is stored once, by its id, as it was first told, however often it is told, also
        within one call and by several processes at once: whoever tells it may die before it
        knows that it was heard.

        Raises:
            DatabaseUnavailable: they cannot be stored now; the same will be told again.
        """
        ...

    async def keep_payloads(self, payloads: Sequence[bytes]) -> None:
        """Do the same for events as the journal has them (`records.event_payload`).

        This process need not read them for that: it is what most events come by. A batch of which
        one cannot be read or stored is refused as a whole, to be told to `keep` instead.

        Raises:
            DatabaseUnavailable: they cannot be stored now; the same will be told again.
        """
        ...


class Dimension(StrEnum):
    """What usage can be told by."""

    USER = "user"
    MODEL = "model"
    PROVIDER = "provider"
    KEY = "key"
    TOKEN = "token"  # noqa: S105 - a dimension, not a credential
    DAY = "day"
    """UTC days; the value is such as `2026-01-31`."""
    HOUR = "hour"
    """The value is the hour's beginning, such as `2026-01-31T13:00:00.000Z`."""
    TAG = "tag"
    """A call counts under each of its tags, and not at all when it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which calls; None means any. From `since` on, and before `until`."""

    user_id: str | None = None
    model: str | None = None
    provider: str | None = None
    key_id: UUID | None = None
    token_id: UUID | None = None
    status: int | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What several calls came to. The classes of tokens are disjoint, as in `UsageEvent`."""

    requests: int = 0
    errors: int = 0
    """How many of them ended with a status of 400 or more."""
    unpriced: int = 0
    """How many of them nobody knows the cost of; `cost` is that of the others."""
    estimated: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal()


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of the calls that have these values, in the order of the dimensions asked for.

    None is the value of calls without one. Keys and tokens go by the text of their ids.
    """

    values: tuple[str | None, ...]
    sums: Sums


@dataclass(frozen=True, slots=True)
class EventPosition:
    """Where a list of events, newest first, goes on: before this one."""

    time: datetime
    id: UUID


class UsageReader(Protocol):
    """What was kept, to be told."""

    async def groups(
        self, wanted: UsageFilter, by: Sequence[Dimension], *, limit: int | None = None
    ) -> Sequence[Group]:
        """Exact sums by one or more dimensions, or with none the one sum of all.

        Groups by time come in its order, others with the costliest first.

        Raises:
            InvalidInput: a bound is within an hour whose single events are no longer kept.
            DatabaseUnavailable: the database cannot be asked.
        """
        ...

    async def page(
        self, wanted: UsageFilter, before: EventPosition | None, limit: int
    ) -> Sequence[UsageEvent]:
        """Events, newest first."""
        ...

    def stream(self, wanted: UsageFilter) -> AsyncIterator[UsageEvent]:
        """All events, newest first, in constant memory and without a long transaction."""
        ...

    async def of_request(self, request_id: str, user_id: str | None) -> Sequence[UsageEvent]:
        """The events of one request, newest first; of that user's alone where one is given."""
        ...


class KeyUse(Protocol):
    """Where the uses of provider keys are counted."""

    async def used(self, counts: str) -> None:
        """Add to each key's uses, and note the last one, within the caller's transaction.

        `counts` is a JSON array of objects with `key_id`, `uses` and `last_use`, an ISO 8601
        time: as the database told it and for it to read, so that many keys cost no more here than
        one. Keys that are no more are passed over.
        """
        ...
