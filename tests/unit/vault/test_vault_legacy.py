import hashlib
from functools import cache

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.secret import Secret
from model_service.vault.encoding import decode_base64, encode_base64
from model_service.vault.legacy import open_legacy, seal_legacy

SECRET = Secret("the earlier service's secret, which may be of any length")
KEY = Secret("sk-from-the-earlier-service")


@cache
def stored() -> str:
    return seal_legacy(SECRET, KEY)


@settings(max_examples=5, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_key_comes_back(text: str) -> None:
    assert open_legacy(SECRET, seal_legacy(SECRET, Secret(text))).reveal() == text


def test_a_record_put_together_from_the_description_opens() -> None:
    salt, iv = bytes(range(32)), bytes(range(16))
    key = hashlib.scrypt(SECRET.reveal().encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    encryptor = Cipher(AES(key), GCM(iv)).encryptor()
    ciphertext = encryptor.update(KEY.reveal().encode()) + encryptor.finalize()
    record = encode_base64(salt + iv + encryptor.tag + ciphertext)
    assert open_legacy(SECRET, record).reveal() == KEY.reveal()


def test_a_short_secret_of_the_earlier_service_is_taken() -> None:
    short = Secret("short")
    assert open_legacy(short, seal_legacy(short, KEY)).reveal() == KEY.reveal()


def test_another_secret_is_refused_in_words_that_help() -> None:
    with pytest.raises(IntegrityFailure, match="altered or encrypted under another secret"):
        open_legacy(Secret("another"), stored())


@pytest.mark.parametrize(
    "index",
    [
        pytest.param(0, id="salt"),
        pytest.param(32, id="iv"),
        pytest.param(48, id="tag"),
        pytest.param(63, id="end of the tag"),
        pytest.param(64, id="ciphertext"),
        pytest.param(-1, id="end of the ciphertext"),
    ],
)
def test_a_record_altered_in_any_field_does_not_open(index: int) -> None:
    record = bytearray(decode_base64(stored()))
    record[index] ^= 1
    with pytest.raises(IntegrityFailure):
        open_legacy(SECRET, encode_base64(bytes(record)))


@pytest.mark.parametrize("length", [0, 1, 63])
def test_a_record_shorter_than_its_fixed_fields_is_too_short(length: int) -> None:
    with pytest.raises(IntegrityFailure, match="too short"):
        open_legacy(SECRET, encode_base64(decode_base64(stored())[:length]))


@pytest.mark.parametrize("text", ["", "not base64", "sk-a-key-in-the-clear", "QR==", "ключ"])
def test_a_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(IntegrityFailure):
        open_legacy(SECRET, text)


def test_a_record_that_opens_to_something_else_than_text_is_refused() -> None:
    salt, iv = bytes(32), bytes(16)
    key = hashlib.scrypt(SECRET.reveal().encode(), salt=salt, n=16384, r=8, p=1, dklen=32)
    encryptor = Cipher(AES(key), GCM(iv)).encryptor()
    ciphertext = encryptor.update(b"\xff\xfe") + encryptor.finalize()
    with pytest.raises(IntegrityFailure, match="not text"):
        open_legacy(SECRET, encode_base64(salt + iv + encryptor.tag + ciphertext))
