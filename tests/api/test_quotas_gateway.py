"""Limits and quotas as callers of the gateway meet them, at its doors."""

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.kernel.types import Provider
from tests.gateway_world import GatewayWorld

TALK = {"messages": [{"role": "user", "content": "hello"}]}
PRICES = {"inputCostPer1kTokens": 0.5, "outputCostPer1kTokens": 1.0}


class Caller:
    """A user of its own, with a key, a token and a model of OpenAI's."""

    def __init__(self, world: GatewayWorld) -> None:
        self.world = world
        self.user = f"user {secrets.token_hex(4)}"
        self.model = f"model-{secrets.token_hex(4)}"
        self.client = httpx.AsyncClient()

    async def begin(self, **registered: Any) -> "Caller":
        await self.world.key(Provider.OPENAI, "sk-sandbox-0123456789abcdef", user=self.user)
        await self.world.model(self.model, Provider.OPENAI, **registered)
        self.client = self.world.client(await self.world.token(self.user))
        return self

    async def quota(self, **body: Any) -> str:
        """Set a quota for the user, and wait until the gateway knows it."""
        limiter = self.world.service.calling.limits.limiter
        made = await self.world.admin.post("/api/quotas", json={"userId": self.user} | body)
        assert made.status_code == 201, made.text
        quota_id: str = made.json()["id"]
        await limiter.flush()
        await self.world.service.calling.limits.load()
        return quota_id

    async def chat(self) -> httpx.Response:
        body = TALK | {"model": self.model, "max_completion_tokens": 20}
        return await self.client.post("/v1/chat/completions", json=body)

    async def message(self) -> httpx.Response:
        body = TALK | {"model": self.model, "max_tokens": 20}
        return await self.client.post("/v1/messages", json=body)

    async def standing(self, quota_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.world.admin.get(f"/api/quotas/{quota_id}")).json()
        return shown


@pytest_asyncio.fixture
async def caller(world: GatewayWorld) -> AsyncIterator[Caller]:
    caller = Caller(world)
    yield caller
    await caller.client.aclose()


async def test_beyond_a_models_rate_calls_get_429(caller: Caller) -> None:
    await caller.begin(rateLimitPerDay=2)
    answers = [await caller.chat() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error = answers[2].json()["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert "2 requests per day" in error["message"]
    assert int(answers[2].headers["retry-after"]) >= 1


Ask = Callable[[Caller], Any]


@pytest.mark.parametrize("ask", [Caller.chat, Caller.message], ids=["openai", "anthropic"])
async def test_answers_say_how_the_limits_stand(caller: Caller, ask: Ask) -> None:
    await caller.begin(rateLimitPerDay=5)
    await caller.quota(metric="tokens", window="month", limit=100_000)
    headers = (await ask(caller)).headers
    assert headers["x-ratelimit-limit-requests"] == "5"
    assert headers["x-ratelimit-remaining-requests"] == "4"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 100_000


async def test_the_anthropic_door_refuses_in_its_own_form(caller: Caller) -> None:
    await caller.begin(rateLimitPerDay=0)
    answer = await caller.message()
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate_limit_error"


async def test_a_call_that_is_refused_reaches_no_provider(
    caller: Caller, world: GatewayWorld
) -> None:
    await caller.begin(rateLimitPerDay=0)
    await caller.chat()
    assert not world.sandbox.openai.requests


async def test_tokens_count_as_the_provider_counted_them(caller: Caller) -> None:
    await caller.begin()
    quota = await caller.quota(metric="tokens", window="month", limit=100_000)
    usage = (await caller.chat()).json()["usage"]
    assert (await caller.standing(quota))["used"] == usage["total_tokens"]


async def test_costs_count_at_the_models_prices(caller: Caller) -> None:
    await caller.begin(**PRICES)
    quota = await caller.quota(metric="cost", window="month", limit=5)
    usage = (await caller.chat()).json()["usage"]
    cost = (usage["prompt_tokens"] * 0.5 + usage["completion_tokens"] * 1.0) / 1000
    assert (await caller.standing(quota))["used"] == pytest.approx(cost, abs=1e-9)


async def test_a_call_that_would_cost_more_than_is_left_is_refused(caller: Caller) -> None:
    await caller.begin(**PRICES)
    quota = await caller.quota(metric="cost", window="month", limit=0.01)
    answer = await caller.chat()
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "quota_exceeded"
    assert (await caller.standing(quota))["used"] == 0.0


async def test_receivers_are_told_when_a_half_is_used(caller: Caller, world: GatewayWorld) -> None:
    await caller.begin()
    hook = {"url": f"{world.sandbox.azure.origin}/hook", "events": ["quota.threshold"]}
    webhook = (await world.admin.post("/api/webhooks", json=hook)).json()["id"]
    await caller.quota(metric="requests", window="month", limit=2)
    await caller.chat()
    await world.service.calling.limits.limiter.flush()
    await world.service.traffic.quotas.thresholds.step()
    log = (await world.admin.get(f"/api/webhooks/{webhook}/deliveries")).json()["data"]
    await world.admin.delete(f"/api/webhooks/{webhook}")
    assert [one["type"] for one in log] == ["quota.threshold"]


async def test_what_was_reserved_is_told_with_the_reasons_of_a_call(caller: Caller) -> None:
    await caller.begin(**PRICES)
    await caller.quota(metric="cost", window="day", limit=100)
    answer = await caller.chat()
    await caller.world.service.traffic.metering.drainer.drain()
    why = (await caller.world.admin.get(f"/api/usage/{answer.headers['x-request-id']}")).json()
    reserved = why["why"]["reservation"]
    assert reserved["requests"] == 1
    assert reserved["tokens"] > 20
    assert reserved["costUsd"] >= float(answer.headers["x-model-service-cost-usd"])


async def test_a_refusal_by_a_limit_says_how_limits_stand(caller: Caller) -> None:
    await caller.begin(rateLimitPerMinute=0)
    refused = await caller.chat()
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-requests"] == "0"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


async def test_an_error_says_whom_was_asked_how_often(caller: Caller) -> None:
    settings = {"policy": {"retries": 1, "backoffBase": 0.05}}
    name = f"fault-503.{secrets.token_hex(4)}"
    await caller.begin(modelId=name, providerSettings=settings)
    failed = await caller.chat()
    assert failed.status_code == 503
    assert failed.headers["x-model-service-attempts"] == "2"
    assert failed.headers["x-model-service-upstream-model"] == name
