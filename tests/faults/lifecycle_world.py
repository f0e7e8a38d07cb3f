"""The services that the model of provider keys is held against, and how they are compared."""

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
from sqlalchemy import Column, func, select

from model_service import app
from model_service import custody as secret_commands
from model_service.app import build
from model_service.audit import trail
from model_service.db import engine, tables
from model_service.db.migrate import migrate
from model_service.kernel.audit import Phase
from model_service.kernel.errors import ChangedMeanwhile
from model_service.kernel.redact import Redactor
from model_service.kernel.secret import Secret
from model_service.keys import reveal
from model_service.sandbox.server import Sandbox, serve
from model_service.service import Service
from model_service.settings import Environment, Settings
from model_service.vault import custody as vault_custody
from model_service.vault import primitives, wrap
from tests.conftest import ADMIN_TOKEN, INTERNAL_SECRET
from tests.faults.lifecycle_model import ADMINISTRATOR, ASKERS, USERS, Answer, Asker, Model
from tests.faults.lifecycle_requests import GHOSTS, Request

#: Steps between two checks of the whole audit trail.
CHECKED_EVERY: Final = 5
#: Seconds to wait for the database.
PATIENCE: Final = 60.0
#: What a key shows that the model does not know.
OF_THE_CLOCK: Final = ("createdAt", "updatedAt", "lastUsedAt", "validatedAt")


def master(number: int) -> Secret[str]:
    """A master secret."""
    return Secret(f"master-secret-of-the-lifecycle-{number:04d}")


@dataclass
class Replica:
    """One running service, and which secret it was started with."""

    service: Service
    client: httpx.AsyncClient
    secret: int

    async def stop(self) -> None:
        await self.client.aclose()
        await self.service.close()


@dataclass
class World:
    """A server with a prepared database, from which services with a keyring can be started."""

    server: Secret[str]
    template: str
    settings: Settings
    sandbox: Sandbox
    model: Model = field(default_factory=Model)
    tokens: dict[str, str] = field(default_factory=lambda: {ADMINISTRATOR: ADMIN_TOKEN})
    redactor: Redactor = field(default_factory=Redactor)

    def now(self) -> datetime:
        """The time of every service here: the model's."""
        return self.model.moment

    @property
    def substitutes(self) -> Iterable[tuple[object, str, object]]:
        """What takes the place of what in the services: the model's time, and less waiting.

        A machine that has much else to do must not be taken for a database that is away.
        """
        yield app, "SystemClock", lambda: self
        yield secret_commands, "SystemClock", lambda: self
        yield wrap, "scrypt", cheap_scrypt
        yield vault_custody, "_LOOK", 0.001
        yield engine, "CONNECT_TIMEOUT", PATIENCE
        yield engine, "POOL_TIMEOUT", PATIENCE
        yield trail, "ANSWER_SECONDS", PATIENCE
        yield trail._Ending, "seconds", PATIENCE
        yield reveal, "ANSWER_SECONDS", PATIENCE

    async def prepare(self) -> None:
        """A database with a keyring under the first secret, and a token for each user."""
        await self.on_server(f'CREATE DATABASE "{self.template}"')
        await migrate(self.url(self.template))
        replica = await self.start(self.template, 0)
        asker = Asker(ADMINISTRATOR, internal=False)
        for user in USERS:
            answer = await replica.client.post(
                "/api/tokens", json={"role": "user", "userId": user}, headers=self.headers(asker)
            )
            self.tokens[user] = answer.json()["token"]
        await replica.stop()

    async def start(self, name: str, secret: int, previous: int | None = None) -> Replica:
        """A service on a database, as a process starts it."""
        settings = self.settings_of(secret, previous)
        service = await build(settings, self.url(name), self.redactor)
        await service.watch.enter()
        transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://service")
        return Replica(service, client, secret)

    def url(self, name: str) -> Secret[str]:
        """Where a database is."""
        return Secret(urlsplit(self.server.reveal())._replace(path=f"/{name}").geturl())

    async def on_server(self, statement: str) -> None:
        """Do what has to do with databases as a whole."""
        connection = await asyncpg.connect(self.server.reveal())
        await connection.execute(statement)
        await connection.close()

    def settings_of(self, secret: int, previous: int | None = None) -> Settings:
        """The settings with these master secrets."""
        before = None if previous is None else master(previous)
        return self.settings.model_copy(
            update={"encryption_secret": master(secret), "encryption_secret_previous": before}
        )

    def headers(self, asker: Asker) -> dict[str, str]:
        """What somebody shows."""
        headers = {}
        if asker.token is not None:
            headers["authorization"] = f"Bearer {self.tokens[asker.token]}"
        if asker.internal:
            headers["x-internal-secret"] = INTERNAL_SECRET
        if asker.acts_for is not None:
            headers["x-user-id"] = asker.acts_for
        return headers


def cheap_scrypt(password: bytes, **parameters: Any) -> bytes:
    """Scrypt at next to no cost: what it costs has nothing to do with the life of keys."""
    return primitives.scrypt(password, **(parameters | {"n": 16}))


@asynccontextmanager
async def prepared(server: Secret[str], directory: Path) -> AsyncIterator[World]:
    """A world with stand-ins of the providers; its database still has to be made."""
    async with serve() as sandbox:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            environment=Environment.PRODUCTION,
            data_dir=directory,
            encryption_secret=master(0),
            internal_secret=Secret(INTERNAL_SECRET),
            admin_token=Secret(ADMIN_TOKEN),
            auth_failures_per_minute=100_000,
            validations_per_minute=100_000,
            openai_base_url=sandbox.openai.base_url,
            anthropic_base_url=sandbox.anthropic.base_url,
            google_base_url=sandbox.google.base_url,
        )
        world = World(server, f"lifecycle_{token_hex(6)}", settings, sandbox)
        yield world
        await world.on_server(f'DROP DATABASE "{world.template}" WITH (FORCE)')


async def ask(world: World, replica: Replica, request: Request) -> httpx.Response:
    """Send a request."""
    return await replica.client.request(
        request.method,
        f"/api/api-keys{request.path}",
        json=request.body,
        headers=world.headers(request.asker),
    )


def content(response: httpx.Response) -> dict[str, Any]:
    """The document in an answer."""
    found: dict[str, Any] = response.json() if response.content else {}
    return found


def answer_in(response: httpx.Response) -> Answer:
    """An answer, as the model gives one."""
    return Answer(response.status_code, content(response).get("key"))


def views_in(response: httpx.Response) -> list[dict[str, Any]]:
    """A list of keys as the model gives one: without what the clock alone decides."""
    assert response.status_code == 200, response.text
    return [
        {name: value for name, value in view.items() if name not in OF_THE_CLOCK}
        for view in response.json()
    ]


def _after(model: Model, answers: Sequence[tuple[Request, httpx.Response]]) -> Model | None:
    """The model after these requests in this order; None when it would answer otherwise."""
    after = copy.deepcopy(model)
    for request, response in answers:
        if request.expected(after, content(response)) != answer_in(response):
            return None
    return after


def _refused_late(model: Model, key_id: str) -> Iterator[Model]:
    """What is recorded when a value got ready to go out, and then stayed in after all."""
    late = copy.deepcopy(model)
    late.recorded["key.reveal", "deny"] += 1
    yield late
    if key_id in model.keys:
        counted = copy.deepcopy(late)
        counted.recorded["key.reveal", "allow"] += 1
        counted.keys[key_id].uses += 1
        yield counted


@dataclass(frozen=True)
class Comparison:
    """Holds two replicas against the model; each raises `AssertionError`."""

    world: World
    replicas: Sequence[Replica]

    @property
    def model(self) -> Model:
        return self.world.model

    async def everything(self, touched: str, step: int) -> None:
        """All there is; of the key just touched, every way to ask for its value.

        Each question goes to one replica, at the next step to the other. The whole trail is
        checked seldom: what breaks it stays in it.
        """
        await self.values(touched, step)
        sights = enumerate((*USERS, ADMINISTRATOR), step)
        await asyncio.gather(*[self.sight(user, self.replica(place)) for place, user in sights])
        await self.fallbacks(self.replica(step))
        await self.tables()
        assert await self.recorded() == +self.model.recorded
        if step % CHECKED_EVERY == 0:
            await self.trail()

    def replica(self, place: int) -> Replica:
        """One of the two."""
        return self.replicas[place % len(self.replicas)]

    async def values(self, touched: str, step: int) -> None:
        """Everybody gets what is theirs, and nobody anything else."""
        named = ASKERS[: 1 + len(USERS)]
        others = ASKERS[len(named) :]
        turn = step % 3 * 2
        asked = [(touched, asker) for asker in (*named, *others[turn : turn + 2]) if touched]
        the_rest = {*self.model.keys, *self.model.deleted[-GHOSTS:]} - {touched}
        asked += [(key_id, ASKERS[step % len(ASKERS)]) for key_id in sorted(the_rest)]
        requests = [
            self.replica(step + place).client.get(
                f"/api/api-keys/{key_id}/decrypt", headers=self.world.headers(asker)
            )
            for place, (key_id, asker) in enumerate(asked)
        ]
        answers = await asyncio.gather(*requests)
        for (key_id, asker), answer in zip(asked, answers, strict=True):
            assert answer_in(answer) == self.model.decrypt(key_id, asker), (asker, answer.text)

    async def sight(self, user: str, replica: Replica) -> None:
        """Somebody sees their keys, those shared with them, and no value."""
        headers = self.world.headers(Asker(user, internal=False))
        answer = await replica.client.get("/api/api-keys", headers=headers)
        assert not [value for value in self.model.values if value in answer.text]
        assert views_in(answer) == self.model.listed(user)

    async def fallbacks(self, replica: Replica) -> None:
        """The former value may be used as long as its grace lasts."""
        for key_id in [*self.model.keys, *self.model.deleted[-GHOSTS:]]:
            found = await replica.service.rotation.service.previous_value(UUID(key_id))
            value = None if found is None else found.value.reveal()
            assert value == self.model.fallback(key_id)

    async def tables(self) -> None:
        """No ciphertext and no grant is stored but those that should be."""
        keys, versions, grants = tables.api_keys, tables.api_key_versions, tables.key_shares
        stored = await self.rows(keys.c.id, keys.c.key_version)
        assert stored == {(key.id, key.version) for key in self.model.keys.values()}
        assert await self.rows(versions.c.key_id, versions.c.version) == set(
            self.model.former_values()
        )
        assert await self.rows(grants.c.key_id, grants.c.id) == {
            (key.id, grant.id) for key in self.model.keys.values() for grant in key.grants.values()
        }

    async def trail(self) -> None:
        """The audit trail is whole, and says exactly what was done."""
        assert await self.recorded() == +self.model.recorded
        await self.replicas[0].service.ledger.verify()

    async def recorded(self) -> Counter[tuple[str, str]]:
        """How many results there are of what the model counts, by type and decision."""
        r = tables.audit_records.c
        query = (
            select(r.type, r.decision, func.count())
            .where(r.type.in_(Model.COUNTED), r.phase == Phase.RESULT)
            .group_by(r.type, r.decision)
        )
        async with self.replicas[0].service.database.single() as connection:
            rows = (await connection.execute(query)).all()
        return Counter({(row[0], row[1]): row[2] for row in rows})

    async def rows(self, *columns: Column[Any]) -> set[tuple[Any, ...]]:
        """What some columns hold; ids as text."""
        async with self.replicas[0].service.database.single() as connection:
            rows = await connection.execute(select(*columns))
            return {
                tuple(str(value) if isinstance(value, UUID) else value for value in row)
                for row in rows
            }

    async def outcome(
        self, answers: Sequence[tuple[Request, httpx.Response]], key_id: str
    ) -> Model:
        """What became of requests made at once, about one key: what some order of them gives."""
        found = [
            model
            for order in (answers, answers[::-1])
            if (model := _after(self.model, order)) is not None
        ]
        # Who lost to the other is told so, and has changed nothing.
        stood = [one for one in answers if content(one[1]).get("code") != ChangedMeanwhile.code]
        if len(stood) < len(answers) and (model := _after(self.model, stood)) is not None:
            found.append(model)
        for request, response in answers:
            if request.path.endswith("/decrypt") and response.status_code in (403, 404):
                found += [late for model in found for late in _refused_late(model, key_id)]
        for model in found:
            if await self.is_so(model):
                return model
        raise AssertionError([(request, response.text) for request, response in answers])

    async def is_so(self, model: Model) -> bool:
        """Whether keys and records are as a model says."""
        headers = self.world.headers(Asker(ADMINISTRATOR, internal=False))
        answer = await self.replicas[0].client.get("/api/api-keys", headers=headers)
        is_seen = views_in(answer) == model.listed(ADMINISTRATOR)
        return is_seen and await self.recorded() == +model.recorded

    async def nothing_left(self) -> None:
        """Of keys that were deleted only the audit trail knows."""
        for table in (
            tables.api_keys,
            tables.api_key_versions,
            tables.key_shares,
            tables.key_rotation_steps,
            tables.key_rotation_policies,
            tables.issued_keys,
        ):
            assert await self.rows(*table.c) == set(), table.name
        await self.trail()
