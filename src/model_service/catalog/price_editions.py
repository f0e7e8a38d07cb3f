"""Editions of the price book: the bundled one, and those brought in since.

An edition counts from its `effective_from` on, for the models that it knows; before that moment,
and for other models, the ones before it do. So what a call of the past costs stays as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from model_service.catalog.price_file import PricedModels
from model_service.catalog.prices import PriceBook
from model_service.kernel.types import Provider
from model_service.providers.price_schedule import Chapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """An edition that was brought in. `digest` is the SHA-256 of the file, in hexadecimal."""

    id: UUID
    name: str
    digest: str
    format: str
    effective_from: datetime
    imported_at: datetime
    imported_by: str
    models: int
    """How many models it prices."""


class EditionStore(Protocol):
    """Where editions are kept. None is ever changed or removed."""

    async def all(self) -> Sequence[Edition]:
        """All of them, those that count first first. Raises DatabaseUnavailable."""
        ...

    async def text(self, edition_id: UUID) -> str:
        """An edition's file. Raises DatabaseUnavailable, NotFound."""
        ...

    async def add(self, edition: Edition, text: str) -> bool:
        """Keep another one, and tell every process; False when that very file is kept already.

        Raises:
            AlreadyExists: another one has that name.
        """
        ...


@dataclass(frozen=True, slots=True)
class KnownEdition:
    """An edition with the models it prices."""

    edition: Edition
    models: PricedModels


class Editions:
    """All editions, in memory: the `model_prices.Source`."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._known: tuple[KnownEdition, ...] = ()

    @property
    def bundled(self) -> str:
        """The name of the bundled edition."""
        return self._book.version

    @property
    def known(self) -> tuple[KnownEdition, ...]:
        """Those that were brought in, in the order in which they count."""
        return self._known

    async def load_bundled(self) -> None:
        """Read the bundled one, unless it is read."""
        await self._book.load()

    def replace(self, known: Sequence[KnownEdition]) -> None:
        """From now on these."""
        self._known = tuple(known)

    def __call__(
        self, provider: Provider, model_id: str, base_url: str | None
    ) -> Sequence[Chapter]:
        """What they say of a model, oldest first."""
        chapters = []
        listings = self._book.listings(provider, model_id, base_url)
        if listings:
            chapters.append(Chapter(self._book.version, None, listings))
        for one in self._known:
            listings = one.models.listings(provider, model_id, base_url)
            if listings:
                since = int(one.edition.effective_from.timestamp())
                chapters.append(Chapter(one.edition.name, since, listings))
        return chapters
