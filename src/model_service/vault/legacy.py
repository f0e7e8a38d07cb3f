"""Keys as the earlier service stored them, for `model-service import`.

    base64(salt 32 | iv 16 | tag 16 | ciphertext)

AES-256-GCM without associated data, under scrypt(secret, salt, N=16384, r=8, p=1). Each key
costs one scrypt of about 50 ms, so call both functions in a thread.
"""

import os
from typing import Final

from model_service.kernel.errors import IntegrityFailure
from model_service.kernel.secret import Secret
from model_service.vault.encoding import decode_base64, decode_text, encode_base64, encode_text
from model_service.vault.primitives import (
    KEY_BYTES,
    TAG_BYTES,
    aes_gcm_open,
    aes_gcm_seal,
    scrypt,
)

_SALT_BYTES: Final = 32
_IV_BYTES: Final = 16
_PREFIX_BYTES: Final = _SALT_BYTES + _IV_BYTES + TAG_BYTES
_SCRYPT_N: Final = 2**14


def open_legacy(secret: Secret[str], stored: str) -> Secret[str]:
    """The key in a text of the earlier service, which was encrypted under `secret`.

    Raises `IntegrityFailure` when the text is malformed, was altered, or was encrypted under
    another secret: the old format cannot tell the last two apart.
    """
    record = decode_base64(stored)
    if len(record) < _PREFIX_BYTES:
        raise IntegrityFailure("A key of the earlier service is too short")
    salt = record[:_SALT_BYTES]
    iv = record[_SALT_BYTES : _SALT_BYTES + _IV_BYTES]
    tag = record[_SALT_BYTES + _IV_BYTES : _PREFIX_BYTES]
    ciphertext = record[_PREFIX_BYTES:]
    try:
        plaintext = aes_gcm_open(_stretch(secret, salt), iv, ciphertext + tag, b"")
    except IntegrityFailure:
        raise IntegrityFailure(
            "A key of the earlier service does not open: it was altered or encrypted under"
            " another secret"
        ) from None
    return decode_text(plaintext)


def seal_legacy(secret: Secret[str], plaintext: Secret[str]) -> str:
    """The text the earlier service would have stored; for fixtures of the import alone."""
    salt, iv = os.urandom(_SALT_BYTES), os.urandom(_IV_BYTES)
    sealed = aes_gcm_seal(_stretch(secret, salt), iv, encode_text(plaintext), b"")
    ciphertext, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    return encode_base64(salt + iv + tag + ciphertext)


def _stretch(secret: Secret[str], salt: bytes) -> bytes:
    return scrypt(encode_text(secret), salt=salt, n=_SCRYPT_N, r=8, p=1, length=KEY_BYTES)
