"""From whatever goes wrong to the fault that a door writes."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from model_service.kernel import errors as e
from model_service.kernel.errors import ServiceError
from model_service.kernel.redact import MASK
from model_service.providers.faults import CallFailed, Fault, FaultKind

#: The kind of each error class; a class not listed has its nearest listed base's.
KINDS: Final[Mapping[type[ServiceError], FaultKind]] = {
    e.ServiceError: FaultKind.INTERNAL,
    e.InvalidInput: FaultKind.INVALID_REQUEST,
    e.Unauthenticated: FaultKind.UNAUTHENTICATED,
    e.Forbidden: FaultKind.PERMISSION,
    e.NotFound: FaultKind.NOT_FOUND,
    e.Conflict: FaultKind.CONFLICT,
    e.PayloadTooLarge: FaultKind.TOO_LARGE,
    e.TooManyRequests: FaultKind.RATE_LIMITED,
    e.Unavailable: FaultKind.UNAVAILABLE,
    e.UpstreamError: FaultKind.UPSTREAM,
    e.UpstreamTimeout: FaultKind.TIMEOUT,
}
#: The shortest beginning of a key that is not shown: what comes before it many keys share.
LEAST_PART: Final = 8
_INTERNAL: Final = Fault(FaultKind.INTERNAL, "Internal server error", code="internal_error")


def fault_of(error: ServiceError) -> Fault:
    """What a door is to say about an error."""
    if isinstance(error, CallFailed):
        return error.fault
    kind = next(KINDS[base] for base in type(error).__mro__ if base in KINDS)
    if kind is FaultKind.INTERNAL:
        return _INTERNAL
    message, param = error.message, None
    if isinstance(error, e.InvalidInput) and error.errors:
        first = error.errors[0]
        param, message = first.field, f"{first.field}: {first.message}"
    retry_after = (
        error.retry_after if isinstance(error, e.Unavailable | e.TooManyRequests) else None
    )
    return Fault(kind, message, param=param, code=error.code, retry_after=retry_after)


def without_secrets(fault: Fault, redact: Callable[[str], str], key: str | None) -> Fault:
    """A provider's fault without credentials; `key` is the one that the call was made with."""
    spellings = _spellings(key) if key else ()

    def clean(text: str) -> str:
        for spelling in spellings:
            text = _without_key(text, spelling)
        return redact(text)

    return Fault(
        fault.kind,
        clean(fault.message),
        None if fault.param is None else clean(fault.param),
        None if fault.code is None else clean(fault.code),
        fault.status,
        fault.retry_after,
    )


def _spellings(key: str) -> Sequence[str]:
    """The key as a provider may say it back: as it is, as in a URL, in base64, alone or not."""
    encoded = [b64encode(text.encode()).decode() for text in (key, f"{key}:", f"Bearer {key}")]
    without_ends = [text.rstrip("=") for text in encoded]
    in_urls = [text.replace("+", "-").replace("/", "_") for text in without_ends]
    return list(dict.fromkeys([key, quote(key, safe=""), quote(key), *without_ends, *in_urls]))


def _without_key(text: str, key: str) -> str:
    """The text without the key, nor its beginning at the end, where a long text was cut."""
    text = text.replace(key, MASK)
    for length in range(min(len(key) - 1, len(text)), LEAST_PART - 1, -1):
        if text.endswith(key[:length]):
            return text[:-length] + MASK
    return text
