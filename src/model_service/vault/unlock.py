"""What a process can open the keyring with: a master secret, or a key that another keeps."""

from typing import Protocol

from model_service.kernel.errors import SecretMismatch
from model_service.kernel.keyring import WrapRow
from model_service.kernel.secret import Secret
from model_service.vault.remote import RemoteKey, RemoteWrapper
from model_service.vault.wrap import (
    SCRYPT_KIND,
    KeyWrapper,
    ScryptParams,
    ScryptWrapper,
    require_strong,
)


class StoredWrapper(KeyWrapper, Protocol):
    """A wrapper that can be found again by what is stored of it."""

    def row(self) -> WrapRow:
        """What is stored."""
        ...


class Unlocker(Protocol):
    """Finds the wraps that are its own, and makes new ones."""

    @property
    def kind(self) -> str:
        """The kind of wraps it can own."""
        ...

    @property
    def mismatch(self) -> str:
        """What to tell operators when no stored wrap is its own."""
        ...

    def require_usable(self) -> None:
        """Raise `StartupFault` unless it may be used at all."""
        ...

    def check(self, row: WrapRow) -> None:
        """Raise `KeyringCorrupt` for a wrap of its kind that cannot be one."""
        ...

    async def open(self, row: WrapRow) -> StoredWrapper | None:
        """The wrapper of a stored wrap of its kind; None when that is another's.

        Raises `WrappingUnavailable` when it has to ask and cannot.
        """
        ...

    async def create(self) -> StoredWrapper:
        """A wrapper under a new wrap id. Raises `WrappingUnavailable`."""
        ...


class ScryptUnlocker:
    """A master secret; `setting` is what operators know it by."""

    kind = SCRYPT_KIND
    mismatch = (
        "ENCRYPTION_SECRET does not match the keyring in the database: start with the secret"
        " the keyring was made with, or set it as ENCRYPTION_SECRET_PREVIOUS while rotating"
    )

    def __init__(self, secret: Secret[str], setting: str = "ENCRYPTION_SECRET") -> None:
        self._secret = secret
        self._setting = setting

    def require_usable(self) -> None:
        """Raise `StartupFault` for a secret that is too short or not UTF-8."""
        require_strong(self._secret, self._setting)

    def check(self, row: WrapRow) -> None:
        """Raise `KeyringCorrupt` for parameters out of bounds."""
        ScryptParams.parse(row)

    async def open(self, row: WrapRow) -> StoredWrapper | None:
        """Costs one scrypt, in a thread."""
        try:
            return await ScryptWrapper.derive(self._secret, row)
        except SecretMismatch:
            return None

    async def create(self) -> StoredWrapper:
        """Costs one scrypt, in a thread."""
        return await ScryptWrapper.create(self._secret)


class RemoteUnlocker:
    """A key that Vault Transit or a KMS keeps."""

    def __init__(self, key: RemoteKey) -> None:
        self._key = key

    @property
    def kind(self) -> str:
        """The key's kind."""
        return self._key.kind

    @property
    def mismatch(self) -> str:
        """What to tell operators when no stored wrap is this key's."""
        return (
            f"The keyring in the database is not wrapped by {self._key.name}: configure what it is"
            " wrapped by too, and run `secret rotate --stage` to have this key wrap it"
        )

    def require_usable(self) -> None:
        """Its settings were checked when it was made."""

    def check(self, row: WrapRow) -> None:
        """Nothing of the row is used but its check value, which the key's service judges."""

    async def open(self, row: WrapRow) -> StoredWrapper | None:
        """Costs one request."""
        try:
            return await RemoteWrapper.open(self._key, row)
        except SecretMismatch:
            return None

    async def create(self) -> StoredWrapper:
        """Costs one request."""
        return await RemoteWrapper.create(self._key)
