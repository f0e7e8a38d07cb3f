"""The format of our own price files: per model, over time, in US dollars for a million tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from model_service.kernel.types import Provider
from model_service.providers.price_schedule import Listing
from model_service.providers.pricing import Rate, Rates

#: What the file says it is.
FORMAT: Final = "model-service-prices/1"

Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=12, allow_inf_nan=False)]
"""US dollars for a million tokens: more than a dollar a token is a slip of the pen."""
Name = Annotated[str, Field(min_length=1, max_length=255)]

_TOKENS: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "output")


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=False
    )


class TokenRates(_Part):
    """Prices by class of tokens."""

    input: Dollars | None = None
    cached_input: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Annotated[Dollars | None, Field(alias="cacheWrite1h")] = None
    output: Dollars | None = None


class LongRates(TokenRates):
    """What calls cost whose prompt has more than `above` tokens, all of them."""

    above: Annotated[int, Field(ge=1, le=10**9, strict=True)]


class TierRates(TokenRates):
    """What a service tier costs: a multiple of everything, or prices of its own."""

    multiplier: Annotated[Decimal, Field(gt=0, le=100, decimal_places=6)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "TierRates":
        given = any(getattr(self, name) is not None for name in _TOKENS)
        if given == (self.multiplier is not None):
            raise ValueError("give either a multiplier or prices")
        return self


class DatedRates(TokenRates):
    """The prices from a day on, which begins at midnight UTC."""

    since: Annotated[date | None, Field(alias="from")] = None
    per_image: Annotated[Decimal, Field(ge=0, le=1000, decimal_places=12)] | None = None
    per_call: Annotated[Decimal, Field(ge=0, le=1000, decimal_places=12)] | None = None
    long_context: tuple[LongRates, ...] = ()
    tiers: Mapping[Name, TierRates] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_whole(self) -> "DatedRates":
        if all(one is None for one in (self.input, self.per_image, self.per_call)):
            raise ValueError("input, perImage or perCall is required; 0 where it is free")
        if any(one.above >= other.above for one, other in pairwise(self.long_context)):
            raise ValueError("longContext must be in rising order of above")
        for long in self.long_context:
            for name in _TOKENS:
                if getattr(long, name) is not None and getattr(self, name) is None:
                    raise ValueError(f"longContext has {to_camel(name)} that short prompts lack")
        return self


class PricedModel(_Part):
    """A model and its prices, oldest first."""

    provider: Provider
    model: Name
    starts_with: bool = False
    """Whether all models whose id starts so are meant, unless another one fits better."""
    base_url: Name | None = None
    """Of CUSTOM models: only of those that are served there."""
    prices: Annotated[tuple[DatedRates, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_in_order(self) -> "PricedModel":
        if self.base_url is not None and self.provider is not Provider.CUSTOM:
            raise ValueError("baseUrl is for the provider CUSTOM only")
        for one, other in pairwise(self.prices):
            if other.since is None or (one.since is not None and one.since >= other.since):
                raise ValueError("prices must be in rising order of from")
        return self


class HouseFile(_Part):
    """A whole file."""

    format: Literal["model-service-prices/1"]
    edition: Name
    effective_from: AwareDatetime | None = None
    models: Annotated[tuple[PricedModel, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_unambiguous(self) -> "HouseFile":
        seen: dict[object, int] = {}
        for place, one in enumerate(self.models):
            key = (one.provider, _bare(one.model), one.starts_with, one.base_url)
            if key in seen:
                raise ValueError(f"models[{place}] says the same again as models[{seen[key]}]")
            seen[key] = place
        return self


@dataclass(frozen=True, slots=True)
class HousePrices:
    """The models of such a file, as `PricedModels`."""

    exact: Mapping[tuple[Provider, str | None, str], tuple[Listing, ...]]
    beginnings: Sequence[tuple[Provider, str | None, str, tuple[Listing, ...]]]
    """Longest first: the one that fits best is found first."""

    @classmethod
    def of(cls, file: HouseFile) -> "HousePrices":
        """Those of a file that is sound."""
        exact = {}
        beginnings = []
        for one in file.models:
            where = (one.provider, one.base_url, _bare(one.model))
            if one.starts_with:
                beginnings.append((*where, _listings(one)))
            else:
                exact[where] = _listings(one)
        beginnings.sort(key=lambda found: (-len(found[2]), found[1] is None))
        return cls(exact, beginnings)

    def listings(
        self, provider: Provider, model_id: str, base_url: str | None = None
    ) -> tuple[Listing, ...]:
        """All that is said of a model. What names its base URL goes before what does not."""
        name = _bare(model_id)
        for place in (base_url, None):
            found = self.exact.get((provider, place, name))
            if found is not None:
                return found
        for owner, place, beginning, listings in self.beginnings:
            if owner is provider and place in (base_url, None) and name.startswith(beginning):
                return listings
        return ()


def _bare(model_id: str) -> str:
    return model_id.lower().removeprefix("models/")


def _listings(model: PricedModel) -> tuple[Listing, ...]:
    found = []
    starts = [_midnight(one.since) for one in model.prices]
    for one, since, until in zip(model.prices, starts, [*starts[1:], None], strict=True):
        rates = _rates(one)
        found.append(Listing(rates, since, until))
        for name, tier in one.tiers.items():
            other = rates.times(tier.multiplier) if tier.multiplier is not None else _flat(tier)
            found.append(Listing(other, since, until, tier=name))
    return tuple(found)


def _rates(one: DatedRates) -> Rates:
    def rate(name: str) -> Rate | None:
        base: Decimal | None = getattr(one, name)
        if base is None:
            return None
        steps = []
        for long in one.long_context:
            amount: Decimal | None = getattr(long, name)
            if amount is not None:
                steps.append((long.above, amount.scaleb(-6)))
        return Rate(base.scaleb(-6), tuple(steps))

    return Rates(
        input=rate("input"),
        cached_input=rate("cached_input"),
        cache_write=rate("cache_write"),
        cache_write_1h=rate("cache_write_1h"),
        output=rate("output"),
        image=one.per_image,
        call=one.per_call,
    )


def _flat(tier: TierRates) -> Rates:
    def rate(amount: Decimal | None) -> Rate | None:
        return None if amount is None else Rate(amount.scaleb(-6))

    return Rates(
        input=rate(tier.input),
        cached_input=rate(tier.cached_input),
        cache_write=rate(tier.cache_write),
        cache_write_1h=rate(tier.cache_write_1h),
        output=rate(tier.output),
    )


def _midnight(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())
