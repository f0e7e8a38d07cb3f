"""JSON schemas that an answer, or a strict tool's arguments, are made to follow.

The grammar that Anthropic makes of a schema knows a part of JSON Schema; a schema with anything
else is refused. What the grammar cannot enforce is told in the description, as the official
clients do. What would change which answers are possible is not to be said at all.
Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from model_service.providers.chat import Document

# The request around the schema has levels of its own, and 254 can be written.
_MOST_LEVELS: Final = 200

_FORMATS: Final = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)

# Kept as they are.
_PLAIN: Final = frozenset(
    {"$ref", "const", "default", "description", "enum", "pattern", "required", "title", "type"}
)
# Say nothing of the answer.
_MARKS: Final = frozenset({"$anchor", "$comment", "$id", "$schema"})


class Inexpressible(Exception):
    """A schema that the grammar has nothing like; the text says why"""


def grammar_schema(schema: Document) -> Document:
    """The schema in terms of the grammar. Raises Inexpressible."""
    return _converted(schema, 0)


def _converted(schema: object, depth: int) -> Document:
    if not isinstance(schema, dict):
        raise Inexpressible("a schema that is no object is not supported by Anthropic")
    if depth > _MOST_LEVELS:
        raise Inexpressible("is nested too deeply")
    kept: Document = {}
    told: Document = {}
    for name, value in schema.items():
        convert = _CONVERTERS.get(name)
        if convert is not None:
            kept["anyOf" if name == "oneOf" else name] = convert(value, depth + 1)
        elif name in _PLAIN or _is_enforced(name, value):
            kept[name] = value
        elif name not in _MARKS and name != "additionalProperties":
            told[name] = value
    if _is_object(schema):
        _close(schema, kept)
    if told:
        _tell(kept, told)
    return kept


def _is_enforced(name: str, value: object) -> bool:
    if name == "format":
        return isinstance(value, str) and value in _FORMATS
    return name == "minItems" and isinstance(value, int) and 0 <= value <= 1


def _is_object(schema: Document) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _close(schema: Document, kept: Document) -> None:
    """Objects have the properties that are named, and no others."""
    others = schema.get("additionalProperties")
    if isinstance(others, dict) or (others is not False and "properties" not in schema):
        raise Inexpressible("objects with keys of any name are not supported by Anthropic")
    kept.setdefault("properties", {})
    kept["additionalProperties"] = False


def _tell(kept: Document, told: Document) -> None:
    try:
        rules = "; ".join(f"{name}: {orjson.dumps(value).decode()}" for name, value in told.items())
    except TypeError:
        raise Inexpressible("is nested too deeply") from None
    described = kept.get("description")
    before = f"{described}\n\n" if isinstance(described, str) and described else ""
    kept["description"] = f"{before}({rules})"


def _named(schemas: object, depth: int) -> Document:
    if not isinstance(schemas, dict):
        raise Inexpressible("properties have to be an object")
    return {name: _converted(schema, depth) for name, schema in schemas.items()}


def _listed(schemas: object, depth: int) -> list[Document]:
    if not isinstance(schemas, list):
        raise Inexpressible("alternatives have to be an array")
    return [_converted(schema, depth) for schema in schemas]


_CONVERTERS: Final[dict[str, Callable[[object, int], Any]]] = {
    "$defs": _named,
    "allOf": _listed,
    "anyOf": _listed,
    "definitions": _named,
    "items": _converted,
    "oneOf": _listed,
    "properties": _named,
}
