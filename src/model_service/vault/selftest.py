"""The known-answer self-test: the primitives give the published answers on this machine.

A miscompiled or swapped cryptography library would write records nobody can open again, so
this runs before the keyring is touched. It takes well under a millisecond.
"""

from collections.abc import Callable, Mapping
from typing import Final

from model_service.kernel.errors import IntegrityFailure, SelfTestFailure
from model_service.vault import primitives

# Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
_GCM_KEY: Final = bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2)
_GCM_IV: Final = bytes.fromhex("cafebabefacedbaddecaf888")
_GCM_AAD: Final = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
_GCM_PLAINTEXT: Final = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
_GCM_SEALED: Final = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b"
)


def run_self_test() -> None:
    """Raise `SelfTestFailure`, naming the algorithm, unless every known answer comes out."""
    for algorithm, gives_known_answer in _KNOWN_ANSWERS.items():
        failure = SelfTestFailure(
            f"The cryptography library fails its known-answer self-test: {algorithm}"
        )
        try:
            passed = gives_known_answer()
        except Exception as error:  # an algorithm the library lacks, refuses or breaks on
            raise failure from error
        if not passed:
            raise failure


def _gcm_seals() -> bool:
    sealed = primitives.aes_gcm_seal(_GCM_KEY, _GCM_IV, _GCM_PLAINTEXT, _GCM_AAD)
    return sealed == _GCM_SEALED


def _gcm_opens() -> bool:
    try:
        opened = primitives.aes_gcm_open(_GCM_KEY, _GCM_IV, _GCM_SEALED, _GCM_AAD)
    except IntegrityFailure:
        return False
    return opened == _GCM_PLAINTEXT


def _gcm_refuses_a_changed_tag() -> bool:
    changed = _GCM_SEALED[:-1] + bytes([_GCM_SEALED[-1] ^ 1])
    try:
        primitives.aes_gcm_open(_GCM_KEY, _GCM_IV, changed, _GCM_AAD)
    except IntegrityFailure:
        return True
    return False


def _hkdf_derives() -> bool:
    """RFC 5869, appendix A.1, in one step and in two."""
    key, salt = b"\x0b" * 22, bytes(range(13))
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    expected = bytes.fromhex(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    whole = primitives.hkdf_sha256(key, salt=salt, info=info, length=42)
    halves = primitives.hkdf_expand(primitives.hkdf_extract(salt, key), info, 42)
    return whole == expected and halves == expected


def _scrypt_stretches() -> bool:
    """RFC 7914, section 12, the first vector: the only one that is fast."""
    stretched = primitives.scrypt(b"", salt=b"", n=16, r=1, p=1, length=64)
    return stretched == bytes.fromhex(
        "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
        "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
    )


_KNOWN_ANSWERS: Final[Mapping[str, Callable[[], bool]]] = {
    "AES-256-GCM encryption": _gcm_seals,
    "AES-256-GCM decryption": _gcm_opens,
    "AES-256-GCM authentication": _gcm_refuses_a_changed_tag,
    "HKDF-SHA256": _hkdf_derives,
    "scrypt": _scrypt_stretches,
}
