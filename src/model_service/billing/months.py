"""Calendar months and days in UTC: what statements are made of, whatever zone anybody lives in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from typing_extensions import override

_WRITTEN: Final = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_MONTHS_OF_A_YEAR: Final = 12


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """One calendar month, written `2026-02`."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: date) -> "Month":
        """The month of a day, or of a moment (that of UTC, if it knows its zone)."""
        if isinstance(moment, datetime):
            moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def parse(cls, text: str) -> "Month":
        """The month written so. Raises ValueError."""
        match = _WRITTEN.fullmatch(text)
        if match is None or not 1970 <= int(match[1]) <= 9998:
            raise ValueError("must be a month such as 2026-01")
        return cls(int(match[1]), int(match[2]))

    @property
    def first_day(self) -> date:
        """Its first day."""
        return date(self.year, self.number, 1)

    @property
    def end(self) -> date:
        """The first day after it."""
        return self.following.first_day

    @property
    def ends_at(self) -> datetime:
        """The moment it is over."""
        return start_of(self.end)

    @property
    def following(self) -> "Month":
        """The next one."""
        return self.shifted(1)

    def shifted(self, months: int) -> "Month":
        """So many months later, or earlier when negative."""
        years, number = divmod(self.year * _MONTHS_OF_A_YEAR + self.number - 1 + months, 12)
        return Month(years, number + 1)

    def until(self, end: "Month") -> Iterator["Month"]:
        """The months from this one on, without `end`."""
        month = self
        while month < end:
            yield month
            month = month.following

    @override
    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"


def start_of(day: date) -> datetime:
    """The first moment of a day, in UTC."""
    return datetime.combine(day, time(), UTC)


def day_of(moment: datetime) -> date:
    """The day of a moment, in UTC."""
    return moment.astimezone(UTC).date()


def last_second_of(day: date) -> datetime:
    """The last whole second of a day, in UTC."""
    return start_of(day) + timedelta(days=1, seconds=-1)
