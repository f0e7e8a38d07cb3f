"""How a model misbehaves, which its name says: `fault-<word>`, or `fault-<word>-once`.

A model of any other name behaves. What stands after a full stop or a colon is not read, so
that two tests can have a model each: `fault-429-once.first`. With `-once` the fault befalls
the first call of that name alone, until the stand-in is cleared.

A stand-in asks `StandIn.fault_of(model)` once for each call, after it has checked the key.
What comes back is either an answer of its own (`Fault.comes_first`; `delivery.instead` makes
it) or spoils the real answer on its way (`delivery.whole` and `delivery.streamed`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Names that ask for a fault begin so.
PREFIX: Final = "fault-"

_ONCE: Final = "-once"

#: What `Retry-After` says, in seconds, when a fault limits a call.
RETRY_AFTER: Final = 2


class Fault(StrEnum):
    """How a model misbehaves; the value is the word for it in the model's name."""

    LIMITED = "429"
    """Too many requests; `Retry-After: 2`."""
    BROKEN = "500"
    UNAVAILABLE = "503"
    OVERLOADED = "529"
    """Too much to do, in the provider's own way of saying so."""
    UNAUTHENTICATED = "401"
    """The key is taken no more."""
    NO_CREDIT = "402"
    """The account's credit is used up, in the provider's own way of saying so."""
    NOT_FOUND = "404"
    """There is no such model."""
    TOO_LARGE = "413"
    CONTEXT = "context"
    """400: more tokens than the model takes."""
    FILTER = "filter"
    """400: the provider's filter refuses the prompt; where there is no such error, what comes
    in its place."""
    REFUSED_PARAM = "refused-param"
    """400: this model does not take a parameter."""
    ECHO = "echo"
    """400 with the caller's whole key in the message."""
    ERROR_200 = "error-200"
    """An error's body with status 200."""
    HTML = "html"
    """502 and a page of a proxy in between."""
    RESET = "reset"
    """The connection is reset before any header."""
    SILENT = "silent"
    """Nothing is ever answered."""

    SLOW = "slow"
    """The first token comes late; a whole answer comes late altogether."""
    DRIP = "drip"
    """One byte at a time."""
    CUT = "cut"
    """The connection is closed at about two thirds, in the middle of an event."""
    END = "end"
    """It ends at about two thirds as if that were all; of a whole answer, so does the JSON."""
    STALL = "stall"
    """Nothing more comes after about two thirds."""
    MALFORMED = "malformed"
    """One event in the middle is none; a whole answer is no JSON."""
    GARBAGE = "garbage"
    """From the middle on nothing is an event; a whole answer is no JSON."""
    NO_DONE = "no-done"
    """The mark that closes a stream is missing, after a sound finish."""
    ERROR_EVENT = "error-event"
    """The provider's own error in the middle of a stream; a whole answer is `ERROR_200`."""
    FLOOD = "flood"
    """The answer has no end."""
    HUGE_EVENT = "huge-event"
    """One event in the middle is larger than any buffer."""

    @property
    def comes_first(self) -> bool:
        """Whether it is answered in place of the model, rather than spoiling its answer."""
        return self in _FIRST


_FIRST: Final = frozenset(
    {
        Fault.LIMITED,
        Fault.BROKEN,
        Fault.UNAVAILABLE,
        Fault.OVERLOADED,
        Fault.UNAUTHENTICATED,
        Fault.NO_CREDIT,
        Fault.NOT_FOUND,
        Fault.TOO_LARGE,
        Fault.CONTEXT,
        Fault.FILTER,
        Fault.REFUSED_PARAM,
        Fault.ECHO,
        Fault.ERROR_200,
        Fault.HTML,
        Fault.RESET,
        Fault.SILENT,
    }
)


@dataclass(slots=True)
class Pace:
    """How slow and how large the faults are; `slow`, `drip` and `between` in seconds.

    `between` is the time between two events of a stream that behaves, `huge` the size of the
    huge event in bytes, `drip` the time between two bytes.
    """

    slow: float = 20.0
    drip: float = 0.01
    between: float = 0.0
    huge: int = 64 * 1024 * 1024


def fault_of(model: str) -> Fault | None:
    """What the model's name asks for; None is to behave. See `once_alone` for the rest of it."""
    word = _word(model).removesuffix(_ONCE)
    return Fault(word) if word in Fault._value2member_map_ else None


def once_alone(model: str) -> bool:
    """Whether only the first call of this name is to suffer."""
    return _word(model).endswith(_ONCE)


class Faults:
    """What each call of one stand-in has to suffer, which for `-once` depends on those before."""

    def __init__(self) -> None:
        self._suffered: set[str] = set()

    def due(self, model: str) -> Fault | None:
        """What the next call of this model has to suffer."""
        fault = fault_of(model)
        if fault is None or not once_alone(model):
            return fault
        if model in self._suffered:
            return None
        self._suffered.add(model)
        return fault

    def clear(self) -> None:
        """Let `-once` begin anew."""
        self._suffered.clear()


def _word(model: str) -> str:
    if not model.startswith(PREFIX):
        return ""
    return model.removeprefix(PREFIX).partition(".")[0].partition(":")[0]
