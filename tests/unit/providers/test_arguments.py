"""Arguments of tool calls as objects, whatever a model wrote."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.providers.arguments import RAW_ARGUMENTS, arguments_object


@pytest.mark.parametrize("text", ["", "{}", " ", "\n", " {} "])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    assert arguments_object(text) == {}


def test_an_object_is_that_object() -> None:
    assert arguments_object('{"city": "Bern", "days": [1, 2]}') == {"city": "Bern", "days": [1, 2]}


@pytest.mark.parametrize(
    "text", ['{"city": "Be', "[1, 2]", "7", '"Bern"', "null", "not JSON", '{"a": NaN}']
)
def test_what_is_no_object_stays_as_the_text_it_is(text: str) -> None:
    assert arguments_object(text) == {RAW_ARGUMENTS: text}


@pytest.mark.parametrize("levels", [201, 1000, 5000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_what_is_too_deep_to_be_written_again_stays_text(
    levels: int, opening: str, closing: str
) -> None:
    text = '{"x": ' + opening * levels + "1" + closing * levels + "}"
    assert arguments_object(text) == {RAW_ARGUMENTS: text}


def test_a_wide_object_is_not_taken_for_a_deep_one() -> None:
    text = '{"x": [' + ",".join(["{}"] * 5000) + "]}"
    assert arguments_object(text) == {"x": [{}] * 5000}


@given(st.text())
def test_any_text_gives_an_object_that_can_be_written(text: str) -> None:
    assert isinstance(orjson.loads(orjson.dumps(arguments_object(text))), dict)
