"""What the doctor finds: one line for each thing it looked at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How things stand, from best to worst."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing stands, and what to do about it. Holds no secret."""

    check: str
    state: State
    message: str
    remedy: str | None = None


def ok(check: str, message: str, remedy: str | None = None) -> Finding:
    """Nothing is wrong; `remedy` may hold advice all the same."""
    return Finding(check, State.OK, message, remedy)


def warn(check: str, message: str, remedy: str) -> Finding:
    """The service works, but somebody should look."""
    return Finding(check, State.WARN, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """The service does not work, or not safely."""
    return Finding(check, State.FAIL, message, remedy)


def worst(findings: Sequence[Finding]) -> State:
    """The worst state among them; ok when there is none."""
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.OK)


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as `doctor --json` prints them."""
    return {
        "status": worst(findings).value,
        "findings": [asdict(finding) for finding in findings],
    }
