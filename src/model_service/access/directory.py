"""The tokens in memory: what the request path asks, without a round trip to the database."""

import asyncio
import heapq
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from model_service.access.domain import Token, TokenHasher, TokenStore, claimed_id
from model_service.kernel.errors import DatabaseUnavailable
from model_service.kernel.principal import Principal
from model_service.kernel.rate import RateLimits
from model_service.kernel.types import Clock

#: Seconds without word from the database after which tokens are no longer believed: by then
#: one may have been revoked. As long as a provider key may be leased.
STALENESS_BOUND: Final = 300.0
#: Tokens read from the database at once.
BATCH: Final = 1000
#: Look-ups of unknown tokens in the database a minute, for this process.
LOOKUPS_PER_MINUTE: Final = 600
#: Seconds for which a token is remembered not to exist, and how many are remembered.
UNKNOWN_SECONDS: Final = 1.0
MOST_UNKNOWN: Final = 10_000

#: Revoked tokens remembered, so that what was read of one before cannot bring it back.
MOST_DROPPED: Final = 10_000

# Compared with where no token is found, so that the same is done in either case.
_NO_DIGEST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a request needs of a token."""

    digest: bytes
    principal: Principal
    token_id: UUID
    expires_at: datetime | None


class TokenDirectory:
    """All live tokens by the hash of their whole text; kept current by change notices.

    A token that is not here may have been made elsewhere a moment ago, so it is looked up in
    the database once: seldom enough that made-up tokens cannot keep the database busy.
    """

    def __init__(
        self,
        store: TokenStore,
        hasher: TokenHasher,
        clock: Clock,
        age: Callable[[], float],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`age` gives the seconds since all changes until then were known here.

        `changes` goes up whenever `find` may tell something else than before.
        """
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._age = age
        self._now = now
        self._entries: dict[bytes, _Entry] = {}
        self._digests: dict[UUID, bytes] = {}
        self._expiries: list[tuple[datetime, UUID]] = []
        self._dropped: OrderedDict[UUID, None] = OrderedDict()
        self._uses: dict[UUID, datetime] = {}
        self.changes = 0
        self._lookups = RateLimits(LOOKUPS_PER_MINUTE, now=now)
        self._loads = 0
        self._under_way: dict[bytes, asyncio.Task[Token | None]] = {}
        self._unknown_until: OrderedDict[bytes, float] = OrderedDict()

    def find(self, token: bytes) -> Principal | None:
        """Whose token it is; None for one that is unknown here, wrong, revoked or expired.

        Raises:
            DatabaseUnavailable: nothing was heard from the database for `STALENESS_BOUND`.
        """
        digest = self._hasher.digest(token)
        entry = self._entries.get(digest)
        is_known = hmac.compare_digest(digest, _NO_DIGEST if entry is None else entry.digest)
        if entry is None or not is_known:
            return None
        if self._age() > STALENESS_BOUND:
            raise DatabaseUnavailable
        now = self._clock.now()
        if entry.expires_at is not None and entry.expires_at <= now:
            return None
        self._uses[entry.token_id] = now
        return entry.principal

    async def look_up(self, token: bytes) -> Principal | None:
        """As `find`, after a look into the database when that is due.

        Raises:
            DatabaseUnavailable: the database cannot be asked.
        """
        if claimed_id(token) is None:
            return None
        digest = self._hasher.digest(token)
        now = self._now()
        if digest in self._entries or self._unknown_until.get(digest, now) > now:
            return None
        task = self._under_way.get(digest)
        if task is None:
            if self._lookups.spend("") > 0:
                return None
            # Shared by all requests that show the token at this moment.
            task = asyncio.create_task(self._looked_up(digest))
            self._under_way[digest] = task
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)
        return self.find(token)

    def claimed_id(self, token: bytes) -> UUID | None:
        """The id that is written in a token."""
        return claimed_id(token)

    def put(self, token: Token) -> None:
        """Know a token from now on, unless it was dropped: ids never come back.

        Whoever read it from the database may have done so before somebody else revoked it.
        """
        if token.id in self._dropped:
            return
        self.changes += 1
        self._entries[token.digest] = _Entry(
            token.digest, token.principal, token.id, token.expires_at
        )
        self._digests[token.id] = token.digest
        self._unknown_until.pop(token.digest, None)
        if token.expires_at is not None:
            heapq.heappush(self._expiries, (token.expires_at, token.id))

    def drop(self, token_id: UUID) -> None:
        """Know a token no longer, and never again."""
        self._dropped[token_id] = None
        if len(self._dropped) > MOST_DROPPED:
            self._dropped.popitem(last=False)
        self._forget(token_id)

    def forget_expired(self) -> None:
        """Let go of tokens whose time is over."""
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            self._forget(heapq.heappop(self._expiries)[1])

    async def load(self) -> None:
        """Read all live tokens anew.

        Raises:
            DatabaseUnavailable: they cannot be read; those known stay.
        """
        tokens: dict[UUID, Token] = {}
        now = self._clock.now()
        last: UUID | None = None
        while batch := await self._store.live(now, last, BATCH):
            tokens.update((token.id, token) for token in batch)
            last = batch[-1].id
        # At once, so that no request finds a token missing in between.
        self._loads += 1
        self.changes += 1
        self._entries, self._digests, self._expiries = {}, {}, []
        for token in tokens.values():
            self.put(token)

    async def on_change(self, subject: str | None) -> None:
        """Take up a change notice: of one token, or of any.

        Raises:
            DatabaseUnavailable: what changed cannot be read.
        """
        if subject is None:
            await self.load()
            return
        token_id = UUID(subject)
        token = await self._store.get(token_id)
        if token is None or token.is_expired(self._clock.now()):
            self.drop(token_id)
        else:
            self.put(token)

    def take_uses(self) -> Mapping[UUID, datetime]:
        """When tokens were last used, of those used since this was last asked."""
        uses, self._uses = self._uses, {}
        return uses

    def give_back_uses(self, uses: Mapping[UUID, datetime]) -> None:
        """Keep what could not be stored, unless a token was used again meanwhile."""
        self._uses = {**uses, **self._uses}

    async def _looked_up(self, digest: bytes) -> Token | None:
        try:
            loads = None
            while loads != self._loads:
                # Once more after a load: the token may have been revoked before that and after
                # it was read here, and with its notice lost nothing else would say so.
                loads = self._loads
                token = await self._store.find(digest)
        finally:
            del self._under_way[digest]
        if token is not None and hmac.compare_digest(token.digest, digest):
            self.put(token)
            return token
        self._unknown_until[digest] = self._now() + UNKNOWN_SECONDS
        if len(self._unknown_until) > MOST_UNKNOWN:
            self._unknown_until.popitem(last=False)
        return None

    def _forget(self, token_id: UUID) -> None:
        self.changes += 1
        digest = self._digests.pop(token_id, None)
        if digest is not None:
            del self._entries[digest]

    def __len__(self) -> int:
        return len(self._entries)
