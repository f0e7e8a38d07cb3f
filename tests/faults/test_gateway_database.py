"""The database is away, or the audit trail cannot be written: what is known is served on."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from model_service import calling
from model_service.access import directory
from model_service.db.embedded import EmbeddedPostgres
from model_service.db.engine import create_engine
from model_service.db.migrate import migrate
from model_service.db.uow import Database
from model_service.gateway import snapshot
from model_service.http import operations
from model_service.kernel.types import Provider
from model_service.sandbox.server import Sandbox
from model_service.settings import Settings
from tests.faults.gateway_doors import DOORS, OPENAI_CHAT, refusal
from tests.gateway_world import GatewayWorld, gateway_running

AGE = "model_service_snapshot_age_seconds"


@dataclass
class Fragile:
    """A gateway whose database can be stopped."""

    world: GatewayWorld
    server: EmbeddedPostgres

    async def stop(self) -> None:
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

    async def start(self) -> None:
        await asyncio.to_thread(self.server._start_again)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The database is away until the block ends; then the service has noticed it again."""
        await self.stop()
        try:
            yield
        finally:
            await self.start()
            await eventually(self.is_well)

    async def is_well(self) -> bool:
        answer = await self.world.admin.get("/api/health/ready")
        return answer.status_code == 200 and answer.json()["checks"]["gateway"] == "ok"

    async def readiness(self) -> tuple[int, str]:
        answer = await self.world.admin.get("/api/health/ready")
        return answer.status_code, str(answer.json()["checks"]["gateway"])

    async def age(self) -> float:
        """What the metric says."""
        lines = (await self.world.admin.get("/metrics")).text.splitlines()
        return float(next(line for line in lines if line.startswith(AGE + " ")).split()[1])

    async def ready(self) -> tuple[str, str]:
        """A model, and a user with a key for it that has been leased."""
        model, token = await self.new()
        async with self.world.client(token) as client:
            for door in DOORS:
                assert (await door.ask(client, model, stream=False)).status == 200
        return model, token

    async def new(self) -> tuple[str, str]:
        model, user = secrets.token_hex(6), secrets.token_hex(6)
        await self.world.model(model, Provider.OPENAI)
        await self.world.key(Provider.OPENAI, "sk-sandbox-" + secrets.token_hex(8), user=user)
        return model, await self.world.token(user)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            if await check():
                return
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    # Not below pytest's own, which another run may close to the account the server runs as.
    with TemporaryDirectory(prefix="model-service-tests-") as name:
        server = EmbeddedPostgres(Path(name))
        server.acquire()
        yield server
        server.release()


@pytest_asyncio.fixture(scope="module")
async def shared_fragile(
    settings: Settings, server: EmbeddedPostgres, shared_sandbox: Sandbox
) -> AsyncIterator[Fragile]:
    await migrate(server.url)
    async with gateway_running(settings, server.url, shared_sandbox) as world:
        yield Fragile(world, server)


@pytest.fixture
def fragile(shared_fragile: Fragile, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Fragile:
    monkeypatch.setattr(operations, "READY_SECONDS", 0.0)
    return shared_fragile


async def test_without_a_database_calls_go_on_and_it_is_said(
    fragile: Fragile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "STALE_SECONDS", 0.3)
    model, token = await fragile.ready()
    async with fragile.world.client(token) as client:
        async with fragile.away():
            started = time.monotonic()
            for door in DOORS:
                for stream in (False, True):
                    answer = await door.ask(client, model, stream=stream)
                    assert answer.status == 200, answer.text
                    assert door.text(answer)
            assert (await client.get("/v1/models")).status_code == 200
            assert time.monotonic() - started < 5, "nothing waits for the database"

            async def is_stale() -> bool:
                return (await fragile.readiness())[1] == "stale"

            await eventually(is_stale)
            assert await fragile.age() >= 0.3
        assert await fragile.age() < 2
        assert (await OPENAI_CHAT.ask(client, model, stream=False)).status == 200


async def test_without_a_database_what_is_not_known_is_a_clear_503(fragile: Fragile) -> None:
    _, token = await fragile.ready()
    model, unleased = await fragile.new()
    unknown = f"msk_{secrets.token_hex(16)}_{secrets.token_hex(32)}"
    async with fragile.away():
        for door in DOORS:
            for shown, name in ((unleased, model), (unknown, model)):
                async with fragile.world.client(shown) as client:
                    answer = await door.ask(client, name, stream=False)
                assert answer.status == 503, answer.text
                assert refusal(door, answer)[1]
                assert int(answer.headers["retry-after"]) >= 1
        async with fragile.world.client(token) as client:
            answer = await OPENAI_CHAT.ask(client, "no-such-model", stream=False)
            assert answer.status == 404
    async with fragile.world.client(unleased) as client:
        assert (await OPENAI_CHAT.ask(client, model, stream=False)).status == 200


async def test_beyond_the_staleness_bound_nothing_is_served_and_then_all_again(
    fragile: Fragile, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, token = await fragile.ready()
    async with fragile.world.client(token) as client:
        async with fragile.away():
            with monkeypatch.context() as shortened:
                shortened.setattr(snapshot, "STALENESS_BOUND", 0.0)
                shortened.setattr(directory, "STALENESS_BOUND", 0.0)
                for door in DOORS:
                    answer = await door.ask(client, model, stream=True)
                    assert answer.status == 503, answer.text
                    assert refusal(door, answer)[1]
                    assert int(answer.headers["retry-after"]) >= 1
                listed = await client.get("/v1/models")
                assert listed.status_code == 503
                assert (await fragile.readiness())[0] == 503
        assert (await OPENAI_CHAT.ask(client, model, stream=False)).status == 200


async def test_an_old_snapshot_is_not_believed_though_tokens_are(
    fragile: Fragile, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, token = await fragile.ready()
    async with fragile.world.client(token) as client, fragile.away():
        with monkeypatch.context() as shortened:
            shortened.setattr(snapshot, "STALENESS_BOUND", 0.0)
            for door in DOORS:
                answer = await door.ask(client, model, stream=False)
                assert answer.status == 503, answer.text
                assert int(answer.headers["retry-after"]) >= 1


async def test_what_changed_while_the_listener_was_away_is_taken_up(fragile: Fragile) -> None:
    """Changes by somebody who reached the database before this service did again."""
    model, token = await fragile.ready()
    gone, of_the_gone = await fragile.ready()
    world = fragile.world
    await fragile.stop()
    await fragile.start()
    database = Database(create_engine(fragile.server.url))
    try:
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM models WHERE name = :name"), {"name": gone})
            await connection.execute(
                text("UPDATE models SET name = name || '-new' WHERE name = :name"), {"name": model}
            )
            await connection.execute(text("UPDATE api_keys SET is_active = false"))
    finally:
        await database.close()
    committed = time.monotonic()
    async with world.client(of_the_gone) as client:

        async def is_gone() -> bool:
            return (await OPENAI_CHAT.ask(client, gone, stream=False)).status == 404

        await eventually(is_gone)
    async with world.client(token) as client:

        async def has_no_key() -> bool:
            return (await OPENAI_CHAT.ask(client, f"{model}-new", stream=False)).status == 403

        await eventually(has_no_key)
    assert time.monotonic() - committed < 5
    await eventually(fragile.is_well)


async def test_with_the_audit_trail_locked_no_key_is_leased_and_leased_ones_go_on(
    fragile: Fragile,
) -> None:
    model, token = await fragile.ready()
    another, unleased = await fragile.new()
    database = fragile.world.service.database
    async with (
        fragile.world.client(token) as client,
        fragile.world.client(unleased) as other,
        fragile.world.client(f"msk_{secrets.token_hex(16)}_{secrets.token_hex(32)}") as stranger,
    ):
        async with database.transaction() as connection:
            await connection.execute(text("LOCK TABLE audit_records IN ACCESS EXCLUSIVE MODE"))
            refused, strange = (
                asyncio.gather(*(door.ask(other, another, stream=False) for door in DOORS)),
                asyncio.ensure_future(OPENAI_CHAT.ask(stranger, model, stream=False)),
            )
            for _ in range(5):
                assert (await OPENAI_CHAT.ask(client, model, stream=False)).status == 200
            before = len(fragile.world.sandbox.openai.requests)
            for door, answer in zip(DOORS, await refused, strict=True):
                assert answer.status == 503, answer.text
                assert refusal(door, answer)[1]
                assert int(answer.headers["retry-after"]) >= 1
            assert (await strange).status in (401, 503)
            assert len(fragile.world.sandbox.openai.requests) == before
        await _works_again(other, another)


async def _works_again(client: httpx.AsyncClient, model: str) -> None:
    async def works() -> bool:
        return (await OPENAI_CHAT.ask(client, model, stream=False)).status == 200

    await eventually(works)
