"""Reading protobuf's JSON as the API reads it (https://protobuf.dev/programming-guides/json).

Fields may be spelled in camelCase or in snake_case, and where a list is wanted, one object may
stand alone.
"""

from collections.abc import Iterator

import orjson

from model_service.providers.faults import invalid
from model_service.providers.fields import Fields


def message(data: object, path: str = "") -> Fields:
    """One object, its fields in camelCase. Raises CallFailed when it is none."""
    if isinstance(data, dict) and any("_" in name for name in data):
        renamed: dict[str, object] = {}
        for name, value in data.items():
            spelled = camel(name)
            if renamed.get(spelled) is not None and value is not None:
                raise invalid(path + spelled, "is there twice")
            if value is not None or spelled not in renamed:
                renamed[spelled] = value
        data = renamed
    return Fields(data, path)


def sub(fields: Fields, name: str) -> Fields | None:
    """A field that is an object."""
    value = fields.raw(name)
    return None if value is None else message(value, f"{fields.name(name)}.")


def required(fields: Fields, name: str) -> Fields:
    """A field that is an object and has to be there."""
    value = sub(fields, name)
    if value is None:
        raise invalid(fields.name(name), "is required")
    return value


def many(fields: Fields, name: str) -> Iterator[Fields]:
    """The objects of a list, or the one that stands alone."""
    value = fields.raw(name)
    if value is None:
        return
    if isinstance(value, dict):
        yield message(value, f"{fields.name(name)}.")
        return
    if not isinstance(value, list):
        raise invalid(fields.name(name), "must be an array")
    for index, item in enumerate(value):
        yield message(item, f"{fields.name(name)}[{index}].")


def word(fields: Fields, name: str) -> str | None:
    """A word of an enumeration, in upper case; None for the one that says nothing."""
    value = fields.text(name)
    if value is None:
        return None
    value = value.upper()
    return None if value.endswith("_UNSPECIFIED") or value == "UNSPECIFIED" else value


def camel(name: str) -> str:
    """A field's name in camelCase; one that begins with `_` stays as it is."""
    head, *rest = name.split("_")
    if not head or not rest:
        return name
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def json_text(value: object, name: str) -> str:
    """A value of the caller's as JSON text. Raises CallFailed for one that is too deep."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise invalid(name, "is nested too deeply") from None
