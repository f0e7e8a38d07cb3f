"""Values that fit a JSON Schema, always the same for the same schema."""

from collections.abc import Mapping
from typing import Final

from typing_extensions import TypeIs

# Below this depth only what is required is given, and below the second nothing that nests:
# schemas may name themselves.
_DEEP: Final = 4
_DEEPEST: Final = 12

# Where `format` has its say; any other string is made of the property's name.
_FORMATS: Final = {
    "date": "2026-11-25",
    "date-time": "2026-11-25T10:00:00Z",
    "time": "10:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}


def sample(schema: object, number: int = 1) -> object:
    """A value that fits `schema`; `number` tells values made of the same schema apart.

    Understands JSON Schema's usual keywords and the OpenAPI names that Google uses (types in
    capitals, `nullable`). What it does not understand (`pattern`, `not`) it does not heed.
    """
    root = schema if isinstance(schema, Mapping) else {}
    return _value(schema, root, "value", number, 0)


def arguments(schema: object, number: int = 1) -> dict[str, object]:
    """The arguments of a call of a tool with these parameters; none for none."""
    value = sample(schema, number) if isinstance(schema, Mapping) else {}
    return value if isinstance(value, dict) else {}


def _value(
    schema: object, root: Mapping[object, object], name: str, number: int, depth: int
) -> object:
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[(number - 1) % len(choices)]
    for keyword in ("anyOf", "oneOf", "any_of"):
        branches = schema.get(keyword)
        if isinstance(branches, list) and branches:
            rest = {key: value for key, value in schema.items() if key != keyword}
            return _value(_merged(rest, branches[:1], root), root, name, number, depth)
    match _kind(schema):
        case "object":
            return _object(schema, root, number, depth)
        case "array":
            return _array(schema, root, name, number, depth)
        case "integer":
            return int(_number(schema, number))
        case "number":
            return _number(schema, number) + 0.5 if _free(schema) else _number(schema, number)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name, number)


def _resolved(schema: object, root: Mapping[object, object]) -> Mapping[object, object]:
    """The schema without `$ref` and `allOf` at its top."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        target: object = root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step and isinstance(target, Mapping):
                target = target.get(step.replace("~1", "/").replace("~0", "~"))
        schema = target
    if not isinstance(schema, Mapping) or "$ref" in schema:
        return {}
    parts = schema.get("allOf")
    if isinstance(parts, list):
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return _merged(rest, parts, root)
    return schema


def _merged(
    schema: Mapping[object, object], parts: list[object], root: Mapping[object, object]
) -> Mapping[object, object]:
    """One schema of several that all hold."""
    merged = dict(schema)
    for part in parts:
        for key, value in _shallow(part, root).items():
            known = merged.get(key)
            if key == "properties" and isinstance(known, Mapping) and isinstance(value, Mapping):
                merged[key] = {**known, **value}
            elif key == "required" and isinstance(known, list) and isinstance(value, list):
                merged[key] = [*known, *value]
            else:
                merged[key] = value
    return merged


def _shallow(part: object, root: Mapping[object, object]) -> Mapping[object, object]:
    if isinstance(part, Mapping) and "allOf" in part:
        part = {key: value for key, value in part.items() if key != "allOf"}
    return _resolved(part, root)


def _kind(schema: Mapping[object, object]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _object(
    schema: Mapping[object, object], root: Mapping[object, object], number: int, depth: int
) -> dict[str, object]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or depth > _DEEPEST:
        return {}
    needed = required if isinstance(required, list) else []
    return {
        str(name): _value(inner, root, str(name), number, depth + 1)
        for name, inner in properties.items()
        if depth < _DEEP or name in needed
    }


def _array(
    schema: Mapping[object, object],
    root: Mapping[object, object],
    name: str,
    number: int,
    depth: int,
) -> list[object]:
    first = schema.get("prefixItems")
    if isinstance(first, list):
        return [_value(inner, root, name, number, depth + 1) for inner in first]
    least = _whole(schema.get("minItems"))
    if depth > _DEEPEST or (depth >= _DEEP and not least):
        return []
    count = min(max(1, least), 100)
    if "maxItems" in schema:
        count = min(count, _whole(schema["maxItems"]))
    return [
        _value(schema.get("items"), root, name, number + position, depth + 1)
        for position in range(count)
    ]


def _number(schema: Mapping[object, object], number: int) -> float:
    """The nearest number to `number` that the bounds allow."""
    value: float = number
    step = schema.get("multipleOf")
    if _is_number(step) and step > 0:
        value = step * number
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if _is_number(least):
        value = max(value, least)
    if _is_number(above) and value <= above:
        value = above + 1
    if _is_number(most):
        value = min(value, most)
    if _is_number(below) and value >= below:
        value = below - 1
    return value


def _free(schema: Mapping[object, object]) -> bool:
    bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    return not any(bound in schema for bound in bounds)


def _string(schema: Mapping[object, object], name: str, number: int) -> str:
    text = _FORMATS.get(str(schema.get("format"))) or f"{name} {number}"
    text = text.ljust(min(_whole(schema.get("minLength")), 10_000), "x")
    return text[: _whole(schema["maxLength"])] if "maxLength" in schema else text


def _whole(value: object) -> int:
    """A count out of a schema; Google's clients may write it as a string."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and value > 0 else 0


def _is_number(value: object) -> TypeIs[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
