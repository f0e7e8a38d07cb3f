"""Tokens in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Row,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from model_service.access.domain import Token
from model_service.db.tables import access_tokens
from model_service.db.uow import Database
from model_service.kernel.principal import EVERYTHING, Permission, Role, Scopes

_t = access_tokens.c


class SqlTokenStore:
    """`TokenStore` on the table `access_tokens`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, token: Token) -> None:
        """Store a new token; the table tells every process."""
        async with self._db.single() as connection:
            await connection.execute(insert(access_tokens).values(_values(token)))

    async def get(self, token_id: UUID) -> Token | None:
        """One token."""
        async with self._db.single() as connection:
            query = select(access_tokens).where(_t.id == token_id)
            row = (await connection.execute(query)).first()
        return None if row is None else _token(row)

    async def find(self, digest: bytes) -> Token | None:
        """The token that hashes to that."""
        async with self._db.single() as connection:
            query = select(access_tokens).where(_t.digest == digest)
            row = (await connection.execute(query)).first()
        return None if row is None else _token(row)

    async def list(self, user_id: str | None, before: UUID | None, limit: int) -> Sequence[Token]:
        """Tokens, newest first: ids of version 7 are in order of time."""
        query = (
            select(access_tokens)
            .where(
                true() if user_id is None else _t.user_id == user_id,
                true() if before is None else _t.id < before,
            )
            .order_by(_t.id.desc())
            .limit(limit)
        )
        return await self._tokens(query)

    async def live(self, now: datetime, after: UUID | None, limit: int) -> Sequence[Token]:
        """Tokens that are not expired, in order of id."""
        query = (
            select(access_tokens)
            .where(
                or_(_t.expires_at.is_(None), _t.expires_at > now),
                true() if after is None else _t.id > after,
            )
            .order_by(_t.id)
            .limit(limit)
        )
        return await self._tokens(query)

    async def delete(self, token_id: UUID) -> bool:
        """Remove a token; the table tells every process."""
        async with self._db.single() as connection:
            done = await connection.execute(delete(access_tokens).where(_t.id == token_id))
        return done.rowcount > 0

    async def note_uses(self, uses: Mapping[UUID, datetime]) -> None:
        """Note when tokens were last used, all in one statement."""
        parameters = {"ids": list(uses), "moments": list(uses.values())}
        async with self._db.single() as connection:
            await connection.execute(_NOTE_USES, parameters)

    async def _tokens(self, query: Any) -> Sequence[Token]:  # noqa: ANN401 - any SELECT of the table
        async with self._db.single() as connection:
            return [_token(row) for row in await connection.execute(query)]


def _note_uses() -> Any:  # noqa: ANN401 - an UPDATE with its own row type
    used = (
        func.unnest(
            bindparam("ids", type_=ARRAY(Uuid)),
            bindparam("moments", type_=ARRAY(_t.last_used_at.type)),
        )
        .table_valued("id", "moment")
        .render_derived(name="used")
    )
    # Locked in one order by every process, so that no two wait for each other.
    locked = (
        select(_t.id)
        .where(_t.id == func.any(bindparam("ids", type_=ARRAY(Uuid))))
        .order_by(_t.id)
        .with_for_update(key_share=True)
        .cte("locked")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        update(access_tokens)
        .where(_t.id == used.c.id, _t.id == locked.c.id)
        .values(last_used_at=func.greatest(_t.last_used_at, used.c.moment))
    )


_NOTE_USES = _note_uses()


def _token(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        digest=row.digest,
        role=Role(row.role),
        user_id=row.user_id,
        label=row.label,
        scopes=_scopes(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def _values(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "digest": token.digest,
        "role": token.role.value,
        "user_id": token.user_id,
        "label": token.label,
        "scopes": _limits(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }


def _scopes(stored: Mapping[str, list[str]] | None) -> Scopes:
    if stored is None:
        return EVERYTHING  # shared: most tokens have none, and all are kept in memory
    routes = stored.get("routes")
    return Scopes.of(
        models=stored.get("models"), routes=None if routes is None else map(Permission, routes)
    )


def _limits(scopes: Scopes) -> dict[str, list[str]] | None:
    limits = {"models": scopes.models, "routes": scopes.routes}
    return {name: sorted(limit) for name, limit in limits.items() if limit is not None} or None
