"""Services as processes under load, and two ledgers to compare: the providers' and the service's.

Each call carries its request id in its prompt, so that what a stand-in bills is known to be for
it; the service keeps it as the request's id.
"""

import asyncio
import random
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg
import httpx
from typing_extensions import override

from model_service.db.embedded import EmbeddedPostgres
from model_service.db.migrate import migrate
from model_service.kernel.types import Provider
from model_service.sandbox.faults import Pace
from model_service.sandbox.server import Sandbox, serve
from model_service.sandbox.stand_in import Billed, Received
from tests.faults.gateway_doors import DOORS, Door
from tests.faults.service_process import PRODUCTION, ServiceProcess, free_port

#: Models that are called, what they are there, and US dollars for 1,000 tokens in and out.
MODELS: Final = {
    "quick": (Provider.OPENAI, "gpt-5.5", Decimal("0.00125"), Decimal("0.01")),
    "late": (Provider.OPENAI, "fault-slow.ledger", Decimal("0.0003"), Decimal("0.0007")),
    "claude": (Provider.ANTHROPIC, "claude-haiku-5-5", Decimal("0.001"), Decimal("0.005")),
    "gemini": (Provider.GOOGLE, "gemini-3.6-flash", Decimal("0.000375"), Decimal("0.0029")),
}
#: Callers at a time.
CALLERS: Final = 12
USER: Final = "ledger"
#: Streams last tens of milliseconds, late answers as long, so that deaths meet them in the middle.
PACE: Final = Pace(slow=0.08, between=0.004)

_MARK: Final = re.compile(rb"rq-[0-9a-f]{16}")
_CURRENT: ContextVar[str] = ContextVar("current")
_COLUMNS: Final = (
    "request_id, model, key_id, status, input_tokens, cached_input_tokens, cache_write_tokens,"
    " cache_write_1h_tokens, output_tokens, cost, estimated, error_class, time"
)


class _Requests(deque[Received]):
    """A stand-in's ledger of requests that notes which call is being answered."""

    @override
    def append(self, one: Received, /) -> None:
        found = _MARK.search(one.body)
        _CURRENT.set("" if found is None else found.group().decode())


class _Bills(deque[Billed]):
    """A stand-in's ledger of what it bills, by call."""

    def __init__(self, bills: dict[str, list[Billed]]) -> None:
        super().__init__()
        self._bills = bills

    @override
    def append(self, one: Billed, /) -> None:
        self._bills.setdefault(_CURRENT.get(), []).append(one)


@dataclass(slots=True)
class Round:
    """The calls of one load: those answered to their end, and those whose answer did not come."""

    answered: dict[str, str] = field(default_factory=dict)
    """The models that were called, by request id."""
    cut: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[Door, httpx.Response]] = field(default_factory=list)

    @property
    def everything(self) -> list[str]:
        return [*self.answered, *self.cut]


@dataclass(slots=True)
class LedgerWorld:
    """Services over one database and one DATA_DIR, and their callers."""

    server: EmbeddedPostgres
    sandbox: Sandbox
    directory: Path
    bills: dict[str, list[Billed]]
    services: list[ServiceProcess] = field(default_factory=list)
    token: str = ""
    keys: dict[Provider, str] = field(default_factory=dict)

    @property
    def journals(self) -> list[Path]:
        """The directories of processes that live, or left something behind."""
        root = self.directory / "data" / "journal"
        return [path for path in root.iterdir() if path.is_dir()]

    def new_service(self, **environment: str) -> ServiceProcess:
        return ServiceProcess(
            self.directory,
            **PRODUCTION,
            **self.sandbox.environment(),
            DATABASE_URL=self.server.url.reveal(),
            LOG_LEVEL="warning",
            PORT=str(free_port()),
            **environment,
        )

    async def stop_database(self) -> None:
        await asyncio.to_thread(
            self.server._run,
            "pg_ctl",
            "stop",
            "-D",
            str(self.server._data),
            "-m",
            "immediate",
            "-w",
        )

    async def start_database(self) -> None:
        await asyncio.to_thread(self.server._start_again)

    async def start(self, *services: ServiceProcess) -> None:
        self.services.extend(services)
        for service in services:
            await asyncio.to_thread(service.start)

    async def restart(self, service: ServiceProcess) -> None:
        """Begin again what was killed."""
        service.launch()
        await asyncio.to_thread(service.wait_until_up)

    async def set_up(self) -> None:
        """Models, a user with keys, and its token."""
        for name, (provider, upstream, per_in, per_out) in MODELS.items():
            await self.admin(
                "POST", "/api/models", name=name, provider=provider.value, modelId=upstream,
                inputCostPer1kTokens=float(per_in), outputCostPer1kTokens=float(per_out),
            )  # fmt: skip
        for provider in {provider for provider, *_ in MODELS.values()}:
            made = await self.admin(
                "POST", "/api/api-keys?validate=false", userId=USER, provider=provider.value,
                keyName="k", apiKey="sk-sandbox-" + secrets.token_hex(8),
            )  # fmt: skip
            self.keys[provider] = made["id"]
        made = await self.admin("POST", "/api/tokens", role="user", userId=USER)
        self.token = made["token"]

    async def admin(self, method: str, path: str, **body: Any) -> Any:
        answer = await asyncio.to_thread(
            self.services[0].client.request, method, path, json=body or None
        )
        assert answer.is_success, answer.text
        return answer.json()

    @asynccontextmanager
    async def load(self, seed: int, callers: int = CALLERS) -> AsyncIterator[Round]:
        """Calls by many callers, of all models at all doors, until the block ends."""
        result, over = Round(), asyncio.Event()
        tasks = [
            asyncio.create_task(self._call_on(result, over, random.Random(f"{seed}/{number}")))
            for number in range(callers)
        ]
        try:
            yield result
        finally:
            over.set()
            await asyncio.gather(*tasks)

    async def _call_on(self, result: Round, over: asyncio.Event, chance: random.Random) -> None:
        limits = httpx.Limits(max_keepalive_connections=4)
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client:
            while not over.is_set():
                service = chance.choice(self.services)
                door, stream = chance.choice(DOORS), chance.random() < 0.5
                model = chance.choice(list(MODELS))
                url = f"http://127.0.0.1:{service.port}"
                await self._call(client, url, door, model, result, stream=stream)

    async def _call(
        self,
        client: httpx.AsyncClient,
        url: str,
        door: Door,
        model: str,
        result: Round,
        *,
        stream: bool,
    ) -> None:
        request_id = f"rq-{secrets.token_hex(8)}"
        body = door.body(model, f"{request_id}: count to 9", stream)
        try:
            answer = await client.post(
                url + door.path(model, stream), json=body, headers={"x-request-id": request_id}
            )
        except httpx.ConnectError:
            await asyncio.sleep(0.02)  # nobody is there
        except httpx.TransportError:
            result.cut[request_id] = model
        else:
            if answer.status_code == 200:
                assert answer.headers["x-request-id"] == request_id
                assert '"error":{' not in answer.text, answer.text
                result.answered[request_id] = model
            else:
                result.refused.append((door, answer))
                await asyncio.sleep(0.02)

    async def rows(self, request_ids: Iterable[str] | None = None) -> list[asyncpg.Record]:
        """The service's ledger: the events of requests, or of all."""
        connection = await asyncpg.connect(self.server.url.reveal())
        try:
            return list(
                await connection.fetch(
                    f"SELECT {_COLUMNS} FROM usage_events"  # noqa: S608
                    " WHERE $1::text[] IS NULL OR request_id = ANY($1)",
                    None if request_ids is None else list(request_ids),
                )
            )
        finally:
            await connection.close()

    async def stored(self, done: Round, processes: int = 2) -> list[asyncpg.Record]:
        """The events of a load, once all answered calls have theirs and the journals of the dead
        are gone; so many processes live."""
        async with asyncio.timeout(30):
            while True:
                if len(self.journals) <= processes:
                    rows = await self.rows(done.everything)
                    if done.answered.keys() <= {row["request_id"] for row in rows}:
                        return rows
                await asyncio.sleep(0.05)

    def cost(self, model: str, billed: Billed) -> Decimal:
        """Price times tokens, by hand."""
        _, _, per_in, per_out = MODELS[model]
        assert (billed.cached_input, billed.cache_write, billed.cache_write_1h) == (0, 0, 0)
        return (billed.input * per_in + billed.output * per_out) / 1000


def same(world: LedgerWorld, done: Round, rows: list[asyncpg.Record]) -> None:
    """Both ledgers agree about every call of a load."""
    by_id: dict[str, list[asyncpg.Record]] = {}
    for row in rows:
        by_id.setdefault(row["request_id"], []).append(row)
    tokens, cost = [0, 0], Decimal(0)
    for request_id, model in done.answered.items():
        (row,) = by_id[request_id]
        (billed,) = world.bills[request_id]
        assert (row["model"], row["status"], row["error_class"]) == (model, 200, None)
        assert not row["estimated"]
        assert _is_as_billed(world, row, billed), (dict(row), billed)
        tokens[0] += billed.input
        tokens[1] += billed.output
        cost += world.cost(model, billed)
    mine = [row for row in rows if row["request_id"] in done.answered]
    assert [sum(row[f"{way}_tokens"] for row in mine) for way in ("input", "output")] == tokens
    assert sum((row["cost"] for row in mine), Decimal(0)) == cost
    for request_id, model in done.cut.items():
        found = by_id.get(request_id, [])
        assert len(found) <= 1
        for row in found:
            if row["error_class"] == "interrupted":
                assert row["estimated"]
                assert row["status"] == 500
                assert row["model"] == model
                assert row["cost"] == row["input_tokens"] * MODELS[model][2] / 1000
                assert str(row["key_id"]) == world.keys[MODELS[model][0]]
            else:  # it was over, and its caller did not get the last of it
                assert row["error_class"] is None
                assert _is_as_billed(world, row, world.bills[request_id][0])


def _is_as_billed(world: LedgerWorld, row: asyncpg.Record, billed: Billed) -> bool:
    return (
        (row["input_tokens"], row["output_tokens"]) == (billed.input, billed.output)
        and row["cached_input_tokens"] == row["cache_write_tokens"] == 0
        and row["cost"] == world.cost(row["model"], billed)
    )


@asynccontextmanager
async def ledger_world() -> AsyncIterator[LedgerWorld]:
    """A database, stand-ins that keep a ledger, and no service yet."""
    bills: dict[str, list[Billed]] = {}
    sandbox = Sandbox()
    with TemporaryDirectory(prefix="model-service-tests-") as name:
        directory = Path(name)
        server = EmbeddedPostgres(directory / "database")
        await asyncio.to_thread(server.acquire)
        try:
            await migrate(server.url)
            async with serve(sandbox=sandbox):
                for stand_in in sandbox.stand_ins:
                    stand_in.pace = PACE
                    stand_in.requests = _Requests()
                    stand_in.usage = _Bills(bills)
                world = LedgerWorld(server, sandbox, directory, bills)
                try:
                    yield world
                finally:
                    for service in world.services:
                        await asyncio.to_thread(service.close)
        finally:
            await asyncio.to_thread(server._start_again)  # if a test left it stopped
            await asyncio.to_thread(server.release)
