"""What is written to the audit trail, and the seam through which every slice writes it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from model_service.kernel.caller import Caller


class Phase(StrEnum):
    """Whether a record says that something is about to be done, or what came of it."""

    INTENT = "intent"
    RESULT = "result"


class Decision(StrEnum):
    """Whether it was allowed."""

    ALLOW = "allow"
    DENY = "deny"


class Purpose(StrEnum):
    """What a key's value is wanted for."""

    DECRYPT = "decrypt"
    """Given out by itself."""
    MODEL = "model"
    """Given out with the model it is for."""
    LISTING = "listing"
    """Sent to its provider, to ask which models it offers."""
    LEASE = "lease"
    """Lent to a worker's memory, to call models with for at most five minutes."""
    VALIDATE = "validate"
    """Sent to its provider, to ask whether it takes it."""
    IMPORT = "import"
    """Taken over from the earlier service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One thing that happened. Never a key, a prompt or a query string.

    `type` is dotted, as `key.reveal`, `token.create`, `auth.failure`; `subject` names what it
    was done to, as `key:<id>`. `caller` None means the current one. Whoever stores a key's
    ciphertext, whether a new one or an old one sealed anew, gives its SHA-256 and its term with
    the subject `key:<id>`: `audit verify` takes a ciphertext it finds no record of for a forgery.
    """

    type: str
    phase: Phase = Phase.RESULT
    decision: Decision = Decision.ALLOW
    subject: str | None = None
    provider: str | None = None
    purpose: str | None = None
    reason: str | None = None
    ciphertext_sha256: str | None = None
    term: int | None = None
    caller: Caller | None = None


class Denials(Protocol):
    """Where it is noted that somebody was not let in."""

    async def note(self, event: AuditEvent) -> None:
        """Record it, or count it when there are too many. Raises nothing."""
        ...


class AuditTrail(Protocol):
    """Where events are recorded. Fail closed: what is not recorded does not happen."""

    async def record(self, *events: AuditEvent) -> None:
        """Record events, all or none, in this order.

        Inside a `Database.transaction()` they are part of it, and durable when it commits;
        outside of one they are durable on return.

        Raises:
            AuditUnavailable: they could not be recorded within two seconds. The caller must
                not go on with what they speak of.
        """
        ...
