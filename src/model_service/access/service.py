"""What can be done with access tokens."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog

from model_service.access.domain import IssuedToken, NewToken, Token, TokenHasher, TokenStore, mint
from model_service.kernel.audit import AuditEvent, AuditTrail, Decision, Denials
from model_service.kernel.errors import Forbidden, NotFound
from model_service.kernel.events import Announcer, EventType
from model_service.kernel.principal import Principal
from model_service.kernel.types import Clock, uuid7
from model_service.kernel.unit import Transactions

log = structlog.get_logger(__name__)


class Directory(Protocol):
    """This process's view of the tokens, told of what is done here before any notice arrives."""

    def put(self, token: Token) -> None:
        """Know a token from now on."""
        ...

    def drop(self, token_id: UUID) -> None:
        """Know a token no longer."""
        ...


class TokenService:
    """The use cases of access tokens."""

    def __init__(
        self,
        transactions: Transactions,
        store: TokenStore,
        hasher: TokenHasher,
        directory: Directory,
        trail: AuditTrail,
        announcer: Announcer,
        clock: Clock,
        denials: Denials,
    ) -> None:
        """`denials` hears of tokens that were hidden; what is refused openly, its route notes."""
        self._transactions = transactions
        self._store = store
        self._hasher = hasher
        self._directory = directory
        self._trail = trail
        self._announcer = announcer
        self._clock = clock
        self._denials = denials

    async def create(self, new: NewToken, by: Principal) -> IssuedToken:
        """Make a token; its text is known this once.

        Raises:
            InvalidInput: what is asked for does not fit together.
            Forbidden: it would allow more, or live longer, than the token of whoever asks.
            DatabaseUnavailable, AuditUnavailable: it cannot be stored or recorded.
        """
        now = self._clock.now()
        new.check(now)
        _check_within(new, by)
        token_id = uuid7()
        text = mint(token_id)
        token = Token(
            id=token_id,
            digest=self._hasher.digest(text.reveal().encode()),
            role=new.role,
            user_id=new.user_id,
            label=new.label,
            scopes=new.scopes,
            created_at=now,
            expires_at=new.expires_at,
        )
        async with self._transactions.transaction():
            await self._store.add(token)
            await self._trail.record(_event("token.create", token))
            await self._announcer.announce(EventType.TOKEN_CREATED, _announced(token))
        self._directory.put(token)
        log.info("token created", subject=f"token:{token.id}")
        return IssuedToken(token, text)

    async def list(self, user_id: str | None, before: UUID | None, limit: int) -> Sequence[Token]:
        """Tokens, newest first: of one user, or with None all of them."""
        return await self._store.list(user_id, before, limit)

    async def revoke(self, token_id: UUID, by: Principal) -> None:
        """Make a token good for nothing: here at once, everywhere within a second.

        An unknown token and one that is nothing to `by` leave the same record and get the same
        answer.

        Raises:
            NotFound: there is none, or it is not one that `by` may see.
            DatabaseUnavailable, AuditUnavailable: nothing is known to have been revoked.
        """
        token = await self._store.get(token_id)  # whose it is never changes
        if token is None or not _is_visible(token, by):
            raise await self._hidden(token_id, by)
        async with self._transactions.transaction():
            if not await self._store.delete(token_id):
                raise NotFound("No such token")
            await self._trail.record(_event("token.revoke", token))
        self._directory.drop(token_id)
        log.info("token revoked", subject=f"token:{token_id}")

    async def _hidden(self, token_id: UUID, by: Principal) -> NotFound:
        if not by.is_administrator:  # from whom nothing is hidden
            await self._denials.note(
                AuditEvent(
                    type="auth.denied",
                    decision=Decision.DENY,
                    subject=f"token:{token_id}",
                    purpose="revoke",
                    reason="no_such_token_for_them",
                )
            )
        return NotFound("No such token")


def _check_within(new: NewToken, by: Principal) -> None:
    """Nobody gives away more than he has, nor for longer."""
    if not by.scopes.cover(new.scopes):
        raise Forbidden("A token cannot make one that is less limited than itself")
    if by.expires_at is not None and (new.expires_at is None or new.expires_at > by.expires_at):
        raise Forbidden("A token cannot make one that outlives it")


def _is_visible(token: Token, by: Principal) -> bool:
    return by.is_administrator or (token.user_id is not None and by.may_act_for(token.user_id))


def _event(kind: str, token: Token) -> AuditEvent:
    holder = token.role.value if token.user_id is None else f"{token.role.value} {token.user_id}"
    return AuditEvent(type=kind, subject=f"token:{token.id}", reason=holder)


def _announced(token: Token) -> dict[str, object]:
    return {
        "tokenId": str(token.id),
        "role": token.role.value,
        "userId": token.user_id,
        "label": token.label,
    }
