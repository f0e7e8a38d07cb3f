"""The price book's data, read as listings. Its format is that of the package `genai-prices`."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from model_service.providers.price_schedule import Listing
from model_service.providers.pricing import Rate, Rates

if TYPE_CHECKING:
    from genai_prices.types import (
        ModelInfo,
        ModelPrice,
        StartDateConstraint,
        TieredPrices,
        TimeOfDateConstraint,
    )

#: The book's keys for what we count, in the order of `Rates`.
_OF_TOKENS: Final = (
    "input_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "output_mtok",
)
_CALLS: Final = "requests_kcount"


def listings_of(info: "ModelInfo") -> tuple[Listing, ...]:
    """All that is listed for a model; nothing when it is not priced by tokens or calls."""
    from genai_prices.types import ConditionalPrice

    listed = info.prices
    standard = listed if isinstance(listed, list) else [ConditionalPrice(prices=listed)]
    found = []
    for place, one in enumerate(standard):
        rates = _rates(one.prices)
        if rates is None:
            return ()
        # The first one holds whatever its condition says, when no other one does.
        since, hours = _condition(one.constraint if place else None)
        found.append(Listing(rates, since, hours=hours))
    for variant in info.price_variants or ():
        tier = _tier(variant.when)
        rates = _rates(variant.prices) if tier is not None else None
        if rates is not None and rates != Rates():
            since, hours = _condition(variant.constraint)
            found.append(Listing(rates, since, hours=hours, tier=tier))
    return tuple(found)


def _tier(when: Mapping[str, str]) -> str | None:
    """The service tier that a condition on calls names, if that is all it asks."""
    if len(when) != 1:
        return None
    if "service_tier" in when:
        return when["service_tier"]
    if when.get("processing") == "batch":
        return "batch"
    return "fast" if when.get("speed") == "fast" else None


def _rates(prices: "ModelPrice") -> Rates | None:
    """None when what is priced is neither tokens nor calls, as audio by the hour."""
    given = {key for key, value in vars(prices).items() if value is not None}
    known = given & {*_OF_TOKENS, _CALLS}
    if given and not known:
        return None
    per_call = getattr(prices, _CALLS)
    into, cached, written, written_1h, out = (_rate(getattr(prices, key)) for key in _OF_TOKENS)
    # What is listed without any price costs nothing.
    return Rates(
        input=into,
        cached_input=cached,
        cache_write=written,
        cache_write_1h=written_1h,
        output=out,
        call=None if per_call is None else Decimal(per_call).scaleb(-3),
    )


def _rate(price: "Decimal | TieredPrices | None") -> Rate | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return Rate(price.scaleb(-6))
    tiers = sorted(price.tiers, key=lambda tier: tier.start)
    return Rate(price.base.scaleb(-6), tuple((tier.start, tier.price.scaleb(-6)) for tier in tiers))


def _condition(
    constraint: "StartDateConstraint | TimeOfDateConstraint | None",
) -> tuple[int | None, tuple[int, int] | None]:
    if constraint is None:
        return None, None
    start = getattr(constraint, "start_date", None)
    if start is not None:
        return int(datetime.combine(start, time(), UTC).timestamp()), None
    return None, (_second(constraint.start_time), _second(constraint.end_time))  # type: ignore[union-attr]


def _second(at: time) -> int:
    """The second of the day, in UTC. Without a zone it is UTC."""
    zone = at.utcoffset()
    second = at.hour * 3600 + at.minute * 60 + at.second
    return second if zone is None else (second - int(zone.total_seconds())) % 86_400
