"""GATEWAY.md, "Failing well": providers that are silent, slow, or take longer than there is."""

import asyncio
import time

import pytest

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault, Pace
from tests.faults.failing_well import (
    ALL,
    QUICK,
    TWELVE,
    Stage,
    came_from,
    each_way,
    none_left,
)
from tests.faults.gateway_doors import ANTHROPIC, DOORS, OPENAI_CHAT, Door, refusal
from tests.faults.hostile import OK, Wire, serve

STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
#: Seconds after which a provider is silent here.
BRIEFLY = 0.2
FIRST_BYTE = {**QUICK, "firstByteTimeout": BRIEFLY}
EVENTS = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#: What opens an answer of OpenAI's, and says nothing of it.
OPENING = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Nothing at all.


@pytest.mark.parametrize("provider", ALL)
async def test_who_is_silent_is_left_at_the_first_byte_timeout_and_not_asked_again(
    stage: Stage, provider: Provider
) -> None:
    """By every door, whole and streaming."""
    other = Provider.ANTHROPIC if provider is not Provider.ANTHROPIC else Provider.OLLAMA
    fallback = await stage.model(provider=other)

    async def model() -> str:
        return await stage.model(Fault.SILENT, provider, policy=FIRST_BYTE, fallbacks=[fallback])

    began = time.monotonic()
    for door, _, name, answer in await each_way(stage, model):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert came_from(answer) == (fallback, other.value, 2)
        assert len(stage.calls(name, provider)) == 1
    assert BRIEFLY <= time.monotonic() - began < 3
    await none_left(stage.world)


@STREAMS
async def test_a_request_may_say_how_long_it_waits_for_the_first_byte(
    stage: Stage, stream: bool
) -> None:
    fallback = await stage.model(provider=Provider.GOOGLE)
    model = await stage.model(Fault.SILENT, policy={}, fallbacks=[fallback])
    answer = await stage.ask(model, stream=stream, first_byte_timeout="0.2")
    assert came_from(answer) == (fallback, "GOOGLE", 2)


@STREAMS
async def test_silence_without_a_fallback_is_told_and_not_repeated(
    stage: Stage, stream: bool
) -> None:
    model = await stage.model(Fault.SILENT, policy=FIRST_BYTE)
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 504
    assert refusal(OPENAI_CHAT, answer)
    assert len(stage.calls(model)) == 1


async def test_at_the_defaults_a_silent_provider_costs_ten_seconds(stage: Stage) -> None:
    """Ten for a stream; for a whole answer of so few tokens less than one more."""
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.SILENT, policy={}, maxTokens=20, fallbacks=[fallback])

    async def took(*, stream: bool) -> float:
        began = time.monotonic()
        answer = await stage.ask(model, stream=stream)
        assert came_from(answer) == (fallback, "OLLAMA", 2)
        return time.monotonic() - began

    streamed, whole = await asyncio.gather(took(stream=True), took(stream=False))
    assert 10.0 <= streamed < 11.5
    assert 10.8 <= whole < 12.5


# A first token that is late.


@pytest.mark.parametrize("provider", ALL)
async def test_a_first_token_that_is_late_is_the_fallbacks(
    stage: Stage, provider: Provider
) -> None:
    stage.provider(provider).pace = Pace(slow=20)
    other = Provider.ANTHROPIC if provider is not Provider.ANTHROPIC else Provider.OLLAMA
    fallback = await stage.model(provider=other)

    async def model() -> str:
        return await stage.model(Fault.SLOW, provider, policy=FIRST_BYTE, fallbacks=[fallback])

    for door, stream, name, answer in await each_way(stage, model):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert not stream or door.is_complete(answer)
        assert came_from(answer) == (fallback, other.value, 2)
        assert len(stage.calls(name, provider)) == 1
    await none_left(stage.world)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_what_opens_a_stream_is_held_back_until_there_is_something_of_the_answer(
    stage: Stage, door: Door
) -> None:
    """The provider opens at once and then thinks for too long: the caller sees the other alone."""

    async def opening_alone(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + framed(OPENING))
        await wire.gone()

    async with serve(opening_alone) as server:
        fallback = await stage.model(provider=Provider.GOOGLE)
        model = await stage.model(
            provider=Provider.CUSTOM,
            policy=FIRST_BYTE,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
            fallbacks=[fallback],
        )
        answer = await stage.ask(model, door=door, stream=True)
        assert answer.status == 200, answer.text
        assert came_from(answer) == (fallback, "GOOGLE", 2)
        assert door.text(answer) == TWELVE
        assert '"id":"c"' not in answer.text, "nothing of the first one's reached the caller"
        assert sum(map(door.ends, answer.events)) >= 1
        await server.client_left()


async def test_without_a_fallback_what_opens_a_stream_is_passed_on_at_once(
    stage: Stage,
) -> None:
    go_on = asyncio.Event()

    async def opening(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + framed(OPENING))
        await go_on.wait()
        await wire.send(framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        await wire.gone()

    async with serve(opening) as server:
        model = await stage.model(
            provider=Provider.CUSTOM,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
        )
        body = OPENAI_CHAT.body(model, "hello", True)
        async with (
            asyncio.timeout(5),
            stage.client.stream("POST", "/v1/chat/completions", json=body) as answer,
        ):
            pieces = answer.aiter_raw()
            assert b'"role":"assistant"' in await anext(pieces)
            go_on.set()
            rest = b"".join([piece async for piece in pieces])
        assert rest


@STREAMS
async def test_slow_alone_without_a_fallback_is_waited_for(stage: Stage, stream: bool) -> None:
    stage.world.sandbox.openai.pace = Pace(slow=0.6)
    model = await stage.model(Fault.SLOW)
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 200
    assert came_from(answer)[2] == 1


@STREAMS
async def test_the_last_one_in_a_chain_is_waited_for_as_one_without_a_fallback(
    stage: Stage, stream: bool
) -> None:
    """Nobody waits behind it: giving it up as well would leave the caller with nothing."""
    stage.world.sandbox.anthropic.pace = Pace(slow=1.0)
    policy = {**QUICK, "firstByteTimeout": 0.2}
    last = await stage.model(Fault.SLOW, Provider.ANTHROPIC, policy={**QUICK})
    model = await stage.model(Fault.SILENT, policy=policy, fallbacks=[last])
    answer = await stage.ask(model, stream=stream)
    assert answer.status == 200, answer.text
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert came_from(answer) == (last, "ANTHROPIC", 2)


# The whole of it.


@STREAMS
async def test_the_total_timeout_ends_a_call_that_is_tried_again_and_again(
    stage: Stage, stream: bool
) -> None:
    policy = {"retries": 5, "backoffBase": 0.3, "backoffCap": 0.3, "totalTimeout": 0.6}
    model = await stage.model(Fault.UNAVAILABLE, policy=policy)
    began = time.monotonic()
    answer = await stage.ask(model, stream=stream)
    assert time.monotonic() - began < 0.8
    assert answer.status == 503
    assert 2 <= len(stage.calls(model)) <= 4


@STREAMS
async def test_the_total_timeout_holds_for_all_attempts_together(
    stage: Stage, stream: bool
) -> None:
    """Each attempt alone would be in time."""
    second = await stage.model(Fault.SILENT, Provider.ANTHROPIC)
    third = await stage.model(Fault.SILENT, Provider.GOOGLE)
    model = await stage.model(Fault.SILENT, fallbacks=[second, third])
    began = time.monotonic()
    answer = await stage.ask(model, stream=stream, first_byte_timeout="0.8", timeout="1.0")
    assert 0.9 <= time.monotonic() - began < 1.4, "and not two times 0.8"
    assert answer.status == 504
    assert refusal(OPENAI_CHAT, answer)
    await none_left(stage.world)


async def test_the_total_timeout_ends_a_stream_that_goes_on_and_on(stage: Stage) -> None:
    stage.world.sandbox.openai.pace = Pace(between=0.05)
    model = await stage.model()
    began = time.monotonic()
    answer = await stage.ask(model, stream=True, text="count to 200", timeout="0.6")
    assert time.monotonic() - began < 1.5
    assert answer.status == 200
    assert OPENAI_CHAT.errors(answer)
    assert not OPENAI_CHAT.is_complete(answer)
    await none_left(stage.world)


async def test_pings_do_not_keep_a_silent_stream_alive(stage: Stage) -> None:
    """Comments, as some providers send while a model thinks, are nothing of an answer."""

    async def pinging(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS)
        while True:
            await wire.send(framed(b": still there\n\n"))
            await asyncio.sleep(0.05)

    async with serve(pinging) as server:
        fallback = await stage.model(provider=Provider.ANTHROPIC)
        model = await stage.model(
            provider=Provider.CUSTOM,
            policy=FIRST_BYTE,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
            fallbacks=[fallback],
        )
        answer = await stage.ask(model, door=ANTHROPIC, stream=True)
        assert came_from(answer) == (fallback, "ANTHROPIC", 2)
        assert ANTHROPIC.text(answer) == TWELVE
