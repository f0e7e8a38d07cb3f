"""What a model costs over time: editions of the price book after one another, dates, hours.

All time is UTC, in seconds since 1970; a day has 86,400 of them.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from model_service.providers.pricing import Price, Rates

#: Seconds of a day. Time since 1970 knows no leap seconds, and UTC no other hours in summer.
DAY: Final = 86_400

Overlay = Callable[[str, Rates | None], tuple[str, Rates]]
"""Lays a model's own rates over those of the book: given and returned with their version."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Rates that hold from a moment on (None: ever since), until another or for good.

    They may hold at some hours only: `hours` are the seconds of the day from and before which;
    over midnight when the first is the greater. With a `tier`, they are what differs in that
    service tier.
    """

    rates: Rates
    since: int | None = None
    until: int | None = None
    hours: tuple[int, int] | None = None
    tier: str | None = None

    def holds(self, moment: float) -> bool:
        """Whether it holds at a moment."""
        if self.since is not None and moment < self.since:
            return False
        if self.until is not None and moment >= self.until:
            return False
        if self.hours is None:
            return True
        start, end = self.hours
        second = moment % DAY
        return start <= second < end if start <= end else not end <= second < start


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one edition says of a model. Of listings that hold together, the last one counts.

    The edition is in force from `since` (None: ever since) until another one that knows the
    model is.
    """

    edition: str
    since: int | None
    listings: tuple[Listing, ...]

    def price_at(self, moment: float, overlay: Overlay | None) -> Price | None:
        """The price at a moment; None when nothing holds yet."""
        holding = [one for one in self.listings if one.holds(moment)]
        standard = next((one for one in reversed(holding) if one.tier is None), None)
        if standard is None:
            return None
        variants: dict[str, tuple[Listing, Rates]] = {}
        # Of variants of a tier that hold together, the first one that has a rate counts.
        for one in reversed(holding):
            if one.tier is not None:
                _, later = variants.get(one.tier, (one, Rates()))
                variants[one.tier] = one, later.under(one.rates)
        tiers = {
            tier: _laid(
                overlay, f"{self._version(standard, one)}#{tier}", standard.rates.under(rates)
            )
            for tier, (one, rates) in variants.items()
        }
        return _laid(overlay, self._version(standard), standard.rates, tiers)

    def _version(self, *listings: Listing) -> str:
        starts = [one.since for one in listings if one.since is not None]
        if self.since is not None:
            starts.append(self.since)
        version = self.edition
        if starts:
            version += f"@{_written(max(starts))}"
        hours = next((one.hours for one in listings if one.hours is not None), None)
        return version if hours is None else f"{version}[{_clock(hours[0])}-{_clock(hours[1])}]"


@dataclass(slots=True, eq=False, weakref_slot=True)
class Schedule:
    """A model's prices over time.

    `find` gives the chapters, oldest first, when a price is first asked for: ten thousand models
    are registered faster than looked up. After `forget` they are looked up again.
    """

    find: Callable[[], Sequence[Chapter]]
    overlay: Overlay | None = None
    _chapters: Sequence[Chapter] | None = None
    _price: Price | None = None
    # Between these moments the price is the one above.
    _since: float = field(default=math.inf)
    _until: float = field(default=-math.inf)

    def at(self, moment: float, tier: str | None = None) -> Price | None:
        """The price at a moment, in a service tier; None: nobody knows it."""
        if not self._since <= moment < self._until:
            self._turn_to(moment)
        price = self._price
        return price if tier is None or price is None else price.in_tier(tier)

    def forget(self) -> None:
        """The book was changed: look everything up again."""
        self._chapters = None
        self._since, self._until = math.inf, -math.inf

    def _turn_to(self, moment: float) -> None:
        if self._chapters is None:
            self._chapters = tuple(self.find())
        self._price = self._price_at(moment)
        edges = self._edges(moment)
        place = bisect_right(edges, moment)
        self._since = edges[place - 1] if place else -math.inf
        self._until = edges[place] if place < len(edges) else math.inf

    def _price_at(self, moment: float) -> Price | None:
        for chapter in reversed(self._chapters or ()):
            if chapter.since is None or moment >= chapter.since:
                price = chapter.price_at(moment, self.overlay)
                if price is not None:
                    return price
        return None if self.overlay is None else _laid(self.overlay, "", None)

    def _edges(self, moment: float) -> list[float]:
        """Moments at which the price may change, at least those next to the one given."""
        edges: set[float] = set()
        today = moment - moment % DAY
        for chapter in self._chapters or ():
            if chapter.since is not None:
                edges.add(chapter.since)
            for listing in chapter.listings:
                edges.update(at for at in (listing.since, listing.until) if at is not None)
                for second in listing.hours or ():
                    edges.update(today + day * DAY + second for day in (-1, 0, 1))
        return sorted(edges)


def _laid(
    overlay: Overlay | None,
    version: str,
    rates: Rates | None,
    tiers: dict[str, Price] | None = None,
) -> Price:
    if overlay is not None:
        version, rates = overlay(version, rates)
    return Price(version, rates or Rates(), tiers)


def _written(moment: int) -> str:
    written = datetime.fromtimestamp(moment, UTC)
    if moment % DAY:
        return written.strftime("%Y-%m-%dT%H:%M:%SZ")
    return written.strftime("%Y-%m-%d")


def _clock(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}"
