"""The usage event of a call: at every door, and however the call went, its fields are so."""

import asyncio
import secrets
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from model_service.kernel.types import Provider
from tests.api.gateway.usage_events import (
    Caller,
    all_kept,
    cost_of,
    eventually_kept,
    tokens,
    tokens_billed,
)
from tests.faults.gateway_doors import ANTHROPIC, DOORS, GOOGLE, OPENAI_CHAT, Door
from tests.gateway_world import GatewayWorld

EVERY_DOOR = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
OWN = {"anthropic": Provider.ANTHROPIC, "google": Provider.GOOGLE, "openai": Provider.OPENAI}


@EVERY_DOOR
@BOTH
@pytest.mark.parametrize("provider", [Provider.OPENAI, Provider.ANTHROPIC, Provider.GOOGLE])
async def test_an_answered_call_says_who_what_and_how_much(
    world: GatewayWorld, door: Door, stream: bool, provider: Provider
) -> None:
    caller = await Caller.new(world, provider)
    before = datetime.now(UTC)
    answer, event = await caller.ask(door, stream=stream, x_model_service_tags="team-a,blue")
    assert answer.status == 200, answer.text
    assert event.status == 200
    assert (event.door, event.operation) == (door.name, "chat")
    assert event.stream is stream
    assert (event.model, event.provider) == (caller.model, provider.value)
    assert event.upstream_model == answer.headers["x-model-service-upstream-model"]
    assert (event.user_id, str(event.key_id)) == (caller.user, caller.key_id)
    assert event.token_id is not None
    assert event.attempts == 1
    assert event.fallback_from is None
    assert event.error_class is None
    assert not event.estimated
    assert event.tags == ("team-a", "blue")
    assert tokens(event) == tokens_billed(caller.billed)
    assert event.output_tokens > 0
    assert event.cost == cost_of(caller.billed)
    assert event.price_version is not None
    assert 0 <= (event.time - before).total_seconds() + 0.001 < 20
    assert 0 < event.latency_ms < 20_000
    if stream:
        assert event.first_token_ms is not None
        assert 0 < event.first_token_ms <= event.latency_ms
    else:
        assert event.first_token_ms is None
        assert answer.headers["x-model-service-cost-usd"] == f"{event.cost:f}"


@BOTH
async def test_a_model_without_a_price_is_counted_and_its_cost_unknown(
    world: GatewayWorld, stream: bool
) -> None:
    caller = await Caller.new(
        world,
        Provider.CUSTOM,
        modelId="gpt-4.1",
        inputCostPer1kTokens=None,
        outputCostPer1kTokens=None,
    )
    _, event = await caller.ask(OPENAI_CHAT, stream=stream)
    assert event.cost is None
    assert event.price_version is None
    assert tokens(event) == tokens_billed(caller.billed)


@pytest.mark.parametrize(
    ("provider", "path", "door"),
    [
        (Provider.OPENAI, "/v1/embeddings", "openai_chat"),
        (Provider.GOOGLE, "/v1/embeddings", "openai_chat"),
        (Provider.GOOGLE, "/v1beta/models/{model}:embedContent", "google"),
    ],
)
async def test_embedding_costs_its_input_alone(
    world: GatewayWorld, provider: Provider, path: str, door: str
) -> None:
    upstream = {Provider.OPENAI: "text-embedding-3-small", Provider.GOOGLE: "gemini-embedding-2"}
    caller = await Caller.new(world, provider, modelId=upstream[provider])
    body = (
        {"model": caller.model, "input": "to be embedded"}
        if door == "openai_chat"
        else {"content": {"parts": [{"text": "to be embedded"}]}}
    )
    status, event = await caller.post(path.format(model=caller.model), **body)
    assert status == 200
    assert (event.door, event.operation, event.status) == (door, "embeddings", 200)
    assert event.output_tokens == 0
    assert event.input_tokens == caller.billed.input > 0
    assert event.cost == cost_of(caller.billed)
    assert not event.estimated


@pytest.mark.parametrize("door", ["anthropic", "google"])
async def test_counting_tokens_uses_none_and_costs_nothing(world: GatewayWorld, door: str) -> None:
    caller = await Caller.new(world, OWN[door])
    if door == "anthropic":
        messages = [{"role": "user", "content": "x"}]
        path, body = "/v1/messages/count_tokens", {"model": caller.model, "messages": messages}
    else:
        path = f"/v1beta/models/{caller.model}:countTokens"
        body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    status, event = await caller.post(path, **body)
    assert status == 200
    assert (event.door, event.operation) == (door, "count_tokens")
    assert tokens(event) == (0, 0, 0, 0, 0, 0)
    assert event.cost == 0
    assert not event.estimated


async def test_listing_models_is_no_usage(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.OPENAI)
    async with world.client(caller.token) as client:
        listed = await client.get("/v1/models")
        shown = await client.get(f"/v1/models/{caller.model}")
    assert (listed.status_code, shown.status_code) == (200, 200)
    assert await all_kept(world, listed.headers["x-request-id"]) == []
    assert await all_kept(world, shown.headers["x-request-id"]) == []


@EVERY_DOOR
@BOTH
async def test_what_the_provider_refused_cost_nothing(
    world: GatewayWorld, door: Door, stream: bool
) -> None:
    caller = await Caller.new(
        world, OWN[door.family], modelId=f"fault-context.{secrets.token_hex(3)}"
    )
    answer, event = await caller.ask(door, stream=stream)
    assert answer.status == event.status == 400
    assert event.error_class == "context_length"
    assert tokens(event) == (0, 0, 0, 0, 0, 0)
    assert event.cost == 0
    assert not event.estimated
    assert event.attempts == 1
    assert event.first_token_ms is None


@EVERY_DOOR
async def test_a_stream_that_is_cut_has_its_status_its_error_and_an_estimate(
    world: GatewayWorld, door: Door
) -> None:
    caller = await Caller.new(world, OWN[door.family], modelId=f"fault-cut.{secrets.token_hex(3)}")
    answer, event = await caller.ask(door, stream=True)
    assert answer.status == event.status == 200
    assert event.error_class == "upstream_error"
    assert event.estimated
    assert event.output_tokens > 0
    assert event.input_tokens > 0
    assert event.cost is not None
    assert event.cost > 0
    assert event.first_token_ms is not None


async def test_a_caller_that_leaves_a_stream_is_one_estimated_event(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.OPENAI, modelId=f"fault-stall.{secrets.token_hex(3)}")
    request_id = secrets.token_hex(8)
    body = OPENAI_CHAT.body(caller.model, "count to 12", True)
    async with (
        world.client(caller.token, x_request_id=request_id) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        await anext(answer.aiter_raw())
    event = await eventually_kept(world, request_id)
    assert event.status == 200
    assert event.error_class == "client_left"
    assert event.estimated
    assert event.output_tokens > 0


@BOTH
async def test_a_caller_that_leaves_before_an_answer_has_status_499(
    world: GatewayWorld, stream: bool
) -> None:
    caller = await Caller.new(
        world, Provider.OPENAI, modelId=f"fault-silent.{secrets.token_hex(3)}"
    )
    request_id = secrets.token_hex(8)
    async with world.client(caller.token, x_request_id=request_id) as client:
        body = OPENAI_CHAT.body(caller.model, "x" * 400, stream)
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
        await world.sandbox.openai.arrived()
        asking.cancel()
        await asyncio.wait([asking])
    event = await eventually_kept(world, request_id)
    assert event.status == 499
    assert event.error_class == "client_left"
    assert event.estimated
    assert event.input_tokens >= 100
    assert event.output_tokens == 0
    assert event.cost is not None
    assert event.cost > 0
    assert event.first_token_ms is None


@BOTH
async def test_an_answer_of_a_fallback_is_its_own_and_says_instead_of_whom(
    world: GatewayWorld, stream: bool
) -> None:
    other = await Caller.new(world, Provider.ANTHROPIC)
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-503.{secrets.token_hex(3)}",
        fallbacks=[other.model],
    )
    key = await world.key(
        Provider.ANTHROPIC, "sk-sandbox-" + secrets.token_hex(8), user=caller.user
    )
    answer, event = await caller.ask(OPENAI_CHAT, stream=stream)
    assert answer.status == event.status == 200
    assert (event.model, event.fallback_from) == (other.model, caller.model)
    assert event.provider == "ANTHROPIC"
    assert str(event.key_id) == key["id"]
    assert tokens(event) == tokens_billed(other.billed)
    assert event.cost == cost_of(other.billed)
    assert event.error_class is None
    assert event.attempts == int(answer.headers["x-model-service-attempts"]) > 1


async def test_when_all_failed_the_event_is_of_the_model_that_was_asked_for(
    world: GatewayWorld,
) -> None:
    other = await Caller.new(world, Provider.ANTHROPIC, modelId=f"fault-503.{secrets.token_hex(3)}")
    caller = await Caller.new(
        world,
        Provider.OPENAI,
        modelId=f"fault-503.{secrets.token_hex(3)}",
        fallbacks=[other.model],
    )
    await world.key(Provider.ANTHROPIC, "sk-sandbox-" + secrets.token_hex(8), user=caller.user)
    answer, event = await caller.ask(OPENAI_CHAT)
    assert answer.status == event.status == 503
    assert (event.model, event.provider) == (caller.model, "OPENAI")
    assert str(event.key_id) == caller.key_id
    assert event.fallback_from is None
    assert event.error_class == "overloaded"
    assert event.cost == 0


async def test_a_call_beyond_a_limit_is_noted_and_used_nothing(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.OPENAI, rateLimitPerMinute=1)
    for _ in range(3):  # the minute may turn once
        answer, event = await caller.ask(OPENAI_CHAT)
        if answer.status != 200:
            break
    assert answer.status == event.status == 429
    assert event.error_class == "rate_limited"
    assert event.attempts == 0
    assert tokens(event) == (0, 0, 0, 0, 0, 0)
    assert event.cost == Decimal(0)
    assert not event.estimated
    assert event.key_id is None


async def test_a_failed_attempt_that_said_what_it_took_is_not_billed(world: GatewayWorld) -> None:
    """Anthropic's first event has the tokens of the prompt; the caller had nothing of it."""
    caller = await Caller.new(
        world,
        Provider.ANTHROPIC,
        modelId=f"fault-stall.{secrets.token_hex(3)}",
        providerSettings={"policy": {"idleTimeout": 0.3, "recovery": "buffer", "retries": 0}},
    )
    answer, event = await caller.ask(ANTHROPIC, stream=True)
    assert answer.status >= 500
    assert tokens(event) == (0, 0, 0, 0, 0, 0)
    assert event.cost == 0


async def test_a_refused_request_of_the_caller_is_noted_with_its_error(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.ANTHROPIC)
    status, event = await caller.post(
        "/v1/chat/completions",
        model=caller.model,
        seed=7,
        messages=[{"role": "user", "content": "x"}],
    )
    assert status == event.status == 400
    assert event.error_class == "unsupported"
    assert event.attempts == 0
    assert event.cost == 0


async def test_the_bare_stream_of_google_is_a_stream(world: GatewayWorld) -> None:
    caller = await Caller.new(world, Provider.GOOGLE)
    body = GOOGLE.body(caller.model, "count to 3", True)
    status, event = await caller.post(
        f"/v1beta/models/{caller.model}:streamGenerateContent", **body
    )
    assert status == event.status == 200
    assert event.stream
    assert event.first_token_ms is not None
    assert tokens(event) == tokens_billed(caller.billed)
