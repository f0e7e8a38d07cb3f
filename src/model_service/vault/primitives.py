"""The algorithms the vault is made of, and the only calls to the cryptography library.

A parameter the vault never uses is a programming error and raises `ValueError`; data that
does not authenticate raises `IntegrityFailure`. Nothing here draws randomness.
"""

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from model_service.kernel.errors import IntegrityFailure

#: AES-256 (FIPS 197).
KEY_BYTES: Final = 32
#: The full GCM tag; shorter ones are weaker than their length (NIST SP 800-38D, appendix C).
TAG_BYTES: Final = 16
#: What one scrypt derivation may use unless its caller says more: twice the need of N=2^17, r=8.
SCRYPT_MAX_MEMORY: Final = 256 * 2**20


def aes_gcm_seal(key: bytes, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Ciphertext followed by the 16-byte tag (AES-256-GCM, NIST SP 800-38D)."""
    return _aes_256_gcm(key).encrypt(iv, plaintext, aad)


def aes_gcm_open(key: bytes, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The plaintext of what `aes_gcm_seal` gave; raises `IntegrityFailure` for anything else."""
    cipher = _aes_256_gcm(key)
    try:
        return cipher.decrypt(iv, sealed, aad)
    except InvalidTag:
        raise IntegrityFailure from None


def _aes_256_gcm(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("the vault uses AES with 256-bit keys only")
    return AESGCM(key)


def hkdf_sha256(key: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 of RFC 5869, extract and expand in one; `length` in bytes."""
    return HKDF(SHA256(), length, salt, info).derive(key)


def hkdf_extract(salt: bytes, key: bytes) -> bytes:
    """The first half of HKDF (RFC 5869, section 2.2): HMAC-SHA256 of `key` under `salt`."""
    return HKDF.extract(SHA256(), salt, key)


def hkdf_expand(pseudorandom_key: bytes, info: bytes, length: int) -> bytes:
    """The second half of HKDF (RFC 5869, section 2.3); `length` in bytes."""
    return HKDFExpand(SHA256(), length, info).derive(pseudorandom_key)


def scrypt(
    password: bytes,
    *,
    salt: bytes,
    n: int,
    r: int,
    p: int,
    length: int,
    max_memory: int = SCRYPT_MAX_MEMORY,
) -> bytes:
    """Stretch a password (RFC 7914); `length` and `max_memory` in bytes.

    Takes about 128 * n * r bytes and, at the vault's cost, a good part of a second: call it
    in a thread (it releases the interpreter lock). Raises `ValueError` before any memory is
    taken when the parameters need more than `max_memory`.
    """
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=max_memory, dklen=length)
