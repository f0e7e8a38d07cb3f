"""The SQL that keeps events and adds them to the sums, in one statement.

Only what was stored is summed, so events told twice count once. Rows are locked in one order by
everybody, events before sums and each by its key, so that no two batches wait for each other.
"""

from enum import IntEnum
from typing import Final

from model_service.usage.domain import Dimension
from model_service.usage.records import VERSION

#: Largest value of PostgreSQL's `integer` and `smallint`, the types of counts.
MAX_INTEGER: Final = 2**31 - 1
MAX_SMALLINT: Final = 2**15 - 1
#: Characters of what is indexed: at four bytes each an index can still hold them (PostgreSQL
#: manual, "B-Tree Indexes", 65.1.4.1: a third of a page).
MAX_INDEXED: Final = 500


class Code(IntEnum):
    """How the sums by value name their dimension. Stored, so numbers are never given anew."""

    TOTAL = 0
    USER = 1
    MODEL = 2
    PROVIDER = 3
    KEY = 4
    TOKEN = 5
    TAG = 6
    STATUS = 7


#: The dimensions that have sums by value; hours and days are periods of the total.
CODES: Final = {
    Dimension.USER: Code.USER,
    Dimension.MODEL: Code.MODEL,
    Dimension.PROVIDER: Code.PROVIDER,
    Dimension.KEY: Code.KEY,
    Dimension.TOKEN: Code.TOKEN,
    Dimension.TAG: Code.TAG,
}
#: The columns of sums, and what one event, or one series, adds to each.
SUMS: Final = (
    "requests",
    "errors",
    "unpriced",
    "estimated",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost",
)
#: The sums of a single event, by their names.
ONE_EVENT: Final = """
    1 AS requests, (status >= 400)::int AS errors, (cost IS NULL)::int AS unpriced,
    estimated::int AS estimated, input_tokens, cached_input_tokens, cache_write_tokens,
    cache_write_1h_tokens, output_tokens, reasoning_tokens, coalesce(cost, 0) AS cost
"""
#: What tells one series from another.
_SERIES: Final = "user_id, token_id, model, provider, key_id, status, tag"
#: The columns of an event with their types, as they are told.
COLUMNS: Final = {
    "time": "timestamptz",
    "id": "uuid",
    "token_id": "uuid",
    "key_id": "uuid",
    "input_tokens": "bigint",
    "cached_input_tokens": "bigint",
    "cache_write_tokens": "bigint",
    "cache_write_1h_tokens": "bigint",
    "output_tokens": "bigint",
    "reasoning_tokens": "bigint",
    "latency_ms": "real",
    "first_token_ms": "real",
    "status": "integer",
    "attempts": "integer",
    "stream": "boolean",
    "estimated": "boolean",
    "request_id": "text",
    "user_id": "text",
    "model": "text",
    "provider": "text",
    "upstream_model": "text",
    "door": "text",
    "operation": "text",
    "cost": "numeric",
    "price_version": "text",
    "fallback_from": "text",
    "error_class": "text",
    "tags": "json",
    "why": "jsonb",
}


def _told(name: str) -> str:
    match name:
        case "time":
            # As it is shown. Rounded by the column's type it could fall into the next month.
            return "date_trunc('milliseconds', time) AS time"
        case "latency_ms":
            return "coalesce(latency_ms, 0) AS latency_ms"
        case "tags":
            return (
                "CASE WHEN json_array_length(tags) > 0"
                " THEN ARRAY(SELECT json_array_elements_text(tags)) END AS tags"
            )
        case _:
            return name


def _cut(place: int, most: int) -> str:
    """A count of a payload, made to fit its column. It is null only where it was not told."""
    told = f"CAST(e ->> {place} AS bigint)"
    return f"CASE WHEN {told} > {most} THEN {most} WHEN {told} < 0 THEN 0 ELSE {told} END"


_NOT_FINITE: Final = "c IN ('NaN', 'Infinity', '-Infinity')"
# How each column reads from a payload `e`, its origin `o` and its cost `c`. Texts of the origin
# are short enough for an index as they are.
_PAYLOAD: Final = {
    "time": "to_timestamp(CAST(e ->> 2 AS bigint) / 1000.0::double precision)",
    "id": f"CASE WHEN e ->> 0 = '{VERSION}' THEN CAST(e ->> 1 AS uuid) END",
    "token_id": "CAST(o ->> 1 AS uuid)",
    "key_id": "CAST(o ->> 5 AS uuid)",
    "input_tokens": _cut(6, MAX_INTEGER),
    "cached_input_tokens": _cut(7, MAX_INTEGER),
    "cache_write_tokens": _cut(8, MAX_INTEGER),
    "cache_write_1h_tokens": _cut(9, MAX_INTEGER),
    "output_tokens": _cut(10, MAX_INTEGER),
    "reasoning_tokens": _cut(11, MAX_INTEGER),
    "latency_ms": "coalesce(CAST(e ->> 14 AS real), 0)",
    "first_token_ms": "CAST(e ->> 15 AS real)",
    "status": _cut(5, MAX_SMALLINT),
    "attempts": _cut(16, MAX_SMALLINT),
    "stream": "CAST(o ->> 8 AS boolean)",
    "estimated": "CAST(e ->> 18 AS boolean)",
    "request_id": "e ->> 3",
    "user_id": "o ->> 0",
    "model": "o ->> 2",
    "provider": "o ->> 3",
    "upstream_model": "o ->> 4",
    "door": "o ->> 6",
    "operation": "o ->> 7",
    "cost": f"CASE WHEN {_NOT_FINITE} THEN NULL ELSE c END",
    "price_version": f"CASE WHEN {_NOT_FINITE} THEN NULL ELSE e ->> 13 END",
    "fallback_from": "e ->> 17",
    "error_class": "e ->> 19",
    "tags": (
        f"CASE WHEN jsonb_array_length(e -> 21) > 0 THEN ARRAY(SELECT left(tag, {MAX_INDEXED})"  # noqa: S608
        " FROM jsonb_array_elements_text(e -> 21) AS tag) END"
    ),
    "why": "nullif(e -> 22, 'null')",
}


def _added(table: str) -> str:
    """What happens when there are sums already."""
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS)


def _hourly() -> str:
    return f"""
        INSERT INTO usage_hourly AS t (dimension, value, period, {", ".join(SUMS)})
        SELECT dimension, value, hour, {", ".join(SUMS)} FROM by_value
        ORDER BY dimension, value, hour
        ON CONFLICT (dimension, value, period) DO UPDATE SET {_added("t")}
    """  # noqa: S608 - made of the names above alone


def _daily() -> str:
    sums = ", ".join(f"sum({name})" for name in SUMS)
    return f"""
        INSERT INTO usage_daily AS t (dimension, value, period, {", ".join(SUMS)})
        SELECT dimension, value, {_NEW_DAY} AS day, {sums} FROM by_value
        GROUP BY dimension, value, day ORDER BY dimension, value, day
        ON CONFLICT (dimension, value, period) DO UPDATE SET {_added("t")}
    """  # noqa: S608 - made of the names above alone


def _by_series() -> str:
    return f"""
        INSERT INTO usage_series_daily AS t (series, period, {", ".join(SUMS)})
        SELECT series, day, {", ".join(SUMS)} FROM by_series ORDER BY series, day
        ON CONFLICT (series, period) DO UPDATE SET {_added("t")}
    """  # noqa: S608 - made of the names above alone


_SUMMED = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_NEW_DAY = "date_trunc('day', hour, 'UTC')"

#: From the events of a CTE `stored` to the sums: the rest of a WITH list. Each is added once, so
#: they must be new to the sums.
ADD_UP: Final = f"""
calls AS MATERIALIZED (
    SELECT date_trunc('hour', time, 'UTC') AS hour, user_id, token_id, model, provider, key_id,
        status, tags, {ONE_EVENT}
    FROM stored
), tagged AS MATERIALIZED (
    SELECT calls.*, tag FROM calls
        CROSS JOIN LATERAL (SELECT DISTINCT unnest(tags) AS tag) AS of_call
    WHERE tag <> ''
), by_series AS MATERIALIZED (
    SELECT encode(substring(sha256(convert_to(ROW({_SERIES})::text, 'UTF8')) FOR 16), 'hex')::uuid
        AS series, *
    FROM (
        SELECT {_NEW_DAY} AS day, {_SERIES}, {_SUMMED}
        FROM (SELECT *, CAST(NULL AS text) AS tag FROM calls UNION ALL SELECT * FROM tagged) AS all_
        GROUP BY day, {_SERIES}
    ) AS summed
), by_value AS MATERIALIZED (
    SELECT dimension, value, hour, {_SUMMED} FROM (
        SELECT d.dimension, d.value, calls.* FROM calls CROSS JOIN LATERAL (VALUES
            ({Code.TOTAL}, ''), ({Code.USER}, coalesce(user_id, '')), ({Code.MODEL}, model),
            ({Code.PROVIDER}, provider), ({Code.KEY}, coalesce(key_id::text, '')),
            ({Code.TOKEN}, coalesce(token_id::text, '')), ({Code.STATUS}, status::text)
        ) AS d (dimension, value)
        UNION ALL
        SELECT {Code.TAG}, tag, hour, user_id, token_id, model, provider, key_id, status, tags,
            {", ".join(SUMS)}
        FROM tagged
    ) AS each
    GROUP BY dimension, value, hour
), new_series AS (
    INSERT INTO usage_series (id, {_SERIES})
    SELECT DISTINCT ON (series) series, {_SERIES} FROM by_series ORDER BY series
    ON CONFLICT DO NOTHING
), hourly AS ({_hourly()}
), daily AS ({_daily()}
), series_daily AS ({_by_series()}
)
"""  # noqa: S608 - made of the names above alone


def _keep(told: str) -> str:
    """The statement that stores what a SELECT of `COLUMNS` tells, and sums what was new of it."""
    return f"""
WITH told AS MATERIALIZED ({told}
), horizon AS MATERIALIZED (
    SELECT coalesce(max(kept_since), 'epoch') AS kept_since FROM usage_horizon
), stored AS (
    INSERT INTO usage_events ({", ".join(COLUMNS)})
    SELECT {", ".join(COLUMNS)} FROM told
    -- One without a time is not left out, but refused like others that are no events.
    WHERE (time < (SELECT kept_since FROM horizon)) IS NOT TRUE ORDER BY time, id
    ON CONFLICT DO NOTHING
    RETURNING time, user_id, token_id, model, provider, key_id, status, estimated, tags, cost,
        input_tokens, cached_input_tokens, cache_write_tokens, cache_write_1h_tokens,
        output_tokens, reasoning_tokens
), {ADD_UP}, used AS (
    SELECT key_id, count(*) AS uses, max(time) AS last_use
    FROM stored WHERE key_id IS NOT NULL GROUP BY key_id
)
SELECT CAST(json_agg(used) AS text) AS uses,
    (SELECT count(*) FROM told, horizon WHERE time < kept_since) AS late
FROM used
"""  # noqa: S608 - made of the names above alone


#: Takes `events`, a JSON array of objects, and gives one row: `uses`, how often which key was
#: used by the events stored (see `KeyUse`), null where none was, and `late`, how many of those told
#: were from before what is kept.
KEEP: Final = _keep(
    f"""
    SELECT {", ".join(map(_told, COLUMNS))}
    FROM json_to_recordset(CAST(:events AS json))
        AS e ({", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())})"""  # noqa: S608
)
#: The same for `payloads`, several of what `records.event_payload` makes with commas between them.
#: They are told as bytes: as text they would be copied thrice on their way to the database. What is
#: no such payload is refused: it has no id then, or none of what else there must be.
KEEP_PAYLOADS: Final = _keep(
    f"""
    SELECT {", ".join(f"{_PAYLOAD[name]} AS {name}" for name in COLUMNS)}
    FROM (
        SELECT e, e -> 4 AS o, CAST(e ->> 12 AS numeric) AS c
        FROM jsonb_array_elements(
            CAST('[' || convert_from(CAST(:payloads AS bytea), 'UTF8') || ']' AS jsonb)
        ) AS e OFFSET 0
    ) AS payloads"""  # noqa: S608
)
