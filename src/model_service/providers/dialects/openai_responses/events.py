"""The events of a stream as they are written: numbered, and those that tell of a failure."""

from typing import Final

import orjson

from model_service.providers.faults import Fault, FaultKind
from model_service.providers.sse import named_event
from model_service.providers.translation import Document, FaultDoor

_K = FaultKind

# `response.error.code` is one of a closed list of words; that is for strict readers, the event
# `error` has the finer one.
_CODES: Final = {
    _K.RATE_LIMITED: "rate_limit_exceeded",
    _K.QUOTA_EXHAUSTED: "rate_limit_exceeded",
    _K.INVALID_REQUEST: "invalid_prompt",
    _K.UNSUPPORTED: "invalid_prompt",
    _K.CONTEXT_LENGTH: "invalid_prompt",
    _K.CONTENT_FILTER: "invalid_prompt",
}


class Sequence:
    """Numbers the events of a stream: from 0, or on from a number that somebody else gave."""

    __slots__ = ("_next",)

    def __init__(self, last: object = None) -> None:
        self._next = last + 1 if type(last) is int and 0 <= last < 2**53 else 0

    def next(self) -> int:
        """The number of the next event."""
        number = self._next
        self._next = number + 1
        return number

    def event(self, kind: str, body: Document) -> bytes:
        """The next event."""
        document = {"type": kind, "sequence_number": self.next(), **body}
        return named_event(kind.encode(), orjson.dumps(document))


def failure_events(
    sequence: Sequence, faults: FaultDoor, fault: Fault, response: Document
) -> bytes:
    """What ends a stream that failed: `error`, then `response.failed` with the response so far.

    The documents put the error's fields into the event itself; OpenAI sends them in `error`, and
    it is that which makes the official clients raise. So both are there.
    """
    error = faults.error(fault, "").get("error")
    detail: Document = error if isinstance(error, dict) else {"message": fault.message}
    failed = {
        **response,
        "status": "failed",
        "error": {
            "code": _CODES.get(fault.kind, "server_error"),
            "message": detail.get("message", fault.message),
        },
    }
    flat = {
        "code": detail.get("code"),
        "message": detail.get("message", fault.message),
        "param": detail.get("param"),
        "error": detail,
    }
    told = sequence.event("error", flat)
    try:
        return told + sequence.event("response.failed", {"response": failed})
    except TypeError:  # it came nested more deeply than it can be written
        return told
