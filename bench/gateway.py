"""The gateway against nginx as a plain reverse proxy, side by side in one run.

Whoever is measured has one core to itself; the upstream stand-in (nginx) and the load (wrk) share
the other. So figures of one row stand for what one core adds between a caller and a provider.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from bench import nginx, report
from bench.paced import Paced, paced
from bench.service import ADMIN_TOKEN, CORE, Running, running

OTHER_CORE = 1
ROUNDS = 3
PROMPT = "Tell me something that I do not know yet about the sea. " * 5


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything is up: what is sent where."""

    service: Running
    token: str
    upstream: int
    proxy: int
    proxy_pid: int
    directory: Path


def request_body(model: str, *, stream: bool = False) -> bytes:
    """A chat request with a prompt of some 300 bytes."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    return orjson.dumps(body | ({"stream": True} if stream else {}))


@asynccontextmanager
async def ready(database_url: str, directory: Path) -> AsyncIterator[Ready]:
    """The service with models and a key, the upstream, and the proxy to compare with."""
    async with nginx.nginx(directory / "up", nginx.upstream_body(), OTHER_CORE) as (upstream, _):
        origin = f"http://127.0.0.1:{upstream}"
        extra = {
            "OPENAI_BASE_URL": f"{origin}/v1",
            "ANTHROPIC_BASE_URL": origin,
            "UPSTREAM_ALLOWED_HOSTS": f"127.0.0.1:{upstream}",
        }
        async with (
            nginx.nginx(directory / "proxy", nginx.proxy_body(upstream), CORE) as (proxy, pid),
            running(database_url, directory, extra) as service,
        ):
            token = await _set_up(service.port, origin)
            yield Ready(service, token, upstream, proxy, pid, directory)


async def _set_up(port: int, origin: str) -> str:
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as admin:

        async def post(path: str, body: dict[str, object]) -> dict[str, str]:
            answer = await admin.post(path, json=body)
            if answer.status_code not in (201, 409):
                raise RuntimeError(answer.text)
            document: dict[str, str] = answer.json()
            return document

        def custom(name: str) -> dict[str, object]:
            settings = {"baseUrl": f"{origin}/{name}/v1"}
            return {
                "name": name,
                "provider": "CUSTOM",
                "modelId": "m",
                "providerSettings": settings,
            }

        await post("/api/models", {"name": "whole", "provider": "OPENAI", "modelId": "gpt-5.5"})
        await post(
            "/api/models", {"name": "other", "provider": "ANTHROPIC", "modelId": "claude-haiku-5-5"}
        )
        await post("/api/models", custom("stream"))
        await post("/api/models", custom("slow"))
        for provider in ("OPENAI", "ANTHROPIC", "CUSTOM"):
            key = {
                "userId": "u",
                "provider": provider,
                "keyName": "k",
                "apiKey": "sk-bench-0123456",
            }
            await post("/api/api-keys?validate=false", dict(key))
        made = await post("/api/tokens", {"role": "user", "userId": "u"})
        await asyncio.sleep(1)
        return made["token"]


#: Microseconds of work that the least relay is given, to see what they come to.
BURNS = (0, 10, 20, 40)


@dataclass(frozen=True, slots=True)
class Rate:
    """What wrk measured, and what whoever was measured worked for it, in seconds of its core."""

    per_second: float
    requests: int
    busy: float
    failures: str


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def wrk(
    at: Ready, port: int, pid: int, path: str, body: bytes, connections: int, seconds: float
) -> Rate:
    """Requests as fast as they are answered, over kept-alive connections."""
    script = at.directory / "wrk.lua"
    script.write_text(
        f"""wrk.method = "POST"
wrk.body = [==[{body.decode()}]==]
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {at.token}"
"""
    )
    before = cpu_seconds(pid)
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", str(script),
        f"http://127.0.0.1:{port}{path}",
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {OTHER_CORE}),
    )  # fmt: skip
    out = (await process.communicate())[0].decode()
    busy = cpu_seconds(pid) - before
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    count = re.search(r"(\d+) requests in", out)
    if rate is None or count is None:
        raise RuntimeError(out)
    failures = " ".join(re.findall(r"(?:Non-2xx.*|Socket errors.*)", out))
    return Rate(float(rate[1]), int(count[1]), busy, failures)


async def compare(
    at: Ready, name: str, path: str, body: bytes, proxied: str, connections: int, seconds: float
) -> list[str]:
    """One row: nginx, the gateway, and their ratios, each the middle one of some rounds in turn."""
    ours: list[Rate] = []
    theirs: list[Rate] = []
    for _ in range(ROUNDS):
        theirs.append(await wrk(at, at.proxy, at.proxy_pid, proxied, body, connections, seconds))
        ours.append(
            await wrk(at, at.service.port, at.service.pid, path, body, connections, seconds)
        )
    if any(rate.failures for rate in (*ours, *theirs)):
        raise RuntimeError(f"{name}: {[rate.failures for rate in (*ours, *theirs)]}")
    mine = sorted(ours, key=lambda rate: rate.per_second)[ROUNDS // 2]
    nginx_ = sorted(theirs, key=lambda rate: rate.per_second)[ROUNDS // 2]
    work, nginx_work = mine.busy / mine.requests * 1e6, nginx_.busy / nginx_.requests * 1e6
    return [
        name,
        f"{nginx_.per_second:,.0f}",
        f"{mine.per_second:,.0f}",
        f"{mine.per_second / nginx_.per_second:.2f}",
        f"{nginx_work:.1f}",
        f"{work:.1f}",
        f"{nginx_work / work:.2f}",
    ]


async def throughput(at: Ready, seconds: float) -> str:
    """Requests a second, unary, streaming and translated."""
    chat = "/v1/chat/completions"
    rows = [
        await compare(at, "unary, 32 connections", chat, request_body("whole"), chat, 32, seconds),
        await compare(
            at, "unary, translated (OpenAI to Anthropic)", chat, request_body("other"),
            "/v1/messages", 32, seconds,
        ),
        await compare(
            at, "streams of 100 events, 32 at once", chat, request_body("stream", stream=True),
            f"/stream{chat}", 32, seconds,
        ),
    ]  # fmt: skip
    table = report.table(
        ["", "nginx /s", "gateway /s", "ratio", "nginx us", "gateway us", "ratio by work"], rows
    )
    least = []
    for microseconds in BURNS:
        bare = await _bare(at, seconds, microseconds)
        work = bare.busy / bare.requests * 1e6
        least.append([str(microseconds), f"{bare.per_second:,.0f}", f"{work:.1f}"])
    return (
        f"{table}\n\nThe least that such a relay can be in Python (`bench/bare.py`: uvloop and"
        " httptools on both sides, JSON\nparsed and written, nothing else), and what becomes of it"
        " with work of its own in each request:\n\n"
        + report.table(["own work, us", "unary requests/s", "us each"], least)
    )


async def _bare(at: Ready, seconds: float, microseconds: int) -> Rate:
    port = nginx.free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare", str(port), str(at.upstream), str(microseconds),
        preexec_fn=lambda: os.sched_setaffinity(0, {CORE}),
    )  # fmt: skip
    try:
        await nginx.answers(port)
        body = request_body("whole")
        rounds = [
            await wrk(at, port, process.pid, "/v1/chat/completions", body, 32, seconds)
            for _ in range(ROUNDS)
        ]
    finally:
        process.terminate()
        await process.wait()
    return sorted(rounds, key=lambda rate: rate.per_second)[ROUNDS // 2]


async def latency(at: Ready, seconds: float) -> str:
    """What the gateway adds at a steady rate: to whole answers, and to a stream's first byte."""
    chat = "/v1/chat/completions"
    whole, stream = request_body("whole"), request_body("stream", stream=True)
    rows = await _added(at, "whole answers, 1,000/s", chat, chat, whole, 1000, seconds)
    rows += await _added(
        at, "first byte of streams, 200/s", chat, f"/stream{chat}", stream, 200, seconds, True
    )
    return report.table(["", "through", "p50 ms", "p99 ms", "added p50", "added p99"], rows)


async def _added(
    at: Ready,
    name: str,
    path: str,
    proxied: str,
    body: bytes,
    rate: int,
    seconds: float,
    first_byte: bool = False,
) -> list[list[str]]:
    places = {
        "nothing": (at.upstream, proxied),
        "nginx": (at.proxy, proxied),
        "the gateway": (at.service.port, path),
    }
    rounds: dict[str, list[Paced]] = {place: [] for place in places}
    for _ in range(ROUNDS):
        for place, (port, where) in places.items():
            rounds[place].append(
                await paced(
                    port, where, body, at.token, rate=rate, seconds=seconds, first_byte=first_byte
                )
            )

    def ms(place: str, share: float) -> float:
        found = sorted(one.percentile(share) for one in rounds[place])
        return found[ROUNDS // 2] * 1000

    return [
        [
            name,
            place,
            *(f"{ms(place, share):.2f}" for share in (0.5, 0.99)),
            *(f"{ms(place, share) - ms('nothing', share):+.2f}" for share in (0.5, 0.99)),
        ]
        for place in places
    ]


async def slow_streams(at: Ready, count: int) -> str:
    """Memory while so many slow streams are under way at once."""
    body = request_body("slow", stream=True)
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n" % (at.token.encode(), len(body))
    )
    before = at.service.resident_mib()

    async def one() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", at.service.port)
        writer.write(head + body)
        data = await reader.readuntil(b"[DONE]\n\n")
        writer.close()
        return data.startswith(b"HTTP/1.1 200")

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(6)
    during = at.service.resident_mib()
    good = sum(await asyncio.gather(*tasks))
    rows = [[f"{count:,}", f"{before:.0f}", f"{during:.0f}", f"{good:,}"]]
    return report.table(["streams at once", "MiB before", "MiB during", "whole answers"], rows)


async def soak(at: Ready, seconds: float) -> str:
    """Memory over a long time at about half of peak."""
    path, body = "/v1/chat/completions", request_body("whole")

    async def load(connections: int, duration: float) -> Rate:
        return await wrk(at, at.service.port, at.service.pid, path, body, connections, duration)

    peak = (await load(32, 5)).per_second
    # A closed loop of few connections is a steady load: each waits for its answer.
    connections = 1
    while (await load(connections, 2)).per_second < peak / 2:
        connections += 1
    rows = [["0.0", f"{at.service.resident_mib():.1f}", ""]]
    steps = 10
    for step in range(1, steps + 1):
        rate = await load(connections, seconds / steps)
        if rate.failures:
            raise RuntimeError(rate.failures)
        minutes = seconds / steps * step / 60
        rows.append(
            [f"{minutes:.1f}", f"{at.service.resident_mib():.1f}", f"{rate.per_second:,.0f}"]
        )
    return f"Peak: {peak:,.0f}/s.\n\n" + report.table(["minutes", "MiB", "requests/s"], rows)


TARGETS = """\
One core each for nginx as a plain reverse proxy (kept-alive connections, `proxy_buffering off`) and
for the service with everything on (token check, scopes, leased key, usage read and priced, its
event journalled and stored in PostgreSQL meanwhile, circuits, metrics; no limit applies to the
calls); upstream stand-in (nginx) and load share the other. Each figure is the middle one of three
rounds, taken in turn. "us" is processor time for one request, of whoever is measured. Targets:
unary at least 0.35 of nginx, translated at least 0.25, streams at least 1.0 of its events a
second."""


async def measure(
    database_url: str, directory: Path, seconds: float, streams: int
) -> list[tuple[str, str]]:
    """The gateway's part of the report."""
    if nginx.MISSING:
        text = f"Not measured: {' and '.join(nginx.MISSING)} not installed."
        return [("Gateway", text)]
    async with ready(database_url, directory) as at:
        return [
            ("Gateway: throughput", f"{TARGETS}\n\n{await throughput(at, seconds)}"),
            (
                "Gateway: added latency",
                "Open loop: each request leaves on time. Targets: added p50 at most 0.3 ms and p99"
                " at most 1 ms at\n1,000/s; a stream's first byte at most 0.5 ms later.\n\n"
                + await latency(at, seconds),
            ),
            (
                "Gateway: slow streams",
                "Streams of ten seconds, all at once. Target: 1,000 in under 300 MB.\n\n"
                + await slow_streams(at, streams),
            ),
        ]
