"""Editions of the price book in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, or_, select
from sqlalchemy.dialects.postgresql import insert

from model_service.catalog.price_editions import Edition
from model_service.db.notices import notify
from model_service.db.tables import price_editions
from model_service.db.uow import Database
from model_service.kernel.errors import AlreadyExists, NotFound

#: The topic of the change notices, whose subjects are editions' ids.
PRICES_TOPIC: Final = "prices"

_e = price_editions.c
_FIELDS: Final = tuple(field.name for field in fields(Edition))
_COLUMNS: Final = tuple(_e[name] for name in _FIELDS)


class SqlEditionStore:
    """`EditionStore` on the table `price_editions`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def all(self) -> Sequence[Edition]:
        """All of them. Of two that begin at one moment the one brought in later counts."""
        query = select(*_COLUMNS).order_by(_e.effective_from, _e.imported_at, _e.id)
        async with self._db.single() as connection:
            return [_edition(row) for row in await connection.execute(query)]

    async def text(self, edition_id: UUID) -> str:
        """An edition's file."""
        async with self._db.single() as connection:
            text = await connection.scalar(select(_e.text).where(_e.id == edition_id))
        if text is None:
            raise NotFound("No such edition of the price book")
        return str(text)

    async def add(self, edition: Edition, text: str) -> bool:
        """Keep another one, and tell every process; False when that very file is kept already."""
        values: dict[str, Any] = {name: getattr(edition, name) for name in _FIELDS}
        query = insert(price_editions).values(**values, text=text).on_conflict_do_nothing()
        async with self._db.transaction() as connection:
            if await connection.scalar(query.returning(_e.id)) is not None:
                await notify(connection, PRICES_TOPIC, str(edition.id))
                return True
            taken = select(_e.digest).where(
                or_(_e.name == edition.name, _e.digest == edition.digest)
            )
            found = set(await connection.scalars(taken))
        if edition.digest in found:
            return False
        raise AlreadyExists(f"An edition '{edition.name}' with other prices exists")


def _edition(row: Row[Any]) -> Edition:
    return Edition(**{name: getattr(row, name) for name in _FIELDS})
