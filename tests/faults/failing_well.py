"""A provider's bad day, and what both ends saw of it: the caller, and each provider."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise, product
from typing import Any, Final

import httpx

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault
from model_service.sandbox.stand_in import Received, StandIn
from model_service.usage.domain import UsageEvent
from tests.faults.gateway_doors import DOORS, OPENAI_CHAT, Answer, Door
from tests.gateway_world import GatewayWorld

#: Those that want a key.
KEYED: Final = (Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE)
ALL: Final = (*KEYED, Provider.OLLAMA, Provider.CUSTOM)
#: Pauses between attempts as short as they may be.
QUICK: Final = {"backoffBase": 0.05, "backoffCap": 0.05}
#: Repeats that no test comes to.
UNBOUNDED: Final = 10**6
#: What a model says that counts to twelve.
TWELVE: Final = " ".join(map(str, range(1, 13)))
SIXTY: Final = " ".join(map(str, range(1, 61)))


class Stage:
    """A caller of its own, with a key for each provider, and the models it calls."""

    def __init__(self, world: GatewayWorld, user: str, client: httpx.AsyncClient) -> None:
        self.world = world
        self.user = user
        self.client = client

    async def model(
        self,
        fault: Fault | None = None,
        provider: Provider = Provider.OPENAI,
        *,
        once: bool = False,
        policy: Mapping[str, Any] = QUICK,
        settings: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """Register a model that misbehaves so; without a fault, one that is well."""
        name = secrets.token_hex(6)
        if fault is not None:
            word = f"{fault.value}-once" if once else fault.value
            more = {"modelId": f"fault-{word}.{name}"} | more
        elif provider is Provider.CUSTOM:
            more = {"modelId": "gpt-4.1"} | more  # takes what OpenAI's newer ones refuse
        await self.world.model(
            name,
            provider,
            providerSettings={"policy": dict(policy), **(settings or {})},
            **{"maxTokens": 4000, **more},
        )
        return name

    async def ask(
        self,
        model: str,
        *,
        door: Door = OPENAI_CHAT,
        stream: bool = False,
        text: str = "count to 12",
        **headers: str,
    ) -> Answer:
        """Make one call; `headers` are those that start with x-model-service."""
        sent = {f"x-model-service-{name.replace('_', '-')}": it for name, it in headers.items()}
        return await door.ask(self.client, model, stream=stream, text=text, headers=sent)

    def provider(self, provider: Provider) -> StandIn:
        """Whoever serves a provider's models."""
        sandbox = self.world.sandbox
        return sandbox.openai if provider is Provider.CUSTOM else sandbox.of(provider)

    def calls(self, model: str, provider: Provider = Provider.OPENAI) -> list[Received]:
        """What reached a provider for a model that misbehaves."""
        return [
            one
            for one in self.provider(provider).requests
            if f".{model}" in one.path or f".{model}".encode() in one.body
        ]

    def others(self, provider: Provider) -> list[Received]:
        """What reached a provider for models that are well."""
        return [
            one
            for one in self.provider(provider).requests
            if one.method == "POST" and "fault-" not in one.path and b'"fault-' not in one.body
        ]

    async def kept(self, answer: Answer | str) -> list[UsageEvent]:
        """What is kept of a call, by its answer or its id, once it is over."""
        request_id = answer if isinstance(answer, str) else answer.headers["x-request-id"]
        await self.world.service.traffic.metering.drainer.drain()
        return list(await self.world.service.traffic.usage.reader.of_request(request_id, None))

    async def why(self, answer: Answer) -> dict[str, Any]:
        """What the service says of why a call went as it did."""
        await self.world.service.traffic.metering.drainer.drain()
        told = await self.world.admin.get(f"/api/usage/{answer.headers['x-request-id']}")
        assert told.status_code == 200, told.text
        why: dict[str, Any] = told.json()["why"]
        return why


@asynccontextmanager
async def staged(world: GatewayWorld) -> AsyncIterator[Stage]:
    """A stage whose caller has a key for each provider."""
    user = secrets.token_hex(6)
    for provider in KEYED:
        await world.key(provider, a_key(), user=user)
    await world.key(Provider.CUSTOM, a_key(), user=user)
    async with world.client(await world.token(user)) as client:
        yield Stage(world, user, client)


async def each_way(
    stage: Stage, model: Callable[[], Awaitable[str]], *, text: str = "count to 12", **headers: str
) -> list[tuple[Door, bool, str, Answer]]:
    """What every door answers, whole and in a stream, of a new model each, all at once."""
    ways = list(product(DOORS, (False, True)))
    models = await asyncio.gather(*(model() for _ in ways))
    answers = await asyncio.gather(
        *(
            stage.ask(name, door=door, stream=stream, text=text, **headers)
            for (door, stream), name in zip(ways, models, strict=True)
        )
    )
    return [(*way, name, it) for way, name, it in zip(ways, models, answers, strict=True)]


def a_key(word: str = "") -> str:
    """A key that stand-ins take; they misbehave as its word says."""
    return f"sk-sandbox-{word}{secrets.token_hex(8)}"


def came_from(answer: Answer) -> tuple[str, str, int]:
    """Which model answered, of which provider, at which attempt."""
    return (
        answer.headers["x-model-service-model"],
        answer.headers["x-model-service-provider"],
        int(answer.headers["x-model-service-attempts"]),
    )


def gaps(calls: Sequence[Received]) -> list[float]:
    """Seconds between calls."""
    return [later.at - earlier.at for earlier, later in pairwise(calls)]


async def none_left(world: GatewayWorld) -> None:
    """Fails if, after a second, a call is still under way or holds a provider's connection."""
    async with asyncio.timeout(1):
        while True:
            if not _busy(world):
                return
            await asyncio.sleep(0)


def _busy(world: GatewayWorld) -> int:
    pools = world.service.transport._pools.values()
    taken = sum(pool.size - len(pool._free) for pool in pools)
    serving = [task for task in asyncio.all_tasks() if "Pipeline._go_on" in str(task.get_coro())]
    return taken + len(serving)
