"""Schemas in terms of the grammar that Anthropic makes of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.dialects.anthropic.schemas import Inexpressible, grammar_schema


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def test_what_the_grammar_knows_stays_as_it_is() -> None:
    schema = {
        "$defs": {"leaf": {"type": "string", "enum": ["a", "b"]}},
        **closed(
            one={"$ref": "#/$defs/leaf"},
            two={"type": ["string", "null"], "format": "date-time", "description": "When."},
            three={"type": "array", "items": {"const": 7}, "minItems": 1},
            four={"anyOf": [{"type": "integer", "default": 1}, {"type": "null"}]},
            five={"type": "string", "pattern": "^a+$", "title": "As"},
        ),
        "required": ["one"],
    }
    assert grammar_schema(schema) == schema


def test_what_it_cannot_enforce_is_told_in_words() -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."}
    assert grammar_schema(schema) == {
        "type": "integer",
        "description": "How many.\n\n(minimum: 1; maximum: 9)",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("format", "colour"), ("format", ["x"]), ("minItems", 2), ("maxItems", 3), ("not", {})],
)
def test_limits_that_it_does_not_know_are_told_in_words(name: str, value: Any) -> None:
    written = grammar_schema({"type": "string", name: value})
    assert name not in written
    assert written["description"].startswith(f"({name}: ")


def test_one_of_becomes_any_of() -> None:
    schema = {"oneOf": [{"type": "string"}, {"type": "null"}]}
    assert grammar_schema(schema) == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_marks_of_the_schema_itself_are_left_out() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "string"}
    assert grammar_schema(schema) == {"type": "string"}


def test_objects_are_closed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    assert grammar_schema(schema) == closed(a=closed())


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": ["object", "null"], "additionalProperties": True},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        closed(a=True),
        {"type": "array", "items": [{"type": "string"}]},
        {"type": "object", "properties": ["a"]},
        {"anyOf": {"type": "string"}},
    ],
)
def test_what_would_be_another_schema_is_not_to_be_said(schema: dict[str, Any]) -> None:
    with pytest.raises(Inexpressible):
        grammar_schema(schema)


@pytest.mark.parametrize("name", ["items", "examples"])
def test_a_schema_that_is_nested_too_deeply_is_not_to_be_said(name: str) -> None:
    schema: Any = {"type": "string"}
    for _ in range(900):
        schema = {name: schema}
    with pytest.raises(Inexpressible):
        grammar_schema(schema)


def test_the_schema_that_was_given_is_not_changed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}
    grammar_schema(schema)
    assert schema == {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}}


_names = st.sampled_from(
    ["type", "properties", "items", "anyOf", "$defs", "format", "enum", "minItems", "required"]
)
_schemas = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "array", "date"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


def _is_expressible(schema: dict[str, Any]) -> bool:
    try:
        return isinstance(grammar_schema(schema), dict)
    except Inexpressible as reason:
        return not str(reason)


@given(st.dictionaries(_names, _schemas))
def test_any_schema_is_expressible_or_not(schema: dict[str, Any]) -> None:
    open_ended = schema.get("type") == "object" and "properties" not in schema
    assert not (_is_expressible(schema) and open_ended)
