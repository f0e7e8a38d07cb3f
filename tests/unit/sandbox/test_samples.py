"""Values made of schemas fit them."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.sandbox.samples import arguments, sample

SCHEMAS: list[dict[str, object]] = [
    {"type": "string"},
    {"type": "string", "minLength": 20},
    {"type": "string", "maxLength": 3},
    {"type": "string", "format": "date-time"},
    {"type": "integer", "minimum": 7},
    {"type": "integer", "exclusiveMaximum": -3},
    {"type": "integer", "multipleOf": 5},
    {"type": "number"},
    {"type": "number", "minimum": 0, "maximum": 0.5},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "string"]},
    {"enum": ["a", 2, None]},
    {"const": {"a": 1}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]},
        ]
    },
    {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"A": {"type": "array", "items": {"type": "boolean"}}},
    },
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["name"],
    },
    {"properties": {"a": {"items": {"type": "integer"}}}},
]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_sample_fits_its_schema(schema: dict[str, object], number: int) -> None:
    jsonschema_rs.validate(schema, sample(schema, number))


def test_the_types_of_openapi_are_understood() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"n": {"type": "INTEGER"}, "s": {"type": "ARRAY", "minItems": "2"}},
    }
    assert sample(schema) == {"n": 1, "s": ["s 1", "s 2"]}


def test_numbers_tell_values_of_one_schema_apart() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert arguments(schema, 1) == {"city": "city 1"}
    assert arguments(schema, 2) == {"city": "city 2"}


@pytest.mark.parametrize("schema", [None, True, {}, [], {"type": "string"}])
def test_a_tool_without_parameters_is_given_none(schema: object) -> None:
    assert arguments(schema) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "items",
                    "anyOf",
                    "allOf",
                    "$ref",
                    "enum",
                    "minLength",
                    "maxItems",
                    "minimum",
                    "multipleOf",
                    "prefixItems",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_schema_however_wrong_is_too_much(schema: object) -> None:
    assert sample(schema) == sample(schema)
