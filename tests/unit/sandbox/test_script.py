"""The mind behind all stand-ins: what it says to what, and how it counts."""

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.sandbox.script import (
    ALOUD,
    MEDIA_TOKENS,
    REFUSAL,
    Ask,
    ToolOffer,
    count,
    fragments,
    json_fragments,
    prompt_tokens,
    reply,
    vector,
)

WEATHER = ToolOffer("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CLOCK = ToolOffer("now")
TOOLS = (WEATHER, CLOCK)


def called(ask: Ask) -> list[tuple[str, dict[str, object]]]:
    return [(call.name, call.arguments) for call in reply(ask).calls]


def test_an_answer_shows_all_that_arrived() -> None:
    ask = Ask(text="Hi", system="Be brief", turns=3, images=2, files=1)
    assert reply(ask).text == "You said: Hi\nMy orders: Be brief\nTurns: 3\nImages: 2\nFiles: 1"


def test_the_same_question_has_the_same_answer() -> None:
    ask = Ask(text="use a tool", tools=TOOLS, may_call=True, reasoning=True)
    assert reply(ask) == reply(ask)


def test_results_of_tools_are_told_in_order_and_failed_ones_counted() -> None:
    ask = Ask(text="use get_weather", tools=TOOLS, may_call=True, results=["b", "a"], turns=3)
    assert reply(ask).text == "You said: use get_weather\nTurns: 3\nResults: b, a"
    assert "Failed: 1" in str(reply(Ask(results=["x"], result_errors=1)).text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("use get_weather", ["get_weather"]),
        ("now, then get_weather", ["now", "get_weather"]),
        ("use both", ["get_weather", "now"]),
        ("use both now", ["now", "get_weather"]),
        ("please use a tool", ["get_weather"]),
        ("I know nothing of get_weathers", []),
        ("Hi", []),
    ],
)
def test_the_text_says_which_tools_are_called(text: str, names: list[str]) -> None:
    assert [name for name, _ in called(Ask(text=text, tools=TOOLS, may_call=True))] == names


def test_a_tool_alone_is_called_twice_with_arguments_that_differ() -> None:
    ask = Ask(text="use both", tools=[WEATHER], may_call=True)
    assert called(ask) == [
        ("get_weather", {"city": "city 1"}),
        ("get_weather", {"city": "city 2"}),
    ]


def test_without_leave_for_parallel_calls_there_is_one() -> None:
    ask = Ask(text="use both", tools=TOOLS, may_call=True, parallel=False)
    assert [name for name, _ in called(ask)] == ["get_weather"]


def test_no_tool_is_called_without_leave() -> None:
    assert called(Ask(text="use get_weather", tools=TOOLS)) == []


def test_a_forced_call_is_made_whatever_the_text() -> None:
    assert called(Ask(text="Hi", tools=TOOLS, must_call=True)) == [
        ("get_weather", {"city": "city 1"})
    ]
    assert called(Ask(text="Hi", tools=TOOLS, only_tool="now")) == [("now", {})]


def test_arguments_given_in_the_text_are_those_of_the_call() -> None:
    ask = Ask(text='use get_weather {"city": "Zü}rich", "n": [1]} now', tools=[WEATHER])
    (call,) = reply(Ask(text=ask.text, tools=[WEATHER], may_call=True)).calls
    assert call.arguments == {"city": "Zü}rich", "n": [1]}
    assert orjson.loads(call.text) == call.arguments


def test_a_sentence_stands_before_calls_when_asked_for() -> None:
    said = reply(Ask(text="aloud: use now", tools=TOOLS, may_call=True))
    assert (said.text, said.finish) == (ALOUD, "tool_calls")


def test_a_refusal_says_nothing_else() -> None:
    said = reply(Ask(text="refuse", tools=TOOLS, must_call=True))
    assert (said.refusal, said.text, said.calls, said.finish) == (REFUSAL, None, [], "refusal")


def test_thinking_comes_first_and_counts_as_output() -> None:
    said = reply(Ask(text="Hi", reasoning=True))
    assert said.reasoning == "The user wants this: Hi"
    assert said.reasoning_tokens == count(said.reasoning) == 6
    assert said.output_tokens == 6 + count("You said: Hi")


def test_half_of_the_input_is_read_from_a_cache_when_asked_for() -> None:
    said = reply(Ask(text="cached", prompt_text="one two three four"))
    assert (said.input_tokens, said.cached_tokens) == (4, 2)


def test_an_answer_of_nothing_has_no_tokens() -> None:
    said = reply(Ask(text="say nothing"))
    assert (said.text, said.output_tokens, said.finish) == ("", 0, "stop")


def test_counting_gives_as_many_tokens_as_asked_for() -> None:
    said = reply(Ask(text="count to 60"))
    assert said.text == " ".join(str(number) for number in range(1, 61))
    assert said.output_tokens == 60


def test_the_most_tokens_cut_an_answer() -> None:
    said = reply(Ask(text="count to 60", max_tokens=3))
    assert (said.text, said.output_tokens, said.finish) == ("1 2 3", 3, "length")


def test_thinking_uses_up_the_tokens_of_the_answer() -> None:
    said = reply(Ask(text="Hi", reasoning=True, max_tokens=4))
    assert (said.reasoning, said.text, said.finish) == ("The user wants this", None, "length")


def test_a_call_that_is_cut_has_half_of_its_arguments() -> None:
    (call,) = reply(Ask(text="use get_weather", tools=TOOLS, may_call=True, max_tokens=4)).calls
    assert call.text == '{"city"'


def test_exactly_enough_tokens_are_enough() -> None:
    assert reply(Ask(text="Hi", max_tokens=4)).finish == "stop"


def test_the_first_stop_sequence_ends_an_answer() -> None:
    said = reply(Ask(text="one two three", stop=["three", "two", ""]))
    assert (said.text, said.finish) == ("You said: one ", "stop_sequence")
    assert said.stop_sequence == "two"


def test_a_document_fits_its_schema_or_is_an_object_at_least() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert reply(Ask(text="Hi", schema=schema)).text == '{"n":1}'
    assert orjson.loads(str(reply(Ask(text="Hi", json=True)).text)) == {"said": "Hi"}


def test_an_image_or_file_counts_as_a_fixed_number_of_tokens() -> None:
    assert prompt_tokens(Ask(prompt_text="a b", images=1, files=2)) == 2 + 3 * MEDIA_TOKENS
    assert prompt_tokens(Ask()) == 1


@given(st.text())
def test_fragments_are_the_text_and_as_many_as_its_tokens(text: str) -> None:
    assert "".join(fragments(text)) == text
    assert "".join(json_fragments(text)) == text
    assert len(fragments(text)) == count(text)


@given(st.text(), st.integers(min_value=1, max_value=100))
def test_an_embedding_has_length_one_and_depends_on_the_text(text: str, size: int) -> None:
    embedding = vector(text, size)
    assert len(embedding) == size
    assert math.isclose(sum(number * number for number in embedding), 1.0)
    assert embedding == vector(text, size)


def test_different_texts_have_different_embeddings() -> None:
    assert vector("a", 8) != vector("b", 8)


def test_an_answer_whose_beginning_is_given_goes_on_from_there() -> None:
    assert reply(Ask(text="count to 5", begun="1 2 3")).text == " 4 5"


def test_a_beginning_of_another_answer_changes_nothing() -> None:
    assert reply(Ask(text="count to 3", begun="One")).text == "1 2 3"
