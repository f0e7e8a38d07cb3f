"""Our usage against a provider's own: per day, key and model, as far as its export tells them.

Days are those of UTC on both sides. A call counts on the day it began here, with the provider
perhaps on the day it ended, so that calls at midnight drift by themselves.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from model_service.providers.chat import Usage
from model_service.usage.domain import Dimension, Sums, UsageFilter, UsageReader
from model_service.usage.provider_exports import Line, ProviderExport
from model_service.usage.what_if import usage_of

#: The classes of tokens that providers tell apart: none tells reasoning.
CLASSES: Final = ("input", "cached_input", "cache_write", "cache_write_1h", "output")
#: Snapshots are named after their day: gpt-4o-2024-08-06, claude-sonnet-4-5-20250929, gpt-4-0613.
_SNAPSHOT: Final = re.compile(r"-(20\d{2}-?\d{2}-?\d{2}|\d{4}|latest)$")


@dataclass(slots=True)
class Tally:
    """What one side says. `requests` None: it does not say."""

    requests: int | None = None
    usage: Usage = field(default_factory=Usage)
    cost: Decimal = Decimal()

    def add(self, requests: int | None, usage: Usage | None, cost: Decimal | None) -> None:
        """Count more."""
        if requests is not None:
            self.requests = requests + (self.requests or 0)
        if usage is not None:
            for name in CLASSES:
                setattr(self.usage, name, getattr(self.usage, name) + getattr(usage, name))
        if cost is not None:
            self.cost += cost


@dataclass(frozen=True, slots=True)
class Place:
    """What a row is about; None where the export does not tell it apart.

    `key` is our key's id where the provider's is known to be that, else what the provider calls
    it.
    """

    day: date
    key: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """Both sides of one place. None: that side knows nothing of it."""

    place: Place
    ours: Tally | None
    theirs: Tally | None
    of_costs: bool

    @property
    def apart(self) -> Decimal:
        """How far the sides are apart: tokens, class by class, or US dollars."""
        ours, theirs = self.ours or Tally(), self.theirs or Tally()
        if self.of_costs:
            return abs(ours.cost - theirs.cost)
        pairs = ((getattr(ours.usage, n), getattr(theirs.usage, n)) for n in CLASSES)
        return Decimal(sum(abs(one - other) for one, other in pairs))

    @property
    def expected(self) -> Decimal:
        """What the provider says: tokens, or US dollars."""
        theirs = self.theirs or Tally()
        return theirs.cost if self.of_costs else Decimal(theirs.usage.total)

    @property
    def drift(self) -> Decimal:
        """How far apart, in percent of what the provider says; 100 where it says nothing."""
        return percent(self.apart, self.expected)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome, the rows that are furthest apart first."""

    rows: Sequence[Row]
    of_costs: bool
    estimated: int
    """How many of our calls are guesses, which may be what drifts."""

    @property
    def drift(self) -> Decimal:
        """How far apart both sides are on the whole, row by row, in percent."""
        apart = sum((row.apart for row in self.rows), Decimal())
        return percent(apart, sum((row.expected for row in self.rows), Decimal()))

    @property
    def worst(self) -> Decimal:
        """The drift of the row that drifts most."""
        return max((row.drift for row in self.rows), default=Decimal())


@dataclass(frozen=True, slots=True)
class Names:
    """What things are called.

    `keys` are our keys' ids by the provider's ids or names for them, `models` the provider's ids
    of models by our registered names.
    """

    keys: Mapping[str, UUID] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


def percent(part: Decimal, whole: Decimal) -> Decimal:
    """A part in percent of the whole, to two places; of nothing it is 100 unless it is nothing."""
    if not whole:
        return Decimal(100 if part else 0)
    return (abs(part) * 100 / abs(whole)).quantize(Decimal("0.01"))


def family(model: str) -> str:
    """A model's name without its snapshot's, and spelled as ids are: both sides say it thus."""
    name = model.lower().removeprefix("models/").replace(" ", "-").replace(".", "-")
    name = _SNAPSHOT.sub("", name)
    # `claude-sonnet-4-0` is another name of `claude-sonnet-4-20250514`.
    return name.removesuffix("-0") if name.startswith("claude-") else name


async def reconcile(
    reader: UsageReader,
    export: ProviderExport,
    names: Names,
    period: tuple[datetime, datetime] | None = None,
) -> Reconciliation:
    """Compare; the period is that of the export's days, unless it is given.

    Raises:
        InvalidInput: the period cannot be told from what is kept.
        DatabaseUnavailable: the database cannot be asked.
    """
    by_key = any(line.key or line.key_name for line in export.lines)
    by_model = any(line.model for line in export.lines)
    since, until = period or _period(export.lines)
    theirs: dict[Place, Tally] = {}
    for line in export.lines:
        if since <= _midnight(line.day) < until:
            key = _key_of(line, names) if by_key else None
            model = family(line.model or "") if by_model else None
            tally = theirs.setdefault(Place(line.day, key, model), Tally())
            tally.add(line.requests, line.usage, line.cost)
    ours: dict[Place, Tally] = {}
    wanted = UsageFilter(provider=export.provider.value, since=since, until=until)
    estimated = 0
    for group in await reader.groups(wanted, (Dimension.DAY, Dimension.KEY, Dimension.MODEL)):
        day, key, model = group.values
        if not _counts(group.sums, of_costs=export.is_of_costs):
            continue
        estimated += group.sums.estimated
        registered = model or ""
        place = Place(
            date.fromisoformat(day or ""),
            (key or "") if by_key else None,
            family(names.models.get(registered, registered)) if by_model else None,
        )
        tally = ours.setdefault(place, Tally())
        answered = group.sums.requests - group.sums.errors
        tally.add(answered, usage_of(group.sums), group.sums.cost)
    rows = [
        Row(place, ours.get(place), theirs.get(place), export.is_of_costs)
        for place in {**ours, **theirs}
        if not _is_nothing(ours.get(place), theirs.get(place))
    ]
    rows.sort(
        key=lambda row: (-row.apart, row.place.day, row.place.key or "", row.place.model or "")
    )
    return Reconciliation(rows, export.is_of_costs, estimated)


def _period(lines: Sequence[Line]) -> tuple[datetime, datetime]:
    days = [line.day for line in lines]
    if not days:
        nothing = datetime(1970, 1, 1, tzinfo=UTC)
        return nothing, nothing
    return _midnight(min(days)), _midnight(max(days)) + timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _key_of(line: Line, names: Names) -> str:
    for called in (line.key, line.key_name):
        if called is not None and called in names.keys:
            return str(names.keys[called])
    return line.key or line.key_name or ""


def _counts(sums: Sums, *, of_costs: bool) -> bool:
    return bool(sums.cost) if of_costs else bool(usage_of(sums).total)


def _is_nothing(*tallies: Tally | None) -> bool:
    return not any(tally and (tally.usage.total or tally.cost) for tally in tallies)
