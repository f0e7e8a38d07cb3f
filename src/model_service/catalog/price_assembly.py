"""The parts of the price book, put together; `app` gives what they stand on."""

from collections.abc import Mapping
from dataclasses import dataclass

from model_service.catalog.domain import NO_PRESETS, ModelStore, Presets
from model_service.catalog.model_prices import Prices
from model_service.catalog.price_editions import Editions
from model_service.catalog.price_service import PriceService
from model_service.catalog.price_store import PRICES_TOPIC, SqlEditionStore
from model_service.catalog.prices import PriceBook
from model_service.db.notices import Notices
from model_service.db.uow import Database
from model_service.kernel.audit import AuditTrail
from model_service.kernel.types import Clock


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices of models in memory, and the use cases of the book's editions.

    `service.load()` is to be awaited before the first price is asked for.
    """

    prices: Prices
    service: PriceService

    @classmethod
    def build(
        cls,
        database: Database,
        notices: Notices,
        models: ModelStore,
        book: PriceBook,
        trail: AuditTrail,
        clock: Clock,
        *,
        names: Mapping[str, str],
        presets: Presets = NO_PRESETS,
    ) -> "Pricing":
        """Everything, on one database; hears by itself of editions that others bring in.

        `names` are the price book's for vendors by their base URLs, `presets` those URLs by the
        names that models know the vendors by.
        """
        editions = Editions(book)
        prices = Prices(editions, presets)
        service = PriceService(
            database, SqlEditionStore(database), models, editions, prices, trail, clock, names
        )
        notices.subscribe(PRICES_TOPIC, service.on_change)
        return cls(prices, service)
