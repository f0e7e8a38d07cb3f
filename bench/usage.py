"""Usage: how large it is, how fast it is kept, summed, listed and dropped.

    python -m bench.usage --rows 10000000

Events are made in SQL, evenly over three months: a thousand users, a few of them with most of the
calls, with two keys and a token each, twenty models of five providers, and fifty tags.
"""

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from orjson import Fragment

from bench import report
from model_service.db.embedded import running as embedded
from model_service.db.engine import create_engine
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.kernel.secret import Secret
from model_service.kernel.types import SystemClock, uuid7_text
from model_service.keys.store import SqlKeyStore
from model_service.usage.assembly import Usage
from model_service.usage.domain import Dimension, UsageFilter
from model_service.usage.partitions import Month, Months
from model_service.usage.records import event_payload, origin
from model_service.usage.rollup import ADD_UP

START = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = [Month(2026, number) for number in (1, 2, 3)]
DAYS = 90
USERS, MODELS, PROVIDERS, TAGS = 1000, 20, 5, 50

_FILL = f"""
INSERT INTO usage_events (time, id, token_id, key_id, input_tokens, cached_input_tokens,
    cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, latency_ms,
    first_token_ms, status, attempts, stream, estimated, request_id, user_id, model, provider,
    upstream_model, door, operation, cost, price_version, tags)
SELECT $1::timestamptz + interval '1 day' * (n::float / $2), gen_random_uuid(),
    lpad(who::text, 32, '0')::uuid, lpad((who * 2 + n % 2)::text, 32, '0')::uuid,
    n % 4000, n % 900, 0, 0, n % 700, n % 90, n % 9000, n % 800,
    CASE WHEN n % 50 = 0 THEN 429 ELSE 200 END, 1, n % 3 = 0, false, gen_random_uuid()::text,
    'user-' || who, 'model-' || what, 'PROVIDER-' || what % {PROVIDERS}, 'upstream-model-' || what,
    'openai', 'chat', (n % 100000) / 10000000.0, '2026-01-01',
    CASE WHEN n % 4 = 0 THEN ARRAY['tag-' || n % {TAGS}] END
FROM (
    SELECT n, floor(random() ^ 2 * {USERS})::int AS who, floor(random() * {MODELS})::int AS what
    FROM generate_series(0, $2 - 1) AS n OFFSET 0
) AS calls
"""
_SUM = f"""
WITH stored AS (SELECT * FROM usage_events WHERE time >= $1 AND time < $2), {ADD_UP}
SELECT 1
"""
_SIZES = """
SELECT sum(pg_table_size(inhrelid))::bigint AS rows, sum(pg_indexes_size(inhrelid))::bigint AS indexes
FROM pg_inherits WHERE inhparent = 'usage_events'::regclass
"""  # noqa: E501
_SUM_SIZES = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relname IN
    ('usage_hourly', 'usage_daily', 'usage_series', 'usage_series_daily')
"""


async def measure(url: Secret[str], rows: int, seconds: float) -> list[tuple[str, str]]:
    """Every section, on an empty database."""
    await migrate(url)
    database = Database(create_engine(url, command_timeout=None))
    usage = Usage.build(
        database, SqlKeyStore(database, SystemClock()), SystemClock(), months_kept=13
    )
    kept = await keep_rate(usage, seconds)
    size = await fill(url, database, rows)
    sums = await summaries(usage, rows)
    lists = await listings(usage, rows)
    dropped = await drops(usage)
    await database.close()
    return [
        ("Usage: keeping events", kept),
        ("Usage: size", size),
        ("Usage: summaries", sums),
        ("Usage: lists", lists),
        ("Usage: dropping a month", dropped),
    ]


async def keep_rate(usage: Usage, seconds: float) -> str:
    """Events a second through the sink, by the size of batches and how many are under way."""
    rows = []
    for drainers, size in ((1, 500), (1, 4000), (4, 1000)):
        batches, spent = await _keep(usage, drainers, size, seconds)
        rows.append(
            [
                str(drainers),
                str(size),
                f"{len(batches) * size / seconds:,.0f}",
                f"{statistics.median(batches) * 1000:.0f}",
                f"{spent / (len(batches) * size) * 1e6:.1f}",
            ]
        )
    return (
        f"Events of {USERS:,} users as they are journalled, each batch a transaction with its sums"
        " and the uses of\nkeys. The last column is the service's own processor time, with the"
        " driver's; PostgreSQL's is not in it,\nand neither is reading the journal.\n\n"
        + report.table(
            ["batches at once", "events each", "events/s", "median ms", "service µs an event"], rows
        )
    )


async def _keep(
    usage: Usage, drainers: int, size: int, seconds: float
) -> tuple[list[float], float]:
    """Seconds that each batch took, and those of processor time for all of them."""
    chance, batches, making = Random(7), list[float](), 0.0
    deadline, spent = time.perf_counter() + seconds, time.process_time()

    async def drain() -> None:
        nonlocal making
        while time.perf_counter() < deadline:
            at = time.process_time()
            batch = [_payload(chance) for _ in range(size)]
            making += time.process_time() - at
            started = time.perf_counter()
            await usage.sink.keep_payloads(batch)
            batches.append(time.perf_counter() - started)

    await asyncio.gather(*(drain() for _ in range(drainers)))
    return batches, time.process_time() - spent - making


async def fill(url: Secret[str], database: Database, rows: int) -> str:
    """So many events with their sums, and the size of both."""
    connection = await asyncpg.connect(url.reveal())
    await connection.execute(
        "TRUNCATE usage_events, usage_hourly, usage_daily, usage_series, usage_series_daily"
    )
    await Months(database).ensure(MONTHS)
    each = rows // DAYS
    began = time.perf_counter()
    for day in range(DAYS):
        start = START + timedelta(days=day)
        await connection.execute(_FILL, start, each)
        await connection.execute(_SUM, start, start + timedelta(days=1))
    filled = time.perf_counter() - began
    await connection.execute("VACUUM ANALYZE")
    size = await connection.fetchrow(_SIZES)
    sums = await connection.fetchval(_SUM_SIZES)
    await connection.close()
    stored = each * DAYS
    cells = [
        ["rows", f"{size['rows'] / stored:.0f}"],
        ["their indexes", f"{size['indexes'] / stored:.0f}"],
        ["**events**", f"**{(size['rows'] + size['indexes']) / stored:.0f}**"],
        ["sums of all kinds", f"{sums / stored:.0f}"],
    ]
    return (
        f"Bytes for each of {stored:,} events, with request ids of 36 characters, a tag on every"
        f" fourth and no\nrecord of why; filled in {filled:.0f} s. Target: at most 600 for an event"
        " with its indexes. Sums grow\nwith the users, keys and tokens that call in an hour, and"
        " with the combinations of all dimensions\nthat occur in a day, not with the calls: the"
        " more calls, the less for each.\n\n" + report.table(["what", "bytes an event"], cells)
    )


async def summaries(usage: Usage, rows: int) -> str:
    """Each dimension over a month, over a ragged month, and over everything."""
    periods = (
        (MONTHS[1].begin, MONTHS[2].begin),
        (
            MONTHS[0].begin + timedelta(days=9, hours=3, minutes=17),
            MONTHS[1].begin + timedelta(days=12, hours=20, minutes=41),
        ),
        (None, None),
    )
    cases: list[tuple[str, dict[str, str], list[Dimension]]] = [
        *((f"by {by}", {}, [by]) for by in Dimension),
        ("of a user, by model", {"user_id": "user-1"}, [Dimension.MODEL]),
        ("of a user, by day", {"user_id": "user-1"}, [Dimension.DAY]),
        ("of a model, by user", {"model": "model-1"}, [Dimension.USER]),
        ("of a provider, by key", {"provider": "PROVIDER-1"}, [Dimension.KEY]),
        ("of a tag, by model", {"tag": "tag-4"}, [Dimension.MODEL]),
        ("by model, key and day", {}, [Dimension.MODEL, Dimension.KEY, Dimension.DAY]),
    ]
    found = []
    for name, wanted, by in cases:
        times = []
        for since, until in periods:
            filters: dict[str, Any] = {**wanted, "since": since, "until": until}
            times.append(await _median(_summary(usage, UsageFilter(**filters), by)))
        found.append([name, *(f"{milliseconds:.0f}" for milliseconds in times)])
    return (
        f"Median milliseconds of five, {rows:,} events stored. Target for a month by one dimension:"
        " under 1 s.\nThe ragged period begins and ends within hours, whose parts come from single"
        " events; of several\ndimensions the parts of days do.\n\n"
        + report.table(["summary", "a month", "a ragged period of 34 days", "everything"], found)
    )


def _summary(
    usage: Usage, wanted: UsageFilter, by: Sequence[Dimension]
) -> Callable[[], Awaitable[object]]:
    return lambda: usage.reader.groups(wanted, by, limit=10_001)


async def listings(usage: Usage, rows: int) -> str:
    """First pages, and the record of one request."""
    (some, *_) = await usage.reader.page(UsageFilter(until=MONTHS[1].begin), None, 1)
    key = UUID(int=int(str(2 * 999), 16))
    cases = {
        "everything": UsageFilter(),
        "of a user": UsageFilter(user_id="user-990"),
        "of a key seldom used": UsageFilter(key_id=key),
        "of a model": UsageFilter(model="model-1"),
        "of a model, refused calls": UsageFilter(model="model-1", status=429),
        "of a key seldom used, refused calls": UsageFilter(key_id=key, status=429),
        "of a model, in a month": UsageFilter(model="model-1", until=MONTHS[1].begin),
        "of a status that never was": UsageFilter(status=418),
    }
    found = [[name, f"{await _median(_page(usage, wanted)):.0f}"] for name, wanted in cases.items()]

    async def why() -> object:
        return await usage.reader.of_request(some.request_id, None)

    found.append(["of one request", f"{await _median(why):.1f}"])
    return (
        f"Median milliseconds of five, for the first 100 calls; {rows:,} events stored.\n\n"
        + report.table(["list", "ms"], found)
    )


def _page(usage: Usage, wanted: UsageFilter) -> Callable[[], Awaitable[object]]:
    return lambda: usage.reader.page(wanted, None, 101)


async def drops(usage: Usage) -> str:
    """Dropping each month, and what memory that takes."""
    found = []
    for month in MONTHS:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        await usage.upkeep.drop_before(month.plus(1))
        took = (time.perf_counter() - began) * 1000
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        found.append([str(month), f"{took:.0f}", f"{grown:.1f}"])
    return "The service's own memory.\n\n" + report.table(
        ["month", "ms", "most memory grew by, MiB"], found
    )


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds, the first time not counted: it reads what the others find in memory."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


def _payload(chance: Random) -> bytes:
    who, what, which = (
        int(chance.random() ** 2 * USERS), chance.randrange(MODELS), chance.randrange(2)
    )  # fmt: skip
    return event_payload(
        uuid7_text(), int(time.time() * 1000), uuid7_text(), _origin(who, what, which), 200,
        500, 0, 0, 0, 200, 0, "0.00123", "2026-01-01", 812.5, None, 1,
        tags=(f"tag-{chance.randrange(TAGS)}",) if who % 4 == 0 else (),
    )  # fmt: skip


@cache
def _origin(who: int, what: int, which: int) -> Fragment:
    return origin(
        f"user-{who}", UUID(int=who), f"model-{what}", f"PROVIDER-{what % PROVIDERS}",
        f"upstream-model-{what}", UUID(int=who * 2 + which), "openai", "chat", False,
    )  # fmt: skip


async def main() -> None:
    """All of it, on an embedded server of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=6.0, help="of keeping events")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="model-service-bench-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        with embedded(directory / "data") as server:
            for title, text in await measure(server, given.rows, given.seconds):
                print(f"\n## {title}\n\n{text}")


if __name__ == "__main__":
    asyncio.run(main())
