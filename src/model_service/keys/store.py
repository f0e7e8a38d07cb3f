"""Provider keys in PostgreSQL."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    ColumnElement,
    Integer,
    Row,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import IntegrityError

from model_service.db.tables import api_keys
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists
from model_service.kernel.types import Clock, Page, Provider
from model_service.keys.domain import KeyFilter, ProviderKey, SealedKey, Use

_k = api_keys.c
#: A key without its ciphertext.
PLAIN = [column for column in api_keys.columns if column.name != "encrypted_key"]


Preparation = Callable[[Sequence[str]], Awaitable[bool]]
"""Makes ready for opening records, such as by learning of data keys made elsewhere.

True when the records were moved to another data key since they were read.
"""


class SqlKeyStore:
    """`KeyStore` on the table `api_keys`."""

    def __init__(
        self, database: Database, clock: Clock, prepare: Preparation | None = None
    ) -> None:
        """`prepare` is given the ciphertexts before they are handed out to be opened."""
        self._db = database
        self._clock = clock
        self._prepare = prepare

    async def add(self, sealed: SealedKey) -> None:
        """Store a new key."""
        try:
            async with self._db.single() as connection:
                await connection.execute(insert(api_keys).values(_values(sealed)))
        except IntegrityError as error:
            raise _taken(sealed.key) from error

    async def name_taken(self, user_id: str, provider: Provider, key_name: str) -> bool:
        """Whether the user has a key of that name for that provider."""
        query = select(
            exists().where(
                _k.user_id == user_id, _k.provider == provider.value, _k.key_name == key_name
            )
        )
        async with self._db.single() as connection:
            return bool(await connection.scalar(query))

    async def get(self, key_id: UUID) -> ProviderKey | None:
        """A key without its ciphertext."""
        async with self._db.single() as connection:
            row = (await connection.execute(select(*PLAIN).where(_k.id == key_id))).first()
        return key_of(row) if row else None

    async def get_sealed(self, key_ids: Sequence[UUID]) -> list[SealedKey]:
        """Those of the keys that exist, with their ciphertexts. Not for use in a transaction."""
        found = await self._sealed(key_ids)
        if self._prepare is None or not await self._prepare([one.encrypted_key for one in found]):
            return found
        found = await self._sealed(key_ids)
        await self._prepare([one.encrypted_key for one in found])
        return found

    async def _sealed(self, key_ids: Sequence[UUID]) -> list[SealedKey]:
        async with self._db.single() as connection:
            rows = (await connection.execute(_SEALED, {"ids": list(key_ids)})).all()
        return [SealedKey(key_of(row), row.encrypted_key) for row in rows]

    async def find_active(self, user_id: str, provider: Provider) -> ProviderKey | None:
        """The user's usable key for a provider: valid ones first, then the newest."""
        query = (
            select(*PLAIN)
            .where(
                _k.user_id == user_id,
                _k.provider == provider.value,
                usable(self._clock.now()),
            )
            .order_by(_k.is_valid.desc(), _k.created_at.desc(), _k.id.desc())
            .limit(1)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return key_of(row) if row else None

    async def list(self, wanted: KeyFilter, page: Page | None, most: int) -> list[ProviderKey]:
        """Keys newest first: one page, or all up to `most`."""
        query = (
            select(*PLAIN)
            .where(matching(wanted))
            .order_by(_k.created_at.desc(), _k.id.desc())
            .limit(page.limit if page else most)
            .offset(page.offset if page else 0)
        )
        async with self._db.single() as connection:
            return [key_of(row) for row in await connection.execute(query)]

    async def count(self, wanted: KeyFilter) -> int:
        """How many keys there are."""
        query = select(func.count()).select_from(api_keys).where(matching(wanted))
        async with self._db.single() as connection:
            return int(await connection.scalar(query) or 0)

    async def change(
        self, key_id: UUID, changes: Mapping[str, Any], *, version: int | None = None
    ) -> ProviderKey | None:
        """Set the named fields; the others keep what somebody else may just have set."""
        query = (
            update(api_keys)
            .where(_k.id == key_id, true() if version is None else _k.key_version == version)
            .values(**changes, updated_at=self._clock.now())
            .returning(*PLAIN)
        )
        try:
            async with self._db.single() as connection:
                row = (await connection.execute(query)).first()
        except IntegrityError as error:
            raise AlreadyExists(
                f"The user already has a key named '{changes['key_name']}' for this provider"
            ) from error
        return key_of(row) if row else None

    async def replace(self, sealed: SealedKey, *, was_version: int) -> ProviderKey | None:
        """Store a new ciphertext and metadata, if the version is still the one read before."""
        values = _values(sealed)
        counted_elsewhere = ("id", "usage_count", "last_used_at", "created_at")
        query = (
            update(api_keys)
            .where(_k.id == sealed.key.id, _k.key_version == was_version)
            .values(
                {name: value for name, value in values.items() if name not in counted_elsewhere}
            )
            .returning(*PLAIN)
        )
        try:
            async with self._db.single() as connection:
                row = (await connection.execute(query)).first()
        except IntegrityError as error:
            raise _taken(sealed.key) from error
        return key_of(row) if row else None

    async def record_validation(
        self, key_id: UUID, *, version: int, is_valid: bool, now: datetime
    ) -> ProviderKey | None:
        """Note a verdict on the value of that version."""
        query = (
            update(api_keys)
            .where(_k.id == key_id, _k.key_version == version)
            .values(is_valid=is_valid, validated_at=now, updated_at=now)
            .returning(*PLAIN)
        )
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return key_of(row) if row else None

    async def count_uses(self, uses: Sequence[Use], now: datetime) -> set[UUID]:
        """Add uses durably, all in one statement and one commit."""
        parameters = {
            "ids": [use.key_id for use in uses],
            "versions": [use.version for use in uses],
            "counts": [use.count for use in uses],
            "now": now,
        }
        async with self._db.single() as connection:
            return set((await connection.execute(_COUNT_USES, parameters)).scalars())

    async def used(self, counts: str) -> None:
        """Add to each key's uses, and note the last one, within the caller's transaction.

        `counts` is JSON (see `usage.domain.KeyUse`), for the database to read. Whatever became of
        a key or its value meanwhile: they were used. Nobody is told, as nothing that is read
        elsewhere changes.
        """
        async with self._db.single() as connection:
            await connection.execute(_ADD_USES, {"counts": counts})

    async def delete(self, key_id: UUID) -> bool:
        """Remove a key and its ciphertext."""
        async with self._db.single() as connection:
            done = await connection.execute(delete(api_keys).where(_k.id == key_id))
        return done.rowcount > 0


def usable(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Keys that are active and not expired."""
    return and_(_k.is_active, or_(_k.expires_at.is_(None), _k.expires_at > now))


_SEALED = select(api_keys).where(_k.id == func.any(bindparam("ids", type_=ARRAY(Uuid))))


# Locked in one order by every batch of every process, so that no two wait for each other.
_IN_ORDER = (
    select(_k.id)
    .where(_k.id == func.any(bindparam("ids", type_=ARRAY(Uuid))))
    .order_by(_k.id)
    .with_for_update(key_share=True)
    .cte("locked")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)


def _count_uses() -> Any:  # noqa: ANN401 - an UPDATE with its own row type
    used = (
        func.unnest(
            bindparam("ids", type_=ARRAY(Uuid)),
            bindparam("versions", type_=ARRAY(Integer)),
            bindparam("counts", type_=ARRAY(BigInteger)),
        )
        .table_valued("id", "version", "n")
        .render_derived(name="used")
    )
    now = bindparam("now", type_=_k.last_used_at.type)
    return (
        update(api_keys)
        .where(
            _k.id == used.c.id,
            _k.id == _IN_ORDER.c.id,
            _k.key_version == used.c.version,
            usable(now),
        )
        .values(
            usage_count=_k.usage_count + used.c.n,
            last_used_at=case(
                (used.c.n > 0, func.greatest(_k.last_used_at, now)), else_=_k.last_used_at
            ),
        )
        .returning(_k.id)
    )


def _add_uses() -> Any:  # noqa: ANN401 - an UPDATE with its own row type
    used = (
        func.json_to_recordset(cast(bindparam("counts", type_=Text), JSON))
        .table_valued(
            column("key_id", Uuid),
            column("uses", BigInteger),
            column("last_use", _k.last_used_at.type),
        )
        .render_derived(name="used", with_types=True)
    )
    locked = (
        select(_k.id)
        .where(_k.id.in_(select(used.c.key_id)))
        .order_by(_k.id)
        .with_for_update(key_share=True)
        .cte("locked")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        update(api_keys)
        .where(_k.id == used.c.key_id, _k.id == locked.c.id)
        .values(
            usage_count=_k.usage_count + used.c.uses,
            last_used_at=func.greatest(_k.last_used_at, used.c.last_use),
        )
    )


_COUNT_USES = _count_uses()
_ADD_USES = _add_uses()


def matching(wanted: KeyFilter) -> ColumnElement[bool]:
    """Keys that the filter wants."""
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.user_id is not None:
        conditions.append(_k.user_id == wanted.user_id)
    if wanted.provider is not None:
        conditions.append(_k.provider == wanted.provider.value)
    if wanted.is_active is not None:
        conditions.append(_k.is_active.is_(wanted.is_active))
    if wanted.is_valid is not None:
        conditions.append(_k.is_valid.is_(wanted.is_valid))
    return and_(*conditions)


def key_of(row: Row[Any]) -> ProviderKey:
    """A row of the columns `PLAIN`."""
    return ProviderKey(
        id=row.id,
        user_id=row.user_id,
        provider=Provider(row.provider),
        key_name=row.key_name,
        key_version=row.key_version,
        key_prefix=row.key_prefix,
        last_used_at=row.last_used_at,
        usage_count=row.usage_count,
        is_active=row.is_active,
        is_valid=row.is_valid,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        validated_at=row.validated_at,
    )


def _values(sealed: SealedKey) -> dict[str, Any]:
    key = sealed.key
    return {
        "id": key.id,
        "user_id": key.user_id,
        "provider": key.provider.value,
        "key_name": key.key_name,
        "key_version": key.key_version,
        "key_prefix": key.key_prefix,
        "last_used_at": key.last_used_at,
        "usage_count": key.usage_count,
        "is_active": key.is_active,
        "is_valid": key.is_valid,
        "metadata": key.metadata,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "expires_at": key.expires_at,
        "validated_at": key.validated_at,
        "encrypted_key": sealed.encrypted_key,
    }


def _taken(key: ProviderKey) -> AlreadyExists:
    return AlreadyExists(
        f"The user already has a key named '{key.key_name}' for provider '{key.provider}'"
    )
