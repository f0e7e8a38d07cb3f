"""What a call's policy comes to: the caller's own wishes in headers, timeouts, pauses.

A model's policy (`kernel.policy`) is what its registration says; each request may say otherwise:

    x-model-service-retries             retries on one model, 0 to 5
    x-model-service-timeout             seconds for the whole call, every attempt included
    x-model-service-first-byte-timeout  seconds until a model's answer has begun
    x-model-service-idle-timeout        seconds of silence within an answer
    x-model-service-recovery            off, continue or buffer
    x-model-service-fallback            on or off
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from model_service.kernel.policy import (
    LEAST_SECONDS,
    MOST_RETRIES,
    MOST_SECONDS,
    Policy,
    Recovery,
)
from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.messages import Timeouts

__all__ = ["Policy", "Recovery", "pause", "timeouts", "with_headers"]

#: Seconds until an answer has begun, where nothing else serves the call: a whole answer comes
#: when the model has thought and written all of it. Providers' own clients wait as long.
FIRST_BYTE: Final = 600.0
#: The same where a fallback waits (GATEWAY.md, "Failing well").
FIRST_BYTE_WITH_FALLBACK: Final = 10.0
#: Tokens a second that even a slow model writes: by them an answer that comes whole, and so
#: begins with its end, is waited for longer than a stream's first byte.
SLOW_TOKENS: Final = 25
#: The longest pause that is made for a provider's sake, in seconds; beyond it the caller is
#: better told, or served by a fallback.
LONGEST_PAUSE: Final = 15.0

_PREFIX: Final = b"x-model-service-"
_NUMBER: Final = re.compile(rb"\d{1,5}(?:\.\d{1,3})?")


def with_headers(policy: Policy, headers: Sequence[tuple[bytes, bytes]]) -> Policy:
    """The policy with what the request's headers say; the same object when they say nothing.

    Raises:
        CallFailed: one says what it may not. The fault names the header.
    """
    given: dict[str, Any] | None = None
    for name, value in headers:
        if name[:16] == _PREFIX and (reader := _HEADERS.get(name)) is not None:
            field, read = reader
            given = {} if given is None else given
            given[field] = read(name, value)
    return policy if given is None else replace(policy, **given)


def timeouts(policy: Policy, *, stream: bool, guarded: bool, max_tokens: int = 0) -> Timeouts:
    """How long the parts of one attempt may take.

    `guarded` says that a fallback waits; `max_tokens` is how long the answer may become, which
    matters for one that comes whole.
    """
    # The same few over and over: looked up by what makes a difference alone.
    tokens = 0 if stream or not guarded or policy.first_byte is not None else max_tokens
    return _timeouts(policy.connect, policy.first_byte, policy.idle, policy.total, guarded, tokens)


def pause(
    policy: Policy, failures: int, retry_after: float | None, chance: Callable[[], float]
) -> float | None:
    """Seconds to wait before the same model is tried again after so many failures.

    None when the provider asks for longer than anybody should wait here. Without its word the
    pause doubles with each failure, and half of it is left to chance, lest all callers come back
    together. `chance` gives numbers from 0 to 1.
    """
    if retry_after is not None:
        if retry_after > LONGEST_PAUSE:
            return None
        # Never before the time it gave; a tenth later at most.
        return retry_after * (1.0 + chance() / 10.0)
    # A power beyond that is above every cap.
    longest = min(policy.backoff_cap, policy.backoff_base * 2.0 ** min(max(failures, 1) - 1, 16))
    return longest * (0.5 + chance() / 2.0)


@lru_cache(maxsize=4096)
def _timeouts(
    connect: float,
    first_byte: float | None,
    idle: float,
    total: float,
    guarded: bool,
    tokens: int,
) -> Timeouts:
    if first_byte is None and guarded:
        first_byte = min(FIRST_BYTE, FIRST_BYTE_WITH_FALLBACK + tokens / SLOW_TOKENS)
    elif first_byte is None:
        first_byte = FIRST_BYTE
    return Timeouts(connect, first_byte, idle, total)


def _retries(name: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 2 or int(value) > MOST_RETRIES:
        raise _refused(name, f"must be a whole number from 0 to {MOST_RETRIES}")
    return int(value)


def _seconds(name: bytes, value: bytes) -> float:
    seconds = float(value) if _NUMBER.fullmatch(value) else 0.0
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise _refused(
            name, f"must be a number of seconds from {LEAST_SECONDS:g} to {MOST_SECONDS:g}"
        )
    return seconds


def _recovery(name: bytes, value: bytes) -> Recovery:
    try:
        return Recovery(value.decode("ascii").lower())
    except ValueError:
        raise _refused(name, f"must be one of {', '.join(Recovery)}") from None


def _switch(name: bytes, value: bytes) -> bool:
    state = {b"on": True, b"off": False}.get(value.lower())
    if state is None:
        raise _refused(name, "must be on or off")
    return state


def _refused(name: bytes, reason: str) -> CallFailed:
    header = name.decode("ascii")
    return CallFailed(
        Fault(
            FaultKind.INVALID_REQUEST,
            f"The header {header} {reason}",
            param=header,
            code="invalid_header",
            status=400,
        )
    )


_HEADERS: Final[dict[bytes, tuple[str, Callable[[bytes, bytes], Any]]]] = {
    b"x-model-service-retries": ("retries", _retries),
    b"x-model-service-timeout": ("total", _seconds),
    b"x-model-service-first-byte-timeout": ("first_byte", _seconds),
    b"x-model-service-idle-timeout": ("idle", _seconds),
    b"x-model-service-recovery": ("recovery", _recovery),
    b"x-model-service-fallback": ("fallback", _switch),
}
