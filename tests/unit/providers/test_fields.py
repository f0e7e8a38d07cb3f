"""Reading a caller's JSON: typed, by name, with nothing dropped in silence."""

import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.faults import CallFailed, Fault, FaultKind
from model_service.providers.fields import Fields

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)

READERS: dict[str, Callable[[Fields], object]] = {
    "raw": lambda fields: fields.raw("x"),
    "text": lambda fields: fields.text("x"),
    "required_text": lambda fields: fields.required_text("x"),
    "choice": lambda fields: fields.choice("x", ("a", "b")),
    "flag": lambda fields: fields.flag("x"),
    "integer": lambda fields: fields.integer("x"),
    "number": lambda fields: fields.number("x"),
    "document": lambda fields: fields.document("x"),
    "object": lambda fields: fields.object("x"),
    "array": lambda fields: fields.array("x"),
    "objects": lambda fields: list(fields.objects("x")),
    "texts": lambda fields: fields.texts("x"),
}


def refused(read: Callable[[], object]) -> Fault:
    with pytest.raises(CallFailed) as caught:
        read()
    return caught.value.fault


@given(st.sampled_from(sorted(READERS)), _json)
def test_whatever_stands_there_it_is_read_or_refused_by_name(reader: str, value: object) -> None:
    fields = Fields({"x": value}, "messages[2].")
    fault: Fault | None = None
    try:
        READERS[reader](fields)
        fields.finish()
    except CallFailed as error:
        fault = error.fault
    if fault is not None:
        assert fault.kind is FaultKind.INVALID_REQUEST
        assert fault.param is not None
        assert fault.param.startswith("messages[2].x")
        assert fault.message.startswith(fault.param)


@given(st.sampled_from(("integer", "number")), _json)
def test_a_number_that_was_read_can_be_written(reader: str, value: object) -> None:
    try:
        number = READERS[reader](Fields({"x": value}))
    except CallFailed:
        return
    assert orjson.loads(orjson.dumps(number)) == number


@pytest.mark.parametrize("value", [[], "text", 1, None, True])
def test_what_is_no_object_is_refused_by_its_place(value: object) -> None:
    assert refused(lambda: Fields(value, "tools[0].function.")).param == "tools[0].function"
    assert refused(lambda: Fields(value)).param == "body"


@pytest.mark.parametrize(
    ("reader", "value", "says"),
    [
        ("text", 1, "must be a string"),
        ("required_text", None, "is required"),
        ("choice", "c", "must be one of a, b"),
        ("flag", 1, "must be true or false"),
        ("flag", "true", "must be true or false"),
        ("integer", 1.5, "must be a whole number"),
        ("integer", True, "must be a whole number"),
        ("integer", "1", "must be a whole number"),
        ("integer", math.nan, "must be a whole number"),
        ("integer", 1e30, "is too large a number"),
        ("integer", -1e30, "is too large a number"),
        ("number", False, "must be a number"),
        ("number", "0.5", "must be a number"),
        ("number", math.inf, "must be finite"),
        ("number", math.nan, "must be finite"),
        ("document", [], "must be an object"),
        ("object", "x", "must be an object"),
        ("array", {}, "must be an array"),
        ("objects", [{}, 1], "must be an object"),
        ("texts", ["a", 1], "must be a string or an array of strings"),
        ("texts", {}, "must be a string or an array of strings"),
    ],
)
def test_a_value_of_another_type_is_refused(reader: str, value: object, says: str) -> None:
    fault = refused(lambda: READERS[reader](Fields({"x": value})))
    assert fault.message.endswith(f": {says}")
    assert fault.kind is FaultKind.INVALID_REQUEST


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"required_text"}))
def test_null_counts_as_absent(reader: str) -> None:
    null, absent = READERS[reader](Fields({"x": None})), READERS[reader](Fields({}))
    assert null == absent
    assert not null


@pytest.mark.parametrize(
    ("reader", "value", "read"),
    [
        ("text", "", ""),
        ("required_text", "", ""),
        ("choice", "b", "b"),
        ("flag", False, False),
        ("integer", 0, 0),
        ("integer", 3.0, 3),
        ("number", 0.5, 0.5),
        ("number", 2, 2),
        ("document", {"a": 1}, {"a": 1}),
        ("array", [1, "a"], [1, "a"]),
        ("texts", "one", ["one"]),
        ("texts", ["one", "two"], ["one", "two"]),
        ("raw", {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_a_value_of_the_right_type_is_given(reader: str, value: object, read: object) -> None:
    fields = Fields({"x": value})
    assert READERS[reader](fields) == read
    fields.finish()


def test_a_whole_number_written_as_a_float_is_an_int() -> None:
    assert isinstance(Fields({"x": 3.0}).integer("x"), int)


@pytest.mark.parametrize(
    ("low", "high", "value", "says"),
    [
        (1, None, 0, "must be at least 1"),
        (None, 5, 6, "must be at most 5"),
        (0, 2, 3, "must be from 0 to 2"),
        (0, 2, -1, "must be from 0 to 2"),
    ],
)
def test_a_number_out_of_bounds_is_refused(
    low: int | None, high: int | None, value: int, says: str
) -> None:
    for read in (
        lambda: Fields({"x": value}).integer("x", low, high),
        lambda: Fields({"x": value}).number("x", low, high),
    ):
        assert refused(read).message == f"x: {says}"


@pytest.mark.parametrize("value", [0, 2])
def test_the_bounds_themselves_are_within(value: int) -> None:
    assert Fields({"x": value}).integer("x", 0, 2) == value
    assert Fields({"x": value}).number("x", 0, 2) == value


def test_fields_of_an_inner_object_are_named_from_the_outside() -> None:
    inner = Fields({"function": {"name": 1}}, "tools[3].").object("function")
    assert inner is not None
    assert inner.name("name") == "tools[3].function.name"
    assert refused(lambda: inner.text("name")).param == "tools[3].function.name"


def test_fields_of_objects_in_a_list_are_named_with_their_place() -> None:
    _, second = Fields({"messages": [{}, {"role": 5}]}).objects("messages")
    assert refused(lambda: second.text("role")).param == "messages[1].role"


def test_an_item_that_is_no_object_is_named_with_its_place() -> None:
    fields = Fields({"messages": [{}, "hello"]})
    assert refused(lambda: list(fields.objects("messages"))).param == "messages[1]"


def test_a_field_that_nobody_read_is_refused_by_name() -> None:
    fields = Fields({"read": 1, "tomorrow": 2}, "body.")
    fields.raw("read")
    fault = refused(fields.finish)
    assert (fault.kind, fault.param) == (FaultKind.UNSUPPORTED, "body.tomorrow")


def test_a_null_that_nobody_read_is_no_matter() -> None:
    Fields({"tomorrow": None}).finish()
    assert "tomorrow" not in Fields({"tomorrow": None})


def test_a_field_is_there_until_it_is_read() -> None:
    fields = Fields({"x": 1})
    assert "x" in fields
    fields.raw("x")
    assert "x" not in fields


def test_a_field_may_be_refused_with_a_reason() -> None:
    fault = refused(lambda: Fields({"audio": {}}).refuse("audio", "is not for texts"))
    assert (fault.kind, fault.message) == (FaultKind.UNSUPPORTED, "audio: is not for texts")


def test_a_refused_field_that_is_not_there_is_no_matter() -> None:
    fields = Fields({"audio": None})
    fields.refuse("audio", "is not for texts")
    fields.finish()


def test_ignored_fields_are_not_refused_at_the_end() -> None:
    fields = Fields({"a": 1, "b": 2})
    fields.ignore("a", "b", "c")
    fields.finish()


def test_the_callers_object_stays_as_it_is() -> None:
    body: dict[str, Any] = {"x": 1, "y": {"z": 2}}
    fields = Fields(body)
    fields.raw("x")
    inner = fields.object("y")
    assert inner is not None
    inner.raw("z")
    assert body == {"x": 1, "y": {"z": 2}}
