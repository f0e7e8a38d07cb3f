"""How Anthropic says what is wrong, and how its door does.

Source: https://platform.claude.com/docs/en/api/errors
"""

from typing import Final

import orjson

from model_service.providers.faults import STATUSES, CallFailed, Fault, FaultKind
from model_service.providers.translation import Document

_K = FaultKind

_BY_STATUS: Final = {
    400: _K.INVALID_REQUEST,
    401: _K.KEY_REFUSED,
    402: _K.QUOTA_EXHAUSTED,
    403: _K.PERMISSION,
    404: _K.NOT_FOUND,
    408: _K.TIMEOUT,
    409: _K.CONFLICT,
    413: _K.TOO_LARGE,
    429: _K.RATE_LIMITED,
    503: _K.UNAVAILABLE,
    504: _K.TIMEOUT,
    529: _K.OVERLOADED,
}

# Within a stream there is no status but 200.
_BY_TYPE: Final = {
    "invalid_request_error": _K.INVALID_REQUEST,
    "authentication_error": _K.KEY_REFUSED,
    "billing_error": _K.QUOTA_EXHAUSTED,
    "permission_error": _K.PERMISSION,
    "not_found_error": _K.NOT_FOUND,
    "conflict_error": _K.CONFLICT,
    "request_too_large": _K.TOO_LARGE,
    "rate_limit_error": _K.RATE_LIMITED,
    "timeout_error": _K.TIMEOUT,
    "overloaded_error": _K.OVERLOADED,
}

# `error.details.error_code` of limits that do not pass in a moment.
_SPENT: Final = frozenset(
    {
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
    }
)

# These come as an `invalid_request_error`; nothing but the words tells them from others.
_BY_WORDS: Final = (
    ("prompt is too long", _K.CONTEXT_LENGTH),
    ("exceed context limit", _K.CONTEXT_LENGTH),
    ("credit balance", _K.QUOTA_EXHAUSTED),
    ("api usage limits", _K.QUOTA_EXHAUSTED),
    ("content filtering policy", _K.CONTENT_FILTER),
)

#: The statuses that the door has for kinds, where they are not everybody's.
_OWN_STATUSES: Final = {_K.OVERLOADED: 529}

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_LONGEST_MESSAGE: Final = 8_000
_REFUSED_KEY: Final = "The provider refused the stored key"


class AnthropicFaults:
    """Reads Anthropic's errors, and writes those of its door."""

    def fault(self, status: int, document: object) -> Fault:
        """The fault that an error answer tells of; `status` is below 400 within a stream."""
        error = document.get("error") if isinstance(document, dict) else None
        if not isinstance(error, dict):
            error = {}
        kind_word, message = _word(error.get("type")), _message(error, status)
        details = error.get("details")
        code = _word(details.get("error_code")) if isinstance(details, dict) else None
        return Fault(
            kind=_kind(status, kind_word, code, message),
            message=message,
            code=code or kind_word,
            status=status if status >= 400 else None,
        )

    def status(self, fault: Fault) -> int:
        """The provider's status, where it has an error's; else that of the kind."""
        return _status(fault)

    def error(self, fault: Fault, request_id: str) -> Document:
        """`{"type": "error", "error": {type, message}, "request_id"}`."""
        return {**error_document(fault), "request_id": request_id}


def error_document(fault: Fault) -> Document:
    """The error as it stands in a stream, which has no request's id."""
    message = fault.message
    if fault.kind is _K.KEY_REFUSED and not message.startswith(_REFUSED_KEY):
        # Not the token that the caller sent: without these words it would look for the fault
        # in that one.
        message = f"{_REFUSED_KEY}: {message}"
    error: Document = {"type": _type(fault), "message": message}
    if fault.code is not None and fault.code not in _BY_TYPE and fault.code != "api_error":
        error["details"] = {"error_code": fault.code}
    return {"type": "error", "error": error}


def holds_error(document: Document) -> bool:
    """Whether a body, or an event of a stream, that came with a 200 is an error."""
    return document.get("type") == "error" or isinstance(document.get("error"), dict)


def bare_error(block: bytes) -> CallFailed | None:
    """The error that stands, as a plain body, where events should be."""
    if not block.lstrip().startswith(b"{"):
        return None
    try:
        document = orjson.loads(block)
    except ValueError:
        return None
    return CallFailed(AnthropicFaults().fault(200, document)) if holds_error(document) else None


def _status(fault: Fault) -> int:
    if fault.kind is _K.KEY_REFUSED:  # others say so with a 400
        return STATUSES[fault.kind]
    if fault.status is not None and 400 <= fault.status <= 599:
        return fault.status
    return _OWN_STATUSES.get(fault.kind) or STATUSES[fault.kind]


def _type(fault: Fault) -> str:
    status = _status(fault)
    if status in _TYPES:
        return _TYPES[status]
    if status < 500:
        return "invalid_request_error"
    return "overloaded_error" if fault.kind is _K.OVERLOADED else "api_error"


def _kind(status: int, word: str | None, code: str | None, message: str) -> FaultKind:
    if code in _SPENT:
        return _K.QUOTA_EXHAUSTED
    kind = _BY_STATUS.get(status)
    if kind is None:
        if 400 <= status <= 499:
            kind = _K.INVALID_REQUEST
        elif status < 400 and word in _BY_TYPE:
            kind = _BY_TYPE[word]
        else:
            kind = _K.UPSTREAM
    if kind is not _K.INVALID_REQUEST:
        return kind
    text = message.lower()
    return next((finer for words, finer in _BY_WORDS if words in text), kind)


def _word(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _message(error: Document, status: int) -> str:
    message = error.get("message")
    if isinstance(message, str) and message.strip():
        return message[:_LONGEST_MESSAGE]
    if status >= 400:
        return f"The provider answered with status {status} and no message"
    return "The provider reported an error without a message"
