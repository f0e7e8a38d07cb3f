"""GATEWAY.md, "Failing well": whose answer it was, what it cost, and what is kept of it."""

import asyncio
import contextlib
import secrets
from decimal import Decimal
from typing import Any

import httpx
import pytest

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault, Pace
from model_service.usage.domain import UsageEvent
from tests.faults.failing_well import QUICK, TWELVE, Stage, came_from, each_way, none_left
from tests.faults.gateway_doors import ANTHROPIC, DOORS, OPENAI_CHAT, Door, refusal
from tests.faults.hostile import OK, Wire, serve

STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
    b'[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
#: In dollars for a thousand tokens.
DEAR: dict[str, Any] = {"inputCostPer1kTokens": 7.0, "outputCostPer1kTokens": 9.0}
CHEAP: dict[str, Any] = {"inputCostPer1kTokens": 0.001, "outputCostPer1kTokens": 0.002}


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.NOT_FOUND, Fault.ERROR_200])
async def test_the_fallbacks_model_usage_and_cost_are_those_that_are_told_and_kept(
    stage: Stage, fault: Fault
) -> None:
    """By every door, whole and streaming. Attempts that failed cost nothing."""
    fallback = await stage.model(provider=Provider.ANTHROPIC, **CHEAP)

    async def model() -> str:
        return await stage.model(fault, fallbacks=[fallback], **DEAR)

    for door, stream, name, answer in await each_way(stage, model):
        assert answer.status == 200, answer.text
        assert came_from(answer)[:2] == (fallback, "ANTHROPIC")
        assert answer.headers["x-model-service-upstream-model"] == "claude-haiku-5-5"
        (row,) = await stage.kept(answer)
        assert (row.model, row.provider, row.fallback_from) == (fallback, "ANTHROPIC", name)
        assert (row.status, row.error_class, row.estimated) == (200, None, False)
        assert row.attempts == came_from(answer)[2]
        assert (row.door, row.stream) == (door.name, stream)
        assert str(row.key_id) == answer.headers["x-model-service-key-id"]
        assert row.output_tokens in {one.output for one in stage.world.sandbox.anthropic.usage}
        cost = (Decimal("0.001") * row.input_tokens + Decimal("0.002") * row.output_tokens) / 1000
        assert row.cost == cost
        if not stream:
            assert Decimal(answer.headers["x-model-service-cost-usd"]) == cost


@doors
async def test_a_call_that_nobody_answered_is_kept_with_its_fault_and_costs_nothing(
    stage: Stage, door: Door
) -> None:
    fallback = await stage.model(Fault.BROKEN, Provider.ANTHROPIC, **DEAR)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback], **DEAR)
    answer = await stage.ask(model, door=door)
    assert answer.status >= 500
    (row,) = await stage.kept(answer)
    assert (row.model, row.fallback_from, row.attempts) == (model, None, 2 + 3)
    assert (row.input_tokens, row.output_tokens, row.cost or 0) == (0, 0, 0)
    assert row.error_class is not None
    assert row.status == answer.status


async def test_the_record_says_of_each_attempt_what_failed_with_which_key_and_when(
    stage: Stage,
) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback])
    answer = await stage.ask(model, stream=True)
    why = await stage.why(answer)
    first, second = (step for step in why["steps"] if "attempt" in step)
    for number, step in enumerate((first, second), start=1):
        assert step["attempt"] == number
        assert step["model"] == model
        assert step["status"] == 503
        assert step["keyId"]
    assert 0 < first["afterMs"] < second["afterMs"]
    assert why["attempts"] == 3
    assert why["answeredBy"]["model"] == fallback


@STREAMS
async def test_a_call_that_went_well_has_no_steps_to_explain(stage: Stage, stream: bool) -> None:
    answer = await stage.ask(await stage.model(), stream=stream)
    (row,) = await stage.kept(answer)
    assert row.why is None
    assert row.attempts == 1


# Callers that leave.


async def left(stage: Stage, model: str, door: Door, *, stream: bool, after: bytes) -> str:
    """Begin a call and leave it once so much of the answer is here; gives its id."""
    request_id = secrets.token_hex(8)
    body = door.body(model, "count to 1000", stream)
    async with httpx.AsyncClient(
        base_url=stage.client.base_url, headers=stage.client.headers
    ) as client:

        async def call() -> None:
            headers = {"x-request-id": request_id}
            path = door.path(model, stream)
            async with client.stream("POST", path, json=body, headers=headers) as answer:
                async for piece in answer.aiter_raw():
                    if after and after in piece:
                        return

        if after:
            async with asyncio.timeout(5):
                await call()
        else:
            task = asyncio.create_task(call())
            async with asyncio.timeout(5):
                await stage.provider(Provider.OPENAI).arrived()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return request_id


async def row_of(stage: Stage, request_id: str) -> UsageEvent:
    """The one row of a call, once it is over."""
    await none_left(stage.world)
    (row,) = await stage.kept(request_id)
    return row


@doors
@STREAMS
async def test_who_leaves_before_the_answer_ends_it_upstream_and_leaves_one_estimated_row(
    stage: Stage, door: Door, stream: bool
) -> None:
    model = await stage.model(Fault.SILENT, policy={}, **CHEAP)
    row = await row_of(stage, await left(stage, model, door, stream=stream, after=b""))
    assert row.estimated
    assert (row.status, row.model, row.stream) == (499, model, stream)
    assert row.input_tokens > 0
    assert row.cost == Decimal("0.001") * row.input_tokens / 1000
    assert len(stage.calls(model)) == 1


@doors
async def test_who_leaves_in_mid_answer_ends_it_upstream_and_leaves_one_estimated_row(
    stage: Stage, door: Door
) -> None:
    stage.world.sandbox.openai.pace = Pace(between=0.02)
    model = await stage.model(Fault.NO_DONE, **CHEAP)
    row = await row_of(stage, await left(stage, model, door, stream=True, after=b" 8"))
    assert row.estimated
    assert row.status == 200
    assert row.input_tokens > 0
    assert 3 < row.output_tokens < 500
    assert row.cost is not None


async def test_the_providers_connection_is_closed_within_a_second(stage: Stage) -> None:
    async def talking(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
        await wire.gone()

    async with serve(talking) as server:
        model = await stage.model(
            provider=Provider.CUSTOM,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
        )
        request_id = await left(stage, model, OPENAI_CHAT, stream=True, after=b"word")
        await server.client_left()
        assert (await row_of(stage, request_id)).estimated


async def test_who_leaves_while_a_call_waits_to_be_repeated_is_not_called_for_again(
    stage: Stage,
) -> None:
    model = await stage.model(Fault.LIMITED, policy={})
    request_id = await left(stage, model, OPENAI_CHAT, stream=False, after=b"")
    row = await row_of(stage, request_id)
    assert len(stage.calls(model)) == 1
    assert row.status == 499


async def test_who_leaves_while_the_fallback_answers_ends_that_one(stage: Stage) -> None:
    stage.world.sandbox.anthropic.pace = Pace(between=0.02)
    fallback = await stage.model(provider=Provider.ANTHROPIC)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback])
    row = await row_of(stage, await left(stage, model, ANTHROPIC, stream=True, after=b" 8"))
    assert (row.model, row.fallback_from, row.estimated) == (fallback, model, True)


async def test_a_caller_who_left_says_nothing_against_the_provider(stage: Stage) -> None:
    model = await stage.model(Fault.SILENT, policy={})
    for _ in range(6):
        stage.world.sandbox.openai.requests.clear()
        await left(stage, model, OPENAI_CHAT, stream=True, after=b"")
    stage.world.sandbox.openai.requests.clear()
    answer = await stage.ask(model, first_byte_timeout="0.05")
    assert answer.status == 504, "it was asked once more, and no circuit kept it from that"


# The service's own limits.


@doors
@STREAMS
async def test_an_own_limit_is_the_doors_own_429_and_nobody_is_asked(
    stage: Stage, door: Door, stream: bool
) -> None:
    model = await stage.model(Fault.NO_DONE, rateLimitPerMinute=2)
    served = []
    # Two, or up to four when the minute turns over in between.
    while (answer := await stage.ask(model, door=door, stream=stream)).status == 200:
        served.append(answer)
    refused = answer
    assert 2 <= len(served) <= 4
    assert len(stage.calls(model)) == len(served)
    assert refused.status == 429
    kind, message = refusal(door, refused)
    assert kind in {"rate_limit_error", "rate_limit_exceeded", "requests", "RESOURCE_EXHAUSTED"}
    assert "per minute" in message
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    last = served[-1].headers
    assert last["x-ratelimit-limit-requests"] == "2"
    assert last["x-ratelimit-remaining-requests"] == "0"
    assert last["x-ratelimit-reset-requests"]


async def test_a_fallbacks_own_limit_holds_for_it_too(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA, rateLimitPerMinute=1)
    model = await stage.model(Fault.NOT_FOUND, policy=QUICK, fallbacks=[fallback])
    answers = [await stage.ask(model) for _ in range(3)]
    served = [answer for answer in answers if answer.status == 200]
    assert 1 <= len(served) <= 2, "two when the minute turned over in between"
    assert OPENAI_CHAT.text(served[0]) == TWELVE
    assert len(stage.others(Provider.OLLAMA)) == len(served)
    why = await stage.why(answers[-1])
    (skip,) = (step for step in why["steps"] if "skipped" in step)
    assert skip["skipped"] == fallback
    assert "per minute" in skip["reason"]
