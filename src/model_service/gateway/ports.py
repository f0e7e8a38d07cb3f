"""What the gateway asks of the rest of the service, and what it tells it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.principal import Principal
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.endpoint import Endpoint
from model_service.providers.faults import FaultKind

RawHeaders = list[tuple[bytes, bytes]]
"""A request's headers, names in lower case."""


# Not frozen, as it is made for each call: that takes three times as long.
@dataclass(slots=True)
class Arrival:
    """What is known of a request before anybody looked at its body. `peer` is an address."""

    method: str
    path: str
    headers: RawHeaders = field(repr=False)
    peer: str | None
    request_id: str


class Admission(Protocol):
    """Who may call. A principal's `user_id` is the user whose keys pay."""

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told from memory and nothing is to be recorded; else None."""
        ...

    async def admit(self, arrival: Arrival) -> Principal:
        """Who calls. Says so to `current_caller`, and records whom it refuses.

        Raises:
            Unauthenticated, Forbidden, TooManyRequests, InvalidInput: it is not let in.
            DatabaseUnavailable: that cannot be told right now.
        """
        ...

    async def note_denial(self, arrival: Arrival, reason: str) -> None:
        """Record that somebody was not allowed something. Raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class UsableKey:
    """A key that a user may use now, without its value.

    `models` are the names of the models that the user may use it for (a grant may be limited);
    None for all. `until` is when the key or the grant of it ends.
    """

    id: UUID
    version: int
    provider: Provider
    endpoint: str | None = None
    origin: str | None = None
    """The only one that the value may be sent to; None: wherever its provider is."""
    share_id: UUID | None = None
    models: frozenset[str] | None = None
    is_valid: bool = True
    """Whether its provider accepted it when last asked."""
    until: datetime | None = None


class KeySource(Protocol):
    """The provider keys."""

    async def usable(self, user_id: str, provider: Provider) -> Sequence[UsableKey]:
        """The user's usable keys for a provider, best first: its own, then those shared with it.

        Raises:
            DatabaseUnavailable: they cannot be looked up.
        """
        ...

    async def by_id(self, key_id: UUID) -> UsableKey | None:
        """A key by its id, if it may be used now. Raises DatabaseUnavailable."""
        ...

    async def lease(self, key: UsableKey) -> Secret[str]:
        """The key's value, for this process's memory; recorded durably before it is given.

        Raises:
            NotFound, KeyInactive, Forbidden: it went away meanwhile.
            IntegrityFailure, AuditUnavailable, DatabaseUnavailable: it cannot be given.
        """
        ...

    async def refused(self, key: UsableKey) -> Secret[str] | None:
        """The provider does not take the key's value: which one to try once instead.

        Noted and announced the first time; recorded. None when there is none.
        """
        ...


class ModelSource(Protocol):
    """The registered models."""

    async def all(self) -> Sequence[SnapshotModel]:
        """All of them. Raises DatabaseUnavailable."""
        ...

    async def one(self, model_id: UUID) -> SnapshotModel | None:
        """The model of that id. Raises DatabaseUnavailable."""
        ...


class Endpoints(Protocol):
    """Where calls may go."""

    def of_call(
        self, provider: Provider, base_url: str | None, key_endpoint: str | None
    ) -> Endpoint:
        """The address for a model's base URL (None without one) and a key's own endpoint.

        Raises:
            InvalidInput: there is none, or the key is for another one.
            EgressRefused: nothing may be sent there.
        """
        ...


@dataclass(slots=True)
class CallRecord:
    """What one call came to. Times are in seconds, of a clock that never goes back.

    `error` None means that the caller got a whole answer. `usage` is what the provider said was
    used, None when it did not say (or the call was cut before that).
    """

    request_id: str
    door: str
    operation: str
    started: float
    principal: Principal | None = None
    model: SnapshotModel | None = None
    key_id: UUID | None = None
    stream: bool = False
    status: int = 0
    attempts: int = 0
    usage: Usage | None = None
    first_byte: float | None = None
    finished: float = 0.0
    error: FaultKind | None = None
    client_left: bool = False


class CallObserver(Protocol):
    """Hears of calls. Called in the event loop, so it takes no time."""

    def begun(self) -> None:
        """A call arrived."""
        ...

    def finished(self, record: CallRecord) -> None:
        """A call is over, whatever came of it."""
        ...


class Reservation(Protocol):
    """What a limit holds back for a call under way."""

    def settle(self, record: CallRecord) -> None:
        """The call is over: take what it used, give back the rest."""
        ...


Limit = Callable[[CallRecord, dict[str, object]], Awaitable[Reservation]]
"""Reserves what a call may use, given its parsed body; raises CallFailed when that is too much."""
