"""How OpenAI, Azure and the vendors that are compatible with them say what is wrong, and how we do.

Sources: https://developers.openai.com/api/docs/guides/error-codes,
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter,
https://openrouter.ai/docs/api/reference/errors-and-debugging, and the vendors' own pages.
The shapes met: `{"error": {...}}`, `{"error": "text", "code": "text"}` (xAI), `{"message": ...}`
(Mistral, gateways before Azure), `{"detail": ...}` (whatever is built with FastAPI), any of them
in a list (Gemini's compatible API), and pages of HTML.
"""

from typing import Final

from model_service.providers.faults import STATUSES, Fault, FaultKind
from model_service.providers.translation import Document

_K = FaultKind

_BY_STATUS: Final = {
    401: _K.KEY_REFUSED,
    402: _K.QUOTA_EXHAUSTED,
    403: _K.PERMISSION,
    404: _K.NOT_FOUND,
    405: _K.NOT_FOUND,
    408: _K.TIMEOUT,
    409: _K.CONFLICT,
    410: _K.NOT_FOUND,
    413: _K.TOO_LARGE,
    424: _K.UPSTREAM,
    429: _K.RATE_LIMITED,
    498: _K.OVERLOADED,  # Groq: no capacity left for the flex tier
    503: _K.OVERLOADED,
    504: _K.TIMEOUT,
    522: _K.TIMEOUT,
    524: _K.TIMEOUT,
    529: _K.OVERLOADED,
}

# These say what is wrong better than most statuses. In lower case, for Azure has its own way.
_SPECIFIC: Final = {
    "context_length_exceeded": _K.CONTEXT_LENGTH,
    "exceed_context_size_error": _K.CONTEXT_LENGTH,  # llama.cpp
    "content_filter": _K.CONTENT_FILTER,
    "content_filter_error": _K.CONTENT_FILTER,
    "content_policy_violation": _K.CONTENT_FILTER,
    "responsibleaipolicyviolation": _K.CONTENT_FILTER,
    "moderation_blocked": _K.CONTENT_FILTER,
    "insufficient_quota": _K.QUOTA_EXHAUSTED,
    "insufficient_balance": _K.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": _K.QUOTA_EXHAUSTED,
    "billing_not_active": _K.QUOTA_EXHAUSTED,
    "quotaexceeded": _K.QUOTA_EXHAUSTED,
    "rate_limit_exceeded": _K.RATE_LIMITED,
    "rate_limit_error": _K.RATE_LIMITED,
    "ratelimitreached": _K.RATE_LIMITED,
    "too_many_requests": _K.RATE_LIMITED,
    "model_not_found": _K.NOT_FOUND,
    "model_not_found_error": _K.NOT_FOUND,
    "deploymentnotfound": _K.NOT_FOUND,
    "invalid_api_key": _K.KEY_REFUSED,
    "incorrect_api_key": _K.KEY_REFUSED,
    "server_is_overloaded": _K.OVERLOADED,
    "slow_down": _K.OVERLOADED,
    "engine_overloaded": _K.OVERLOADED,
    "engine_overloaded_error": _K.OVERLOADED,
    "overloaded_error": _K.OVERLOADED,
    "nocapacity": _K.OVERLOADED,
}

# These say no more than a status does; where there is none, within a stream, they have to do.
_GENERAL: Final = {
    "authentication_error": _K.KEY_REFUSED,
    "invalid_request_error": _K.INVALID_REQUEST,
    "invalid_prompt": _K.INVALID_REQUEST,
    "badrequesterror": _K.INVALID_REQUEST,
    "not_found_error": _K.NOT_FOUND,
    "notfounderror": _K.NOT_FOUND,
    "permission_error": _K.PERMISSION,
    "requests": _K.RATE_LIMITED,
    "tokens": _K.RATE_LIMITED,
    "service_unavailable": _K.OVERLOADED,
    "service_unavailable_error": _K.OVERLOADED,
    "timeout": _K.TIMEOUT,
    "timeout_error": _K.TIMEOUT,
}

# For vendors whose words say nothing, and Azure, whose key and quota errors have numbers only.
_PHRASES: Final = (
    ("maximum context length", _K.CONTEXT_LENGTH),
    ("context length exceeded", _K.CONTEXT_LENGTH),
    ("exceeds the context window", _K.CONTEXT_LENGTH),
    ("exceeds the available context size", _K.CONTEXT_LENGTH),
    ("maximum prompt length", _K.CONTEXT_LENGTH),
    ("prompt is too long", _K.CONTEXT_LENGTH),
    ("content management policy", _K.CONTENT_FILTER),
    ("rejected as a result of our safety system", _K.CONTENT_FILTER),
    ("incorrect api key", _K.KEY_REFUSED),
    ("invalid api key", _K.KEY_REFUSED),
    ("api key not valid", _K.KEY_REFUSED),
    ("exceeded your current quota", _K.QUOTA_EXHAUSTED),
    ("insufficient balance", _K.QUOTA_EXHAUSTED),
    ("insufficient credits", _K.QUOTA_EXHAUSTED),
)

# Statuses that are right whatever the words are: OpenAI's 429 `slow_down`, for one, is a limit.
_CERTAIN: Final = frozenset((401, 402))
_LIMIT_REFINED: Final = frozenset((_K.QUOTA_EXHAUSTED, _K.CONTEXT_LENGTH, _K.CONTENT_FILTER))

#: Callers look for OpenAI's words for these, to shorten what they sent; others tell them nothing.
_ACTED_ON: Final = frozenset((_K.CONTEXT_LENGTH, _K.CONTENT_FILTER))

_LONGEST_MESSAGE: Final = 8_000
_REFUSED_KEY: Final = "The provider refused the stored key"

#: Type and code of each kind, in OpenAI's own words as far as it has any.
_WORDS: Final = {
    _K.INVALID_REQUEST: ("invalid_request_error", None),
    _K.UNSUPPORTED: ("invalid_request_error", "unsupported"),
    _K.UNAUTHENTICATED: ("invalid_request_error", "invalid_api_key"),
    _K.PERMISSION: ("invalid_request_error", "permission_denied"),
    _K.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    _K.CONFLICT: ("invalid_request_error", "conflict"),
    _K.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    _K.CONTEXT_LENGTH: ("invalid_request_error", "context_length_exceeded"),
    _K.CONTENT_FILTER: ("invalid_request_error", "content_filter"),
    _K.RATE_LIMITED: ("requests", "rate_limit_exceeded"),
    _K.QUOTA_EXHAUSTED: ("insufficient_quota", "insufficient_quota"),
    _K.KEY_REFUSED: ("invalid_request_error", "provider_key_refused"),
    _K.OVERLOADED: ("service_unavailable_error", "server_is_overloaded"),
    _K.UNAVAILABLE: ("service_unavailable_error", "service_unavailable"),
    _K.TIMEOUT: ("server_error", "timeout"),
    _K.UPSTREAM: ("server_error", "upstream_error"),
    _K.INTERNAL: ("server_error", "internal_error"),
}


class OpenAIFaults:
    """Reads a provider's errors, and writes those of the OpenAI doors."""

    def fault(self, status: int, document: object) -> Fault:
        """The fault that an error answer tells of. `status` is below 400 within a 200."""
        error = _error_object(document)
        code, kind_word = _word(error.get("code")), _word(error.get("type"))
        if status < 400:
            # OpenRouter and others put the status that it would have been into the code.
            status = _as_status(error.get("code")) or _as_status(error.get("status")) or 0
        message = _message(error) or _no_message(status)
        words = (code, kind_word, _word(_inner(error).get("code")))
        return Fault(
            kind=_kind(status, words, message),
            message=message[:_LONGEST_MESSAGE],
            param=_param(error),
            code=None if code is None or _as_status(code) else code,
            status=status or None,
        )

    def status(self, fault: Fault) -> int:
        """The provider's status, where it has an error's; else that of the kind."""
        if fault.kind is FaultKind.KEY_REFUSED:  # xAI's is a 400
            return STATUSES[fault.kind]
        status = fault.status
        return status if status is not None and 400 <= status <= 599 else STATUSES[fault.kind]

    def error(self, fault: Fault, request_id: str) -> Document:  # noqa: ARG002 - a header's, here
        """`{"error": {message, type, param, code}}`."""
        kind, code = _WORDS[fault.kind]
        message = fault.message
        if fault.kind is FaultKind.KEY_REFUSED:
            # Not the token that the caller sent: without these words it would look for a fault
            # in that one. The provider's own code would say so as well.
            if not message.startswith(_REFUSED_KEY):
                message = f"{_REFUSED_KEY}: {message}"
        elif fault.code is not None and (
            fault.kind not in _ACTED_ON or _SPECIFIC.get(fault.code.lower()) is fault.kind
        ):
            code = fault.code
        return {"error": {"message": message, "type": kind, "param": fault.param, "code": code}}


def holds_error(document: Document) -> bool:
    """Whether a body, or an event of a stream, that came with a 200 is an error."""
    error = document.get("error")
    if error:
        return True
    return document.get("object") == "error" or document.get("type") == "error"


def _error_object(document: object) -> Document:
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        return {"message": document} if isinstance(document, str) else {}
    error = document.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {**document, "message": error}
    return document


def _inner(error: Document) -> Document:
    inner = error.get("innererror") or error.get("inner_error")
    return inner if isinstance(inner, dict) else {}


def _message(error: Document) -> str | None:
    message = error.get("message")
    if isinstance(message, dict):  # Mistral's validation
        message = _details(message.get("detail"))
    if not isinstance(message, str) or not message.strip():
        message = _details(error.get("detail"))
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if message and isinstance(raw, str) and raw:  # OpenRouter: what the model's own provider said
        message = f"{message}: {raw}"
    return message


def _details(detail: object) -> str | None:
    """FastAPI's: a text, or what is wrong with each of some fields."""
    if isinstance(detail, str):
        return detail if detail.strip() else None
    if not isinstance(detail, list):
        return None
    found: list[str] = []
    for item in detail[:10]:
        text = item.get("msg") if isinstance(item, dict) else None
        if isinstance(text, str):
            where = _location(item.get("loc"))
            found.append(f"{where}: {text}" if where else text)
    return "; ".join(found) or None


def _location(loc: object) -> str:
    if not isinstance(loc, list):
        return ""
    steps = [step for step in loc[:10] if isinstance(step, str | int)]
    steps = steps[1:] if steps[:1] == ["body"] else steps
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return where.lstrip(".")


def _param(error: Document) -> str | None:
    param = error.get("param")
    if isinstance(param, str):
        return param or None
    message = error.get("message")
    detail = message.get("detail") if isinstance(message, dict) else error.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return _location(detail[0].get("loc")) or None
    return None


def _word(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value[:200] if isinstance(value, str) and value else None


def _as_status(value: object) -> int | None:
    """The error's status that a code is; None for other codes."""
    text = _word(value)
    if text is None or len(text) != 3 or not text.isascii() or not text.isdigit():
        return None
    return int(text) if "400" <= text <= "599" else None


def _no_message(status: int) -> str:
    if status:
        return f"The provider answered with status {status} and no message"
    return "The provider reported an error without a message"


def _kind(status: int, words: tuple[str | None, ...], message: str) -> FaultKind:
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = FaultKind.INVALID_REQUEST if 400 <= status <= 499 else FaultKind.UPSTREAM
    if status in _CERTAIN:
        return kind
    finer = _finer(status, words, message)
    if finer is None or (status == 429 and finer not in _LIMIT_REFINED):
        return kind
    return finer


def _finer(status: int, words: tuple[str | None, ...], message: str) -> FaultKind | None:
    lowered = [word.lower() for word in words if word is not None]
    for word in lowered:
        if word in _SPECIFIC:
            return _SPECIFIC[word]
    text = message.lower()
    for phrase, kind in _PHRASES:
        if phrase in text:
            return kind
    if status < 400:
        for word in lowered:
            if word in _GENERAL:
                return _GENERAL[word]
    return None
