"""How the Gemini API says that something is wrong: google.rpc.Status with its details.

Sources: https://ai.google.dev/gemini-api/docs/troubleshooting, https://google.aip.dev/193, and
googleapis' google/rpc/code.proto, error_details.proto and google/api/error_reason.proto.
Bodies may be a list that holds the error, as they are for streams without server-sent events.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from model_service.providers.faults import STATUSES, Fault, FaultKind
from model_service.providers.translation import Document

_K = FaultKind
_TYPE: Final = "type.googleapis.com/google.rpc."

_BY_WORD: Final = {
    "INVALID_ARGUMENT": _K.INVALID_REQUEST,
    "FAILED_PRECONDITION": _K.INVALID_REQUEST,
    "OUT_OF_RANGE": _K.INVALID_REQUEST,
    "UNAUTHENTICATED": _K.KEY_REFUSED,
    "PERMISSION_DENIED": _K.PERMISSION,
    "NOT_FOUND": _K.NOT_FOUND,
    "ALREADY_EXISTS": _K.CONFLICT,
    "ABORTED": _K.CONFLICT,
    "RESOURCE_EXHAUSTED": _K.RATE_LIMITED,
    "UNIMPLEMENTED": _K.UNSUPPORTED,
    "UNAVAILABLE": _K.OVERLOADED,
    "DEADLINE_EXCEEDED": _K.TIMEOUT,
    "CANCELLED": _K.UPSTREAM,
    "UNKNOWN": _K.UPSTREAM,
    "INTERNAL": _K.UPSTREAM,
    "DATA_LOSS": _K.UPSTREAM,
}

_BY_STATUS: Final = {
    401: _K.KEY_REFUSED,
    402: _K.QUOTA_EXHAUSTED,
    403: _K.PERMISSION,
    404: _K.NOT_FOUND,
    408: _K.TIMEOUT,
    409: _K.CONFLICT,
    413: _K.TOO_LARGE,
    429: _K.RATE_LIMITED,
    501: _K.UNSUPPORTED,
    503: _K.OVERLOADED,
    504: _K.TIMEOUT,
}

# google.api.ErrorReason: these speak of the key or of its project, whatever the status.
_BY_REASON: Final = {
    "API_KEY_INVALID": _K.KEY_REFUSED,  # an expired one has it too, and the status is 400
    "API_KEY_SERVICE_BLOCKED": _K.KEY_REFUSED,
    "API_KEY_HTTP_REFERRER_BLOCKED": _K.KEY_REFUSED,
    "API_KEY_IP_ADDRESS_BLOCKED": _K.KEY_REFUSED,
    "API_KEY_ANDROID_APP_BLOCKED": _K.KEY_REFUSED,
    "API_KEY_IOS_APP_BLOCKED": _K.KEY_REFUSED,
    "CREDENTIALS_MISSING": _K.KEY_REFUSED,
    "SERVICE_DISABLED": _K.KEY_REFUSED,
    "CONSUMER_SUSPENDED": _K.KEY_REFUSED,
    "CONSUMER_INVALID": _K.KEY_REFUSED,
    "ACCESS_TOKEN_EXPIRED": _K.KEY_REFUSED,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": _K.KEY_REFUSED,
    "BILLING_DISABLED": _K.QUOTA_EXHAUSTED,
    "RATE_LIMIT_EXCEEDED": _K.RATE_LIMITED,
    "RESOURCE_QUOTA_EXCEEDED": _K.QUOTA_EXHAUSTED,
}

# Where the words alone tell. All of them are needed for a line to hold.
_BY_PHRASE: Final = (
    (("api key not valid",), _K.KEY_REFUSED),
    (("api key expired",), _K.KEY_REFUSED),
    (("api key was reported as leaked",), _K.KEY_REFUSED),
    (("input token count", "exceeds"), _K.CONTEXT_LENGTH),
    (("exceeds the maximum number of tokens",), _K.CONTEXT_LENGTH),
    (("request payload size exceeds",), _K.TOO_LARGE),
    (("user location is not supported",), _K.PERMISSION),
    (("free tier is not available",), _K.PERMISSION),
    (("credits are depleted",), _K.QUOTA_EXHAUSTED),
    (("spending cap",), _K.QUOTA_EXHAUSTED),
)

_MOST_DETAILS: Final = 32  # far more than any answer has
_LONGEST_MESSAGE: Final = 8_000
_LONGEST_DELAY: Final = 7 * 24 * 3600
_REFUSED_KEY: Final = "The provider refused the stored key"

#: What a door calls each kind.
_WORDS: Final = {
    _K.INVALID_REQUEST: "INVALID_ARGUMENT",
    _K.UNSUPPORTED: "INVALID_ARGUMENT",
    _K.UNAUTHENTICATED: "UNAUTHENTICATED",
    _K.PERMISSION: "PERMISSION_DENIED",
    _K.NOT_FOUND: "NOT_FOUND",
    _K.CONFLICT: "ABORTED",
    _K.TOO_LARGE: "INVALID_ARGUMENT",
    _K.CONTEXT_LENGTH: "INVALID_ARGUMENT",
    _K.CONTENT_FILTER: "INVALID_ARGUMENT",
    _K.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    _K.QUOTA_EXHAUSTED: "RESOURCE_EXHAUSTED",
    _K.KEY_REFUSED: "UNAUTHENTICATED",
    _K.OVERLOADED: "UNAVAILABLE",
    _K.UNAVAILABLE: "UNAVAILABLE",
    _K.TIMEOUT: "DEADLINE_EXCEEDED",
    _K.UPSTREAM: "INTERNAL",
    _K.INTERNAL: "INTERNAL",
}


class GoogleFaults:
    """Reads the API's errors, and writes those of the Google door."""

    def fault(self, status: int, document: object) -> Fault:
        """The fault that an error answer tells of; below 400, the error has its own status."""
        error = error_object(document) or {}
        if status < 400:
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code <= 599 else 0
        word = error.get("status")
        word = word if isinstance(word, str) else ""
        message = error.get("message")
        if not isinstance(message, str) or not message.strip():
            message = f"The provider answered with status {status or 'of an error'} and no message"
        details = _details(error)
        return Fault(
            kind=_kind(status, word, message, details),
            message=message[:_LONGEST_MESSAGE],
            param=_param(details),
            code=_reason(details) or word[:200] or None,
            status=status or None,
            retry_after=_retry_after(details),
        )

    def status(self, fault: Fault) -> int:
        """The provider's status, where it has an error's; else that of the kind."""
        if fault.kind is FaultKind.KEY_REFUSED:  # Google's own is a 400
            return STATUSES[fault.kind]
        status = fault.status
        return status if status is not None and 400 <= status <= 599 else STATUSES[fault.kind]

    def error(self, fault: Fault, request_id: str) -> Document:
        """`{"error": {code, message, status, details}}`."""
        message = fault.message
        if fault.kind is FaultKind.KEY_REFUSED and not message.startswith(_REFUSED_KEY):
            # Not the token that the caller sent: without these words it would look for a fault
            # in that one.
            message = f"{_REFUSED_KEY}: {message}"
        details: list[Document] = [
            {
                "@type": f"{_TYPE}ErrorInfo",
                "reason": (fault.code or fault.kind.value).upper(),
                "domain": "model-service",
            }
        ]
        if fault.param is not None:
            violation = {"field": fault.param, "description": fault.message}
            details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
        if fault.retry_after is not None:
            details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{fault.retry_after}s"})
        if request_id:
            details.append({"@type": f"{_TYPE}RequestInfo", "requestId": request_id})
        return {
            "error": {
                "code": self.status(fault),
                "message": message,
                "status": _WORDS[fault.kind],
                "details": details,
            }
        }


def error_object(document: object) -> Document | None:
    """The error that a body, or an event of a stream, holds; None when it holds none."""
    if isinstance(document, list):
        document = document[0] if document else None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, str) and error:
        return {"message": error}
    return error if isinstance(error, dict) else None


def _details(error: Document) -> list[Mapping[str, Any]]:
    details = error.get("details")
    if not isinstance(details, list):
        return []
    return [detail for detail in details[:_MOST_DETAILS] if isinstance(detail, dict)]


def _kind(status: int, word: str, message: str, details: Sequence[Mapping[str, Any]]) -> FaultKind:
    reason = _BY_REASON.get(_reason(details) or "")
    if reason is not None:
        return reason
    text = message.lower()
    for phrases, told in _BY_PHRASE:
        if all(phrase in text for phrase in phrases):
            return told
    other = FaultKind.INVALID_REQUEST if 400 <= status <= 499 else FaultKind.UPSTREAM
    kind = _BY_WORD.get(word) or _BY_STATUS.get(status, other)
    if kind is FaultKind.RATE_LIMITED and _is_of_the_day(details):
        return FaultKind.QUOTA_EXHAUSTED
    return kind


def _reason(details: Sequence[Mapping[str, Any]]) -> str | None:
    for detail in details:
        reason = detail.get("reason")
        if detail.get("@type") == f"{_TYPE}ErrorInfo" and isinstance(reason, str):
            return reason[:200]
    return None


def _is_of_the_day(details: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a daily quota is used up, as `quotaId` says: a moment's wait does not help then."""
    return any(
        isinstance(violation.get("quotaId"), str) and "PerDay" in violation["quotaId"]
        for violation in _listed(details, "QuotaFailure", "violations")
    )


def _param(details: Sequence[Mapping[str, Any]]) -> str | None:
    for violation in _listed(details, "BadRequest", "fieldViolations"):
        field = violation.get("field")
        if isinstance(field, str) and field:
            return field[:200]
    return None


def _retry_after(details: Sequence[Mapping[str, Any]]) -> int | None:
    """Whole seconds of a RetryInfo's delay, such as `34.074824224s`."""
    for detail in details:
        delay = detail.get("retryDelay")
        if detail.get("@type") == f"{_TYPE}RetryInfo" and isinstance(delay, str):
            try:
                seconds = float(delay[:32].removesuffix("s"))
            except ValueError:
                return None
            return math.ceil(seconds) if 0 <= seconds <= _LONGEST_DELAY else None
    return None


def _listed(
    details: Sequence[Mapping[str, Any]], kind: str, name: str
) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for detail in details:
        items = detail.get(name) if detail.get("@type") == f"{_TYPE}{kind}" else None
        if isinstance(items, list):
            found += [item for item in items[:_MOST_DETAILS] if isinstance(item, dict)]
    return found
