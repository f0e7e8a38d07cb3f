"""Reading a caller's JSON field by field: typed, with errors that name the field.

What was not read when `finish` is called was not understood, and is refused by name: nothing of
a request is dropped in silence. null counts as absent, as it does for the providers.
"""

import math
from collections.abc import Collection, Iterator
from typing import Any, Final

from model_service.providers.faults import invalid, unsupported

Document = dict[str, Any]
"""A JSON object off the wire."""

# What JSON can be written with: a whole number in 64 bits, signed or not.
_LEAST_INTEGER: Final = -(2**63)
_GREATEST_INTEGER: Final = 2**64 - 1


class Fields:
    """One object of a request; `path` is where it stands, as in `messages[2].`."""

    __slots__ = ("_left", "_path")

    def __init__(self, data: object, path: str = "") -> None:
        """Raises CallFailed when `data` is no object."""
        if not isinstance(data, dict):
            raise invalid(path.rstrip(".") or "body", "must be an object")
        self._left: Document = data.copy()
        self._path = path

    def name(self, field: str) -> str:
        """The field's full name, for errors."""
        return self._path + field

    def __contains__(self, field: str) -> bool:
        return self._left.get(field) is not None

    def raw(self, field: str) -> Any:  # noqa: ANN401 - a wire edge: the caller checks it
        """The value as it stands; None without one."""
        return self._left.pop(field, None)

    def text(self, field: str) -> str | None:
        """A string."""
        value = self._left.pop(field, None)
        if value is not None and not isinstance(value, str):
            raise invalid(self._path + field, "must be a string")
        return value

    def required_text(self, field: str) -> str:
        """A string that has to be there; may be empty."""
        value = self.text(field)
        if value is None:
            raise invalid(self._path + field, "is required")
        return value

    def choice(self, field: str, words: Collection[str]) -> str | None:
        """One of some words."""
        value = self.text(field)
        if value is not None and value not in words:
            raise invalid(self._path + field, f"must be one of {', '.join(sorted(words))}")
        return value

    def flag(self, field: str) -> bool | None:
        """True or false."""
        value = self._left.pop(field, None)
        if value is not None and not isinstance(value, bool):
            raise invalid(self._path + field, "must be true or false")
        return value

    def integer(self, field: str, low: int | None = None, high: int | None = None) -> int | None:
        """A whole number within bounds."""
        value = self._left.pop(field, None)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid(self._path + field, "must be a whole number")
        if (low is not None and value < low) or (high is not None and value > high):
            raise invalid(self._path + field, f"must be {_bounds(low, high)}")
        if not _LEAST_INTEGER <= value <= _GREATEST_INTEGER:
            raise invalid(self._path + field, "is too large a number")
        return value

    def number(
        self, field: str, low: float | None = None, high: float | None = None
    ) -> float | None:
        """A finite number within bounds."""
        value = self._left.pop(field, None)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid(self._path + field, "must be a number")
        if not -math.inf < value < math.inf:
            raise invalid(self._path + field, "must be finite")
        if (low is not None and value < low) or (high is not None and value > high):
            raise invalid(self._path + field, f"must be {_bounds(low, high)}")
        return value

    def document(self, field: str) -> Document | None:
        """An object, as it stands."""
        value = self._left.pop(field, None)
        if value is not None and not isinstance(value, dict):
            raise invalid(self._path + field, "must be an object")
        return value

    def object(self, field: str) -> "Fields | None":
        """An object, to be read."""
        value = self._left.pop(field, None)
        return None if value is None else Fields(value, f"{self._path}{field}.")

    def array(self, field: str) -> list[Any] | None:
        """A list, as it stands."""
        value = self._left.pop(field, None)
        if value is not None and not isinstance(value, list):
            raise invalid(self._path + field, "must be an array")
        return value

    def objects(self, field: str) -> Iterator["Fields"]:
        """The objects of a list; none without the field."""
        for index, item in enumerate(self.array(field) or ()):
            yield Fields(item, f"{self._path}{field}[{index}].")

    def texts(self, field: str) -> list[str]:
        """The strings of a list, or a single string; none without the field."""
        value = self._left.pop(field, None)
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid(self._path + field, "must be a string or an array of strings")
        return value

    def refuse(self, field: str, reason: str) -> None:
        """Refuse the field if it is there."""
        if self._left.pop(field, None) is not None:
            raise unsupported(self._path + field, reason)

    def ignore(self, *fields: str) -> None:
        """Pass over fields that say nothing."""
        for field in fields:
            self._left.pop(field, None)

    def finish(self) -> None:
        """Raise CallFailed when there is a field that nobody read."""
        for field, value in self._left.items():
            if value is not None:
                raise unsupported(
                    self._path + field, "has no equivalent with this model's provider"
                )


def _bounds(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"from {low} to {high}"
