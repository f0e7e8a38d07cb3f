"""What tokens cost: rates by class of tokens, and the cost of a call. Pure, and exact.

Rates are whole multiples of 10^-18 US dollars for a token, which is finer than any price that
is published; what is finer still is rounded to that, half up, and nothing else ever is. A cost
is exact as long as it has at most 28 digits.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from model_service.providers.chat import Usage

#: Decimal places of a rate.
PLACES: Final = 18
_FINEST: Final = Decimal(1).scaleb(-PLACES)
_ROOM: Final = Context(prec=60, rounding=ROUND_HALF_UP)
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars for one token of a class.

    `above` are the rates of calls whose whole prompt has more than so many tokens, in rising
    order. Such a rate is for all tokens of the call, not only for those beyond.
    """

    base: Decimal
    above: tuple[tuple[int, Decimal], ...] = ()

    def at(self, prompt: int) -> Decimal:
        """The rate of a call with a prompt of that many tokens."""
        found = self.base
        for start, rate in self.above:
            if prompt > start:
                found = rate
        return found

    def times(self, factor: Decimal) -> "Rate":
        """The rate multiplied."""
        return Rate(
            to_places(_ROOM.multiply(self.base, factor)),
            tuple((n, to_places(_ROOM.multiply(rate, factor))) for n, rate in self.above),
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """What a provider asks, by class of tokens; None: no price of its own.

    What has none costs as much as what it is a kind of: tokens read from a cache or written
    to it are input, those written for an hour are written. Output without a price is free, as
    that of embeddings. `image` and `call` are US dollars for one.
    """

    input: Rate | None = None
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    output: Rate | None = None
    image: Decimal | None = None
    call: Decimal | None = None

    def under(self, other: "Rates") -> "Rates":
        """These, but where the other has a rate that one."""
        given = ((field.name, getattr(other, field.name)) for field in fields(Rates))
        return replace(self, **{name: rate for name, rate in given if rate is not None})

    def times(self, factor: Decimal) -> "Rates":
        """All of them multiplied."""

        def multiplied(one: Rate | Decimal) -> Rate | Decimal:
            return one.times(factor) if isinstance(one, Rate) else to_places(one * factor)

        return self._each(multiplied)

    def for_prompt(self, length: int) -> "Rates":
        """The rates of calls with a prompt of that many tokens, whatever those of others are."""
        return self._each(lambda one: Rate(one.at(length)) if isinstance(one, Rate) else one)

    @property
    def steps(self) -> tuple[int, ...]:
        """Lengths of the prompt above which something has another rate, rising."""
        rates = (getattr(self, field.name) for field in fields(Rates))
        lengths = (rate.above for rate in rates if isinstance(rate, Rate))
        return tuple(sorted({start for above in lengths for start, _ in above}))

    def _each(self, change: Callable[[Rate | Decimal], Rate | Decimal]) -> "Rates":
        given = ((field.name, getattr(self, field.name)) for field in fields(Rates))
        changed: dict[str, Any] = {name: change(one) for name, one in given if one is not None}
        return Rates(**changed)


class Price:
    """What a model costs at a moment and in one service tier. Immutable."""

    __slots__ = (
        "_cached_input",
        "_call",
        "_dearest",
        "_extras",
        "_image",
        "_input",
        "_output",
        "_scale",
        "_steps",
        "_write",
        "_write_1h",
        "input_rate",
        "rates",
        "tiers",
        "version",
    )

    def __init__(self, version: str, rates: Rates, tiers: "dict[str, Price] | None" = None) -> None:
        """`version` says where the rates are from; `tiers` are the prices of other tiers."""
        self.version = version
        self.rates = rates
        self.tiers = tiers or {}
        self._steps = tuple(
            (start, Price(version, rates.for_prompt(start + 1))) for start in reversed(rates.steps)
        )
        into = _NOTHING if rates.input is None else rates.input.base
        write = into if rates.cache_write is None else rates.cache_write.base
        amounts = [
            to_places(amount)
            for amount in (
                into,
                into if rates.cached_input is None else rates.cached_input.base,
                write,
                write if rates.cache_write_1h is None else rates.cache_write_1h.base,
                _NOTHING if rates.output is None else rates.output.base,
                rates.image or _NOTHING,
                rates.call or _NOTHING,
            )
        ]
        # Integers are multiplied and added twice as fast as Decimals.
        places = max(-_exponent(amount) for amount in amounts)
        self._scale = Decimal(1).scaleb(-places)
        (
            self._input,
            self._cached_input,
            self._write,
            self._write_1h,
            self._output,
            self._image,
            self._call,
        ) = (int(amount.scaleb(places, _ROOM)) for amount in amounts)
        self.input_rate = str(amounts[0])
        """US dollars for one token of input, as text: of a prompt that is not long."""
        self._extras = bool(self._image or self._call)
        self._dearest = max(self._input, self._cached_input, self._write, self._write_1h)

    def cost(self, usage: Usage, images: int = 0) -> Decimal:
        """US dollars for a call. Reasoning is part of the output, and costs as much."""
        if self._steps:
            prompt = usage.input + usage.cached_input + usage.cache_write + usage.cache_write_1h
            for start, price in self._steps:
                if prompt > start:
                    return price.cost(usage, images)
        units = usage.input * self._input + usage.output * self._output
        if usage.cached_input:
            units += usage.cached_input * self._cached_input
        if usage.cache_write:
            units += usage.cache_write * self._write
        if usage.cache_write_1h:
            units += usage.cache_write_1h * self._write_1h
        if self._extras:
            units += images * self._image + self._call
        return units * self._scale

    def ceiling(self, prompt: int, output: int) -> Decimal:
        """The most US dollars that a call can cost with a prompt and an output of that length.

        That is when all of the prompt is written to a cache, where that costs more than reading.
        Images that are paid for by number come on top.
        """
        for start, price in self._steps:
            if prompt > start:
                return price.ceiling(prompt, output)
        return (prompt * self._dearest + output * self._output + self._call) * self._scale

    def of_sums(self, usage: Usage, calls: int) -> Decimal:
        """US dollars for so many calls that used that much together.

        Who sums up cannot tell how long the prompts were: the rates are those of short ones.
        """
        units = (
            usage.input * self._input
            + usage.cached_input * self._cached_input
            + usage.cache_write * self._write
            + usage.cache_write_1h * self._write_1h
            + usage.output * self._output
            + calls * self._call
        )
        return units * self._scale

    def in_tier(self, tier: str | None) -> "Price":
        """The price in a service tier, as `flex`, `priority` or `batch`.

        This one where the provider asks nothing else there, or the tier is not known.
        """
        return self if tier is None else self.tiers.get(tier, self)


def to_places(amount: Decimal) -> Decimal:
    """A rate as finely as rates are kept."""
    return amount.quantize(_FINEST, context=_ROOM) if _exponent(amount) < -PLACES else amount


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """As much of an amount as a part is of a whole, which is not zero."""
    return to_places(_ROOM.divide(_ROOM.multiply(amount, part), whole))


def _exponent(amount: Decimal) -> int:
    exponent = amount.normalize(_ROOM).as_tuple().exponent
    return min(exponent, 0) if isinstance(exponent, int) else 0
