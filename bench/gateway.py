"""The gateway against nginx as a plain reverse proxy, side by side in one run.

Whoever is measured has one core to itself; the upstream stand-in (nginx) and the load (wrk) share
the other. So figures of one row stand for what one core adds between a caller and a provider.
"""

import asyncio
import os
import re
import subprocess
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
    return report.table(
        ["", "nginx /s", "gateway /s", "ratio", "nginx us", "gateway us", "ratio by work"], rows
    )


async def latency(at: Ready, seconds: float) -> str:
    """What the gateway adds at a steady 1,000 requests a second."""
    path = "/v1/chat/completions"
    found: list[tuple[str, Paced]] = []
    for name, port in (
        ("upstream", at.upstream),
        ("nginx", at.proxy),
        ("gateway", at.service.port),
    ):
        found.append(
            (
                name,
                await paced(
                    port, path, request_body("whole"), at.token, rate=1000, seconds=seconds
                ),
            )
        )
    direct = found[0][1]
    rows = [
        [
            name,
            *(f"{one.percentile(share) * 1000:.2f}" for share in (0.5, 0.99)),
            *(
                f"{(one.percentile(share) - direct.percentile(share)) * 1000:+.2f}"
                for share in (0.5, 0.99)
            ),
        ]
        for name, one in found
    ]
    return report.table(["", "p50 ms", "p99 ms", "added p50", "added p99"], rows)


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
