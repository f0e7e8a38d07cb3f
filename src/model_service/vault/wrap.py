"""Wrapping: how data keys are kept at rest, here under a key stretched from ENCRYPTION_SECRET.

A wrap is one way of opening the keyring. Wrappers that ask Vault Transit or a cloud KMS stand
behind the same `KeyWrapper`: it is asynchronous because they talk to a network, and it sees
one data key at a time because that is what they offer. Wrappers are used when the process
starts and when the keyring changes, never for a record, so their outage stops no traffic.
"""

import asyncio
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import uuid4

from model_service.kernel.errors import (
    IntegrityFailure,
    KeyringCorrupt,
    SecretMismatch,
    StartupFault,
)
from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault.encoding import length_prefixed
from model_service.vault.primitives import (
    KEY_BYTES,
    TAG_BYTES,
    aes_gcm_open,
    aes_gcm_seal,
    hkdf_expand,
    hkdf_extract,
    scrypt,
)

SCRYPT_KIND: Final = "scrypt"
#: OWASP's first choice for scrypt (Password Storage Cheat Sheet): 128 MiB, about 0.4 s.
SCRYPT_N: Final = 2**17
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
#: Whoever writes the database can neither weaken the stretching nor ask for more than 1 GiB.
SCRYPT_ACCEPTED_N: Final = frozenset({2**17, 2**18, 2**19, 2**20})
SCRYPT_SALT_BYTES: Final = 16
CHECK_VALUE_BYTES: Final = 16
MIN_SECRET_CHARACTERS: Final = 32

_IV_BYTES: Final = 12
_WRAPPED_BYTES: Final = _IV_BYTES + KEY_BYTES + TAG_BYTES
_SALT_HEX: Final = re.compile(r"[0-9a-f]{32}")


class KeyWrapper(Protocol):
    """Encrypts data keys for storage and decrypts them again."""

    @property
    def wrap_id(self) -> str:
        """Which stored wrap this is."""
        ...

    async def wrap(self, dek: Secret[bytes], aad: bytes) -> bytes:
        """Encrypt a data key, bound to `aad`."""
        ...

    async def unwrap(self, wrapped: bytes, aad: bytes) -> Secret[bytes]:
        """The 32-byte data key; raises `IntegrityFailure` when altered or bound elsewhere."""
        ...


def wrap_aad(wrap_id: str, term: int) -> bytes:
    """What a wrapped data key is bound to: its place in the keyring."""
    return length_prefixed(b"wrap1", wrap_id.encode(), term.to_bytes(4))


def require_strong(secret: Secret[str], name: str) -> None:
    """Raise `StartupFault` unless the secret from the setting `name` is usable.

    An environment variable that is not UTF-8 reaches Python as lone surrogates.
    """
    if len(secret) < MIN_SECRET_CHARACTERS:
        raise StartupFault(f"{name} must be at least {MIN_SECRET_CHARACTERS} characters long")
    if any("\ud800" <= character <= "\udfff" for character in secret.reveal()):
        raise StartupFault(f"{name} must be valid UTF-8")


@dataclass(frozen=True, slots=True)
class ScryptParams:
    """The stored parameters of one scrypt wrap; r and p are always 8 and 1."""

    n: int
    salt: bytes

    @classmethod
    def parse(cls, row: WrapRow) -> "ScryptParams":
        """Read a stored wrap; raises `KeyringCorrupt` for a cost or salt outside the bounds."""
        stored: Mapping[str, object] = row.params
        n, r, p, salt = (stored.get(name) for name in ("n", "r", "p", "salt"))
        if (
            set(stored) != {"n", "r", "p", "salt"}
            # JSON's true and 131072.0 equal integers in Python but are not what is stored.
            or not (type(n) is int and type(r) is int and type(p) is int)
            or not (n in SCRYPT_ACCEPTED_N and r == SCRYPT_R and p == SCRYPT_P)
            or not (isinstance(salt, str) and _SALT_HEX.fullmatch(salt))
            or len(row.check_value) != CHECK_VALUE_BYTES
        ):
            raise KeyringCorrupt(
                f"keyring corrupt: the scrypt parameters of wrap {row.wrap_id} are out of bounds"
            )
        return cls(n, bytes.fromhex(salt))

    def stored(self) -> Mapping[str, int | str]:
        """The form `parse` reads."""
        return {"n": self.n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": self.salt.hex()}

    def stretch(self, secret: Secret[str]) -> tuple[Secret[bytes], bytes]:
        """KEK and check value of `secret`; slow, so call it in a thread.

        The memory bound is twice the need: 256 MiB at the cost new wraps get.
        """
        stretched = scrypt(
            secret.reveal().encode(),
            salt=self.salt,
            n=self.n,
            r=SCRYPT_R,
            p=SCRYPT_P,
            length=KEY_BYTES,
            max_memory=2 * 128 * self.n * SCRYPT_R,
        )
        pseudorandom_key = hkdf_extract(b"", stretched)
        kek = Secret(hkdf_expand(pseudorandom_key, b"kek", KEY_BYTES))
        return kek, hkdf_expand(pseudorandom_key, b"kcv", CHECK_VALUE_BYTES)


class ScryptWrapper:
    """A `KeyWrapper` under a key stretched from a secret."""

    def __init__(
        self, wrap_id: str, params: ScryptParams, kek: Secret[bytes], check_value: bytes
    ) -> None:
        self._wrap_id = wrap_id
        self._params = params
        self._kek = kek
        self._check_value = check_value

    @classmethod
    async def create(cls, secret: Secret[str]) -> "ScryptWrapper":
        """A wrapper under a new wrap id and salt; costs one scrypt, in a thread."""
        params = ScryptParams(SCRYPT_N, os.urandom(SCRYPT_SALT_BYTES))
        return cls(str(uuid4()), params, *await asyncio.to_thread(params.stretch, secret))

    @classmethod
    async def derive(cls, secret: Secret[str], row: WrapRow) -> "ScryptWrapper":
        """The wrapper of a stored wrap; costs one scrypt, in a thread.

        Raises `SecretMismatch` when `secret` does not give the stored check value, and
        `KeyringCorrupt` when the parameters are out of bounds.
        """
        params = ScryptParams.parse(row)
        kek, check_value = await asyncio.to_thread(params.stretch, secret)
        if not hmac.compare_digest(check_value, row.check_value):
            raise SecretMismatch
        return cls(row.wrap_id, params, kek, check_value)

    @property
    def wrap_id(self) -> str:
        """Which stored wrap this is."""
        return self._wrap_id

    def row(self) -> WrapRow:
        """What to store so that `derive` finds the same key again."""
        return WrapRow(self._wrap_id, SCRYPT_KIND, self._params.stored(), self._check_value)

    async def wrap(self, dek: Secret[bytes], aad: bytes) -> bytes:
        """Encrypt a data key, bound to `aad`: iv 12 | ciphertext 32 | tag 16."""
        iv = os.urandom(_IV_BYTES)
        return iv + aes_gcm_seal(self._kek.reveal(), iv, dek.reveal(), aad)

    async def unwrap(self, wrapped: bytes, aad: bytes) -> Secret[bytes]:
        """The 32-byte data key; raises `IntegrityFailure` when altered or bound elsewhere."""
        if len(wrapped) != _WRAPPED_BYTES:
            raise IntegrityFailure("A wrapped data key has the wrong length")
        iv, sealed = wrapped[:_IV_BYTES], wrapped[_IV_BYTES:]
        return Secret(aes_gcm_open(self._kek.reveal(), iv, sealed, aad))
