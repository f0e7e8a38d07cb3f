"""A period of time in the largest pieces that sums are kept for, and the rest in single events."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


class Grain(StrEnum):
    """What a piece is summed from."""

    EVENT = "event"
    HOURLY = "hourly"
    DAILY = "daily"


@dataclass(frozen=True, slots=True)
class Piece:
    """From `since` on and before `until`; None is without end."""

    grain: Grain
    since: datetime | None
    until: datetime | None


def pieces(since: datetime | None, until: datetime | None, largest: Grain) -> list[Piece]:
    """The period in pieces that do not overlap and leave nothing out.

    Days and hours are those of UTC; `largest` is the coarsest grain to use. Every bound of a
    piece of hours or days is a whole one.
    """
    if since is not None and until is not None and since >= until:
        return []
    return [
        piece
        for piece in _pieces(since, until, largest)
        if piece.since is None or piece.until is None or piece.since < piece.until
    ]


def _pieces(since: datetime | None, until: datetime | None, largest: Grain) -> Iterator[Piece]:
    first_hour, end_hour = _ceiling(since, _HOUR), _floor(until, _HOUR)
    if first_hour is not None and end_hour is not None and first_hour >= end_hour:
        yield Piece(Grain.EVENT, since, until)
        return
    if since is not None:
        yield Piece(Grain.EVENT, since, first_hour)
    first_day, end_day = _ceiling(first_hour, _DAY), _floor(end_hour, _DAY)
    no_day = first_day is not None and end_day is not None and first_day >= end_day
    if largest is Grain.HOURLY or no_day:
        yield Piece(Grain.HOURLY, first_hour, end_hour)
    else:
        if first_hour is not None:
            yield Piece(Grain.HOURLY, first_hour, first_day)
        yield Piece(Grain.DAILY, first_day, end_day)
        if end_hour is not None:
            yield Piece(Grain.HOURLY, end_day, end_hour)
    if until is not None:
        yield Piece(Grain.EVENT, end_hour, until)


def floor_hour(moment: datetime) -> datetime:
    """The beginning of its hour."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _floor(moment: datetime | None, unit: timedelta) -> datetime | None:
    if moment is None:
        return None
    hour = floor_hour(moment)
    return hour if unit is _HOUR else hour.replace(hour=0)


def _ceiling(moment: datetime | None, unit: timedelta) -> datetime | None:
    below = _floor(moment, unit)
    return below if below is None or below == moment else below + unit
