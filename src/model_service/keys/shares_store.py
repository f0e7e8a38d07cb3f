"""Grants of keys in PostgreSQL, and the keys that somebody has by them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import insert

from model_service.db.tables import api_keys, key_shares
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists
from model_service.kernel.types import Clock, Page, Provider
from model_service.keys.domain import KeyFilter, ProviderKey
from model_service.keys.shares import HeldKey, Share, ShareScope
from model_service.keys.store import PLAIN, key_of, matching, usable

_k = api_keys.c
_s = key_shares.c
#: A grant beside a key; both tables have an `id`, an `expires_at` and a `created_at`.
_GRANT = [column.label(f"share_{column.name}") for column in key_shares.columns]


class SqlShareStore:
    """`ShareStore` on the table `key_shares`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._db = database
        self._clock = clock

    async def lock(self, key_id: UUID) -> ProviderKey | None:
        """The key, which stays until the current transaction ends."""
        # Shared with other grants and with uses being counted; only a deletion waits.
        query = select(*PLAIN).where(_k.id == key_id).with_for_update(read=True, key_share=True)
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return key_of(row) if row else None

    async def add(self, share: Share) -> None:
        """Store a grant, in place of an expired one to the same grantee."""
        values = {
            "id": share.id,
            "key_id": share.key_id,
            "grantee_user_id": share.grantee_user_id,
            "scope": share.scope.value,
            "models": None if share.models is None else list(share.models),
            "expires_at": share.expires_at,
            "created_at": share.created_at,
        }
        # One statement, so that of two grants at once one waits for the other and then sees it.
        query = (
            insert(key_shares)
            .values(values)
            .on_conflict_do_update(
                index_elements=[_s.grantee_user_id, _s.key_id],
                set_=values,
                where=_s.expires_at <= self._clock.now(),
            )
            .returning(_s.id)
        )
        async with self._db.transaction() as connection:
            if await connection.scalar(query) is None:
                raise AlreadyExists("The key is shared with this user already")

    async def remove(self, key_id: UUID, share_id: UUID) -> Share | None:
        """Take a grant of that key away; gives what it was."""
        query = (
            delete(key_shares)
            .where(_s.id == share_id, _s.key_id == key_id, _k.id == _s.key_id)
            .returning(_k.user_id, *_GRANT)
        )
        async with self._db.transaction() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
        return _share(row)

    async def of_key(self, key_id: UUID, before: UUID | None, most: int) -> list[Share]:
        """A key's grants, newest first; their ids are in the order of their making."""
        query = (
            select(_k.user_id, *_GRANT)
            .join(api_keys, _k.id == _s.key_id)
            .where(_s.key_id == key_id, true() if before is None else _s.id < before)
            .order_by(_s.id.desc())
            .limit(most)
        )
        async with self._db.single() as connection:
            return [_share(row) for row in await connection.execute(query)]

    async def is_live(self, share_id: UUID) -> bool:
        """Whether the grant is there and has not expired."""
        query = select(exists().where(_s.id == share_id, _live(self._clock.now())))
        async with self._db.single() as connection:
            return bool(await connection.scalar(query))

    async def held(self, key_id: UUID, user_id: str | None) -> HeldKey | None:
        """The key, with the live grant that the user has of it."""
        query = _keys_of(user_id, self._clock.now()).where(_k.id == key_id)
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _held(row) if row else None

    async def list_held(self, wanted: KeyFilter, page: Page | None, most: int) -> list[HeldKey]:
        """Keys newest first; those of a user are its own and those shared with it."""
        now = self._clock.now()
        query = (
            _keys_of(wanted.user_id, now)
            .where(_held_by(wanted.user_id, now), matching(_of_anybody(wanted)))
            .order_by(_k.created_at.desc(), _k.id.desc())
            .limit(page.limit if page else most)
            .offset(page.offset if page else 0)
        )
        async with self._db.single() as connection:
            return [_held(row) for row in await connection.execute(query)]

    async def count_held(self, wanted: KeyFilter) -> int:
        """How many keys `list_held` has on all pages."""
        query = (
            select(func.count())
            .select_from(api_keys)
            .where(
                _held_by(wanted.user_id, self._clock.now()),
                matching(_of_anybody(wanted)),
            )
        )
        async with self._db.single() as connection:
            return int(await connection.scalar(query) or 0)

    async def find_active(
        self, user_id: str, provider: Provider, scopes: Sequence[ShareScope], model: str | None
    ) -> HeldKey | None:
        """The user's best usable key for a provider, its own or by a grant of those scopes."""
        grant_fits: list[ColumnElement[bool]] = [_s.scope.in_([scope.value for scope in scopes])]
        if model is not None:
            grant_fits.append(or_(_s.models.is_(None), _s.models.has_key(model)))
        query = _best_first(user_id, provider, self._clock.now()).where(
            or_(_k.user_id == user_id, and_(*grant_fits))
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query.limit(1))).first()
        return _held(row) if row else None

    async def list_usable(self, user_id: str, provider: Provider, most: int) -> list[HeldKey]:
        """The user's usable keys for a provider, its own and shared ones, best first."""
        query = _best_first(user_id, provider, self._clock.now()).limit(most)
        async with self._db.single() as connection:
            return [_held(row) for row in await connection.execute(query)]


def _best_first(user_id: str, provider: Provider, now: datetime) -> Select[Any]:
    """The keys that a user may use for a provider now: valid ones first, of these its own."""
    return (
        _keys_of(user_id, now)
        .where(_held_by(user_id, now), _k.provider == provider.value, usable(now))
        .order_by(
            _k.is_valid.desc(),
            (_k.user_id == user_id).desc(),
            _s.models.is_(None).desc(),
            _k.created_at.desc(),
            _k.id.desc(),
        )
    )


def _live(now: datetime) -> ColumnElement[bool]:
    return or_(_s.expires_at.is_(None), _s.expires_at > now)


def _keys_of(user_id: str | None, now: datetime) -> Select[Any]:
    """Keys, each with the live grant that the user has of it; at most one, by the index."""
    return select(*PLAIN, *_GRANT).outerjoin_from(
        api_keys,
        key_shares,
        and_(_s.key_id == _k.id, _s.grantee_user_id == user_id, _live(now)),
    )


def _held_by(user_id: str | None, now: datetime) -> ColumnElement[bool]:
    if user_id is None:
        return true()
    # As an array it is read first and once, and both sides of `or` go through an index.
    granted = select(_s.key_id).where(_s.grantee_user_id == user_id, _live(now)).correlate(None)
    return or_(_k.user_id == user_id, _k.id == func.any(func.array(granted.scalar_subquery())))


def _of_anybody(wanted: KeyFilter) -> KeyFilter:
    return replace(wanted, user_id=None)


def _held(row: Row[Any]) -> HeldKey:
    return HeldKey(key_of(row), None if row.share_id is None else _share(row))


def _share(row: Row[Any]) -> Share:
    return Share(
        id=row.share_id,
        key_id=row.share_key_id,
        owner_user_id=row.user_id,
        grantee_user_id=row.share_grantee_user_id,
        scope=ShareScope(row.share_scope),
        models=None if row.share_models is None else tuple(row.share_models),
        expires_at=row.share_expires_at,
        created_at=row.share_created_at,
    )
