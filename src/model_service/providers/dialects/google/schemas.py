"""JSON schemas: from Gemini's subset of OpenAPI 3.0 to JSON Schema, and what Gemini takes of that.

Sources: https://ai.google.dev/api/caching#Schema for the subset, and the keywords listed at
`responseJsonSchema` (https://ai.google.dev/api/generate-content#GenerationConfig). The API
takes other keywords and does not enforce them, save those that are rewritten here.
"""

from typing import Any, Final

from model_service.providers.chat import Document
from model_service.providers.dialects.google.media import impossible
from model_service.providers.dialects.google.wire import camel
from model_service.providers.faults import invalid, unsupported
from model_service.providers.translation import Notes

# Far deeper than any provider takes, and far from Python's limit.
_MOST_LEVELS: Final = 64

_TEXTS: Final = ("title", "description", "pattern")
_COUNTS: Final = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
)
_NUMBERS: Final = ("minimum", "maximum")
_TYPES: Final = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))
# Without a meaning in JSON Schema: widths of numbers, and what says that there is an `enum`.
_IDLE_FORMATS: Final = frozenset(("enum", "int32", "int64", "float", "double"))


def read_schema(data: object, name: str, level: int = 0) -> Document:
    """A schema of the subset as JSON Schema. Raises CallFailed for what is none."""
    if not isinstance(data, dict):
        raise invalid(name, "must be an object")
    if level > _MOST_LEVELS:
        raise invalid(name, "is nested too deeply")
    given = {camel(key): value for key, value in data.items() if value is not None}
    schema: Document = {}
    kind = _type(given.pop("type", None), f"{name}.type")
    nullable = given.pop("nullable", None) is True
    if kind is not None:
        schema["type"] = [kind, "null"] if nullable and kind != "null" else kind
    for key in _TEXTS:
        if key in given:
            schema[key] = _text(given.pop(key), f"{name}.{key}")
    form = given.pop("format", None)
    if form is not None and _text(form, f"{name}.format") not in _IDLE_FORMATS:
        schema["format"] = form
    for key in (*_COUNTS, *_NUMBERS):
        if key in given:
            schema[key] = _number(given.pop(key), f"{name}.{key}")
    if "enum" in given:
        schema["enum"] = _enum(given.pop("enum"), kind, nullable, f"{name}.enum")
    if "default" in given:
        schema["default"] = given.pop("default")
    if "example" in given:
        schema["examples"] = [given.pop("example")]
    if "ref" in given:
        ref = _text(given.pop("ref"), f"{name}.ref")
        schema["$ref"] = ref.replace("#/defs/", "#/$defs/", 1)
    _read_parts(given, schema, name, level)
    if given:
        raise unsupported(f"{name}.{next(iter(given))}", "is no known keyword of a schema")
    if nullable and kind is None:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def _read_parts(given: Document, schema: Document, name: str, level: int) -> None:
    """The schemas within one."""
    order = given.pop("propertyOrdering", None)
    properties = given.pop("properties", None)
    if properties is not None:
        schema["properties"] = _ordered(_named(properties, f"{name}.properties", level), order)
    if "required" in given:
        required = given.pop("required")
        if not isinstance(required, list) or not all(isinstance(key, str) for key in required):
            raise invalid(f"{name}.required", "must be an array of strings")
        schema["required"] = required
    if "additionalProperties" in given:
        more = given.pop("additionalProperties")
        schema["additionalProperties"] = (
            more
            if isinstance(more, bool)
            else read_schema(more, f"{name}.additionalProperties", level + 1)
        )
    if "items" in given:
        schema["items"] = read_schema(given.pop("items"), f"{name}.items", level + 1)
    for key in ("anyOf", "prefixItems"):
        if key in given:
            schemas = given.pop(key)
            if not isinstance(schemas, list):
                raise invalid(f"{name}.{key}", "must be an array")
            schema[key] = [
                read_schema(item, f"{name}.{key}[{index}]", level + 1)
                for index, item in enumerate(schemas)
            ]
    if "defs" in given:
        schema["$defs"] = _named(given.pop("defs"), f"{name}.defs", level)


def _named(data: object, name: str, level: int) -> Document:
    if not isinstance(data, dict):
        raise invalid(name, "must be an object")
    return {key: read_schema(value, f"{name}.{key}", level + 1) for key, value in data.items()}


def _ordered(properties: Document, order: object) -> Document:
    """The properties in the order that they are to be written in."""
    if not isinstance(order, list):
        return properties
    first = [key for key in order if isinstance(key, str) and key in properties]
    return {key: properties[key] for key in (*first, *properties)}


def _type(value: object, name: str) -> str | None:
    if value is None:
        return None
    kind = value.lower() if isinstance(value, str) else ""
    if kind == "type_unspecified":
        return None
    if kind not in _TYPES:
        raise invalid(name, "is no type of a schema")
    return kind


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(name, "must be a string")
    return value


def _number(value: object, name: str) -> int | float:
    """A number, which protobuf's JSON may have in quotes."""
    if isinstance(value, str):
        try:
            return _whole(value)
        except ValueError:
            raise invalid(name, "must be a number") from None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(name, "must be a number")
    return value


def _enum(value: object, kind: str | None, nullable: bool, name: str) -> list[Any]:
    """Allowed values, which the subset has as text even for numbers."""
    if not isinstance(value, list):
        raise invalid(name, "must be an array")
    values = list(value)
    if kind in ("integer", "number"):
        values = [_numeric(item, kind, name) for item in values]
    return [*values, None] if nullable and None not in values else values


def _numeric(value: object, kind: str, name: str) -> object:
    if not isinstance(value, str):
        return value
    try:
        return _whole(value) if kind == "integer" else float(value)
    except ValueError:
        raise invalid(name, "has a value that is not of the type") from None


def _whole(text: str) -> int:
    """A whole number of 64 bits. Raises ValueError."""
    if len(text) > 20:
        raise ValueError
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


# The other way.


def written_schema(schema: Document, field: str, notes: Notes) -> Document:
    """A JSON schema as `parametersJsonSchema` and `responseJsonSchema` take it.

    `$schema` goes, `const` becomes an `enum`, `definitions` are `$defs`, exclusive bounds of
    whole numbers become inclusive, one `allOf` and what stands beside a `$ref` are wrapped, as
    nothing but a description may stand there. `field` is of ChatRequest, for errors.

    Raises:
        CallFailed: it is nested too deeply.
    """
    try:
        written = _written(schema, 0)
    except RecursionError:
        raise impossible(
            notes, field, "the schema is nested more deeply than Gemini takes"
        ) from None
    if "type" not in written and "properties" in written:
        written["type"] = "object"
    return written


def _written(schema: Document, level: int) -> Document:
    if level > _MOST_LEVELS:
        raise RecursionError
    result: Document = {}
    for key, value in schema.items():
        match key:
            case "$schema":
                continue
            case "const":
                result["enum"] = [value]
                if "type" not in schema and (kind := _type_of(value)):
                    result["type"] = kind
            case "$ref" if isinstance(value, str):
                result[key] = value.replace("#/definitions/", "#/$defs/", 1)
            case "properties" | "$defs" | "definitions" if isinstance(value, dict):
                name = "$defs" if key == "definitions" else key
                result[name] = {inner: _part(item, level + 1) for inner, item in value.items()}
            case "anyOf" | "oneOf" | "allOf" | "prefixItems" if isinstance(value, list):
                result[key] = [_part(item, level + 1) for item in value]
            case "items" | "additionalProperties":
                result[key] = _part(value, level + 1)
            case _:
                result[key] = value
    return _rewritten(result)


def _part(value: object, level: int) -> Any:  # noqa: ANN401 - a schema may be true
    return _written(value, level) if isinstance(value, dict) else value


def _rewritten(schema: Document) -> Document:
    """What stands otherwise in Gemini's schemas, level by level."""
    if "oneOf" in schema and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("oneOf")  # which the API reads it as
    if schema.get("type") == "integer":
        for given, wanted, step in (
            ("exclusiveMinimum", "minimum", 1),
            ("exclusiveMaximum", "maximum", -1),
        ):
            bound = schema.get(given)
            if isinstance(bound, int) and not isinstance(bound, bool) and wanted not in schema:
                del schema[given]
                schema[wanted] = bound + step
    all_of = schema.get("allOf")
    if isinstance(all_of, list) and len(all_of) == 1 and "anyOf" not in schema:
        schema["anyOf"] = schema.pop("allOf")
    if (
        "$ref" in schema
        and "anyOf" not in schema
        and any(key not in ("description", "default") and not key.startswith("$") for key in schema)
    ):
        schema["anyOf"] = [{"$ref": schema.pop("$ref")}]
    return schema


def _type_of(value: object) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else None
