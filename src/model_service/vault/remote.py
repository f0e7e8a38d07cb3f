"""Wrapping under a key that another service keeps: Vault Transit, a cloud's KMS.

That service is asked when this one starts and when the keyring changes. What it has answered
once is remembered for as long as the process runs, so that its outage stops no traffic.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Protocol
from uuid import uuid4

from model_service.kernel.errors import IntegrityFailure, SecretMismatch
from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault.primitives import KEY_BYTES
from model_service.vault.wrap import wrap_aad

#: What a stored ciphertext may have at most; KMS gives up to 6,144 bytes.
MAX_CIPHERTEXT: Final = 8192
_PURPOSE: Final = "model-service keyring"
_CHECK: Final = b"check"
# Terms count from 1, so nothing else is ever bound to this place.
_CHECK_TERM: Final = 0
_DIGEST_BYTES: Final = 32


class RemoteKey(Protocol):
    """One key of a service that encrypts and decrypts with it but does not give it out."""

    @property
    def kind(self) -> str:
        """The kind of wrap, as stored."""
        ...

    @property
    def name(self) -> str:
        """What operators call the key, in messages."""
        ...

    def params(self) -> Mapping[str, int | str]:
        """What is stored of it, for people to read: where the key is asked for is a setting.

        Were it taken from the database, whoever writes that could have the keyring opened by
        a service of their own.
        """
        ...

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt, bound to the context. Raises `WrappingUnavailable`."""
        ...

    async def decrypt(self, ciphertext: bytes, context: Mapping[str, str]) -> bytes:
        """Decrypt.

        Raises:
            IntegrityFailure: it is not this key's, was altered, or is bound elsewhere.
            WrappingUnavailable: the service cannot be asked, or refuses to do it.
        """
        ...


class RemoteWrapper:
    """A `KeyWrapper` under a remote key."""

    def __init__(self, wrap_id: str, key: RemoteKey, check_value: bytes) -> None:
        self._wrap_id = wrap_id
        self._key = key
        self._check_value = check_value
        self._opened: dict[tuple[bytes, bytes], Secret[bytes]] = {}

    @classmethod
    async def create(cls, key: RemoteKey) -> "RemoteWrapper":
        """A wrapper under a new wrap id. Raises `WrappingUnavailable`."""
        wrapper = cls(str(uuid4()), key, b"")
        wrapper._check_value = await wrapper._encrypt(_CHECK, wrapper._check_place)
        return wrapper

    @classmethod
    async def open(cls, key: RemoteKey, row: WrapRow) -> "RemoteWrapper":
        """The wrapper of a stored wrap.

        Raises:
            SecretMismatch: the wrap is another key's.
            WrappingUnavailable: the service cannot be asked.
        """
        wrapper = cls(row.wrap_id, key, row.check_value)
        try:
            if await wrapper._decrypt(row.check_value, wrapper._check_place) != _CHECK:
                raise SecretMismatch
        except IntegrityFailure as failure:
            raise SecretMismatch from failure
        return wrapper

    @property
    def wrap_id(self) -> str:
        """Which stored wrap this is."""
        return self._wrap_id

    def row(self) -> WrapRow:
        """What to store so that `open` recognises it."""
        return WrapRow(self._wrap_id, self._key.kind, self._key.params(), self._check_value)

    async def wrap(self, dek: Secret[bytes], aad: bytes) -> bytes:
        """Encrypt a data key, bound to `aad`. Raises `WrappingUnavailable`."""
        wrapped = await self._encrypt(dek.reveal(), aad)
        self._opened[wrapped, aad] = dek
        return wrapped

    async def unwrap(self, wrapped: bytes, aad: bytes) -> Secret[bytes]:
        """The data key; nobody is asked for one that this process wrapped or unwrapped before.

        Raises:
            IntegrityFailure: it was altered or is bound elsewhere.
            WrappingUnavailable: the service cannot be asked.
        """
        known = self._opened.get((wrapped, aad))
        if known is not None:
            return known
        dek = Secret(await self._decrypt(wrapped, aad))
        if len(dek) != KEY_BYTES:
            raise IntegrityFailure("A wrapped data key has the wrong length")
        self._opened[wrapped, aad] = dek
        return dek

    @property
    def _check_place(self) -> bytes:
        return wrap_aad(self._wrap_id, _CHECK_TERM)

    async def _encrypt(self, plaintext: bytes, aad: bytes) -> bytes:
        return await self._key.encrypt(sha256(aad).digest() + plaintext, self._context(aad))

    async def _decrypt(self, ciphertext: bytes, aad: bytes) -> bytes:
        """What was encrypted for that place.

        The place is bound twice: by the service, and in what is encrypted, because releases of
        Vault before 1.12 take associated data and leave it out.
        """
        if not 0 < len(ciphertext) <= MAX_CIPHERTEXT:
            raise IntegrityFailure("A wrapped data key has the wrong length")
        opened = await self._key.decrypt(ciphertext, self._context(aad))
        if not hmac.compare_digest(opened[:_DIGEST_BYTES], sha256(aad).digest()):
            raise IntegrityFailure("A wrapped data key belongs to another place")
        return opened[_DIGEST_BYTES:]

    def _context(self, aad: bytes) -> dict[str, str]:
        return {"purpose": _PURPOSE, "wrap": self._wrap_id, "place": aad.hex()}
