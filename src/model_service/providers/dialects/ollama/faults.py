"""How Ollama says that something is wrong.

`{"error": "..."}`, as a body or, when a stream has begun, as a line of it
(https://docs.ollama.com/api/errors). There are no codes: beyond the status there is only the
text, of which the phrases below are as its server and the engine under it write them.
"""

from typing import Final

from model_service.providers.faults import Fault, FaultKind

_KINDS: Final = {
    400: FaultKind.INVALID_REQUEST,
    401: FaultKind.KEY_REFUSED,
    403: FaultKind.PERMISSION,
    404: FaultKind.NOT_FOUND,
    408: FaultKind.TIMEOUT,
    413: FaultKind.TOO_LARGE,
    429: FaultKind.RATE_LIMITED,
    503: FaultKind.OVERLOADED,
    504: FaultKind.TIMEOUT,
}

_PHRASES: Final = (
    ("context length", FaultKind.CONTEXT_LENGTH),
    ("context size", FaultKind.CONTEXT_LENGTH),
    ("exceed_context_size", FaultKind.CONTEXT_LENGTH),
    ("does not support", FaultKind.UNSUPPORTED),
    ("is not supported", FaultKind.UNSUPPORTED),
    ("usage limit", FaultKind.QUOTA_EXHAUSTED),
    ("server busy", FaultKind.OVERLOADED),
    ("must be of type", FaultKind.INVALID_REQUEST),  # an option of the request
)
# A phrase decides where the status leaves room: a wrong request, a limit, a failure.
_TOLD_BY_TEXT: Final = frozenset((200, 400, 429, 500))

#: The longest message that is passed on, in characters.
_LONGEST: Final = 4000


class OllamaFaults:
    """Reads errors."""

    def fault(self, status: int, document: object) -> Fault:
        """The error of an answer, or with status 200 of a line within a stream."""
        text = _message(document)
        kind = _KINDS.get(status)
        if kind is None:
            is_callers = 400 <= status <= 498  # 499: whoever asked went away, says its server
            kind = FaultKind.INVALID_REQUEST if is_callers else FaultKind.UPSTREAM
        own_status = status if status >= 400 else None
        if text and status in _TOLD_BY_TEXT:
            lowered = text.lower()
            told = next((told for phrase, told in _PHRASES if phrase in lowered), None)
            if told is not None:
                kind = told
                if status == 500:
                    # It is sent for wrong requests too, which clients would then send again.
                    own_status = None
        message = text or f"The provider answered with status {status} and no message"
        return Fault(kind, message, status=own_status)


def _message(document: object) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):  # as proxies in front of it have it
        error = error.get("message")
    return error.strip()[:_LONGEST] if isinstance(error, str) else ""
