"""What a provider key is, and what the slice needs from outside."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.provider import Verdict
from model_service.kernel.secret import Secret
from model_service.kernel.types import Page, Provider

Metadata = Mapping[str, Any]

#: Providers whose keys nobody can check, and for which any value, `*` too, is a fine key; but
#: those of a CUSTOM key with a preset.
UNCHECKED = frozenset({Provider.OLLAMA, Provider.CUSTOM})
#: The metadata field that says which host a key may be sent to.
ENDPOINT = "endpoint"
#: The metadata field that says which of the known vendors a CUSTOM key is for.
PRESET = "preset"

# Printable ASCII without the space: nothing that could end or extend an HTTP header.
_VALUE = re.compile(r"[\x21-\x7e]{8,512}")
_UNCHECKED_VALUE = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A stored key, without its value."""

    id: UUID
    user_id: str
    provider: Provider
    key_name: str
    key_version: int
    key_prefix: str
    last_used_at: datetime | None
    usage_count: int
    is_active: bool
    is_valid: bool
    metadata: Metadata | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    validated_at: datetime | None

    def is_usable(self, now: datetime) -> bool:
        """Whether its value may be given out: active and not expired."""
        return self.is_active and (self.expires_at is None or self.expires_at > now)

    @property
    def endpoint(self) -> str | None:
        """The endpoint the key was stored for, if one was."""
        value = (self.metadata or {}).get(ENDPOINT)
        return value if isinstance(value, str) else None

    @property
    def is_checked(self) -> bool:
        """Whether its value is checked with its provider before it is put in use."""
        return is_checked(self.provider, self.metadata)


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A stored key with its ciphertext, on its way into or out of the vault."""

    key: ProviderKey
    encrypted_key: str


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be stored."""

    user_id: str
    provider: Provider
    key_name: str
    value: Secret[str]
    metadata: Metadata | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Which keys to list; None means any."""

    user_id: str | None = None
    provider: Provider | None = None
    is_active: bool | None = None
    is_valid: bool | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """One key's part of a batch of reveals: `count` uses of the value of `version`.

    It may be 0: then it is only asked whether the key may be used.
    """

    key_id: UUID
    version: int
    count: int


class KeyStore(Protocol):
    """Where keys are kept."""

    async def add(self, sealed: SealedKey) -> None:
        """Store a new key. Raises `AlreadyExists` when the user has one of that name."""
        ...

    async def name_taken(self, user_id: str, provider: Provider, key_name: str) -> bool:
        """Whether the user has a key of that name for that provider."""
        ...

    async def get(self, key_id: UUID) -> ProviderKey | None:
        """A key without its ciphertext."""
        ...

    async def get_sealed(self, key_ids: Sequence[UUID]) -> list[SealedKey]:
        """Those of the keys that exist, with their ciphertexts, in no order."""
        ...

    async def find_active(self, user_id: str, provider: Provider) -> ProviderKey | None:
        """The user's usable key for a provider: valid ones first, then the newest."""
        ...

    async def list(self, wanted: KeyFilter, page: Page | None, most: int) -> list[ProviderKey]:
        """Keys newest first: one page, or all up to `most`."""
        ...

    async def count(self, wanted: KeyFilter) -> int:
        """How many keys there are."""
        ...

    async def change(
        self, key_id: UUID, changes: Mapping[str, Any], *, version: int | None = None
    ) -> ProviderKey | None:
        """Set the named fields and give the key as it is then.

        None when there is no such key, or its value is not of the version given.
        """
        ...

    async def replace(self, sealed: SealedKey, *, was_version: int) -> ProviderKey | None:
        """Store a new ciphertext and metadata, if the version is still the one read before."""
        ...

    async def record_validation(
        self, key_id: UUID, *, version: int, is_valid: bool, now: datetime
    ) -> ProviderKey | None:
        """Note a verdict on the value of that version; None when it was replaced meanwhile."""
        ...

    async def count_uses(self, uses: Sequence[Use], now: datetime) -> set[UUID]:
        """Add uses durably; gives the keys that were still usable and of that version."""
        ...

    async def delete(self, key_id: UUID) -> bool:
        """Remove a key and its ciphertext; False when there was none."""
        ...


class ProviderGate(Protocol):
    """The providers, as far as keys concern them."""

    def checked_endpoint(self, provider: Provider, endpoint: str) -> str:
        """The endpoint in canonical form. Raises `InvalidInput` when keys may not go there."""
        ...

    async def validate(self, provider: Provider, key: Secret[str], endpoint: str | None) -> Verdict:
        """Ask the provider whether it takes the key. Never raises for what upstream does."""
        ...


class VendorGate(ProviderGate, Protocol):
    """The providers, and the vendors that CUSTOM keys may be for."""

    def preset_endpoint(self, preset: str) -> str:
        """Where the keys of a preset are for, in canonical form.

        Raises `InvalidInput`, listing the presets, when there is none of that name.
        """
        ...


def is_checked(provider: Provider, metadata: Metadata | None) -> bool:
    """Whether keys with that metadata are checked with their provider."""
    if provider is Provider.CUSTOM:
        return (metadata or {}).get(PRESET) is not None
    return provider not in UNCHECKED


def audit_subject(key_id: UUID) -> str:
    """How the audit trail names a key."""
    return f"key:{key_id}"


def check_value(provider: Provider, value: Secret[str], metadata: Metadata | None = None) -> None:
    """Refuse key values that could not be a key or could break out of a header.

    Raises:
        InvalidInput: naming the field, never the value.
    """
    if not is_checked(provider, metadata):
        if not _UNCHECKED_VALUE.fullmatch(value.reveal()):
            raise _value_fault("must be 1 to 512 printable ASCII characters without spaces")
    elif not _VALUE.fullmatch(value.reveal()):
        raise _value_fault("must be 8 to 512 printable ASCII characters without spaces")


def key_prefix(value: Secret[str]) -> str:
    """What is shown of a key: first 7, last 4 when it has at least 20 characters, else `***`."""
    text = value.reveal()
    return f"{text[:7]}...{text[-4:]}" if len(text) >= 20 else "***"


def endpoint_origin(endpoint: str | None) -> str:
    """The origin a ciphertext is bound to; empty for the operator-set origins."""
    if endpoint is None:
        return ""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _value_fault(message: str) -> InvalidInput:
    return InvalidInput(errors=[FieldFault("apiKey", message)])
