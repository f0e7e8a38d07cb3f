"""Sums by any dimensions and filters: each question asked of the smallest table that knows.

A question about at most one dimension goes to the sums by value, by the day and the hour; any
other one to the sums by series, by the day. What is left over of the period at either end comes
from the single events.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, text

from model_service.db.uow import Database
from model_service.http.wire import format_moment
from model_service.kernel.errors import FieldFault, InvalidInput
from model_service.usage.domain import Dimension, Group, Sums, UsageFilter
from model_service.usage.partitions import kept_since
from model_service.usage.periods import Grain, Piece, pieces
from model_service.usage.rollup import CODES, ONE_EVENT, SUMS, Code

# What each dimension is called in events and series.
_COLUMNS: Final = {
    Dimension.USER: "user_id",
    Dimension.MODEL: "model",
    Dimension.PROVIDER: "provider",
    Dimension.KEY: "key_id",
    Dimension.TOKEN: "token_id",
    Dimension.TAG: "tag",
}
_TIMES: Final = {
    Dimension.DAY: "to_char({period} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    Dimension.HOUR: "to_char({period} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:00:00.000\"Z\"')",
}
_EVENTS: Final = "usage_events AS e"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# An event counts under each of its tags, once.
_TAGGED: Final = (
    "usage_events AS e CROSS JOIN LATERAL (SELECT DISTINCT unnest(e.tags) AS tag) AS tags_of"
)


class Asked:
    """A question: groups by these dimensions, of the calls that the filter wants."""

    def __init__(self, wanted: UsageFilter, by: Sequence[Dimension]) -> None:
        self.by = tuple(dict.fromkeys(by))
        given = {
            Code.USER: wanted.user_id,
            Code.MODEL: wanted.model,
            Code.PROVIDER: wanted.provider,
            Code.KEY: wanted.key_id,
            Code.TOKEN: wanted.token_id,
            Code.TAG: wanted.tag,
            Code.STATUS: wanted.status,
        }
        self.values = {code: value for code, value in given.items() if value is not None}
        self.codes = {CODES[one] for one in self.by if one in CODES} | set(self.values)
        self.by_tag = Dimension.TAG in self.by
        grains = [Grain.DAILY, Grain.HOURLY]
        if len(self.codes) > 1:
            grains.remove(Grain.HOURLY)
        if Dimension.HOUR in self.by:
            grains.remove(Grain.DAILY)
        self.finest = grains[-1] if grains else Grain.EVENT
        self.pieces = pieces(wanted.since, wanted.until, grains)

    def statement(self, limit: int | None) -> tuple[str, dict[str, Any]]:
        """The SQL and its parameters. There is at least one piece."""
        parameters: dict[str, Any] = {"limit": limit}
        parameters |= {f"value_{code}": str(value) for code, value in self.values.items()}
        parts = []
        for index, piece in enumerate(self.pieces):
            parts.append(self._part(piece, index))
            parameters |= {f"since_{index}": piece.since} if piece.since is not None else {}
            parameters |= {f"until_{index}": piece.until} if piece.until is not None else {}
        names = [f"v{index}" for index in range(len(self.by))]
        sums = [f"coalesce(sum({name}), 0) AS {name}" for name in SUMS]
        grouping = f"GROUP BY {', '.join(names)}" if names else ""
        statement = (
            f"SELECT {', '.join(names + sums)} FROM ({' UNION ALL '.join(parts)}) AS parts"  # noqa: S608
            f" {grouping} ORDER BY {', '.join(self._order(names))} LIMIT :limit"
        )
        return statement, parameters

    def _order(self, names: Sequence[str]) -> list[str]:
        times = [name for name, one in zip(names, self.by, strict=True) if one in _TIMES]
        others = [name for name in names if name not in times]
        return [*times, "sum(cost) DESC", "sum(requests) DESC", *others]

    def _part(self, piece: Piece, index: int) -> str:
        bounds = []
        period = "e.time" if piece.grain is Grain.EVENT else "r.period"
        if piece.since is not None:
            bounds.append(f"{period} >= :since_{index}")
        if piece.until is not None:
            bounds.append(f"{period} < :until_{index}")
        if piece.grain is Grain.EVENT:
            return self._of_events(bounds)
        if len(self.codes) <= 1:
            return self._by_value(piece.grain, bounds)
        return self._by_series(bounds)

    def _by_value(self, grain: Grain, bounds: list[str]) -> str:
        code = next(iter(self.codes), Code.TOTAL)
        where = [f"r.dimension = {code.value}", *bounds]
        if code in self.values:
            where.append(f"r.value = CAST(:value_{code} AS text)")
        shown = [
            _TIMES[one].format(period="r.period") if one in _TIMES else "nullif(r.value, '')"
            for one in self.by
        ]
        return _select(shown, [f"r.{name}" for name in SUMS], f"usage_{grain} AS r", where)

    def _by_series(self, bounds: list[str]) -> str:
        tagged = "s.tag IS NOT NULL" if Code.TAG in self.codes else "s.tag IS NULL"
        where = [tagged, *bounds, *(f"s.{_filter(code)}" for code in self.values)]
        tables = "usage_series_daily AS r JOIN usage_series AS s ON s.id = r.series"
        return _select(self._shown("r.period", "s."), [f"r.{name}" for name in SUMS], tables, where)

    def _of_events(self, bounds: list[str]) -> str:
        where = list(bounds)
        for code in self.values:
            if code is Code.TAG and not self.by_tag:
                where.append(f"CAST(:value_{code} AS text) = ANY (e.tags)")
            else:
                where.append(_filter(code))
        if self.by_tag:
            where.append("tag <> ''")
        source = _TAGGED if self.by_tag else _EVENTS
        return _select(self._shown("e.time", ""), [ONE_EVENT], source, where)

    def _shown(self, period: str, table: str) -> list[str]:
        return [
            _TIMES[one].format(period=period)
            if one in _TIMES
            else f"nullif(CAST({table}{_COLUMNS[one]} AS text), '')"
            for one in self.by
        ]


def _select(shown: list[str], sums: list[str], source: str, where: list[str]) -> str:
    named = [f"{expression} AS v{index}" for index, expression in enumerate(shown)]
    condition = " AND ".join(where or ["true"])
    return f"SELECT {', '.join(named + sums)} FROM {source} WHERE {condition}"  # noqa: S608


def _filter(code: Code) -> str:
    """What makes a row of events or series one that is wanted."""
    match code:
        case Code.KEY | Code.TOKEN:
            return f"{code.name.lower()}_id = CAST(CAST(:value_{code} AS text) AS uuid)"
        case Code.USER:
            return f"user_id = CAST(:value_{code} AS text)"
        case Code.STATUS:
            return f"status = CAST(CAST(:value_{code} AS text) AS integer)"
        case _:
            return f"{code.name.lower()} = CAST(:value_{code} AS text)"


async def groups(
    database: Database, wanted: UsageFilter, by: Sequence[Dimension], limit: int | None
) -> Sequence[Group]:
    """See `UsageReader.groups`."""
    asked = Asked(wanted, by)
    if not asked.pieces:
        return [] if by else [Group((), Sums())]
    statement, parameters = asked.statement(limit)
    async with database.single() as connection:
        rows = (await connection.execute(text(statement), parameters)).all()
        if any(piece.grain is Grain.EVENT for piece in asked.pieces):
            # Asked afterwards, so that nothing was dropped between the question and this one.
            _require_events(asked, await kept_since(connection))
    return [_group(row, len(asked.by)) for row in rows]


def _require_events(asked: Asked, horizon: datetime) -> None:
    """Refuse a question that takes single events of a time when there are none any more."""
    unit = {Grain.DAILY: "day", Grain.HOURLY: "hour"}.get(asked.finest)
    for piece in asked.pieces:
        if piece.grain is not Grain.EVENT or (piece.since or _EPOCH) >= horizon:
            continue
        is_end = piece is asked.pieces[-1] and len(asked.pieces) > 1
        message = (
            f"must not be before {format_moment(horizon)}, when single calls begin to be kept"
            if unit is None
            else f"must be where a {unit} of UTC begins: before {format_moment(horizon)} single"
            " calls are no longer kept"
        )
        raise InvalidInput(errors=[FieldFault("to" if is_end else "from", message)])


def _group(row: Row[Any], dimensions: int) -> Group:
    counts = {name: int(value) for name, value in zip(SUMS[:-1], row[dimensions:], strict=False)}
    return Group(tuple(row[:dimensions]), Sums(**counts, cost=row[-1]))
