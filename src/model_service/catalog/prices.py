"""The bundled price book: context windows and list prices that need no network.

The data is the package `genai-prices`. Loading it takes some 110 ms and 7 MB, so it
is read when first needed, in a thread.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from model_service.catalog.capabilities import capabilities_of
from model_service.catalog.domain import ModelFacts
from model_service.catalog.genai_listings import listings_of
from model_service.kernel.types import Provider
from model_service.providers.price_schedule import Listing

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo
    from genai_prices.types import Provider as Vendor

#: The book's names of our providers. OLLAMA's models cost nothing and are not in it.
_VENDORS = {
    Provider.OPENAI: "openai",
    Provider.ANTHROPIC: "anthropic",
    Provider.GOOGLE: "google",
    Provider.AZURE: "azure",
}


class PriceBook:
    """Looks models up in the bundled data. Await `load` before anything else."""

    def __init__(self, names: Mapping[str, str] = MappingProxyType({})) -> None:
        """`names` are the book's for vendors by their base URLs, where it may know others."""
        self._names = names
        self._vendors: list[Vendor] = []
        self._version = ""

    @classmethod
    def of(cls, vendors: "Sequence[Vendor]", version: str, names: Mapping[str, str]) -> "PriceBook":
        """A book of other data."""
        book = cls(names)
        book._vendors, book._version = list(vendors), version
        return book

    async def load(self) -> None:
        """Read the book, unless it is read."""
        if not self._vendors:
            await asyncio.to_thread(self._read)

    @property
    def version(self) -> str:
        """Which edition of the book this is."""
        return self._version

    def facts(self, provider: Provider, model_id: str, base_url: str | None = None) -> ModelFacts:
        """The context window and the capabilities of a model, as far as known."""
        vendor = self._vendor(provider, base_url)
        if vendor is None:
            return ModelFacts()
        info = self._find(vendor, model_id)
        return ModelFacts(
            context_window=info.context_window if info else None,
            capabilities=(
                capabilities_of(_bare(model_id)) if vendor.id in _VENDORS.values() else None
            ),
        )

    def listings(
        self, provider: Provider, model_id: str, base_url: str | None = None
    ) -> tuple[Listing, ...]:
        """All that the book says of a model's prices, over time; nothing if it knows none.

        Reads the book here and now when nobody did before.
        """
        if not self._vendors:
            self._read()
        vendor = self._vendor(provider, base_url)
        info = self._find(vendor, model_id) if vendor else None
        return listings_of(info) if info else ()

    def _read(self) -> None:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot

        self._version = f"genai-prices {genai_prices.__version__}"
        self._vendors = get_snapshot().providers

    def _vendor(self, provider: Provider, base_url: str | None) -> "Vendor | None":
        name = _VENDORS.get(provider)
        if provider is Provider.CUSTOM and base_url is not None:
            name = self._names.get(base_url)
            if name is None:
                return next((v for v in self._vendors if re.match(v.api_pattern, base_url)), None)
        return next((v for v in self._vendors if v.id == name), None)

    def _find(self, vendor: "Vendor", model_id: str) -> "ModelInfo | None":
        # Not through the package's own look-up: that one remembers every name it was asked for.
        return vendor.find_model(_bare(model_id), all_providers=self._vendors)


def _bare(model_id: str) -> str:
    """The name without Google's collection prefix."""
    return model_id.lower().removeprefix("models/")
