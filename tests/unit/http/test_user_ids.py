"""What can be a user's id is the same in a header as in a body or a query."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from model_service.http.credentials import Shown
from model_service.http.wire import UserId
from model_service.kernel.errors import InvalidInput

BODY: TypeAdapter[str] = TypeAdapter(UserId)


def in_a_body(text: str) -> bool:
    try:
        return BODY.validate_python(text) == text
    except ValidationError:
        return False


def in_a_header(text: str) -> bool:
    # As a server hands it on: without the blanks around it.
    value = text.encode(errors="surrogatepass").strip(b" \t")
    try:
        return Shown.of([(b"x-user-id", value)]).user_id() == text
    except InvalidInput:
        return False


@pytest.mark.parametrize(
    "text", ["ada", "Zoë Ünal", "user@example.com", "a|b:c/d", "用户", "x" * 255]
)
def test_printable_characters_are_an_id(text: str) -> None:
    assert in_a_body(text)
    assert in_a_header(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", " ada", "ada ", "\tada", "a\tb", "a\nb", "a\x00b", "a\x7fb", "\u202eada", "a\u00a0",
     "\u200bada", "\ud800", "x" * 256],
)  # fmt: skip
def test_what_a_header_cannot_carry_or_nobody_can_see_is_none(text: str) -> None:
    assert not in_a_body(text)
    assert not in_a_header(text)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=260) | st.text(" \tab", max_size=5))
def test_whoever_a_body_can_name_a_header_can_name_too(text: str) -> None:
    assert in_a_body(text) == in_a_header(text)
