"""How patient a call is with its model's provider, and what is done when that fails.

A model says so in `providerSettings.policy`; what it does not say is as it is here. Times are in
seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from model_service.kernel.errors import FieldFault

#: The setting that holds it.
POLICY: Final = "policy"

#: Bounds of what may be asked for. A bound of an hour on a whole call is the longest that any
#: provider's own client has; a retry more often than that is no longer patience but hammering.
MOST_RETRIES: Final = 5
MOST_TRIES: Final = 10
LEAST_SECONDS: Final = 0.05
MOST_SECONDS: Final = 3600.0
MOST_CONNECT_SECONDS: Final = 60.0
MOST_BACKOFF_SECONDS: Final = 60.0


class Recovery(StrEnum):
    """What becomes of a stream that fails after its first byte."""

    OFF = "off"
    """The caller gets an error event in the stream."""
    CONTINUE = "continue"
    """A fallback writes the rest."""
    BUFFER = "buffer"
    """Nothing is given before the answer is whole, so that it can be asked for again."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often, how long and with what in reserve.

    `retries` are those on one model after its first attempt; `limited_tries` are all attempts on
    one model of which each was answered with 429. `first_byte` None means that nothing was said.
    """

    retries: int = 2
    limited_tries: int = 3
    backoff_base: float = 0.25
    backoff_cap: float = 8.0
    connect: float = 5.0
    first_byte: float | None = None
    idle: float = 120.0
    total: float = MOST_SECONDS
    recovery: Recovery = Recovery.OFF
    fallback: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Policy":
        """The policy in a model's `providerSettings`; what is not as it should be is left out.

        Registration refuses such settings (`check_policy`), but rows may come by other ways, and
        a model is to be callable all the same.
        """
        document = settings.get(POLICY)
        if not isinstance(document, Mapping):
            return DEFAULT
        given = {
            field.name: field.read(document[key])
            for key, field in _FIELDS.items()
            if key in document and field.fault(document[key]) is None
        }
        return cls(**given) if given else DEFAULT


def check_policy(document: object) -> list[FieldFault]:
    """What is wrong with a `providerSettings.policy`; each fault names its field."""
    place = f"providerSettings.{POLICY}"
    if not isinstance(document, Mapping):
        return [FieldFault(place, "must be an object")]
    faults = []
    for key, value in document.items():
        field = _FIELDS.get(key)
        if field is None:
            fault: str | None = f"is not one of {', '.join(_FIELDS)}"
        else:
            fault = field.fault(value)
        if fault is not None:
            faults.append(FieldFault(f"{place}.{key}", fault))
    return faults


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the document: which of the policy's it sets, and what it may be."""

    name: str
    fault: Callable[[object], str | None]
    read: Callable[[Any], Any]


def _whole(least: int, most: int) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        is_fine = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if is_fine else f"must be a whole number from {least} to {most}"

    return fault


def _seconds(most: float, least: float = LEAST_SECONDS) -> Callable[[object], str | None]:
    def fault(value: object) -> str | None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_fine = is_number and least <= value <= most  # type: ignore[operator]
        return None if is_fine else f"must be a number of seconds from {least:g} to {most:g}"

    return fault


def _recovery(value: object) -> str | None:
    is_fine = isinstance(value, str) and value in set(Recovery)
    return None if is_fine else f"must be one of {', '.join(Recovery)}"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


_FIELDS: Final[Mapping[str, _Field]] = {
    "retries": _Field("retries", _whole(0, MOST_RETRIES), int),
    "rateLimitedTries": _Field("limited_tries", _whole(1, MOST_TRIES), int),
    "backoffBase": _Field("backoff_base", _seconds(MOST_BACKOFF_SECONDS), float),
    "backoffCap": _Field("backoff_cap", _seconds(MOST_BACKOFF_SECONDS), float),
    "connectTimeout": _Field("connect", _seconds(MOST_CONNECT_SECONDS), float),
    "firstByteTimeout": _Field("first_byte", _seconds(MOST_SECONDS), float),
    "idleTimeout": _Field("idle", _seconds(MOST_SECONDS), float),
    "totalTimeout": _Field("total", _seconds(MOST_SECONDS), float),
    "recovery": _Field("recovery", _recovery, Recovery),
    "fallback": _Field("fallback", _flag, bool),
}

#: That of a model that says nothing.
DEFAULT: Final = Policy()
