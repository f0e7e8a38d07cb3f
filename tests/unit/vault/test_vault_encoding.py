from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.kernel.errors import IntegrityFailure, InvalidInput
from model_service.kernel.secret import Secret
from model_service.vault.encoding import (
    decode_base64,
    decode_text,
    encode_base64,
    encode_text,
    length_prefixed,
)


@given(st.binary())
def test_base64_agrees_with_the_standard_library_and_comes_back(data: bytes) -> None:
    text = encode_base64(data)
    assert text == b64encode(data).decode()
    assert decode_base64(text) == data


@given(st.text(alphabet="AQgw+/=\n -_é", max_size=8))
def test_a_text_decodes_only_if_it_is_the_one_text_for_its_bytes(text: str) -> None:
    try:
        data = decode_base64(text)
    except IntegrityFailure:
        return
    assert encode_base64(data) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("QQ", id="padding missing"),
        pytest.param("QQ=", id="padding short"),
        pytest.param("QQ===", id="padding long"),
        pytest.param("QR==", id="unused bits set"),
        pytest.param("QUJ=", id="unused bits set before one padding character"),
        pytest.param("QQ==\n", id="line feed at the end"),
        pytest.param("QU\nJD", id="line feed inside"),
        pytest.param(" QUJD", id="space in front"),
        pytest.param("QUJD\0", id="NUL at the end"),
        pytest.param("QQ==QUJD", id="two texts in one"),
        pytest.param("=QUJD", id="padding in front"),
        pytest.param("_-__", id="alphabet of URLs"),
        pytest.param("QUJÐ", id="beyond ASCII"),
    ],
)
def test_a_text_not_in_canonical_base64_is_refused(text: str) -> None:
    with pytest.raises(IntegrityFailure):
        decode_base64(text)


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_length_prefixed_tells_any_two_tuples_apart(left: list[bytes], right: list[bytes]) -> None:
    assert (length_prefixed(*left) == length_prefixed(*right)) == (left == right)


def test_a_length_is_four_bytes_big_endian() -> None:
    assert length_prefixed(b"ab", b"") == b"\0\0\0\x02ab\0\0\0\0"


def test_text_that_is_not_unicode_is_refused_without_keeping_it_in_the_exception() -> None:
    with pytest.raises(InvalidInput) as refusal:
        encode_text(Secret("sk-secret-\ud800"))
    assert refusal.value.__context__ is None
    assert "sk-secret" not in str(refusal.value)


def test_bytes_that_are_not_text_are_refused_without_keeping_them_in_the_exception() -> None:
    with pytest.raises(IntegrityFailure) as refusal:
        decode_text(b"sk-secret-\xff")
    assert refusal.value.__context__ is None
    assert "sk-secret" not in str(refusal.value)
