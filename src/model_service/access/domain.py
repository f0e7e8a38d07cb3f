"""What an access token is, how it is written, and what the slice needs from outside."""

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.kernel.principal import EVERYTHING, Principal, Role, Scopes
from model_service.kernel.secret import Secret
from model_service.kernel.types import plain

#: Bytes of a token's secret part: 256 bits cannot be guessed, however fast one asks.
SECRET_BYTES: Final = 32
#: Bytes of the key that tokens are hashed with, as long as the hash (RFC 2104, section 3).
HASH_KEY_BYTES: Final = 32
#: What notices about tokens are called.
TOPIC: Final = "tokens"

# Lower case only, so that a token has one spelling.
_FORMAT: Final = re.compile(rb"msk_([0-9a-f]{32})_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be made."""

    role: Role
    user_id: str | None = None
    label: str | None = None
    scopes: Scopes = EVERYTHING
    expires_at: datetime | None = None

    def check(self, now: datetime) -> None:
        """Raise `InvalidInput` for what does not fit together."""
        faults = []
        if self.role is Role.USER and self.user_id is None:
            faults.append(FieldFault("userId", "is required for the role user"))
        if self.role is not Role.USER and self.user_id is not None:
            faults.append(FieldFault("userId", "is for the role user only"))
        for name, limit in (("models", self.scopes.models), ("routes", self.scopes.routes)):
            if limit is not None and not limit:
                faults.append(FieldFault(f"scopes.{name}", "must name one, or be left out"))
        if self.expires_at is not None and self.expires_at <= now:
            faults.append(FieldFault("expiresAt", "must be in the future"))
        if faults:
            raise InvalidInput(errors=faults)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored: without its text, with the keyed hash of it."""

    id: UUID
    digest: bytes = field(repr=False)
    role: Role
    user_id: str | None
    label: str | None
    scopes: Scopes
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None

    @property
    def principal(self) -> Principal:
        """Who shows it."""
        return Principal(self.role, self.user_id, plain(self.id), self.scopes, self.expires_at)

    def is_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was just made, and its text, which is known this once."""

    token: Token
    text: Secret[str]


class TokenHasher:
    """Hashes whole tokens under a key of the service: what is stored opens nothing."""

    def __init__(self, key: Secret[bytes]) -> None:
        if len(key) != HASH_KEY_BYTES:
            raise ValueError(f"the key has {HASH_KEY_BYTES} bytes")
        self._key = key.reveal()

    def digest(self, token: bytes) -> bytes:
        """HMAC-SHA256 of it."""
        return hmac.digest(self._key, token, "sha256")


def mint(token_id: UUID) -> Secret[str]:
    """The text of a new token."""
    return Secret(f"msk_{token_id.hex}_{secrets.token_hex(SECRET_BYTES)}")


def claimed_id(token: bytes) -> UUID | None:
    """The id that is written in a token; None for what is not written as one."""
    match = _FORMAT.fullmatch(token)
    return None if match is None else UUID(match[1].decode())


class TokenStore(Protocol):
    """Where tokens are kept. Adding and deleting tell every process."""

    async def add(self, token: Token) -> None:
        """Store a new token."""
        ...

    async def get(self, token_id: UUID) -> Token | None:
        """One token."""
        ...

    async def find(self, digest: bytes) -> Token | None:
        """The token that hashes to that."""
        ...

    async def list(self, user_id: str | None, before: UUID | None, limit: int) -> Sequence[Token]:
        """Tokens, newest first; of one user, or all; those made before the one of that id."""
        ...

    async def live(self, now: datetime, after: UUID | None, limit: int) -> Sequence[Token]:
        """Tokens that are not expired, in order of id, from after that one on."""
        ...

    async def delete(self, token_id: UUID) -> bool:
        """Remove a token; whether there was one."""
        ...

    async def note_uses(self, uses: Mapping[UUID, datetime]) -> None:
        """Note when tokens were last used; an earlier time than the one stored is ignored."""
        ...
