"""Vectors printed in RFCs, through the vault's own functions."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.vault.primitives import SCRYPT_MAX_MEMORY, hkdf_extract, scrypt

SCRYPT_WITHIN_MEMORY = [
    pytest.param(
        b"",
        b"",
        (16, 1, 1),
        "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
        "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
        id="N=16",
    ),
    pytest.param(
        b"password",
        b"NaCl",
        (1024, 8, 16),
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
        id="N=1024",
    ),
    pytest.param(
        b"pleaseletmein",
        b"SodiumChloride",
        (16384, 8, 1),
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
        id="N=16384",
    ),
]


@pytest.mark.parametrize(("password", "salt", "cost", "expected"), SCRYPT_WITHIN_MEMORY)
def test_scrypt_gives_the_answers_of_rfc_7914_section_12(
    password: bytes, salt: bytes, cost: tuple[int, int, int], expected: str
) -> None:
    n, r, p = cost
    assert scrypt(password, salt=salt, n=n, r=r, p=p, length=64).hex() == expected


def test_the_fourth_vector_of_rfc_7914_is_refused_because_it_needs_a_gibibyte() -> None:
    assert SCRYPT_MAX_MEMORY < 128 * 2**20 * 8
    with pytest.raises(ValueError, match="memory limit exceeded"):
        scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=2**20, r=8, p=1, length=64)


HMAC_CASES = [
    pytest.param(
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        id="4.2",
    ),
    pytest.param(
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        id="4.3 short key",
    ),
    pytest.param(
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        id="4.4 more than a block of data",
    ),
    pytest.param(
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        id="4.5",
    ),
    pytest.param(
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        id="4.7 key longer than a block",
    ),
    pytest.param(
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        id="4.8 key and data longer than a block",
    ),
]


@pytest.mark.parametrize(("key", "data", "expected"), HMAC_CASES)
def test_hmac_sha256_as_hkdf_extracts_with_it_gives_the_answers_of_rfc_4231(
    key: bytes, data: bytes, expected: str
) -> None:
    assert hkdf_extract(key, data).hex() == expected


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hkdf_extract_is_the_hmac_of_another_implementation(key: bytes, data: bytes) -> None:
    assert hkdf_extract(key, data) == hmac.digest(key, data, "sha256")
