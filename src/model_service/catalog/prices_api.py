"""The routes of prices: what models cost, and which edition of the book says so."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from model_service.catalog.price_editions import Edition
from model_service.catalog.price_service import AppliedPrice, PriceService
from model_service.http.auth import Access, AskedBy, GuardedRoute, declare
from model_service.http.problem import documented
from model_service.http.wire import (
    Moment,
    MomentIn,
    Money,
    NoQuery,
    RequestModel,
    ResponseModel,
    Text255,
)
from model_service.kernel.types import Clock, Provider
from model_service.providers.pricing import Price, Rate, Rates


class PriceQuery(RequestModel):
    """Which prices, and at which moment (now, when it is not given)."""

    provider: Provider | None = None
    model: Text255 | None = None
    at: MomentIn | None = None


class RatesView(ResponseModel):
    """US dollars for a million tokens of each class; null where the class has no own price."""

    input: Money | None
    cached_input: Money | None
    cache_write: Money | None
    cache_write_1h: Annotated[Money | None, Field(alias="cacheWrite1h")]
    output: Money | None
    per_image: Money | None
    per_call: Money | None

    @classmethod
    def of(cls, rates: Rates) -> "RatesView":
        """Of calls with a short prompt."""
        return cls(
            input=_million(rates.input),
            cached_input=_million(rates.cached_input),
            cache_write=_million(rates.cache_write),
            cache_write_1h=_million(rates.cache_write_1h),
            output=_million(rates.output),
            per_image=rates.image,
            per_call=rates.call,
        )


class LongView(RatesView):
    """What calls cost whose prompt has more than `above` tokens."""

    above: int


class TierView(ResponseModel):
    """What a service tier costs."""

    version: str
    rates: RatesView


class PriceView(ResponseModel):
    """What a model costs; `version` names where that is from, null: it is unpriced."""

    provider: Provider
    model_id: str
    model: str | None
    version: str | None
    rates: RatesView | None
    long_context: list[LongView]
    tiers: dict[str, TierView]

    @classmethod
    def of(cls, applied: AppliedPrice) -> "PriceView":
        """For the API."""
        price = applied.price
        return cls(
            provider=applied.provider,
            model_id=applied.model_id,
            model=applied.name,
            version=None if price is None else price.version,
            rates=None if price is None else RatesView.of(price.rates),
            long_context=[] if price is None else _long(price),
            tiers={}
            if price is None
            else {
                name: TierView(version=tier.version, rates=RatesView.of(tier.rates))
                for name, tier in sorted(price.tiers.items())
            },
        )


class PriceList(ResponseModel):
    """Prices."""

    data: list[PriceView]


class EditionView(ResponseModel):
    """An edition of the price book that was brought in."""

    id: UUID
    name: str
    digest: str
    format: str
    effective_from: Moment
    imported_at: Moment
    imported_by: str
    models: int

    @classmethod
    def of(cls, edition: Edition) -> "EditionView":
        """For the API."""
        return cls.model_validate(edition, from_attributes=True)


class EditionList(ResponseModel):
    """The bundled edition, which counts where no other one does, and those brought in."""

    bundled: str
    data: list[EditionView]


def router(prices: PriceService, clock: Clock) -> APIRouter:
    """The routes under `/api/prices`."""
    routes = APIRouter(prefix="/api/prices", tags=["Prices"], route_class=GuardedRoute)

    @routes.get(
        "",
        summary="What models cost, and by which edition of the price book",
        description="`model` is a registered name or a provider's own id. Where no model is"
        " registered so, and `provider` is given, the answer is what the editions say of it.",
        responses=documented(400, 401, 403, 404, 503),
        openapi_extra=declare(Access.USER),
    )
    async def list_prices(query: Annotated[PriceQuery, Query()], asker: AskedBy) -> PriceList:
        found = await prices.applied(
            query.at or clock.now(), query.provider, query.model, asker.scopes.models
        )
        return PriceList(data=[PriceView.of(one) for one in found])

    @routes.get(
        "/editions",
        summary="The editions of the price book, in the order in which they begin to count",
        responses=documented(400, 401, 403, 503),
        openapi_extra=declare(Access.ADMINISTRATOR),
    )
    async def list_editions(_: Annotated[NoQuery, Query()]) -> EditionList:
        found = await prices.editions()
        return EditionList(bundled=prices.bundled, data=[EditionView.of(one) for one in found])

    return routes


def _long(price: Price) -> list[LongView]:
    views = []
    for above in price.rates.steps:
        view = RatesView.of(price.rates.for_prompt(above + 1))
        views.append(LongView(above=above, **view.model_dump()))
    return views


def _million(rate: Rate | None) -> Decimal | None:
    return None if rate is None else rate.base.scaleb(6).normalize()
