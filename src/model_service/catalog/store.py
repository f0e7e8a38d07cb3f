"""Models in PostgreSQL."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from model_service.catalog.domain import Model, ModelFilter, ModelStats, Revision
from model_service.db.locks import Lock, take
from model_service.db.tables import models
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists
from model_service.kernel.types import Page, Provider

# As the migration calls it.
_NAME_CONSTRAINT = "uq_models_name"

_m = models.c
_ORDER = (_m.is_default.desc(), _m.created_at.desc(), _m.id.desc())


class SqlModelStore:
    """`ModelStore` on the table `models`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def add(self, model: Model) -> Model:
        """Store a new model; the default before it, if it is to be one, steps down."""
        query = (
            insert(models)
            .values(_values(model))
            .on_conflict_do_nothing(index_elements=[_m.name])
            .returning(models)
        )
        if not model.is_default:
            async with self._db.single() as connection:
                row = (await connection.execute(query)).first()
                return _model(_unless_taken(row, model.name))
        async with self._db.transaction() as connection:
            await _take_default_turn(connection)
            await _clear_default(connection, model.id, model.updated_at)
            row = (await connection.execute(query)).first()
            return _model(_unless_taken(row, model.name))

    async def adopt(self, model: Model) -> Model:
        """Store a model from elsewhere; it stays the default only if there is none yet."""
        async with self._db.transaction() as connection:
            if model.is_default:
                await _take_default_turn(connection)
                has_default = select(exists().where(_m.is_default))
                model = replace(model, is_default=not await connection.scalar(has_default))
            query = insert(models).values(_values(model)).on_conflict_do_nothing()
            row = (await connection.execute(query.returning(models))).first()
            return _model(_unless_taken(row, model.name))

    async def get(self, model_id: UUID) -> Model | None:
        """The model of that id."""
        return await self._one(select(models).where(_m.id == model_id))

    async def get_default(self) -> Model | None:
        """The default model, if it is active."""
        return await self._one(select(models).where(_m.is_default, _m.is_active))

    async def list_all(self, wanted: ModelFilter, *, most: int) -> list[Model]:
        """The first `most` models: the default first, then the newest first."""
        query = select(models).where(_matching(wanted)).order_by(*_ORDER).limit(most)
        async with self._db.single() as connection:
            return [_model(row) for row in await connection.execute(query)]

    async def list_page(self, wanted: ModelFilter, page: Page) -> tuple[list[Model], int]:
        """One page in the same order, and how many models there are on all pages."""
        total = func.count().over().label("total")
        query = (
            select(models, total)
            .where(_matching(wanted))
            .order_by(*_ORDER)
            .limit(page.limit)
            .offset(page.offset)
        )
        async with self._db.single() as connection:
            rows = (await connection.execute(query)).all()
            if rows or page.offset == 0:
                return [_model(row) for row in rows], rows[0].total if rows else 0
            # Past the last page no row carries the count.
            counting = select(func.count()).select_from(models).where(_matching(wanted))
            return [], int(await connection.scalar(counting) or 0)

    async def stats(self, wanted: ModelFilter) -> ModelStats:
        """The counts, all of one moment for they come from one statement."""
        counts = select(
            _m.provider,
            func.count().label("total"),
            func.count().filter(_m.is_active).label("active"),
            func.max(_m.name).filter(_m.is_default).label("default_name"),
        )
        query = counts.where(_matching(wanted)).group_by(_m.provider)
        async with self._db.single() as connection:
            rows = (await connection.execute(query)).all()
        return ModelStats(
            total=sum(row.total for row in rows),
            active=sum(row.active for row in rows),
            by_provider={Provider(row.provider): row.total for row in rows},
            default_name=next((row.default_name for row in rows if row.default_name), None),
        )

    async def update(
        self, model_id: UUID, revise: Revision, *, now: datetime, claims_default: bool
    ) -> Model | None:
        """Change a model under its row's lock, writing the changed columns alone."""
        async with self._db.transaction() as connection:
            if claims_default:
                # Before any row: two that hold a row each must not wait for each other's.
                await _take_default_turn(connection)
            locked = select(models).where(_m.id == model_id).with_for_update(key_share=True)
            row = (await connection.execute(locked)).first()
            if row is None:
                return None
            changes = revise(_model(row)).given()
            if not changes:
                return _model(row)
            if claims_default:
                await _clear_default(connection, model_id, now)
            return await _change(connection, model_id, changes, now)

    async def step_down(self, keep: UUID, now: datetime) -> list[Model]:
        """Have no other model be the default, until the transaction ends; gives which was."""
        async with self._db.transaction() as connection:
            await _take_default_turn(connection)
            return await _clear_default(connection, keep, now)

    async def delete(self, model_id: UUID) -> bool:
        """Remove a model."""
        async with self._db.single() as connection:
            done = await connection.execute(delete(models).where(_m.id == model_id))
        return done.rowcount > 0

    async def _one(self, query: Select[Any]) -> Model | None:
        async with self._db.single() as connection:
            row = (await connection.execute(query)).first()
        return _model(row) if row else None


async def _take_default_turn(connection: AsyncConnection) -> None:
    await take(connection, Lock.DEFAULT_MODEL)


async def _clear_default(connection: AsyncConnection, keep: UUID, now: datetime) -> list[Model]:
    query = (
        update(models)
        .where(_m.is_default, _m.id != keep)
        .values(is_default=False, updated_at=now)
        .returning(models)
    )
    return [_model(row) for row in await connection.execute(query)]


async def _change(
    connection: AsyncConnection, model_id: UUID, changes: Mapping[str, Any], now: datetime
) -> Model:
    query = (
        update(models)
        .where(_m.id == model_id)
        .values({name: _stored(value) for name, value in changes.items()} | {"updated_at": now})
        .returning(models)
    )
    try:
        return _model((await connection.execute(query)).one())
    except IntegrityError as error:
        driver_error = error.orig.__cause__ if error.orig else None
        if getattr(driver_error, "constraint_name", None) == _NAME_CONSTRAINT:
            raise _taken(changes["name"]) from error
        raise


def _matching(wanted: ModelFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if wanted.provider is not None:
        conditions.append(_m.provider == wanted.provider.value)
    if wanted.is_active is not None:
        conditions.append(_m.is_active.is_(wanted.is_active))
    if wanted.supports_streaming is not None:
        conditions.append(_m.supports_streaming.is_(wanted.supports_streaming))
    if wanted.names is not None:
        conditions.append(_m.name.in_(wanted.names))
    return and_(*conditions)


def _values(model: Model) -> dict[str, Any]:
    return {field.name: _stored(getattr(model, field.name)) for field in fields(model)}


def _stored(value: object) -> object:
    """A field as its column takes it."""
    if isinstance(value, Provider):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    return value


def _model(row: Row[Any]) -> Model:
    values = {field.name: getattr(row, field.name) for field in fields(Model)}
    values["provider"] = Provider(row.provider)
    values["fallbacks"] = None if row.fallbacks is None else tuple(row.fallbacks)
    return Model(**values)


def _unless_taken(row: Row[Any] | None, name: str) -> Row[Any]:
    if row is None:
        raise _taken(name)
    return row


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"A model with the name '{name}' exists already")
