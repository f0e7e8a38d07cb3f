"""How providers are doing, as it is kept and shown, and what the slice needs from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from model_service.providers.condition import Change, Numbers, Place, State


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownState:
    """What was last told of a place. Of an open one, `retry_at` is when a call may be made."""

    place: Place
    names: tuple[str, ...]
    state: State
    since: datetime
    changed_at: datetime
    retry_at: datetime | None
    error: str | None
    why: str

    def as_change(self) -> Change:
        """The same, as a process takes it up."""
        return Change(
            self.place,
            self.state,
            self.changed_at.timestamp(),
            self.since.timestamp(),
            None if self.retry_at is None else self.retry_at.timestamp(),
            self.error,
            self.why,
            self.names,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PastChange:
    """Calls to a place were stopped, or let go there again; `instance` is the process that did."""

    id: UUID
    place: Place
    names: tuple[str, ...]
    state: State
    at: datetime
    error: str | None
    why: str
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFilter:
    """Which changes to list; None means any. `model` is a registered name or the provider's."""

    provider: str | None = None
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a place is doing, by what all processes saw of it in the last five minutes.

    Times are in milliseconds. `error_rate` is from 0 to 1, None without calls.
    """

    place: Place
    names: tuple[str, ...]
    state: State
    since: datetime
    retry_at: datetime | None
    calls: int
    error_rate: float | None
    p50: float | None
    p95: float | None
    first_token_p50: float | None
    first_token_p95: float | None
    last_error: str | None
    last_error_at: datetime | None
    why: str


class HealthStore(Protocol):
    """Where it is kept."""

    async def record(self, change: Change, instance: str) -> bool:
        """Keep what a process found, unless something newer is kept; whether it is a change.

        Everybody is told of both. Changes are kept for the record and announced, once for all
        processes that find the same.

        Raises:
            DatabaseUnavailable: nothing is kept.
        """
        ...

    async def states(self) -> Sequence[KnownState]:
        """All that is kept of places. Raises DatabaseUnavailable."""
        ...

    async def state(self, place: Place) -> KnownState | None:
        """What is kept of one. Raises DatabaseUnavailable."""
        ...

    async def changes(self, wanted: ChangeFilter, limit: int) -> Sequence[PastChange]:
        """The changes, newest first. Raises DatabaseUnavailable."""
        ...

    async def keep_numbers(self, numbers: Sequence[Numbers], instance: str, now: datetime) -> None:
        """Replace what the process told last. Raises DatabaseUnavailable."""
        ...

    async def numbers(self, since: datetime, *, but: str) -> Sequence[Numbers]:
        """What processes other than `but` told since then. Raises DatabaseUnavailable."""
        ...

    async def forget(self, now: datetime) -> None:
        """Let go of what is too old to be of use. Raises DatabaseUnavailable."""
        ...


class Board(Protocol):
    """What this process itself knows: the gateway's circuits."""

    def numbers(self) -> Sequence[Numbers]:
        """What its calls came to, by place."""
        ...

    def adopt(self, change: Change) -> None:
        """Take up what another process found."""
        ...
