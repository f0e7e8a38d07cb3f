"""How a provider is doing: the words in which the gateway learns it and others are told.

A place is where calls go: a provider, the origin of the endpoint there, and the provider's name
for the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from model_service.kernel.types import Provider

#: Buckets of latencies for each doubling: a percentile is then right within 5%.
PER_DOUBLING: Final = 8
#: The last bucket; it takes everything above a day.
LAST_BUCKET: Final = PER_DOUBLING * 27


class State(StrEnum):
    """Whether calls go there."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """They do not: too many failed."""
    HALF_OPEN = "half_open"
    """One at a time does, to see whether it is well again."""


class Place(NamedTuple):
    """Where calls go; `endpoint` is an origin (`https://api.openai.com`)."""

    provider: Provider
    endpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class Change:
    """Calls to a place were stopped, or let go there again; also that they stay stopped.

    Times are in seconds since 1970, cut to milliseconds. `at` is when it was found and orders
    all that is told of a place; `since` is when the state began; `retry_at` when the next call
    is let through to an open one. `error` is the class of the last error (a `FaultKind`'s word),
    `why` a sentence for people, without secrets. `names` are the models' registered names.
    """

    place: Place
    state: State
    at: float
    since: float
    retry_at: float | None = None
    error: str | None = None
    why: str = ""
    names: tuple[str, ...] = ()


Latencies = Mapping[int, int]
"""How many calls were in each bucket of `bucket_of`."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What calls to a place came to in the last few minutes, as one process counted them."""

    place: Place
    state: State
    since: float
    """Since when it is in that state, as far as the process knows; in seconds since 1970."""
    names: tuple[str, ...] = ()
    calls: int = 0
    failures: int = 0
    latencies: Latencies = field(default_factory=dict)
    first_tokens: Latencies = field(default_factory=dict)
    """Of streams: the time until their first token."""
    last_error: str | None = None
    last_error_why: str = ""
    last_error_at: float | None = None
    """In seconds since 1970."""


def bucket_of(seconds: float) -> int:
    """The bucket of a latency: they grow by a fixed factor from a millisecond on."""
    milliseconds = seconds * 1000.0
    if milliseconds <= 1.0:
        return 0
    return min(math.ceil(math.log2(milliseconds) * PER_DOUBLING), LAST_BUCKET)


def percentile(latencies: Latencies, share: float) -> float | None:
    """The latency in milliseconds that a share (0 to 1) of the calls kept; None without calls."""
    total = sum(latencies.values())
    if not total:
        return None
    rank, seen = max(math.ceil(total * share), 1), 0
    for bucket in sorted(latencies):
        seen += latencies[bucket]
        if seen >= rank:
            break
    # The middle of the bucket, by the same measure that it grows by.
    return 2.0 ** ((bucket - 0.5) / PER_DOUBLING) if bucket else 1.0


def merged(one: Latencies, other: Latencies) -> Latencies:
    """Both together."""
    return {bucket: one.get(bucket, 0) + other.get(bucket, 0) for bucket in {*one, *other}}
