"""Three whole replicas over one database: what one of them lets pass counts for all."""

import asyncio
import time
from collections import Counter

import httpx

from model_service.kernel.types import Provider
from tests.faults.ledger_world import LedgerWorld, ledger_world

LIMIT = 60
CALLS = 300
REPLICAS = 3
#: Seconds that all of it surely takes.
ENOUGH = 20


async def minute_with_time_left() -> None:
    """Not at the end of a minute: the next one lets as many pass again."""
    left = 60 - time.time() % 60
    if left < ENOUGH:
        await asyncio.sleep(left)


async def known_everywhere(world: LedgerWorld, client: httpx.AsyncClient, model: str) -> None:
    async with asyncio.timeout(10):
        for service in world.services:
            url = f"http://127.0.0.1:{service.port}/v1/models/{model}"
            while (await client.get(url)).status_code != 200:  # noqa: ASYNC110 - it is elsewhere
                await asyncio.sleep(0.05)


async def test_of_300_calls_at_once_exactly_as_many_pass_as_the_limit_says() -> None:
    async with ledger_world() as world:
        await world.start(*(world.new_service() for _ in range(REPLICAS)))
        await world.set_up()
        await world.admin(
            "POST", "/api/models", name="limited", provider=Provider.OPENAI.value,
            modelId="gpt-5.5", rateLimitPerMinute=LIMIT,
        )  # fmt: skip
        headers = {"authorization": f"Bearer {world.token}"}
        limits = httpx.Limits(max_connections=CALLS)
        async with httpx.AsyncClient(headers=headers, timeout=30, limits=limits) as client:
            await known_everywhere(world, client, "limited")
            await minute_with_time_left()
            body = {"model": "limited", "messages": [{"role": "user", "content": "hello"}]}
            answers = await asyncio.gather(
                *(
                    client.post(
                        f"http://127.0.0.1:{world.services[n % REPLICAS].port}/v1/chat/completions",
                        json=body,
                    )
                    for n in range(CALLS)
                )
            )
        assert Counter(answer.status_code for answer in answers) == {200: LIMIT, 429: CALLS - LIMIT}
        assert sum(map(len, world.bills.values())) == LIMIT
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(0 < int(answer.headers["retry-after"]) <= 60 for answer in refused)
