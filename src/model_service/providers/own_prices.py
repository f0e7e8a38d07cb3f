"""A model's own prices: what its registration says, laid over what the book says.

What is set counts, in every service tier and however long the prompt is. What is not set:

- input and output cost what they cost in the book;
- cached input and cache writes keep, where the input has its own price, the proportion to it
  that they have in the book: whoever gets a discount gets it on all of them. Without such a
  proportion they cost as much as input: nobody is known to give a rebate on them;
- writes for an hour keep their proportion to those for five minutes.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from model_service.providers.pricing import Rate, Rates, share

#: What Anthropic asks for input read from the cache, written to it for 5 minutes and for an
#: hour, in terms of the price of input
#: (https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing).
ANTHROPIC_MULTIPLES: Final = Rates(
    input=Rate(Decimal(1)),
    cached_input=Rate(Decimal("0.1")),
    cache_write=Rate(Decimal("1.25")),
    cache_write_1h=Rate(Decimal(2)),
)


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """US dollars for one token; None: not set. An `Overlay`.

    `version` names them; `multiples` are the proportions of a vendor whose models all have the
    same, for where the book does not know the model.
    """

    version: str
    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None
    multiples: Rates | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any."""
        return (self.input, self.cached_input, self.cache_write, self.output) != (None,) * 4

    def __call__(self, version: str, rates: Rates | None) -> tuple[str, Rates]:
        """These over the book's (None: it knows nothing), and the version of the outcome."""
        book = rates or self.multiples or Rates()
        listed = rates or Rates()
        outcome = Rates(
            input=_own(self.input) or listed.input,
            cached_input=_own(self.cached_input) or self._like_input(book, "cached_input"),
            cache_write=_own(self.cache_write) or self._like_input(book, "cache_write"),
            cache_write_1h=self._for_an_hour(book),
            output=_own(self.output) or listed.output,
            image=listed.image,
            call=listed.call,
        )
        is_mixed = rates is not None and self._is_filled_up_from(rates)
        return (f"{self.version}+{version}" if is_mixed else self.version), outcome

    def _is_filled_up_from(self, listed: Rates) -> bool:
        """Whether any rate comes from the book's, as it is or in proportion."""
        pairs = (
            (self.input, listed.input),
            (self.cached_input, listed.cached_input),
            (self.cache_write, listed.cache_write),
            (None, listed.cache_write_1h),
            (self.output, listed.output),
        )
        return any(own is None and rate is not None for own, rate in pairs)

    def _like_input(self, book: Rates, name: str) -> Rate | None:
        listed: Rate | None = getattr(book, name)
        if self.input is None or listed is None:
            return listed if book is not self.multiples else None
        if book.input is None or not book.input.base:
            return None
        return Rate(share(self.input, listed.base, book.input.base))

    def _for_an_hour(self, book: Rates) -> Rate | None:
        if self.cache_write is None:
            return self._like_input(book, "cache_write_1h")
        hour, short = book.cache_write_1h, book.cache_write
        if hour is None or short is None or not short.base:
            return None
        return Rate(share(self.cache_write, hour.base, short.base))


def _own(amount: Decimal | None) -> Rate | None:
    return None if amount is None else Rate(amount)
