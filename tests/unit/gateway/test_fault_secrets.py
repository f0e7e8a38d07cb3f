"""What a provider says of a call never holds the key that the call was made with."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.gateway.faults import LEAST_PART, without_secrets
from model_service.kernel.redact import MASK, Redactor
from model_service.providers.faults import Fault, FaultKind

KEY = "q7/+x=Z9%~vendor?key&u"


def said(text: str, key: str = KEY) -> Fault:
    fault = Fault(FaultKind.UPSTREAM, text, text, text)
    return without_secrets(fault, Redactor(), key)


SPELLINGS = {
    "as it is": KEY,
    "in a URL": quote(KEY),
    "in a part of a URL": quote(KEY, safe=""),
    "in base64": b64encode(KEY.encode()).decode(),
    "in base64 of URLs": urlsafe_b64encode(KEY.encode()).decode(),
    "as a user's name": b64encode(f"{KEY}:".encode()).decode(),
    "as the whole header": b64encode(f"Bearer {KEY}".encode()).decode(),
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_a_key_said_back_is_masked(how: str) -> None:
    spelled = SPELLINGS[how].rstrip("=")
    fault = said(f"Your key <{SPELLINGS[how]}> is wrong")
    for text in (fault.message, fault.param, fault.code):
        assert text is not None
        assert spelled not in text
        assert MASK in text


@pytest.mark.parametrize("how", SPELLINGS)
def test_a_key_that_is_cut_at_the_end_is_masked(how: str) -> None:
    spelled = SPELLINGS[how]
    for length in range(LEAST_PART, len(spelled)):
        assert spelled[:length] not in said(f"wrong: {spelled[:length]}").message


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60))
def test_of_any_key_nothing_is_said(key: str) -> None:
    for spelled in (key, quote(key), quote(key, safe=""), b64encode(key.encode()).decode()):
        assert spelled.rstrip("=") not in said(f"x {spelled} y", key).message


def test_a_message_without_the_key_stays() -> None:
    assert said("The model is overloaded").message == "The model is overloaded"
