"""What a call came to, as it is kept for good."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
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

        An event is stored once, by its id, however often it is told, also within one call and
        by several processes at once: whoever tells it may die before it knows that it was heard.

        Raises:
            DatabaseUnavailable: they cannot be stored now; the same will be told again.
        """
        ...
