"""Which JSON schemas OpenAI's API takes, of functions and of structured outputs.

After https://developers.openai.com/api/docs/guides/structured-outputs and the errors of the
live API. What `strict` demands: every object closed, every property required, no keywords
that the decoder cannot heed.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from model_service.sandbox.openai_shapes import Refused

_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})

_NOT_PERMITTED: Final = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "default",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
)

Context = tuple[str, ...]


class _Invalid(Exception):
    """A schema that is not taken; the text says where and why."""


def function_parameters(schema: object, name: str, param: str, *, strict: bool) -> None:
    """Check the schema of a function's arguments. Raises Refused."""
    try:
        _check_root(schema)
        if isinstance(schema, Mapping) and "properties" not in schema and not strict:
            raise _Invalid("In context=(), object schema missing properties.")
        _check(schema, (), strict=strict)
    except _Invalid as invalid:
        raise Refused(
            f"Invalid schema for function '{name}': {invalid}",
            param,
            "invalid_function_parameters",
        ) from None


def response_format(
    schema: object, name: str, param: str, code: str | None, *, strict: bool
) -> None:
    """Check the schema of a structured output. Raises Refused, with this `param` and `code`."""
    try:
        _check_root(schema)
        if strict and isinstance(schema, Mapping) and "anyOf" in schema:
            raise _Invalid("In context=(), 'anyOf' is not permitted.")
        _check(schema, (), strict=strict)
    except _Invalid as invalid:
        raise Refused(
            f"Invalid schema for response_format '{name}': {invalid}", param, code
        ) from None


def _check_root(schema: object) -> None:
    kind = schema.get("type") if isinstance(schema, Mapping) else type(schema).__name__
    if kind != "object":
        raise _Invalid(
            f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        )


def _check(schema: object, context: Context, *, strict: bool) -> None:
    if isinstance(schema, bool) and not strict:
        return
    if not isinstance(schema, Mapping):
        raise _Invalid(
            f"In context={_shown(context)}, {schema!r} is not of type 'object', 'boolean'."
        )
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind is not None and not (isinstance(kind, str) and kind in _TYPES):
            raise _Invalid(f"{kind!r} is not valid under any of the given schemas.")
        if kind == "array" and "items" not in schema and "prefixItems" not in schema:
            raise _Invalid(f"In context={_shown(context)}, array schema missing items.")
        if kind == "object" and strict:
            _check_closed(schema, context)
    if strict:
        _check_keywords(schema, context)
    for place, inner in _inner(schema):
        _check(inner, context + place, strict=strict)


def _check_closed(schema: Mapping[object, object], context: Context) -> None:
    if schema.get("additionalProperties") is not False:
        raise _Invalid(
            f"In context={_shown(context)}, 'additionalProperties' is required to be supplied and "
            "to be false."
        )
    properties, required = schema.get("properties", {}), schema.get("required")
    names = list(properties) if isinstance(properties, Mapping) else []
    given = required if isinstance(required, list) else []
    absent = [name for name in names if name not in given]
    if absent or (names and not isinstance(required, list)):
        raise _Invalid(
            f"In context={_shown(context)}, 'required' is required to be supplied and to be an "
            f"array including every key in properties. Missing '{absent[0]}'."
        )
    extra = [name for name in given if name not in names]
    if extra:
        raise _Invalid(
            f"In context={_shown(context)}, 'required' is required to be supplied and to be an "
            f"array including every key in properties. Extra required key '{extra[0]}' supplied."
        )


def _check_keywords(schema: Mapping[object, object], context: Context) -> None:
    for word in _NOT_PERMITTED:
        if word in schema:
            raise _Invalid(f"In context={_shown(context)}, '{word}' is not permitted.")
    beside = {str(key) for key in schema} - {"$ref", "$defs", "definitions"}
    if "$ref" in schema and beside:
        raise _Invalid(f"In context={_shown(context)}, $ref cannot have keywords {beside!r}.")
    if not {"type", "$ref", "anyOf", "enum", "const"} & schema.keys():
        raise _Invalid(f"In context={_shown(context)}, schema must have a 'type' key.")


def _inner(schema: Mapping[object, object]) -> Iterator[tuple[Context, object]]:
    for word in ("properties", "$defs", "definitions"):
        named = schema.get(word)
        if isinstance(named, Mapping):
            for name, inner in named.items():
                yield (word, str(name)), inner
    for word in ("anyOf", "allOf", "oneOf"):
        branches = schema.get(word)
        if isinstance(branches, list):
            for index, inner in enumerate(branches):
                yield (word, str(index)), inner
    if "items" in schema:
        yield ("items",), schema["items"]


def _shown(context: Context) -> str:
    """The context as the live API prints it, which is as Python prints a tuple."""
    return repr(context)
