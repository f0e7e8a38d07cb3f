"""What a request shows of itself in its headers, and the secrets it is checked against."""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from model_service.kernel.errors import FieldFault, InvalidInput, Unauthenticated
from model_service.kernel.secret import Secret
from model_service.kernel.types import MAX_USER_ID, is_user_id

INTERNAL_HEADER: Final = b"x-internal-secret"
USER_HEADER: Final = b"x-user-id"
#: Where the providers' own clients put their key: Anthropic's, Google's and Azure's. OpenAI's
#: uses `Authorization: Bearer`.
TOKEN_HEADERS: Final = frozenset({b"x-api-key", b"x-goog-api-key", b"api-key"})
#: A request that carries one of these did not come from where it seems to.
_FORWARDING: Final = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"})


@dataclass(frozen=True, slots=True)
class Shown:
    """The credentials of one request, not yet checked."""

    token: bytes | None = field(repr=False)
    internal: bytes | None = field(repr=False)
    user: bytes | None
    is_forwarded: bool

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Shown":
        """From the headers, whose names are in lower case.

        Raises:
            Unauthenticated: there are two tokens or two internal secrets, or the
                authorization is of another kind than Bearer. Which one counts would be a guess.
        """
        token = internal = user = None
        is_forwarded = False
        for name, value in headers:
            if name == b"authorization":
                token = _only(token, _bearer(value))
            elif name in TOKEN_HEADERS:
                token = _only(token, value.strip())
            elif name == INTERNAL_HEADER:
                internal = _only(internal, value)
            elif name == USER_HEADER:
                user = _only(user, value)
            elif name in _FORWARDING:
                is_forwarded = True
        return cls(token, internal, user, is_forwarded)

    def user_id(self) -> str | None:
        """The user named.

        Raises:
            InvalidInput: it is no user's id.
        """
        if self.user is None:
            return None
        try:
            name = self.user.decode()
        except UnicodeDecodeError:
            name = ""
        if not is_user_id(name):
            message = f"must be 1 to {MAX_USER_ID} printable characters, without blanks around them"
            raise InvalidInput(errors=[FieldFault(USER_HEADER.decode(), message)])
        return name


@dataclass(frozen=True, slots=True)
class Credentials:
    """What callers are checked against, besides tokens; digests only."""

    admin_token: bytes | None
    internal_secrets: tuple[bytes, ...]
    loopback_is_administrator: bool

    @classmethod
    def of(
        cls,
        *,
        admin_token: Secret[str] | None,
        internal_secrets: Sequence[Secret[str]],
        loopback_is_administrator: bool,
    ) -> "Credentials":
        """From the settings' secrets. An empty secret never matches anything."""
        return cls(
            _digest_of(admin_token) if admin_token else None,
            tuple(_digest_of(secret) for secret in internal_secrets if secret),
            loopback_is_administrator,
        )

    def is_admin_token(self, token: bytes) -> bool:
        """Whether it is the bootstrap administrator's token."""
        known = self.admin_token
        return known is not None and hmac.compare_digest(sha256(token).digest(), known)

    def check_internal(self, value: bytes) -> None:
        """Let a right internal secret pass.

        Raises:
            Unauthenticated: it is none.
        """
        digest = sha256(value).digest()
        # Every candidate is compared, so that the time does not tell which one matched.
        matches = [hmac.compare_digest(digest, known) for known in self.internal_secrets]
        if not any(matches):
            raise Unauthenticated("The internal secret is wrong")


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        raise Unauthenticated("The token is wrong")
    return token.strip()


def _only(before: bytes | None, value: bytes) -> bytes:
    if before is not None:
        raise Unauthenticated("A credential was sent twice")
    return value


def _digest_of(secret: Secret[str]) -> bytes:
    return sha256(secret.reveal().encode()).digest()
