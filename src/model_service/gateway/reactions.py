"""What is done when an attempt fails: the table of GATEWAY.md, "Failing well".

An attempt that failed before its caller had anything may be repeated on the same model, at once or
after a pause, or with another key; or another model answers; or the caller hears of it, because
nobody else would tell it anything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from model_service.kernel.errors import ServiceError, UpstreamTimeout
from model_service.providers.faults import Fault, FaultKind


class Reaction(Enum):
    """What is done after a fault."""

    REPEAT = auto()
    """The same model is asked once more, after a pause."""
    OTHER_KEY = auto()
    """The same model is asked with another key, if there is one; else another model is asked."""
    LIMITED = auto()
    """As that; without another key the model is asked again when its provider allows."""
    OTHER_MODEL = auto()
    """The model is not asked again, but another one may be."""
    TELL = auto()
    """The caller hears of it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that came to nothing. `is_silent`: nothing came in all the time there was."""

    fault: Fault
    is_silent: bool = False


_REACTIONS: Final[Mapping[FaultKind, Reaction]] = {
    FaultKind.UPSTREAM: Reaction.REPEAT,
    FaultKind.UNAVAILABLE: Reaction.REPEAT,
    FaultKind.OVERLOADED: Reaction.REPEAT,
    FaultKind.CONFLICT: Reaction.REPEAT,
    FaultKind.TIMEOUT: Reaction.REPEAT,
    FaultKind.RATE_LIMITED: Reaction.LIMITED,
    FaultKind.QUOTA_EXHAUSTED: Reaction.OTHER_KEY,
    FaultKind.KEY_REFUSED: Reaction.OTHER_KEY,
    FaultKind.PERMISSION: Reaction.OTHER_MODEL,
    FaultKind.NOT_FOUND: Reaction.OTHER_MODEL,
    FaultKind.TOO_LARGE: Reaction.OTHER_MODEL,
    FaultKind.CONTEXT_LENGTH: Reaction.OTHER_MODEL,
}
#: The code of the fault that a call is not made at all, because of those before it.
CIRCUIT_OPEN: Final = "circuit_open"


def reaction(failed: Failed) -> Reaction:
    """What is done."""
    if failed.is_silent or failed.fault.code == CIRCUIT_OPEN:
        return Reaction.OTHER_MODEL  # one that is silent is not asked again
    return _REACTIONS.get(failed.fault.kind, Reaction.TELL)


def is_silent(error: ServiceError) -> bool:
    """Whether it says that a provider, connected to, did not answer in time."""
    return isinstance(error, UpstreamTimeout) and error.phase != "connect"
