"""What the Messages API refuses in tools, in the choice among them, and in schemas.

Schemas after https://platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

from collections.abc import Mapping
from typing import Final, cast

from model_service.sandbox.anthropic_fields import InvalidRequest, fail
from model_service.sandbox.anthropic_rules import MessageRequest

_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_FORMATS: Final = frozenset(
    {
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "uri",
        "ipv4",
        "ipv6",
        "uuid",
    }
)
# What no schema of structured outputs may say, by type.
_UNSUPPORTED: Final = {
    "integer": ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
    "number": ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
    "string": ("maxLength", "minLength"),
    "array": ("contains", "maxContains", "maxItems", "minContains", "uniqueItems"),
    "object": ("maxProperties", "minProperties", "patternProperties", "propertyNames"),
}
_INVALID_SCHEMA: Final = (
    "JSON schema is invalid. It must match JSON Schema draft 2020-12 "
    "(https://json-schema.org/draft/2020-12). Learn more about tool use at "
    "https://docs.claude.com/en/docs/tool-use."
)
_DEEPEST: Final = 100


def check_tools(request: MessageRequest, *, forced_tools: bool) -> None:
    """Raise InvalidRequest for a fault in the tools, their choice or the output's schema.

    `forced_tools` is whether the model lets itself be forced to use one.
    """
    names = [str(tool.get("name")) for tool in request.tools]
    if len(set(names)) != len(names):
        fail("tools", "Tool names must be unique.")
    for index, tool in enumerate(request.tools):
        if tool.get("type", "custom") == "custom":
            _check_input_schema(tool, f"tools.{index}.custom")
    if not request.tools and any(
        block.get("type") in {"tool_use", "tool_result"} for block in request.blocks
    ):
        raise InvalidRequest(
            "Requests which include `tool_use` or `tool_result` blocks must define tools."
        )
    _check_choice(request, names, forced_tools=forced_tools)
    schema = request.section("output_config").get("format")
    if isinstance(schema, Mapping):
        _check_strict(schema["schema"], "output_config.format.schema")


def _check_choice(request: MessageRequest, names: list[str], *, forced_tools: bool) -> None:
    choice = request.section("tool_choice")
    if not choice:
        return
    if not request.tools:
        raise InvalidRequest("tool_choice may only be specified while providing tools.")
    if choice["type"] in {"any", "tool"} and not forced_tools:
        fail("tool_choice", 'type "tool" and "any" are not supported for this model.')
    if choice["type"] == "tool" and choice["name"] not in names:
        fail("tool_choice", f"Tool '{choice['name']}' not found in provided tools")


def _check_input_schema(tool: Mapping[str, object], where: str) -> None:
    schema = cast(Mapping[str, object], tool["input_schema"])
    place = f"{where}.input_schema"
    if "type" not in schema:
        fail(f"{place}.type", "Field required")
    if schema["type"] != "object":
        fail(f"{place}.type", "Input should be 'object'")
    if any(keyword in schema for keyword in ("oneOf", "allOf", "anyOf")):
        fail(place, "input_schema does not support oneOf, allOf, or anyOf at the top level")
    if not _is_schema(schema, 0):
        fail(place, _INVALID_SCHEMA)
    if tool.get("strict"):
        _check_strict(schema, where)


def _is_schema(schema: object, depth: int) -> bool:
    """Whether this is a schema of draft 2020-12, as far as the stand-in looks."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return False
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not all(isinstance(kind, str) and kind in _TYPES for kind in kinds):
        return False
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        return False
    if not isinstance(schema.get("enum", []), list):
        return False
    # Draft 4 had booleans here, draft 2019-09 lists of schemas in `items`.
    if any(isinstance(schema.get(name), bool) for name in ("exclusiveMinimum", "exclusiveMaximum")):
        return False
    named = [schema.get(name, {}) for name in ("properties", "$defs", "definitions")]
    if not all(isinstance(group, Mapping) for group in named):
        return False
    lists = [schema.get(name, []) for name in ("anyOf", "oneOf", "allOf", "prefixItems")]
    if not all(isinstance(group, list) for group in lists):
        return False
    inner = [part for group in named for part in group.values()]
    inner += [part for group in lists for part in group]
    inner += [schema[name] for name in ("items", "additionalProperties", "not") if name in schema]
    return all(_is_schema(part, depth + 1) for part in inner)


def _check_strict(schema: object, where: str) -> None:
    """Raise InvalidRequest unless answers can be held to the schema."""
    if not _is_schema(schema, 0):
        fail(where, "Invalid schema")
    _check_part(schema, where, schema, ())


def _check_part(schema: object, where: str, root: object, followed: tuple[str, ...]) -> None:
    if not isinstance(schema, Mapping):
        return
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if not reference.startswith("#"):
            fail(where, f"External $ref '{reference}' is not supported")
        if reference in followed:
            fail(where, "Circular reference detected in schema definitions")
        target = root
        for step in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            fail(where, f"Invalid $ref '{reference}'")
        _check_part(target, where, root, (*followed, reference))
        return
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        _check_kind(schema, str(kind), where)
    for keyword in ("oneOf", "not", "if", "prefixItems"):
        if keyword in schema:
            fail(where, f"Schema keyword '{keyword}' is not supported")
    if any(isinstance(choice, Mapping | list) for choice in schema.get("enum", [])):
        fail(where, "Enum values must be strings, numbers, booleans or null")
    parts = [*schema.get("anyOf", []), *schema.get("allOf", [])]
    parts += [*schema.get("properties", {}).values(), schema.get("items")]
    for part in parts:
        _check_part(part, where, root, followed)


def _check_kind(schema: Mapping[str, object], kind: str, where: str) -> None:
    if kind == "object" and schema.get("additionalProperties") is not False:
        fail(where, "For 'object' type, 'additionalProperties' must be explicitly set to false")
    found = [name for name in _UNSUPPORTED.get(kind, ()) if name in schema]
    if kind == "array" and schema.get("minItems", 0) not in (0, 1):
        fail(where, "For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    if len(found) == 1:
        fail(where, f"For '{kind}' type, property '{found[0]}' is not supported")
    if found:
        fail(where, f"For '{kind}' type, properties {', '.join(found)} are not supported")
    text_format = schema.get("format")
    if kind == "string" and text_format is not None and str(text_format) not in _FORMATS:
        fail(where, f"For 'string' type, format '{text_format}' is not supported")
