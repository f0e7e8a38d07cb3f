"""A period of time in the largest pieces that sums are kept for, and the rest in single events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum


class Grain(StrEnum):
    """What a piece is summed from."""

    EVENT = "event"
    HOURLY = "hourly"
    DAILY = "daily"

    @property
    def unit(self) -> timedelta:
        """How long each of its sums is."""
        return timedelta(days=1) if self is Grain.DAILY else timedelta(hours=1)

    def floor(self, moment: datetime) -> datetime:
        """The beginning of the hour or day of UTC that the moment is in."""
        hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return hour.replace(hour=0) if self is Grain.DAILY else hour


@dataclass(frozen=True, slots=True)
class Piece:
    """From `since` on and before `until`; None is without end."""

    grain: Grain
    since: datetime | None
    until: datetime | None


def pieces(since: datetime | None, until: datetime | None, grains: Sequence[Grain]) -> list[Piece]:
    """The period in pieces that do not overlap, leave nothing out and are in order.

    `grains` are those that there are sums of, the largest first; each piece of them begins and
    ends with a whole one. What is left over is of single events.
    """
    return list(_cut(since, until, grains))


def _cut(
    since: datetime | None, until: datetime | None, grains: Sequence[Grain]
) -> Iterator[Piece]:
    if since is not None and until is not None and since >= until:
        return
    if not grains:
        yield Piece(Grain.EVENT, since, until)
        return
    grain, *finer = grains
    first = end = None
    if since is not None:
        below = grain.floor(since)
        first = below if below == since else below + grain.unit
    if until is not None:
        end = grain.floor(until)
    if first is not None and end is not None and first >= end:
        yield from _cut(since, until, finer)
        return
    if first is not None:
        yield from _cut(since, first, finer)
    yield Piece(grain, first, end)
    if end is not None:
        yield from _cut(end, until, finer)
