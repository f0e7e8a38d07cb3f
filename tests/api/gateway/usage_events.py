"""What tests of usage events share: a priced model, calls to it, and what was kept of them."""

import asyncio
import secrets
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from model_service.kernel.types import Provider
from model_service.sandbox.stand_in import Billed
from model_service.usage.domain import UsageEvent
from tests.faults.gateway_doors import Answer, Door
from tests.gateway_world import GatewayWorld

#: US dollars for 1,000 tokens of input and output.
INPUT, OUTPUT = Decimal("0.003"), Decimal("0.011")
PRICES = {"inputCostPer1kTokens": float(INPUT), "outputCostPer1kTokens": float(OUTPUT)}


@dataclass(slots=True)
class Caller:
    """A user with a key and a token, and a priced model."""

    world: GatewayWorld
    provider: Provider
    model: str
    user: str
    token: str
    key_id: str

    @classmethod
    async def new(cls, world: GatewayWorld, provider: Provider, **more: Any) -> "Caller":
        model, user = f"model-{secrets.token_hex(4)}", f"user-{secrets.token_hex(4)}"
        await world.model(model, provider, **PRICES | more)
        key = await world.key(provider, "sk-sandbox-" + secrets.token_hex(8), user=user)
        return cls(world, provider, model, user, await world.token(user), key["id"])

    @property
    def billed(self) -> Billed:
        """What the provider billed last."""
        is_custom = self.provider is Provider.CUSTOM
        return self.world.sandbox.of(Provider.OPENAI if is_custom else self.provider).usage[-1]

    async def ask(
        self, door: Door, *, stream: bool = False, **headers: str
    ) -> tuple[Answer, UsageEvent]:
        async with self.world.client(self.token, **headers) as client:
            answer = await door.ask(client, self.model, stream=stream)
        return answer, await kept(self.world, answer.headers["x-request-id"])

    async def post(self, path: str, **body: Any) -> tuple[int, UsageEvent]:
        async with self.world.client(self.token) as client:
            answer = await client.post(path, json=body)
        return answer.status_code, await kept(self.world, answer.headers["x-request-id"])


async def all_kept(world: GatewayWorld, request_id: str) -> list[UsageEvent]:
    """The events of a request."""
    await world.service.traffic.metering.drainer.drain()
    return list(await world.service.traffic.usage.reader.of_request(request_id, None))


async def kept(world: GatewayWorld, request_id: str) -> UsageEvent:
    """The one event of a request."""
    (event,) = await all_kept(world, request_id)
    return event


async def eventually_kept(world: GatewayWorld, request_id: str) -> UsageEvent:
    """The one event of a request whose caller did not wait for its end."""
    async with asyncio.timeout(10):
        while True:
            if found := await all_kept(world, request_id):
                (event,) = found
                return event
            await asyncio.sleep(0.02)


def tokens(one: UsageEvent) -> tuple[int, int, int, int, int, int]:
    return (
        one.input_tokens,
        one.cached_input_tokens,
        one.cache_write_tokens,
        one.cache_write_1h_tokens,
        one.output_tokens,
        one.reasoning_tokens,
    )


def tokens_billed(one: Billed) -> tuple[int, int, int, int, int, int]:
    return (
        one.input,
        one.cached_input,
        one.cache_write,
        one.cache_write_1h,
        one.output,
        one.reasoning,
    )


def cost_of(one: Billed) -> Decimal:
    """By hand, of what has neither cached nor written tokens."""
    assert (one.cached_input, one.cache_write, one.cache_write_1h) == (0, 0, 0)
    return (one.input * INPUT + one.output * OUTPUT) / 1000
