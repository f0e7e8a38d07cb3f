"""What the Gemini API refuses in an OpenAPI schema that it could read."""

from collections.abc import Mapping
from typing import Final

from model_service.sandbox.google_errors import refuse

_FORMATS: Final = frozenset({"enum", "date-time"})


def check_schema(schema: Mapping[str, object], where: str) -> None:
    """Raise Refused unless the schema hangs together."""
    kind = schema.get("type")
    properties = schema.get("properties")
    named = properties if isinstance(properties, Mapping) else {}
    branches = schema.get("anyOf")
    if kind is None and not branches:
        refuse(f"{where}.type", "must be specified")
    if kind == "OBJECT" and not named:
        refuse(f"{where}.properties", "should be non-empty for OBJECT type")
    if kind != "OBJECT" and named:
        refuse(f"{where}.properties", "only allowed for OBJECT type")
    if kind == "ARRAY" and "items" not in schema:
        refuse(f"{where}.items", "missing field.")
    if kind != "STRING" and schema.get("enum"):
        refuse(f"{where}.enum", "only allowed for STRING type")
    if kind == "STRING" and schema.get("format", "enum") not in _FORMATS:
        refuse(f"{where}.format", "only 'enum' and 'date-time' are supported for STRING type")
    required = schema.get("required")
    for index, name in enumerate(required if isinstance(required, list) else []):
        if name not in named:
            refuse(f"{where}.required[{index}]", "property is not defined")
    for name, inner in named.items():
        check_schema(inner, f'{where}.properties["{name}"]')
    if isinstance(schema.get("items"), Mapping):
        check_schema(_mapping(schema["items"]), f"{where}.items")
    for index, branch in enumerate(branches if isinstance(branches, list) else []):
        check_schema(branch, f"{where}.any_of[{index}]")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
