"""What is not supported, each with its reason: docs/conformance.md says what the suite proves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.gateway.cells import Cell

ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Refused:
    """It is refused with a 400 that names the field."""

    reason: str
    word = "no"


@dataclass(frozen=True, slots=True)
class NotAsked:
    """The door's dialect has no words for it, so nobody can ask."""

    reason: str
    word = "–"


@dataclass(frozen=True, slots=True)
class Dropped:
    """It is answered without, and `x-model-service-dropped` names `field`."""

    reason: str
    field: str
    word = "dropped"


@dataclass(frozen=True, slots=True)
class Otherwise:
    """It is answered, but not as elsewhere; `check` says how."""

    reason: str
    check: Callable[[Any, Cell], None]
    word = "otherwise"


Verdict = Refused | NotAsked | Dropped | Otherwise


@dataclass(frozen=True, slots=True)
class Rule:
    """A verdict on the cells that its three lists have in common."""

    verdict: Verdict
    scenarios: str
    doors: str = ALL
    upstreams: str = ALL

    def covers(self, scenario: str, door: str, upstream: str) -> bool:
        """Whether a cell is among them."""
        return (
            scenario in self.scenarios.split()
            and (self.doors == ALL or door in self.doors.split())
            and (self.upstreams == ALL or upstream in self.upstreams.split())
        )


RULES: Final = ()


def verdict(scenario: str, door: str, upstream: str) -> Verdict | None:
    """What is declared about a cell; None when it is supported. The first rule counts."""
    for rule in RULES:
        if rule.covers(scenario, door, upstream):
            return rule.verdict
    return None
