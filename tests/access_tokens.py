"""Tokens for tests: what stands in for their store, and clocks that tests set."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from model_service.access.domain import Token, TokenHasher, mint
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.principal import EVERYTHING, Role, Scopes
from model_service.kernel.secret import Secret
from model_service.kernel.types import uuid7

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASHER = TokenHasher(Secret(bytes(range(32))))


class SetClock:
    """`Clock`, and seconds that never go back, which only move when told."""

    def __init__(self) -> None:
        self.moment = NOW
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


def make_token(
    *,
    role: Role = Role.SERVICE,
    user_id: str | None = None,
    scopes: Scopes = EVERYTHING,
    expires_at: datetime | None = None,
) -> tuple[Token, bytes]:
    """A token as stored, and its text."""
    token_id = uuid7()
    text = mint(token_id).reveal().encode()
    digest = HASHER.digest(text)
    return Token(token_id, digest, role, user_id, None, scopes, NOW, expires_at), text


class MemoryTokens:
    """`TokenStore` in memory. `hold` keeps readers waiting; `available` False refuses them."""

    def __init__(self, *tokens: Token) -> None:
        self.tokens = {token.id: token for token in tokens}
        self.available = True
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None
        self.noted: list[dict[UUID, datetime]] = []

    async def _pause(self, what: str) -> None:
        self.asked.append(what)
        if self.hold is not None:
            await self.hold.wait()
        if not self.available:
            raise DatabaseUnavailable

    async def add(self, token: Token) -> None:
        await self._pause("add")
        self.tokens[token.id] = token

    async def get(self, token_id: UUID) -> Token | None:
        found = self.tokens.get(token_id)
        await self._pause("get")
        return found

    async def find(self, digest: bytes) -> Token | None:
        found = next((t for t in self.tokens.values() if t.digest == digest), None)
        await self._pause("find")
        return found

    async def list(self, user_id: str | None, before: UUID | None, limit: int) -> Sequence[Token]:
        await self._pause("list")
        return [
            token
            for token in sorted(self.tokens.values(), key=lambda token: token.id, reverse=True)
            if (user_id is None or token.user_id == user_id)
            and (before is None or token.id < before)
        ][:limit]

    async def live(self, now: datetime, after: UUID | None, limit: int) -> Sequence[Token]:
        found = [
            token
            for token in sorted(self.tokens.values(), key=lambda token: token.id)
            if not token.is_expired(now) and (after is None or token.id > after)
        ][:limit]
        await self._pause("live")
        return found

    async def delete(self, token_id: UUID) -> bool:
        await self._pause("delete")
        return self.tokens.pop(token_id, None) is not None

    async def note_uses(self, uses: Mapping[UUID, datetime]) -> None:
        await self._pause("note_uses")
        self.noted.append(dict(uses))
