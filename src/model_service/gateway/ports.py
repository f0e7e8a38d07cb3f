"""What the gateway asks of the rest of the service, and what it tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from model_service.gateway.arrival import Arrival
from model_service.gateway.snapshot import SnapshotModel
from model_service.kernel.principal import Principal
from model_service.kernel.secret import Secret
from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.endpoint import Endpoint
from model_service.providers.faults import FaultKind


class Admission(Protocol):
    """Who may call. A principal's `user_id` is the user whose keys pay."""

    def changes(self) -> int:
        """A number that goes up whenever `recognise` may tell something else than before."""
        ...

    def recognise(self, arrival: Arrival) -> Principal | None:
        """Who calls, if that can be told from memory and nothing is to be recorded; else None."""
        ...

    async def admit(self, arrival: Arrival, request_id: str) -> Principal:
        """Who calls. Says so to `current_caller`, and records whom it refuses.

        Raises:
            Unauthenticated, Forbidden, TooManyRequests, InvalidInput: it is not let in.
            DatabaseUnavailable: that cannot be told right now.
        """
        ...

    async def note_denial(self, arrival: Arrival, request_id: str, reason: str) -> None:
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


class CallRecord:
    """What one call came to. Times are in seconds, of a clock that never goes back.

    `began` is when it came, in seconds since 1970. `model` is the one that answered, or was to;
    `asked` the one that was asked for. `error` None means that the caller got a whole answer.
    `usage` is what the provider said was used, None when it did not say; `estimated` that it is
    a guess, because the call ended before that. `cost` is in US dollars, None where nobody knows.
    """

    # What most calls never change is the class's: a record is made for each call.
    principal: Principal | None = None
    asked: SnapshotModel | None = None
    model: SnapshotModel | None = None
    key_id: UUID | None = None
    stream = False
    status = 0
    attempts = 0
    usage: Usage | None = None
    estimated = False
    tier: str | None = None
    """The provider's service tier, where it is not the usual one."""
    cost: Decimal | None = None
    cost_text: str | None = None
    """The same as text, without an exponent."""
    price_version: str | None = None
    first_byte: float | None = None
    finished = 0.0
    error: FaultKind | None = None
    client_left = False
    tags: tuple[str, ...] = ()
    reserved: tuple[int, int, int] | None = None
    """Requests, tokens and billionths of a dollar held back for it; None: no limit applied."""
    is_metered = False
    """Whether the meter knows of it."""
    event_id = ""
    """The id, a UUID of version 7, under which it is kept; empty until there is one."""
    ticket = 0
    origin: tuple[SnapshotModel | None, UUID | None, object] | None = None
    """The meter's own."""
    body_bytes = 0
    events_sent = 0
    """Events of a stream that the caller was sent, from which its output is guessed; of a whole
    answer, if its provider does not say what it used, about as many as it has tokens."""
    why: list[dict[str, object]] | None = None
    """What led to the answer, step by step, where it was not the first try."""

    def __init__(
        self, request_id: str, door: str, operation: str, started: float, began: float
    ) -> None:
        self.request_id = request_id
        self.door = door
        self.operation = operation
        self.started = started
        self.began = began

    def note(self, **step: object) -> None:
        """Add a step to why it came so."""
        if self.why is None:
            self.why = []
        self.why.append(step)


class CallObserver(Protocol):
    """Hears of calls. Called in the event loop, so it takes no time."""

    def begun(self) -> None:
        """A call arrived."""
        ...

    def finished(self, record: CallRecord) -> None:
        """A call is over, whatever came of it."""
        ...


class Meter(Protocol):
    """Keeps what calls used, for good."""

    def begin(self, record: CallRecord) -> None:
        """A call is about to be sent to a provider.

        Raises:
            Unavailable: no more can be kept, so nothing more may be used.
        """
        ...

    def finish(self, record: CallRecord) -> None:
        """Such a call is over; its caller has not yet got the end of its answer. Raises nothing."""
        ...

    def note(self, record: CallRecord) -> None:
        """A call was refused before it was sent to a provider. Raises nothing."""
        ...
