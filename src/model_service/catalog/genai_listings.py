"""The price book's data, read as listings. Its format is that of the package `genai-prices`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from model_service.kernel.errors import FieldFault, InvalidInput
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
    from genai_prices.types import Provider as Vendor

#: The book's keys for what we count, in the order of `Rates`.
_OF_TOKENS: Final = (
    "input_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_1h_mtok",
    "output_mtok",
)
_CALLS: Final = "requests_kcount"
# Faults that are told at once.
_MOST_FAULTS: Final = 20


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


def read_vendors(document: Any) -> "list[Vendor]":  # noqa: ANN401 - JSON from outside
    """The vendors in the package's data format, every price in it checked.

    Raises:
        InvalidInput: it is not in that format; says where.
    """
    # What the package's own updater reads its data with. It is not public, but the package is
    # locked, and a test reads a file through it.
    from genai_prices.types import _providers_from_raw

    try:
        vendors = _providers_from_raw(document)
    except (ValidationError, TypeError, ValueError, AttributeError):
        raise InvalidInput(errors=_search(document, _providers_from_raw)) from None
    if not any(vendor.models for vendor in vendors):
        raise InvalidInput(errors=[FieldFault("file", "prices no models")])
    faults = [
        FieldFault(f"{vendor.id}/{info.id}", "prices must be finite and not below 0")
        for vendor in vendors
        for info in vendor.models
        if not all(_is_sound(listing.rates) for listing in listings_of(info))
    ]
    if faults:
        raise InvalidInput(errors=faults[:_MOST_FAULTS])
    return vendors


def _search(
    document: Any,  # noqa: ANN401 - JSON from outside
    read: Callable[[Any], object],
) -> list[FieldFault]:
    """Where the data is wrong, told model by model: the package does not say itself."""
    faults: list[FieldFault] = []
    for place, vendor in enumerate(document):
        models = vendor.get("models") if isinstance(vendor, dict) else None
        parts = models if isinstance(models, list) and models else [None]
        for number, model in enumerate(parts):
            if len(faults) >= _MOST_FAULTS:
                return faults
            name = f"[{place}]" if model is None else f"[{place}].models[{number}]"
            try:
                read([vendor if model is None else {**vendor, "models": [model]}])
            except ValidationError as error:
                fault = error.errors(include_input=False, include_url=False)[0]
                what = [str(part) for part in fault["loc"] if isinstance(part, str)]
                faults.append(FieldFault(".".join((name, *what)), fault["msg"]))
            except (TypeError, ValueError, AttributeError):
                faults.append(FieldFault(name, "is not in the format of genai-prices"))
    return faults or [FieldFault("file", "is not in the format of genai-prices")]


def _is_sound(rates: Rates) -> bool:
    amounts = [amount for amount in (rates.image, rates.call) if amount is not None]
    for name in ("input", "cached_input", "cache_write", "cache_write_1h", "output"):
        rate: Rate | None = getattr(rates, name)
        if rate is not None:
            amounts += [rate.base, *(amount for _, amount in rate.above)]
    return all(amount.is_finite() and amount >= 0 for amount in amounts)
