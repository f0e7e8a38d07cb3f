"""A unique key and token go through every door, provider and fault, and are found nowhere else."""

import asyncio
import base64
import dataclasses
import secrets
from collections.abc import AsyncIterator, Callable
from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
from sqlalchemy import text
from structlog.testing import capture_logs

from model_service.gateway import circuit, outbound
from model_service.kernel.types import Provider
from model_service.providers.messages import Limits
from model_service.sandbox.faults import Fault, Pace
from tests.faults.gateway_doors import DOORS, Answer
from tests.faults.hostile import Received, Script, Wire, serve
from tests.gateway_world import GatewayWorld

PROVIDERS = (Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE)
WAYS = list(product(DOORS, (False, True)))
#: What tells the canaries from anything else; no provider's key is shaped like the first.
MARK = "c4naryGatewayMaterial"


#: Nothing is asked twice, and nobody is waited for.
POLICY = {"retries": 0, "firstByteTimeout": 0.15, "idleTimeout": 0.15}


@dataclasses.dataclass
class Hunt:
    """A user whose keys and token are unique, and all that was said since."""

    world: GatewayWorld
    client: httpx.AsyncClient
    user: str
    token: str
    logged: list[Any]
    said: list[Answer] = dataclasses.field(default_factory=list)

    async def ask_everywhere(self, model: str) -> list[Answer]:
        """Ask at every door, whole and in a stream."""
        answers = await asyncio.gather(
            *(door.ask(self.client, model, stream=stream) for door, stream in WAYS)
        )
        self.said += answers
        return answers

    async def end(self, *canaries: str) -> None:
        """Fails if one of the canaries is anywhere."""
        assert any(line["event"] == "call failed" for line in self.logged)
        secret_part = self.token.rpartition("_")[2]
        for canary in (*canaries, secret_part):
            for answer in self.said:
                assert canary not in answer.text, answer.text
                assert canary not in str(answer.headers.raw)
            assert canary not in str(self.logged)
            metrics = (await self.world.admin.get("/metrics")).text
            assert canary not in metrics
            trail = (await self.world.admin.get("/api/audit?limit=200")).text
            assert canary not in trail
            assert not await _tables_with(self.world, canary)


async def _tables_with(world: GatewayWorld, canary: str) -> list[str]:
    """Tables in which a row, as text, has the canary."""
    async with world.service.database.single() as connection:
        names = (
            await connection.execute(
                text(
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
                )
            )
        ).scalars()
        found = []
        for name in list(names):
            query = text(f'SELECT count(*) FROM "{name}" AS t WHERE t::text LIKE :wanted')  # noqa: S608 - the catalogue's own names
            if await connection.scalar(query, {"wanted": f"%{canary}%"}):
                found.append(name)
    return found


@pytest.fixture(autouse=True)
def _bounded(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "LIMITS", Limits(body_bytes=1024 * 1024))
    # Every door is to see the fault itself.
    monkeypatch.setattr(circuit, "STREAK", 1_000_000)
    monkeypatch.setattr(circuit, "VOLUME", 1_000_000)
    for stand_in in world.sandbox.everything:
        stand_in.pace = Pace(slow=0.02, drip=0.0, huge=1024 * 1024)


@pytest_asyncio.fixture
async def hunt(world: GatewayWorld) -> AsyncIterator[Hunt]:
    user = secrets.token_hex(6)
    token = await world.token(user)
    # Before anything is left out or masked, which would hide what should not be there at all.
    with capture_logs() as logged:
        async with world.client(token) as client:
            yield Hunt(world, client, user, token, logged)


async def keyed(hunt: Hunt, provider: Provider, value: str) -> None:
    """The user's only key for the provider."""
    await hunt.world.key(provider, value, user=hunt.user)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_no_fault_of_a_provider_gives_a_key_away(hunt: Hunt, provider: Provider) -> None:
    canary = f"{MARK}{secrets.token_hex(8)}"
    await keyed(hunt, provider, f"sk-sandbox-{canary}")
    for fault in Fault:
        name = secrets.token_hex(6)
        await hunt.world.model(
            name,
            provider,
            modelId=f"fault-{fault.value}.{name}",
            maxTokens=4000,
            providerSettings={"policy": POLICY},
        )
        await hunt.ask_everywhere(name)
    await hunt.end(canary)


@pytest.mark.parametrize(
    "value",
    [
        f"sk-sandbox-echo-{MARK}",
        f"sk-sandbox-limited-{MARK}",
        f"sk-sandbox-broken-{MARK}",
        f"sk-sandbox-html-{MARK}",
        f"sk-sandbox-redirect-{MARK}",
        f"sk-sandbox-restricted-{MARK}",
        f"{MARK}-known-to-nobody",
    ],
)
async def test_no_refusal_of_a_key_gives_it_away(hunt: Hunt, value: str) -> None:
    unique = secrets.token_hex(8)
    for provider in PROVIDERS:
        await keyed(hunt, provider, value + unique)
        name = secrets.token_hex(6)
        settings = {"policy": POLICY}
        await hunt.world.model(name, provider, maxTokens=4000, providerSettings=settings)
        answers = await hunt.ask_everywhere(name)
        assert all(answer.status >= 400 for answer in answers)
    await hunt.end(unique)


def _key_of(received: Received) -> str:
    return received.header("authorization")[0].removeprefix("Bearer ")


def _json(document: object) -> bytes:
    return orjson.dumps(document)


def _whole(status: bytes, body: bytes, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, head, len(body), body)


def _error(key: str, message: str) -> dict[str, Any]:
    return {
        "error": {
            "message": message,
            "type": key,
            "param": key,
            "code": key,
            "innererror": {"code": key},
            "metadata": {"raw": key},
        }
    }


def _stream(*events: bytes) -> bytes:
    data = b"".join(b"data: " + event + b"\n\n" for event in events)
    return _whole(b"200 OK", data, "content-type: text/event-stream")


CHUNK = _json(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    }
)

#: Ways to say a key back, by a provider that is free to say what it wants.
ECHOES: dict[str, Callable[[str], bytes]] = {
    "every field of an error": lambda key: _whole(b"400 No", _json(_error(key, f"no {key}!"))),
    "headers": lambda key: _whole(
        b"401 No",
        _json(_error("x", "no")),
        f"x-key: {key}",
        f"retry-after: {key}",
        f"set-cookie: k={key}",
        f"location: /{key}",
    ),
    "the reason": lambda key: _whole(f"500 {key}".encode(), b""),
    "a text that is cut at its bound": lambda key: _whole(
        b"400 No", _json(_error("y" * 180 + key, "x" * (7990 - len(key) // 2) + key))
    ),
    "a code that is cut at its bound": lambda key: _whole(
        b"400 No", _json({"error": {"message": "no", "code": "y" * (200 - len(key) + 3) + key}})
    ),
    "an error within a 200": lambda key: _whole(b"200 OK", _json(_error(key, f"'{key}'"))),
    "an error within a stream": lambda key: _stream(CHUNK, _json(_error(key, f"key={key}"))),
    "an error before the stream": lambda key: _stream(_json(_error(key, f"(Bearer {key})"))),
    "an event that is none": lambda key: _stream(CHUNK, b"{" + key.encode()),
    "a page": lambda key: _whole(b"502 No", f"<p>{key}</p>".encode(), "content-type: text/html"),
    "a plain text": lambda key: _whole(b"400 No", key.encode()),
    "a text of JSON": lambda key: _whole(b"400 No", _json(key)),
    "a list": lambda key: _whole(b"400 No", _json([_error(key, key)])),
    "details": lambda key: _whole(
        b"422 No", _json({"detail": [{"loc": ["body", key], "msg": f"not {key}"}]})
    ),
    "a quoted request": lambda key: _whole(
        b"400 No",
        _json({"error": {"message": f'{{"authorization": "Bearer {key}"}}', "code": f"a,{key}"}}),
    ),
    "a URL": lambda key: _whole(
        b"400 No", _json({"error": {"message": f"GET https://u:{key}@h/?key={quote(key)}&x=1"}})
    ),
    "no HTTP at all": lambda key: key.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("way", ECHOES)
async def test_no_provider_can_say_a_key_back(hunt: Hunt, way: str) -> None:
    # Shaped like no known key, so that nothing but knowing it takes it out.
    canary = f"{MARK}{secrets.token_hex(12)}"

    async def saying(wire: Wire) -> None:
        key = _key_of(await wire.request())
        assert key == canary
        await wire.send(ECHOES[way](key))

    await _played(hunt, saying, canary)
    # a part of it that is long enough to help somebody
    await hunt.end(canary, canary[:24], canary[-24:])


async def _played(hunt: Hunt, script: Script, key: str) -> None:
    async with serve(script) as server:
        await keyed(hunt, Provider.CUSTOM, key)
        name = secrets.token_hex(6)
        base_url = f"http://127.0.0.1:{server.port}"
        await hunt.world.model(name, Provider.CUSTOM, providerSettings={"baseUrl": base_url})
        await hunt.ask_everywhere(name)
        assert len(server.requests) >= len(WAYS)


async def test_a_token_is_never_said_back_wherever_it_stands(hunt: Hunt) -> None:
    name = secrets.token_hex(6)
    await hunt.world.model(name, Provider.OPENAI)
    token = hunt.token
    places: list[tuple[str, dict[str, str], object]] = [
        (f"/v1/models/{token}", {}, {}),
        (f"/v1beta/models/{token}:generateContent?key={token}", {}, {"contents": token}),
        (f"/openai/deployments/{token}/chat/completions", {}, {token: token}),
        ("/v1/chat/completions", {"x-tags": token}, {"model": name, token: token}),
        ("/v1/chat/completions", {"user-agent": token, "x-user-id": token}, {"model": name}),
        ("/v1/messages", {"anthropic-beta": token}, {"model": name, "messages": token}),
        ("/v1/responses", {"x-api-key": token}, {"model": name, "input": 5}),
        (f"/v1/nowhere/{token}?{token}", {}, {}),
    ]
    async with httpx.AsyncClient(base_url=hunt.world.url) as stranger:
        for client, (path, headers, body) in product((hunt.client, stranger), places):
            answer = await client.post(path, headers=headers, json=body)
            # what the caller wrote itself, as a model's name or a field's, may be said to it
            assert token not in str(answer.headers.raw)
            assert answer.status_code >= 400
    await hunt.end()


async def test_a_wrong_token_is_written_down_nowhere(hunt: Hunt) -> None:
    wrong = f"msk_{secrets.token_hex(16)}_{MARK}{secrets.token_hex(16)}"
    basic = base64.b64encode(f"u:{wrong}".encode()).decode()
    for headers in (
        {"authorization": f"Bearer {wrong}"},
        {"authorization": f"Basic {basic}"},
        {"x-api-key": wrong},
        {"x-goog-api-key": wrong},
        {"api-key": wrong},
        {"x-internal-secret": wrong},
    ):
        async with httpx.AsyncClient(base_url=hunt.world.url, headers=headers) as client:
            for door, stream in WAYS:
                hunt.said.append(await door.ask(client, "m", stream=stream))
    assert {answer.status for answer in hunt.said} == {401}
    await hunt.end(wrong.rpartition("_")[2], basic)
