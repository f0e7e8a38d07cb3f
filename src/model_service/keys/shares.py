"""What a grant of a key is. Nothing is copied: a grant says who else may use the one key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from model_service.kernel.types import Page, Provider
from model_service.keys.domain import KeyFilter, ProviderKey


class ShareScope(StrEnum):
    """What a grant allows."""

    USE = "use"
    """The service may use the key for the grantee, who never gets its value."""
    REVEAL = "reveal"
    """A service acting for the grantee may be given the value too."""


@dataclass(frozen=True, slots=True)
class Share:
    """A grant of a key to another user than its owner.

    `models` are the names of the models it is limited to; None means every model.
    """

    id: UUID
    key_id: UUID
    owner_user_id: str
    grantee_user_id: str
    scope: ShareScope
    models: tuple[str, ...] | None
    expires_at: datetime | None
    created_at: datetime

    def is_live(self, now: datetime) -> bool:
        """Whether it has not expired. Revoked ones are not kept."""
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """A grant that is asked for."""

    grantee_user_id: str
    scope: ShareScope = ShareScope.USE
    models: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class Held(Protocol):
    """Which key, and by which grant; a `HeldKey` is one."""

    @property
    def id(self) -> UUID:
        """Which key."""
        ...

    @property
    def share_id(self) -> UUID | None:
        """The grant by which it is had; None for the owner's own."""
        ...


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key that nothing is known of, but that it may be had."""

    id: UUID
    share_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key as somebody has it: its owner (`share` None), or a grantee by a live grant."""

    key: ProviderKey
    share: Share | None = None

    @property
    def id(self) -> UUID:
        """Which key."""
        return self.key.id

    @property
    def key_version(self) -> int:
        """Changes whenever the value does."""
        return self.key.key_version

    @property
    def is_valid(self) -> bool:
        """Whether the provider accepted it when it was last asked."""
        return self.key.is_valid

    @property
    def endpoint(self) -> str | None:
        """The endpoint the key was stored for, if one was."""
        return self.key.endpoint

    @property
    def share_id(self) -> UUID | None:
        """The grant by which somebody has it; None for the owner."""
        return None if self.share is None else self.share.id

    @property
    def models(self) -> tuple[str, ...] | None:
        """The names of the models it may be used for; None for every model."""
        return None if self.share is None else self.share.models


class ShareStore(Protocol):
    """Where grants are kept, and keys found through them. Expired grants find nothing."""

    async def lock(self, key_id: UUID) -> ProviderKey | None:
        """The key, which stays until the current transaction ends."""
        ...

    async def add(self, share: Share) -> None:
        """Store a grant, in place of an expired one to the same grantee.

        Raises `AlreadyExists` when a live one is there.
        """
        ...

    async def remove(self, key_id: UUID, share_id: UUID) -> Share | None:
        """Take a grant of that key away; gives what it was, None when there was none."""
        ...

    async def of_key(self, key_id: UUID, before: UUID | None, most: int) -> list[Share]:
        """A key's grants, newest first, expired ones too until others replace them.

        With `before`, those made before the grant of that id.
        """
        ...

    async def is_live(self, share_id: UUID) -> bool:
        """Whether the grant is there and has not expired."""
        ...

    async def held(self, key_id: UUID, user_id: str | None) -> HeldKey | None:
        """The key, with the live grant that the user has of it, if any."""
        ...

    async def list_held(self, wanted: KeyFilter, page: Page | None, most: int) -> list[HeldKey]:
        """Keys newest first; those of a user are its own and those shared with it."""
        ...

    async def count_held(self, wanted: KeyFilter) -> int:
        """How many keys `list_held` has on all pages."""
        ...

    async def find_active(
        self, user_id: str, provider: Provider, scopes: Sequence[ShareScope], model: str | None
    ) -> HeldKey | None:
        """The user's best usable key for a provider, its own or by a grant of those scopes.

        Valid ones come first, of these its own, of these the newest. With `model`, grants
        limited to other models are left out.
        """
        ...

    async def list_usable(self, user_id: str, provider: Provider, most: int) -> list[HeldKey]:
        """The user's usable keys for a provider, in the order of `find_active`."""
        ...
