"""The format of one encrypted record (docs/vault-format.md gives it byte by byte).

    version 1 | suite 1 | term u32be | salt 16 | iv 12 | commit 32 | ciphertext | tag 16

Suite 1 is HKDF-SHA256 and AES-256-GCM. Each record is encrypted under a key of its own,
derived from its term's data key and its salt, so no number of records under one term wears
out an AES-GCM key. GCM alone lets an attacker craft one ciphertext that opens under two
keys; `commit` names the one key, and is compared before anything is decrypted.
"""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

from model_service.kernel.errors import IntegrityFailure, InvalidInput
from model_service.vault.encoding import decode_base64, encode_base64, length_prefixed
from model_service.vault.primitives import (
    KEY_BYTES,
    TAG_BYTES,
    aes_gcm_open,
    aes_gcm_seal,
    hkdf_sha256,
)

VERSION: Final = 1
SUITE: Final = 1
SALT_BYTES: Final = 16
#: The IV length GCM is defined for without hashing (NIST SP 800-38D, section 5.2.1.1).
IV_BYTES: Final = 12
COMMIT_BYTES: Final = 32
HEADER: Final = struct.Struct(f">BBI{SALT_BYTES}s{IV_BYTES}s{COMMIT_BYTES}s")
#: A record of an empty plaintext; every shorter one is refused.
MIN_RECORD_BYTES: Final = HEADER.size + TAG_BYTES
MAX_U32: Final = 2**32 - 1

_KEY_INFO: Final = b"rec/v1"
_AAD_LABEL: Final = b"aad1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociatedData:
    """What a record is bound to: it opens only beside the very values it was sealed with.

    `endpoint_origin` is the origin (scheme, host and port) the key may be sent to, so a row
    redirected to another host in the database does not open.
    """

    record_id: UUID
    user_id: str
    provider: str
    key_version: int
    endpoint_origin: str

    def encode(self, term: int) -> bytes:
        """The bytes AES-GCM authenticates; raises `InvalidInput` for values that have none."""
        try:
            return length_prefixed(
                _AAD_LABEL,
                VERSION.to_bytes(1),
                SUITE.to_bytes(1),
                term.to_bytes(4),
                self.record_id.bytes,
                self.user_id.encode(),
                self.provider.encode(),
                self.key_version.to_bytes(4),
                self.endpoint_origin.encode(),
            )
        except (UnicodeEncodeError, OverflowError):
            raise InvalidInput("A record cannot be bound to these values") from None


class Envelope(NamedTuple):
    """One record taken apart; `sealed` is the ciphertext and its tag."""

    term: int
    salt: bytes
    iv: bytes
    commit: bytes
    sealed: bytes

    @classmethod
    def parse(cls, stored: str) -> "Envelope":
        """Take the stored text apart; raises `IntegrityFailure` unless its form is exact."""
        record = decode_base64(stored)
        if len(record) < MIN_RECORD_BYTES:
            raise IntegrityFailure("A stored record is too short")
        version, suite, term, salt, iv, commit = HEADER.unpack_from(record)
        if version != VERSION:
            raise IntegrityFailure("A stored record has an unknown version")
        if suite != SUITE:
            raise IntegrityFailure("A stored record has an unknown cipher suite")
        return cls(term, salt, iv, commit, record[HEADER.size :])

    def text(self) -> str:
        """The form stored in the database; `parse` takes no other text for the same record."""
        header = HEADER.pack(VERSION, SUITE, self.term, self.salt, self.iv, self.commit)
        return encode_base64(header + self.sealed)


def seal_envelope(dek: bytes, term: int, aad: AssociatedData, plaintext: bytes) -> Envelope:
    """Encrypt under the data key of `term` with a fresh salt and IV.

    Raises `InvalidInput` when `aad` cannot be encoded.
    """
    return _seal(dek, term, aad, plaintext, salt=os.urandom(SALT_BYTES), iv=os.urandom(IV_BYTES))


def _seal(
    dek: bytes, term: int, aad: AssociatedData, plaintext: bytes, *, salt: bytes, iv: bytes
) -> Envelope:
    """`seal_envelope` with the randomness given: for the documented test vector alone."""
    encryption_key, commit = _record_keys(dek, salt)
    return Envelope(
        term, salt, iv, commit, aes_gcm_seal(encryption_key, iv, plaintext, aad.encode(term))
    )


def open_envelope(dek: bytes, term: int, envelope: Envelope, aad: AssociatedData) -> bytes:
    """The plaintext of a record of `term`, whose data key is `dek`.

    Raises `IntegrityFailure` for a record of another term, another key or another `aad`, and
    for one that was altered.
    """
    if envelope.term != term:
        raise IntegrityFailure("A stored record belongs to another term")
    encryption_key, commit = _record_keys(dek, envelope.salt)
    if not hmac.compare_digest(commit, envelope.commit):
        raise IntegrityFailure
    try:
        bound = aad.encode(term)
    except InvalidInput:
        raise IntegrityFailure from None
    return aes_gcm_open(encryption_key, envelope.iv, envelope.sealed, bound)


def _record_keys(dek: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """K_enc and K_commit of one record."""
    if len(dek) != KEY_BYTES:
        raise ValueError("a data key has 32 bytes")
    keys = hkdf_sha256(dek, salt=salt, info=_KEY_INFO, length=KEY_BYTES + COMMIT_BYTES)
    return keys[:KEY_BYTES], keys[KEY_BYTES:]


def term_of(stored: str) -> int:
    """The term a stored record was sealed under; raises `IntegrityFailure` if it is malformed."""
    return Envelope.parse(stored).term


def ciphertext_sha256(stored: str) -> str:
    """SHA-256, in hex, of a record exactly as the database stores it, malformed or not.

    It is taken over the base64 text, so that an auditor can repeat it in SQL:
    `encode(sha256(convert_to(encrypted_key, 'UTF8')), 'hex')`.
    """
    return hashlib.sha256(stored.encode()).hexdigest()
