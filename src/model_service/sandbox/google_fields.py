"""Reading JSON into the messages of the Gemini API, with the errors of Google's own reader.

It takes every field in both spellings, an object where a list of them is due, and numbers in
strings, as the JSON mapping of protocol buffers has it
(https://protobuf.dev/programming-guides/json/).
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from model_service.sandbox.google_errors import InvalidArgument

# Protocol buffers are read no deeper.
_DEEPEST: Final = 100

_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_INVALID: Final = "Invalid JSON payload received. "


@dataclass(frozen=True, slots=True)
class ListOf:
    """A field that may be repeated."""

    kind: "Kind"


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object of values of one kind."""

    kind: "Kind"


@dataclass(frozen=True, slots=True)
class EnumOf:
    """One of some names, in any case."""

    name: str
    values: frozenset[str]


# A string names a primitive or a message.
Kind = str | ListOf | MapOf | EnumOf
Messages = Mapping[str, Mapping[str, Kind]]


def snake(name: str) -> str:
    """A field's name as errors spell it."""
    return _HUMP.sub(lambda hump: f"_{hump[1].lower()}", name)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the messages of one version of the API."""

    messages: Messages
    version: str

    def read(self, value: object, message: str) -> dict[str, object]:
        """A message with its fields in camel case, without nulls. Raises InvalidArgument."""
        if not isinstance(value, Mapping):
            raise InvalidArgument(f"{_INVALID}Unexpected token: a message is an object.")
        return self._message(value, message, "", 0)

    def _message(
        self, value: Mapping[str, object], message: str, path: str, depth: int
    ) -> dict[str, object]:
        if depth > _DEEPEST:
            raise InvalidArgument(
                f"{_INVALID}Message too deep. Max recursion depth reached.", path or None
            )
        fields = self.messages[message]
        found: dict[str, object] = {}
        for key, item in value.items():
            name = key if key in fields else _camel(key)
            if name not in fields:
                self._unknown(key, path, "Cannot find field.")
            if item is not None:
                inner = f"{path}.{snake(name)}" if path else snake(name)
                found[name] = self._field(item, fields[name], inner, (key, path), depth)
        return found

    def _field(
        self, value: object, kind: Kind, path: str, named: tuple[str, str], depth: int
    ) -> object:
        if isinstance(kind, ListOf):
            items = value if isinstance(value, list) else [value]
            return [
                self._single(item, kind.kind, f"{path}[{index}]", depth)
                for index, item in enumerate(items)
            ]
        if isinstance(value, list) and kind not in {"value", "struct"}:
            key, parent = named
            self._unknown(key, parent, "Proto field is not repeating, cannot start list.")
        return self._single(value, kind, path, depth)

    def _single(self, value: object, kind: Kind, path: str, depth: int) -> object:
        match kind:
            case MapOf():
                if not isinstance(value, Mapping):
                    self._invalid(path, "Map", value)
                return {
                    str(key): self._single(item, kind.kind, f"{path}[{index}].value", depth + 1)
                    for index, (key, item) in enumerate(value.items())
                }
            case EnumOf():
                if not isinstance(value, str) or value.upper() not in kind.values:
                    self._invalid(path, self._type(kind.name), value)
                return value.upper()
            case str() if kind in _PRIMITIVES:
                name, read = _PRIMITIVES[kind]
                try:
                    return read(value)
                except (ValueError, TypeError):
                    self._invalid(path, name, value)
            case _:
                if not isinstance(value, Mapping):
                    self._invalid(path, self._type(str(kind)), value)
                return self._message(value, str(kind), path, depth + 1)

    def _type(self, name: str) -> str:
        return f"type.googleapis.com/google.ai.generativelanguage.{self.version}.{name}"

    def _unknown(self, key: str, path: str, why: str) -> NoReturn:
        place = f" at '{path}'" if path else ""
        message = f'{_INVALID}Unknown name "{key}"{place}: {why}'
        raise InvalidArgument(message, path or None)

    def _invalid(self, path: str, kind: str, value: object) -> NoReturn:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        if kind == "TYPE_BYTES":
            shown = f"Base64 decoding failed for {shown}"
        raise InvalidArgument(f"Invalid value at '{path}' ({kind}), {shown}", path)


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _integer(value: object) -> int:
    if isinstance(value, str) and len(value) < 20:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    return float(value)


def _bytes(value: object) -> str:
    """Base64 of either alphabet, with or without its padding; given on as it is."""
    text = _string(value)
    try:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError from error
    return text


def _struct(value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _anything(value: object) -> object:
    return value


_PRIMITIVES: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "string": ("TYPE_STRING", _string),
    "bool": ("TYPE_BOOL", _bool),
    "int32": ("TYPE_INT32", _integer),
    "int64": ("TYPE_INT64", _integer),
    "float": ("TYPE_FLOAT", _float),
    "double": ("TYPE_DOUBLE", _float),
    "bytes": ("TYPE_BYTES", _bytes),
    "struct": ("type.googleapis.com/google.protobuf.Struct", _struct),
    "value": ("type.googleapis.com/google.protobuf.Value", _anything),
}
