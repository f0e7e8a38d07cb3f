"""GATEWAY.md, "Failing well": streams that break, with recovery off and with `buffer`."""

import asyncio

import pytest

from model_service.gateway import streaming
from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault, Pace
from tests.faults.failing_well import (
    ALL,
    QUICK,
    SIXTY,
    TWELVE,
    Stage,
    came_from,
    none_left,
)
from tests.faults.gateway_doors import DOORS, OPENAI_CHAT, Door, refusal
from tests.faults.hostile import OK, Wire, serve

#: What breaks a stream after the caller has some of it.
BREAKS = (Fault.CUT, Fault.END, Fault.STALL, Fault.GARBAGE, Fault.ERROR_EVENT)
IDLE = {**QUICK, "idleTimeout": 0.2}
EVENTS = OK + b"content-type: text/event-stream\r\nconnection: close\r\n\r\n"

doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
breaks = pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault.value)


@doors
@breaks
async def test_a_stream_that_breaks_ends_in_an_error_and_nobody_is_asked_again(
    stage: Stage, fault: Fault, door: Door
) -> None:
    """Of sixty tokens some forty arrive; nobody may take them for the whole."""
    fallback = await stage.model(provider=Provider.OLLAMA)
    models = {
        provider: await stage.model(fault, provider, policy=IDLE, fallbacks=[fallback])
        for provider in ALL
        if provider is not Provider.OLLAMA
    }
    answers = await asyncio.gather(
        *(stage.ask(model, door=door, stream=True, text="count to 60") for model in models.values())
    )
    for (provider, model), answer in zip(models.items(), answers, strict=True):
        assert answer.status == 200
        assert not answer.is_broken
        assert came_from(answer) == (model, provider.value, 1)
        assert SIXTY.startswith(door.text(answer).strip())
        assert door.text(answer).startswith("1 2 ")
        assert door.error(answer.events[-1]) is not None, "the error is the last event"
        assert not door.is_complete(answer)
        assert len(stage.calls(model, provider)) == 1
    assert stage.others(Provider.OLLAMA) == []
    await none_left(stage.world)


async def test_a_provider_whose_stream_stalled_is_healthy_afterwards(stage: Stage) -> None:
    model = await stage.model(Fault.STALL, once=True, policy=IDLE)
    first = await stage.ask(model, stream=True)
    assert OPENAI_CHAT.errors(first)
    second = await stage.ask(model, stream=True)
    assert OPENAI_CHAT.text(second) == TWELVE
    assert not OPENAI_CHAT.errors(second)


async def test_the_idle_timeout_is_between_events_and_not_of_the_whole(stage: Stage) -> None:
    stage.world.sandbox.openai.pace = Pace(between=0.05)
    model = await stage.model(policy={**QUICK, "idleTimeout": 0.3})
    answer = await stage.ask(model, stream=True, text="count to 12")
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert not OPENAI_CHAT.errors(answer)


@doors
@pytest.mark.parametrize("provider", ALL)
async def test_one_malformed_event_is_skipped_when_what_follows_is_sound(
    stage: Stage, provider: Provider, door: Door
) -> None:
    model = await stage.model(Fault.MALFORMED, provider)
    answer = await stage.ask(model, door=door, stream=True, text="count to 60")
    assert door.text(answer) == SIXTY
    assert not door.errors(answer)
    assert door.is_complete(answer)
    assert len(stage.calls(model, provider)) == 1


@doors
@pytest.mark.parametrize("provider", ALL)
async def test_without_done_but_with_a_finish_reason_a_stream_is_finished_and_its_usage_kept(
    stage: Stage, provider: Provider, door: Door
) -> None:
    model = await stage.model(Fault.NO_DONE, provider)
    answer = await stage.ask(model, door=door, stream=True, text="count to 60")
    assert door.text(answer) == SIXTY
    assert not door.errors(answer)
    assert door.is_complete(answer)
    (row,) = await stage.kept(answer)
    billed = stage.provider(provider).usage[-1]
    assert row.output_tokens == billed.output > 0
    assert (row.estimated, row.error_class, row.status) == (False, None, 200)


async def test_with_a_finish_reason_a_stream_is_over_though_the_provider_lingers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "FINISH_SECONDS", 0.1)
    chunk = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
        b'[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
    )

    async def lingering(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + chunk)
        await wire.gone()

    async with serve(lingering) as server:
        model = await stage.model(
            provider=Provider.CUSTOM,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
        )
        async with asyncio.timeout(3):
            answer = await stage.ask(model, stream=True)
        assert OPENAI_CHAT.text(answer) == "hi"
        assert OPENAI_CHAT.is_complete(answer)
        assert not OPENAI_CHAT.errors(answer)
        (row,) = await stage.kept(answer)
        assert (row.input_tokens, row.output_tokens) == (3, 1)


# Whole answers.


@doors
@pytest.mark.parametrize(
    "fault",
    [Fault.CUT, Fault.END, Fault.STALL, Fault.MALFORMED, Fault.GARBAGE, Fault.ERROR_EVENT],
    ids=lambda fault: fault.value,
)
async def test_a_whole_answer_that_is_spoiled_on_its_way_is_the_fallbacks(
    stage: Stage, fault: Fault, door: Door
) -> None:
    other = {Provider.ANTHROPIC: Provider.OLLAMA}
    models = {}
    for provider in ALL:
        fallback = await stage.model(provider=other.get(provider, Provider.ANTHROPIC))
        models[provider] = await stage.model(fault, provider, policy=IDLE, fallbacks=[fallback])
    answers = await asyncio.gather(*(stage.ask(it, door=door) for it in models.values()))
    for (provider, model), answer in zip(models.items(), answers, strict=True):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert came_from(answer)[1] == other.get(provider, Provider.ANTHROPIC).value
        assert len(stage.calls(model, provider)) == (1 if fault is Fault.STALL else 2)
    await none_left(stage.world)


# `buffer`.


@doors
@breaks
async def test_with_buffer_a_stream_that_breaks_is_the_fallbacks_as_if_nothing_had_been(
    stage: Stage, fault: Fault, door: Door
) -> None:
    other = {Provider.ANTHROPIC: Provider.OLLAMA}
    models = {}
    for provider in ALL:
        fallback = await stage.model(provider=other.get(provider, Provider.ANTHROPIC))
        models[provider] = await stage.model(
            fault, provider, policy={**IDLE, "recovery": "buffer"}, fallbacks=[fallback]
        )
    answers = await asyncio.gather(
        *(stage.ask(model, door=door, stream=True, text="count to 60") for model in models.values())
    )
    for provider, answer in zip(models, answers, strict=True):
        assert answer.status == 200
        assert door.text(answer) == SIXTY
        assert not door.errors(answer)
        assert door.is_complete(answer)
        assert "x_model_service" not in answer.text
        assert came_from(answer)[1] == other.get(provider, Provider.ANTHROPIC).value
    await none_left(stage.world)


async def test_with_buffer_the_same_model_is_asked_again(stage: Stage) -> None:
    model = await stage.model(Fault.CUT, once=True)
    answer = await stage.ask(model, stream=True, text="count to 60", recovery="buffer")
    assert OPENAI_CHAT.text(answer) == SIXTY
    assert came_from(answer) == (model, "OPENAI", 2)
    (row,) = await stage.kept(answer)
    assert row.output_tokens == stage.world.sandbox.openai.usage[-1].output


async def test_a_stream_that_breaks_as_it_opens_is_asked_for_again(stage: Stage) -> None:
    """What opened it was read, and held back: the next one is read anew."""
    opening = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":'
        b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    )
    said = opening.replace(b'"content":""', b'"content":"hi"').replace(b"null", b'"stop"')
    answers = [opening, opening + said + b"data: [DONE]\n\n"]

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(EVENTS + answers.pop(0))

    async with serve(script) as server:
        model = await stage.model(
            provider=Provider.CUSTOM,
            settings={"baseUrl": f"http://127.0.0.1:{server.port}"},
            fallbacks=[await stage.model()],
        )
        answer = await stage.ask(model, stream=True)
        assert OPENAI_CHAT.text(answer) == "hi"
        assert not OPENAI_CHAT.errors(answer)
        assert answer.text.count('"role":"assistant","content":""') == 1
        assert came_from(answer) == (model, "CUSTOM", 2)


async def test_with_buffer_what_fails_for_good_is_an_error_with_its_status(
    stage: Stage,
) -> None:
    model = await stage.model(Fault.CUT, policy={**QUICK, "retries": 1})
    answer = await stage.ask(model, stream=True, recovery="buffer")
    assert answer.status == 502
    assert refusal(OPENAI_CHAT, answer)
    assert len(stage.calls(model)) == 2


async def test_with_buffer_a_first_token_that_is_late_is_the_fallbacks(stage: Stage) -> None:
    stage.world.sandbox.openai.pace = Pace(slow=20)
    fallback = await stage.model(provider=Provider.GOOGLE)
    policy = {**QUICK, "firstByteTimeout": 0.2, "recovery": "buffer"}
    model = await stage.model(Fault.SLOW, policy=policy, fallbacks=[fallback])
    answer = await stage.ask(model, stream=True)
    assert OPENAI_CHAT.text(answer) == TWELVE
    assert came_from(answer) == (fallback, "GOOGLE", 2)
