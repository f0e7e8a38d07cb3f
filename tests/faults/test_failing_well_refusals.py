"""GATEWAY.md, "Failing well": what a provider refuses at once, and connections that break."""

import secrets
from itertools import pairwise

import orjson
import pytest

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault
from tests.faults.failing_well import (
    ALL,
    KEYED,
    TWELVE,
    Stage,
    a_key,
    came_from,
    each_way,
    gaps,
    none_left,
)
from tests.faults.gateway_doors import OPENAI_CHAT, refusal
from tests.faults.hostile import OK, Wire, serve

STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WHOLE = orjson.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
            }
        ],
    }
)


# 429.


async def test_limited_once_is_asked_again_after_the_time_that_its_provider_gave(
    own_stage: Stage,
) -> None:
    """At the defaults, by every door, whole and streaming."""

    async def model() -> str:
        return await own_stage.model(Fault.LIMITED, once=True, policy={})

    for door, _, model_name, answer in await each_way(own_stage, model):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert came_from(answer) == (model_name, "OPENAI", 2)
        calls = own_stage.calls(model_name)
        assert len(calls) == 2
        assert 2.0 <= gaps(calls)[0] < 3.0
    await none_left(own_stage.world)


async def test_limited_for_good_is_asked_three_times_and_then_the_fallback_answers(
    own_stage: Stage,
) -> None:
    """At the defaults: the provider's two seconds are kept to each time."""
    fallback = await own_stage.model(provider=Provider.ANTHROPIC)

    async def model() -> str:
        return await own_stage.model(Fault.LIMITED, policy={}, fallbacks=[fallback])

    for door, _, model_name, answer in await each_way(own_stage, model):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert came_from(answer) == (fallback, "ANTHROPIC", 4)
        calls = own_stage.calls(model_name)
        assert len(calls) == 3
        assert all(2.0 <= gap < 3.0 for gap in gaps(calls))


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_model_may_be_asked_less_often_while_it_is_limited(
    own_stage: Stage, tries: int
) -> None:
    model = await own_stage.model(Fault.LIMITED, policy={"rateLimitedTries": tries})
    answer = await own_stage.ask(model)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "2"
    assert refusal(OPENAI_CHAT, answer)
    assert len(own_stage.calls(model)) == tries


async def test_a_provider_that_asks_for_too_long_a_pause_is_left_for_the_fallback_at_once(
    stage: Stage,
) -> None:
    stage.world.sandbox.openai.retry_after = 60
    user = secrets.token_hex(6)
    try:
        await stage.world.key(Provider.OPENAI, a_key("limited-"), user=user)
        fallback = await stage.model(provider=Provider.OLLAMA)
        model = await stage.model(policy={}, fallbacks=[fallback])
        async with stage.world.client(await stage.world.token(user)) as client:
            answer = await OPENAI_CHAT.ask(client, model, stream=False)
    finally:
        stage.world.sandbox.openai.retry_after = 7
    assert answer.status == 200, answer.text
    assert came_from(answer) == (fallback, "OLLAMA", 2)
    assert len(stage.others(Provider.OPENAI)) == 1


async def test_pauses_without_the_providers_word_grow_and_are_never_shorter_than_half(
    stage: Stage,
) -> None:
    policy = {"retries": 3, "backoffBase": 0.1, "backoffCap": 10}
    model = await stage.model(Fault.UNAVAILABLE, policy=policy)
    assert (await stage.ask(model)).status == 503
    waits = gaps(stage.calls(model))
    assert len(waits) == 3
    for wait, longest in zip(waits, (0.1, 0.2, 0.4), strict=True):
        assert longest / 2 <= wait < longest + 0.2
    assert all(later > earlier for earlier, later in pairwise(waits[::2]))


# Keys.


@STREAMS
@pytest.mark.parametrize("provider", KEYED)
@pytest.mark.parametrize("fault", [Fault.LIMITED, Fault.NO_CREDIT, Fault.UNAUTHENTICATED])
async def test_another_key_of_the_callers_takes_over_from_one_that_does_not_serve(
    stage: Stage, provider: Provider, fault: Fault, stream: bool
) -> None:
    user = secrets.token_hex(6)
    keys = {a_key(), a_key()}
    ids = {(await stage.world.key(provider, key, user=user))["id"] for key in keys}
    model = await stage.model(fault, provider, once=True, policy={})
    async with stage.world.client(await stage.world.token(user)) as client:
        answer = await OPENAI_CHAT.ask(client, model, stream=stream)
        again = await OPENAI_CHAT.ask(client, model, stream=stream)
    assert answer.status == 200, answer.text
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert came_from(answer) == (model, provider.value, 2)
    first, second, third = stage.calls(model, provider)
    assert {_key_of(first), _key_of(second)} == keys
    assert second.at - first.at < 1.0, "nobody waits for a key when there is another"
    assert _key_of(third) == _key_of(second), "the one that does not serve stands back"
    assert answer.headers["x-model-service-key-id"] in ids
    assert again.headers["x-model-service-key-id"] == answer.headers["x-model-service-key-id"]


@pytest.mark.parametrize("fault", [Fault.UNAUTHENTICATED, Fault.NO_CREDIT])
async def test_without_another_key_a_refused_one_is_not_tried_again_and_the_fallback_answers(
    own_stage: Stage, fault: Fault
) -> None:
    fallback = await own_stage.model(provider=Provider.OLLAMA)
    model = await own_stage.model(fault, fallbacks=[fallback])
    answer = await own_stage.ask(model)
    assert came_from(answer) == (fallback, "OLLAMA", 2)
    assert len(own_stage.calls(model)) == 1


async def test_two_keys_that_are_both_refused_are_tried_once_each(stage: Stage) -> None:
    user = secrets.token_hex(6)
    for _ in range(2):
        await stage.world.key(Provider.OPENAI, a_key(), user=user)
    model = await stage.model(Fault.UNAUTHENTICATED)
    async with stage.world.client(await stage.world.token(user)) as client:
        answer = await OPENAI_CHAT.ask(client, model, stream=False)
    assert answer.status == 401
    assert refusal(OPENAI_CHAT, answer)[1].startswith("The provider refused the stored key")
    calls = stage.calls(model)
    assert len({_key_of(call) for call in calls}) == len(calls) == 2


# 500, 503, 529.


@STREAMS
@pytest.mark.parametrize("provider", ALL)
async def test_broken_once_is_asked_again_and_answers(
    stage: Stage, provider: Provider, stream: bool
) -> None:
    model = await stage.model(Fault.BROKEN, provider, once=True)
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 200, answer.text
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert came_from(answer) == (model, provider.value, 2)
    assert len(stage.calls(model, provider)) == 2


@pytest.mark.parametrize(
    ("provider", "fallback"), [*zip(ALL, (*ALL[1:], ALL[0]), strict=True)], ids=str
)
@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.UNAVAILABLE, Fault.OVERLOADED, Fault.HTML])
async def test_failing_for_good_is_asked_once_more_and_then_the_fallback_answers(
    stage: Stage, provider: Provider, fallback: Provider, fault: Fault
) -> None:
    """By every door, whole and streaming, from every provider to another one."""
    other = await stage.model(provider=fallback)

    async def model() -> str:
        return await stage.model(fault, provider, fallbacks=[other])

    for door, stream, name, answer in await each_way(stage, model):
        assert answer.status == 200, (door.name, stream, answer.text)
        assert door.text(answer) == TWELVE
        assert not door.errors(answer)
        assert came_from(answer) == (other, fallback.value, 3)
        assert len(stage.calls(name, provider)) == 2
    await none_left(stage.world)


@STREAMS
async def test_failing_for_good_without_a_fallback_is_asked_thrice_and_told(
    stage: Stage, stream: bool
) -> None:
    model = await stage.model(Fault.UNAVAILABLE)
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert refusal(OPENAI_CHAT, answer)
    assert len(stage.calls(model)) == 3


async def test_when_every_fallback_fails_as_well_the_first_fault_is_told(stage: Stage) -> None:
    limited = await stage.model(Fault.LIMITED, Provider.GOOGLE, policy={"rateLimitedTries": 1})
    lost = await stage.model(Fault.NOT_FOUND, Provider.OLLAMA)
    model = await stage.model(Fault.UNAVAILABLE, Provider.ANTHROPIC, fallbacks=[limited, lost])
    answer = await stage.ask(model)
    assert answer.status == 503
    assert len(stage.calls(model, Provider.ANTHROPIC)) == 2
    assert len(stage.calls(limited, Provider.GOOGLE)) >= 1
    assert len(stage.calls(lost, Provider.OLLAMA)) == 1
    (row,) = await stage.kept(answer)
    assert (row.model, row.fallback_from) == (model, None)
    why = await stage.why(answer)
    assert why["candidates"] == [model, limited, lost]
    assert why["answeredBy"] is None


async def test_a_caller_may_do_without_fallbacks_and_retries(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback])
    answer = await stage.ask(model, fallback="off", retries="0")
    assert answer.status == 503
    assert len(stage.calls(model)) == 1


# Connections that break.


@STREAMS
@pytest.mark.parametrize("provider", ALL)
async def test_reset_for_good_is_tried_again_and_then_the_fallback_answers(
    stage: Stage, provider: Provider, stream: bool
) -> None:
    fallback = await stage.model(
        provider=Provider.OLLAMA if provider is not Provider.OLLAMA else Provider.OPENAI
    )
    model = await stage.model(Fault.RESET, provider, fallbacks=[fallback])
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 200, answer.text
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert came_from(answer)[0] == fallback
    assert came_from(answer)[2] == 3
    await none_left(stage.world)


@STREAMS
async def test_reset_before_the_headers_is_tried_again(stage: Stage, stream: bool) -> None:
    resets = 1

    async def script(wire: Wire) -> None:
        nonlocal resets
        await wire.request()
        if resets:
            resets -= 1
            wire.reset()
            return
        await wire.send(_answer(stream))
        await wire.gone()

    async with serve(script) as server:
        model = await stage.model(
            provider=Provider.CUSTOM, settings={"baseUrl": f"http://127.0.0.1:{server.port}"}
        )
        answer = await stage.ask(model, stream=stream)
        assert answer.status == 200, answer.text
        assert OPENAI_CHAT.text(answer) == "hi"
        assert came_from(answer)[2] == 2
        assert server.connections == len(server.requests) == 2


@STREAMS
async def test_a_stale_pooled_connection_is_replaced_and_does_not_count(
    stage: Stage, stream: bool
) -> None:
    async def once_each(wire: Wire) -> None:
        await wire.request()
        await wire.send(_answer(stream))
        await wire.reader.readexactly(1)  # the next call, which this end no longer takes
        wire.reset()

    async with serve(once_each) as server:
        model = await stage.model(
            provider=Provider.CUSTOM,
            policy={"retries": 0},
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
        )
        for number in (1, 2, 3):
            answer = await stage.ask(model, stream=stream)
            assert answer.status == 200, answer.text
            assert came_from(answer)[2] == 1
            assert server.connections == number


def _answer(stream: bool) -> bytes:
    if not stream:
        return OK + b"content-length: %d\r\n\r\n%b" % (len(WHOLE), WHOLE)
    chunk = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
        b'[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    kind = b"content-type: text/event-stream\r\n"
    return OK + kind + b"content-length: %d\r\n\r\n%b" % (len(chunk), chunk)


def _key_of(call: object) -> str:
    credential = getattr(call, "credential", None)
    assert credential is not None
    return str(credential.value)
