"""Schemas: from Gemini's subset of OpenAPI to JSON Schema, and what Gemini takes of that."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.dialects.google.schemas import read_schema, written_schema
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes

from .wire import fault_of


def written(schema: dict[str, Any]) -> dict[str, Any]:
    return written_schema(schema, "tools", Notes({}))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {}),
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "string"}, {"type": "string"}),
        ({"type": "TYPE_UNSPECIFIED", "title": "T"}, {"title": "T"}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": False}, {"type": "string"}),
        ({"nullable": True, "title": "T"}, {"anyOf": [{"title": "T"}, {"type": "null"}]}),
        (
            {"type": "STRING", "format": "enum", "enum": ["a", "b"]},
            {"type": "string", "enum": ["a", "b"]},
        ),
        (
            {"type": "STRING", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        ({"type": "INTEGER", "enum": ["1", "2"]}, {"type": "integer", "enum": [1, 2]}),
        ({"type": "INTEGER", "enum": [1]}, {"type": "integer", "enum": [1]}),
        ({"type": "NUMBER", "enum": ["0.5"]}, {"type": "number", "enum": [0.5]}),
        ({"type": "INTEGER", "format": "int32"}, {"type": "integer"}),
        ({"type": "STRING", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        (
            {"type": "ARRAY", "items": {"type": "STRING"}, "min_items": "1", "maxItems": 3},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
        ),
        ({"type": "NUMBER", "minimum": 0, "maximum": 1.5}, {"type": "number", "minimum": 0,
                                                            "maximum": 1.5}),
        ({"type": "STRING", "example": "x"}, {"type": "string", "examples": ["x"]}),
        ({"type": "STRING", "default": ""}, {"type": "string", "default": ""}),
        (
            {"any_of": [{"type": "STRING"}, {"type": "INTEGER"}]},
            {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        ),
        (
            {
                "type": "OBJECT",
                "properties": {"b": {"type": "STRING"}, "a": {"type": "STRING"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {"b": {"type": "string"}, "a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
        (
            {"ref": "#/defs/Pet", "defs": {"Pet": {"type": "OBJECT"}}},
            {"$ref": "#/$defs/Pet", "$defs": {"Pet": {"type": "object"}}},
        ),
        (
            {"type": "OBJECT", "additional_properties": {"type": "STRING"}},
            {"type": "object", "additionalProperties": {"type": "string"}},
        ),
    ],
)  # fmt: skip
def test_the_subset_becomes_json_schema(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert read_schema(given, "schema") == wanted


def test_the_wanted_order_of_properties_is_kept() -> None:
    properties = {name: {"type": "STRING"} for name in "abc"}
    schema = read_schema(
        {"type": "OBJECT", "properties": properties, "propertyOrdering": ["c", "a", "c", "x"]}, ""
    )
    assert list(schema["properties"]) == ["c", "a", "b"]


def test_a_property_may_have_any_name() -> None:
    properties = {"min_items": {"type": "STRING"}, "type": {"type": "STRING"}}
    schema = read_schema({"type": "OBJECT", "properties": properties}, "")
    assert list(schema["properties"]) == ["min_items", "type"]


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        (5, "schema"),
        ({"type": "THING"}, "schema.type"),
        ({"type": 5}, "schema.type"),
        ({"title": 5}, "schema.title"),
        ({"minItems": "many"}, "schema.minItems"),
        ({"minItems": "9" * 30}, "schema.minItems"),
        ({"minItems": str(2**63)}, "schema.minItems"),
        ({"maximum": True}, "schema.maximum"),
        ({"enum": "a"}, "schema.enum"),
        ({"type": "INTEGER", "enum": ["a"]}, "schema.enum"),
        ({"required": "a"}, "schema.required"),
        ({"properties": []}, "schema.properties"),
        ({"properties": {"a": 1}}, "schema.properties.a"),
        ({"items": []}, "schema.items"),
        ({"anyOf": {}}, "schema.anyOf"),
        ({"anyOf": [{}, 5]}, "schema.anyOf[1]"),
    ],
)
def test_what_is_no_schema_is_refused_by_name(schema: Any, param: str) -> None:
    with pytest.raises(CallFailed) as raised:
        read_schema(schema, "schema")
    assert (raised.value.fault.kind, raised.value.fault.param) == (
        FaultKind.INVALID_REQUEST,
        param,
    )


def test_a_keyword_that_is_not_of_the_subset_is_refused() -> None:
    with pytest.raises(CallFailed) as raised:
        read_schema({"oneOf": []}, "schema")
    assert raised.value.fault.param == "schema.oneOf"


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"$schema": "x", "type": "object"}, {"type": "object"}),
        ({"properties": {}}, {"properties": {}, "type": "object"}),
        ({"const": "a"}, {"enum": ["a"], "type": "string"}),
        ({"const": True}, {"enum": [True], "type": "boolean"}),
        ({"const": 1}, {"enum": [1], "type": "integer"}),
        ({"const": 0.5}, {"enum": [0.5], "type": "number"}),
        ({"const": None}, {"enum": [None]}),
        ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"oneOf": [{"const": 1}]}, {"anyOf": [{"enum": [1], "type": "integer"}]}),
        ({"allOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}]}),
        ({"allOf": [{}, {}]}, {"allOf": [{}, {}]}),
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "exclusiveMaximum": 9}, {"type": "integer", "maximum": 8}),
        (
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "number", "exclusiveMinimum": 0},
        ),
        ({"$ref": "#/definitions/P"}, {"$ref": "#/$defs/P"}),
        (
            {"$ref": "#/$defs/P", "description": "d"},
            {"$ref": "#/$defs/P", "description": "d"},
        ),
        (
            {"$ref": "#/$defs/P", "title": "t"},
            {"title": "t", "anyOf": [{"$ref": "#/$defs/P"}]},
        ),
        (
            {"definitions": {"P": {"const": "a"}}},
            {"$defs": {"P": {"enum": ["a"], "type": "string"}}},
        ),
        (
            {"type": "array", "items": {"const": 1}, "prefixItems": [{"const": 2}, True]},
            {
                "type": "array",
                "items": {"enum": [1], "type": "integer"},
                "prefixItems": [{"enum": [2], "type": "integer"}, True],
            },
        ),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"pattern": "^a", "type": "string"}, {"pattern": "^a", "type": "string"}),
    ],
)
def test_keywords_that_gemini_refuses_are_said_otherwise(
    schema: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert written(schema) == wanted


def test_a_property_that_is_named_like_a_keyword_stays() -> None:
    properties = {"const": {"type": "string"}, "$ref": {"type": "string"}}
    assert written({"properties": properties})["properties"] == properties


def test_the_callers_schema_is_not_changed() -> None:
    schema = {"properties": {"a": {"const": 1}}}
    written(schema)
    assert schema == {"properties": {"a": {"const": 1}}}


def test_a_schema_without_end_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"items": schema}
    with pytest.raises(CallFailed) as raised:
        written(schema)
    assert (raised.value.fault.kind, raised.value.fault.param) == (FaultKind.UNSUPPORTED, "tools")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "anyOf", "oneOf", "allOf", "const", "$ref", "$defs",
             "definitions", "enum", "exclusiveMinimum", "minimum", "additionalProperties", "defs",
             "nullable", "ref", "minItems", "required", "propertyOrdering"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["type", "items", "anyOf", "$ref", "properties"]), ANY))
def test_any_schema_can_be_written(schema: dict[str, Any]) -> None:
    assert isinstance(written(schema), dict)


@given(ANY)
def test_any_schema_is_read_or_refused(schema: Any) -> None:
    fault = fault_of(lambda: read_schema(schema, "schema"))
    assert fault is None or fault.param is not None
