"""How a further answer goes on from what a caller has."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.heard import Continuation, Heard, Restart, Splice, Step
from model_service.providers.chat import TextDelta

BITS = st.text("ab \n", max_size=12)


def apply(steps: Iterable[Step], text: str) -> str:
    """What the caller has after these steps."""
    for step in steps:
        text = text + step if isinstance(step, str) else text[:step]
    return text


def taken(splice: Splice, pieces: Iterable[str]) -> list[Step]:
    """All steps of an answer that comes in these pieces."""
    steps = [step for piece in pieces for step in splice.text(piece)]
    return [*steps, *splice.other()]


@given(sent=BITS, pieces=st.lists(BITS))
def test_after_a_restart_the_caller_has_the_new_answer(sent: str, pieces: list[str]) -> None:
    assert apply(taken(Restart(sent), pieces), sent) == "".join(pieces)


@given(sent=BITS, pieces=st.lists(BITS))
def test_a_restart_sends_nothing_that_is_the_same_so_far(sent: str, pieces: list[str]) -> None:
    text = "".join(pieces)
    same = 0
    while same < min(len(sent), len(text)) and sent[same] == text[same]:
        same += 1
    steps = taken(Restart(sent), pieces)
    assert "".join(step for step in steps if isinstance(step, str)) == text[same:]
    assert [step for step in steps if isinstance(step, int)] == ([same] if same < len(sent) else [])


@given(cut=st.integers(0, 30), pieces=st.lists(BITS), echo=st.booleans())
def test_a_continuation_gives_the_whole_with_its_blanks_once(
    cut: int, pieces: list[str], echo: bool
) -> None:
    text = "a beginning that is long  \n enough" + "".join(pieces)
    sent = text[: max(cut, 4)]
    begun = sent.rstrip()
    rest = text if echo else text[len(begun) :]
    splice = Continuation(sent[len(begun) :], begun if echo else "")
    assert apply(taken(splice, [rest[:3], rest[3:7], rest[7:]]), sent) == text


@pytest.mark.parametrize("pieces", [["The c", "at"], ["The cat"], list("The cat")])
def test_what_begins_like_a_repetition_and_is_none_is_all_new(pieces: list[str]) -> None:
    steps = taken(Continuation("", "The capital of"), pieces)
    assert apply(steps, "The capital of") == "The capital ofThe cat"


def test_what_was_held_back_as_a_repetition_comes_when_the_answer_ends() -> None:
    assert taken(Continuation("", "The capital of"), ["The cap"]) == ["The cap"]


def test_blanks_that_do_not_come_again_stay_as_they_were_sent() -> None:
    assert apply(taken(Continuation("\n\n"), ["\nThen"]), "First.\n\n") == "First.\n\nThen"


def test_offsets_count_characters_not_bytes() -> None:
    assert taken(Restart("𝔄ü same"), ["𝔄ü other"]) == [3, "other"]


def test_what_is_taken_back_is_heard_no_more() -> None:
    heard = Heard()
    heard.take(TextDelta("The capital"))
    heard.rewind(4)
    heard.take(TextDelta("city"))
    assert (heard.text, heard.length) == ("The city", 8)
