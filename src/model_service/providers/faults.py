"""What can go wrong with a call, in words that no dialect owns: each door has its own shape for it.

A fault's message goes to the caller. It may be a provider's own text, so whoever makes a fault
out of a provider's answer leaves the redacting of credentials to the gateway, which does it
once, before the door writes the fault.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from model_service.kernel.errors import ServiceError


class FaultKind(StrEnum):
    """What kind of fault it is; the value is also the word for it in metrics and logs."""

    INVALID_REQUEST = "invalid_request"
    """The request is wrong: malformed, a value out of range, an unknown field."""
    UNSUPPORTED = "unsupported"
    """The request is right, but the model's provider has nothing like what it asks for."""
    UNAUTHENTICATED = "unauthenticated"
    """No credential, or a wrong one."""
    PERMISSION = "permission"
    """The credential does not allow it."""
    NOT_FOUND = "not_found"
    """No such model or route."""
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    """The request has too many bytes."""
    CONTEXT_LENGTH = "context_length"
    """The request has more tokens than the model takes."""
    CONTENT_FILTER = "content_filter"
    """The provider's filter refused the prompt or the answer."""
    RATE_LIMITED = "rate_limited"
    """Too many requests or tokens; later they are fine."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """Credit or quota is used up: waiting a moment does not help."""
    KEY_REFUSED = "key_refused"
    """The provider does not take the stored key."""
    OVERLOADED = "overloaded"
    """The provider has too much to do."""
    UNAVAILABLE = "unavailable"
    """This service, or the provider, cannot answer right now."""
    TIMEOUT = "timeout"
    """The provider did not answer in time."""
    UPSTREAM = "upstream_error"
    """The provider failed, or its answer was cut or is not what it should be."""
    INTERNAL = "internal"
    """This service failed."""


#: The status of each kind where neither the door nor the provider has one of its own.
STATUSES: Final = {
    FaultKind.INVALID_REQUEST: 400,
    FaultKind.UNSUPPORTED: 400,
    FaultKind.UNAUTHENTICATED: 401,
    FaultKind.PERMISSION: 403,
    FaultKind.NOT_FOUND: 404,
    FaultKind.CONFLICT: 409,
    FaultKind.TOO_LARGE: 413,
    FaultKind.CONTEXT_LENGTH: 400,
    FaultKind.CONTENT_FILTER: 400,
    FaultKind.RATE_LIMITED: 429,
    FaultKind.QUOTA_EXHAUSTED: 429,
    FaultKind.KEY_REFUSED: 401,
    FaultKind.OVERLOADED: 503,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.TIMEOUT: 504,
    FaultKind.UPSTREAM: 502,
    FaultKind.INTERNAL: 500,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    `param` names the field of the request that is at fault, in the door's own spelling
    (`messages[2].content`); `code` is the provider's own word for it, or ours; `status` is the
    provider's, where it answered with one that is an error; `retry_after` is in seconds.
    """

    kind: FaultKind
    message: str
    param: str | None = None
    code: str | None = None
    status: int | None = None
    retry_after: int | None = None


class CallFailed(ServiceError):
    """A call through the gateway failed; carries the fault for the door to write"""

    code = "call_failed"

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def invalid(param: str, message: str) -> CallFailed:
    """The error for a field of the request that is wrong."""
    return CallFailed(Fault(FaultKind.INVALID_REQUEST, f"{param}: {message}", param=param))


def unsupported(param: str, message: str) -> CallFailed:
    """The error for a field that the model's provider has nothing like."""
    return CallFailed(
        Fault(FaultKind.UNSUPPORTED, f"{param}: {message}", param=param, code="unsupported")
    )


def malformed(message: str) -> CallFailed:
    """The error for an answer that is not what the provider's documents promise."""
    return CallFailed(Fault(FaultKind.UPSTREAM, message, code="malformed_answer"))


def cut() -> CallFailed:
    """The error for a stream that ended before the answer was whole."""
    return CallFailed(
        Fault(
            FaultKind.UPSTREAM,
            "The provider's answer was cut off before its end",
            code="incomplete_answer",
        )
    )
