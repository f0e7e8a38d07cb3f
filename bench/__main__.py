"""Run every benchmark: `python -m bench`. With `--quick`, small enough to try out."""

import argparse
import asyncio
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench import access, audit, gateway, report, usage
from bench.load import Load, drive, get
from bench.seed import KEYS_PER_USER, Seeded, fill
from bench.service import CORE, INTERNAL_SECRET, Running, running
from model_service.db.embedded import running as embedded
from model_service.kernel.secret import Secret

HOST = "127.0.0.1"
FEW, MANY = 10, 1_000_000


def decrypts(seeded: Seeded) -> list[bytes]:
    """Requests for the values of the sampled keys."""
    return [
        get(HOST, f"/api/api-keys/{key_id}/decrypt", x_internal_secret=INTERNAL_SECRET)
        for key_id in seeded.key_ids
    ]


def admin(path: str) -> bytes:
    """An administrator's GET."""
    from bench.service import ADMIN_TOKEN

    return get(HOST, path, authorization=f"Bearer {ADMIN_TOKEN}")


async def decrypt_rate(service: Running, seeded: Seeded, url: str, seconds: float) -> str:
    """How many decrypts a second one core does, and that each was counted."""
    rows = []
    for connections in (1, 8, 32, 64):
        before = await _uses(url)
        load = await drive(
            HOST, service.port, decrypts(seeded), connections=connections, seconds=seconds
        )
        _require_all_200(load)
        counted = await _uses(url) - before
        if counted < load.requests:
            raise RuntimeError(f"{load.requests} answers but only {counted} uses counted")
        rows.append(
            [
                str(connections),
                f"{load.per_second:,.0f}",
                f"{load.percentile(0.5) * 1000:.1f}",
                f"{load.percentile(0.99) * 1000:.1f}",
                f"{load.requests:,}",
                f"{counted:,}",
            ]
        )
    return (
        "`GET /api/api-keys/{id}/decrypt`, closed loop, the audit record and the use of the key"
        " committed\nbefore the key leaves (`synchronous_commit` on). Target: at least 2,000/s at"
        " 64 connections, p99\nunder 50 ms.\n\n"
        + report.table(
            ["connections", "requests/s", "p50 ms", "p99 ms", "answers", "uses counted"], rows
        )
    )


async def by_size(few: dict[str, float], many: dict[str, float]) -> str:
    """The same questions asked of few and of many keys."""
    rows = [
        [name, f"{few[name]:.2f}", f"{many[name]:.2f}", f"{many[name] / few[name]:.2f}"]
        for name in few
    ]
    return (
        f"Median milliseconds of one request at a time, with {FEW} and with {MANY:,} stored keys."
        " Target: the\nsame within noise.\n\n"
        + report.table(["request", f"{FEW} keys", f"{MANY:,} keys", "ratio"], rows)
    )


async def questions(service: Running, seeded: Seeded, seconds: float) -> dict[str, float]:
    """Median latency of each kind of request, in milliseconds."""
    asked = {
        "get one key": [admin(f"/api/api-keys/{key_id}") for key_id in seeded.key_ids],
        f"list a user's {KEYS_PER_USER} keys": [
            admin(f"/api/api-keys?userId={user}") for user in seeded.user_ids
        ],
        "decrypt": decrypts(seeded),
    }
    found = {}
    for name, requests in asked.items():
        medians = []
        for _ in range(3):
            load = await drive(HOST, service.port, requests, connections=1, seconds=seconds / 3)
            _require_all_200(load)
            medians.append(load.percentile(0.5) * 1000)
        found[name] = statistics.median(medians)
    return found


async def starts(directory: Path) -> str:
    """Start to first answer, and memory when idle, with the embedded database."""
    rows = []
    for name in ("first start (makes database and keyring)", "second", "third"):
        async with running(None, directory) as service:
            await asyncio.sleep(1)
            rows.append([name, f"{service.start_seconds:.2f}", f"{service.resident_mib():.0f}"])
    return (
        "`model-service serve` with the embedded PostgreSQL, until `/api/health` answers; resident"
        " memory\nof the service process a second later. Targets: under 3 s from an existing"
        " .venv, under 150 MB.\n\n" + report.table(["start", "seconds", "MiB"], rows)
    )


async def _uses(url: str) -> int:
    connection = await asyncpg.connect(url)
    total: int = await connection.fetchval("SELECT sum(usage_count)::bigint FROM api_keys")
    await connection.close()
    return total


def _require_all_200(load: Load) -> None:
    if set(load.statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {load.statuses}")


async def _database(server: Secret[str], name: str) -> Secret[str]:
    connection = await asyncpg.connect(server.reveal())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return Secret(urlsplit(server.reveal())._replace(path=f"/{name}").geturl())


async def main() -> None:
    """All benchmarks, and the report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few keys, short runs, no report")
    parser.add_argument(
        "--soak", type=float, metavar="SECONDS", help="only the gateway at half of peak, so long"
    )
    given = parser.parse_args()
    quick = given.quick
    seconds, many = (1.0, 2_000) if quick else (6.0, MANY)
    many_streams = 100 if quick else 1_000
    trails = [1_000, 5_000] if quick else [100_000, 1_000_000]
    events = 20_000 if quick else 10_000_000
    others = set(range(os.cpu_count() or 1)) - {CORE}
    if others:
        os.sched_setaffinity(0, others)  # inherited by the PostgreSQL started below
    with tempfile.TemporaryDirectory(prefix="model-service-bench-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        if given.soak:
            with embedded(directory / "data") as server:
                async with gateway.ready(server.reveal(), directory) as at:
                    print(await gateway.soak(at, given.soak))
            return
        sections = [("Start", await starts(directory / "start"))]
        with embedded(directory / "data") as server:
            small = await _database(server, "few")
            large = await _database(server, "many")
            seeded_small, seeded_large = await fill(small, FEW), await fill(large, many)
            async with running(small.reveal(), directory) as service:
                few_ms = await questions(service, seeded_small, seconds)
            async with running(large.reveal(), directory) as service:
                many_ms = await questions(service, seeded_large, seconds)
                rate = await decrypt_rate(service, seeded_large, large.reveal(), seconds)
            appended = await audit.append_rate(await _database(server, "appended"), seconds)
            verified = await audit.verify_rate(partial(_database, server), trails)
            metered = await usage.measure(await _database(server, "metered"), events, seconds)
            calls = await gateway.measure(
                (await _database(server, "calls")).reveal(), directory, seconds, many_streams
            )
        sections.append((f"Decrypt ({many:,} keys stored)", rate))
        sections.append(("Few keys, many keys", await by_size(few_ms, many_ms)))
        sections.append(("Audit trail: append", appended))
        sections.append(("Audit trail: verify", verified))
        sections.append(("Access tokens", access.token_check()))
    sections += metered
    sections += calls
    for title, text in sections:
        print(f"\n## {title}\n\n{text}")
    if not quick:
        report.write(Path(__file__).parent / "REPORT.md", sections)


asyncio.run(main())
