"""The shapes of requests, refused in the words of OpenAI's API.

A check takes a value and its path (`messages[0].content`) and raises `Refused` with the API's
own message, `param` and `code`. Wordings after error bodies that the live API gave in 2025 and
2026.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

Check = Callable[[object, str], None]

_KINDS: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class Refused(Exception):
    """A request that the API answers with an error; the text is the API's message.

    `kind` and `code` are the error's `type` and `code`.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code = message, param, code
        self.status, self.kind = status, kind


def anything(value: object, path: str) -> None:
    """No check at all."""


def flag(value: object, path: str) -> None:
    """A boolean."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)


def text(least: int = 0, most: int | None = None, pattern: str | None = None) -> Check:
    """A string of a length and a form."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if len(value) < least:
            raise Refused(
                f"Invalid '{path}': empty string. Expected a string with minimum length {least}, "
                "but got an empty string instead.",
                path,
                "empty_string",
            )
        if most is not None and len(value) > most:
            raise Refused(
                f"Invalid '{path}': string too long. Expected a string with maximum length {most}, "
                f"but got a string with length {len(value)} instead.",
                path,
                "string_above_max_length",
            )
        if pattern is not None and not re.fullmatch(pattern.strip("^$"), value):
            raise Refused(
                f"Invalid '{path}': string does not match pattern. Expected a string that matches "
                f"the pattern '{pattern}'.",
                path,
                "invalid_value",
            )

    return check


def whole(least: int | None = None, most: int | None = None) -> Check:
    """An integer within bounds."""

    def check(value: object, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        _bounded(value, path, "integer", least, most)

    return check


def number(least: float | None = None, most: float | None = None) -> Check:
    """A number within bounds."""

    def check(value: object, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a decimal", value)
        _bounded(value, path, "decimal", least, most)

    return check


def choice(*words: str) -> Check:
    """One of some words."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(path, f"one of {listed(words)}", value)
        if value not in words:
            raise not_among(value, words, path)

    return check


def array(item: Check, least: int = 0, most: int | None = None, of: str = "objects") -> Check:
    """A list."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(path, f"an array of {of}", value)
        if len(value) < least:
            raise Refused(
                f"Invalid '{path}': empty array. Expected an array with minimum length {least}, "
                "but got an empty array instead.",
                path,
                "empty_array",
            )
        if most is not None and len(value) > most:
            raise Refused(
                f"Invalid '{path}': array too long. Expected an array with maximum length {most}, "
                f"but got an array with length {len(value)} instead.",
                path,
                "array_above_max_length",
            )
        for index, one in enumerate(value):
            item(one, f"{path}[{index}]")

    return check


def record(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these fields and no others."""
    known = {**needed, **(optional or {})}

    def check(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        for name in needed:
            if name not in value:
                raise missing(f"{path}.{name}")
        for name, inner in value.items():
            if name not in known:
                raise unknown(f"{path}.{name}")
            known[name](inner, f"{path}.{name}")

    return check


def tagged(kinds: Mapping[str, Check], tag: str = "type") -> Check:
    """An object whose field `tag` says which check is for it."""

    def check(value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        if tag not in value:
            raise missing(f"{path}.{tag}")
        kind = value[tag]
        if not isinstance(kind, str):
            raise wrong_type(f"{path}.{tag}", "a string", kind)
        if kind not in kinds:
            raise not_among(kind, tuple(kinds), f"{path}.{tag}")
        kinds[kind](value, path)

    return check


def either(expected: str, kinds: Mapping[type, Check]) -> Check:
    """A value of one of several JSON types; `expected` names them in an error."""

    def check(value: object, path: str) -> None:
        inner = kinds.get(type(value))
        if inner is None:
            raise wrong_type(path, f"one of {expected}", value)
        inner(value, path)

    return check


def maybe(inner: Check) -> Check:
    """What `inner` checks, or null."""

    def check(value: object, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def document(value: object, path: str) -> None:
    """Any object."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)


def metadata(value: object, path: str) -> None:
    """At most 16 strings of at most 512 characters, under names of at most 64."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    if len(value) > 16:
        raise Refused(
            f"Invalid '{path}': too many properties. Expected an object with at most 16 "
            f"properties, but got an object with {len(value)} properties instead.",
            path,
            "object_above_max_properties",
        )
    for name, inner in value.items():
        text(most=512)(inner, f"{path}.{name}")
        text(most=64)(name, path)


def wrong_type(path: str, expected: str, value: object) -> Refused:
    """The error for a value of the wrong JSON type."""
    got = _KINDS.get(type(value), "an object")
    return Refused(
        f"Invalid type for '{path}': expected {expected}, but got {got} instead.",
        path,
        "invalid_type",
    )


def missing(path: str) -> Refused:
    """The error for a field that has to be there."""
    return Refused(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def unknown(path: str) -> Refused:
    """The error for a field that the API does not have."""
    return Refused(f"Unknown parameter: '{path}'.", path, "unknown_parameter")


def not_among(value: str, words: tuple[str, ...], path: str) -> Refused:
    """The error for a word that is none of those allowed."""
    return Refused(
        f"Invalid value: '{value}'. Supported values are: {listed(words)}.", path, "invalid_value"
    )


def listed(words: tuple[str, ...]) -> str:
    """`'a', 'b', and 'c'`."""
    quoted = [f"'{word}'" for word in words]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def _bounded(value: float, path: str, kind: str, least: float | None, most: float | None) -> None:
    if least is not None and value < least:
        raise Refused(
            f"Invalid '{path}': {kind} below minimum value. Expected a value >= {least}, "
            f"but got {value} instead.",
            path,
            f"{kind}_below_min_value",
        )
    if most is not None and value > most:
        raise Refused(
            f"Invalid '{path}': {kind} above maximum value. Expected a value <= {most}, "
            f"but got {value} instead.",
            path,
            f"{kind}_above_max_value",
        )
