"""Rules for the fields of requests, in the words of the Messages API.

The API checks a request with pydantic before it looks at its meaning; these are pydantic's
words, with its way of naming the place (`messages.0.content.1.image.source.base64.data`).
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

Rule = Callable[[object, str], None]


class InvalidRequest(Exception):
    """A request the API answers with 400; the text is the API's message."""


def fail(where: str, text: str) -> NoReturn:
    """Refuse what stands at `where`."""
    raise InvalidRequest(f"{where}: {text}" if where else text)


def anything(_: object, __: str) -> None:
    """Take any value."""


def text(value: object, where: str) -> None:
    """Take a string."""
    if not isinstance(value, str):
        fail(where, "Input should be a valid string")


def flag(value: object, where: str) -> None:
    """Take a boolean."""
    if not isinstance(value, bool):
        fail(where, "Input should be a valid boolean")


def mapping(value: object, where: str) -> None:
    """Take an object with any fields."""
    if not isinstance(value, Mapping):
        fail(where, "Input should be a valid dictionary")


def base64_data(value: object, where: str) -> None:
    """Take base64, and nothing like it (no line breaks, no data URL)."""
    text(value, where)
    try:
        decoded = base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        fail(where, "Invalid base64 data")
    if not decoded:
        fail(where.removesuffix(".data"), "image cannot be empty")


def whole(least: int | None = None) -> Rule:
    """Take an integer of at least `least`."""

    def rule(value: object, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            fail(where, "Input should be a valid integer")
        if least is not None and value < least:
            fail(where, f"Input should be greater than or equal to {least}")

    return rule


def share(value: object, where: str) -> None:
    """Take a number from 0 to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        fail(where, "Input should be a valid number")
    if value < 0:
        fail(where, "Input should be greater than or equal to 0")
    if value > 1:
        fail(where, "Input should be less than or equal to 1")


def matching(pattern: str) -> Rule:
    """Take a string that matches."""
    compiled = re.compile(pattern)

    def rule(value: object, where: str) -> None:
        text(value, where)
        if not compiled.fullmatch(str(value)):
            fail(where, f"String should match pattern '{pattern}'")

    return rule


def one_of(*choices: str) -> Rule:
    """Take one of some strings."""
    *most, last = (f"'{choice}'" for choice in choices)
    named = f"{', '.join(most)} or {last}" if most else last

    def rule(value: object, where: str) -> None:
        if value not in choices:
            fail(where, f"Input should be {named}")

    return rule


def nullable(inner: Rule) -> Rule:
    """Take null as well."""

    def rule(value: object, where: str) -> None:
        if value is not None:
            inner(value, where)

    return rule


def listed(inner: Rule) -> Rule:
    """Take a list."""

    def rule(value: object, where: str) -> None:
        if not isinstance(value, list):
            fail(where, "Input should be a valid list")
        for index, item in enumerate(value):
            inner(item, f"{where}.{index}")

    return rule


def text_or(inner: Rule) -> Rule:
    """Take a string, or something else."""

    def rule(value: object, where: str) -> None:
        if not isinstance(value, str):
            inner(value, where)

    return rule


def shape(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """Take an object with these fields and no others."""
    rules = {**required, **(optional or {})}

    def rule(value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            fail(where, "Input should be a valid dictionary")
        prefix = f"{where}." if where else ""
        for name in required:
            if name not in value:
                fail(f"{prefix}{name}", "Field required")
        for name, item in value.items():
            if name not in rules:
                fail(f"{prefix}{name}", "Extra inputs are not permitted")
            rules[name](item, f"{prefix}{name}")

    return rule


def tagged(shapes: Mapping[str, Rule], default: str | None = None) -> Rule:
    """Take an object whose `type` says which of some shapes it has."""
    expected = ", ".join(f"'{tag}'" for tag in sorted(shapes))

    def rule(value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            fail(where, "Input should be a valid dictionary")
        tag = value.get("type", default) or default
        if tag is None:
            fail(f"{where}.type", "Field required")
        if not isinstance(tag, str) or tag not in shapes:
            fail(
                where,
                f"Input tag '{tag}' found using 'type' does not match any of the expected tags: "
                f"{expected}",
            )
        shapes[tag](value, f"{where}.{tag}")

    return rule
