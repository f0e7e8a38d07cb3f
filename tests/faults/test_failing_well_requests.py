"""GATEWAY.md, "Failing well": what is wrong with the request itself, and who else can serve it."""

from typing import Any

import pytest

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault
from tests.faults.failing_well import (
    ALL,
    KEYED,
    TWELVE,
    Stage,
    came_from,
    each_way,
)
from tests.faults.gateway_doors import ANTHROPIC, DOORS, GOOGLE, OPENAI_CHAT, Door, refusal

doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhf"
    "DwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


# A request that is too long.


@pytest.mark.parametrize("provider", ALL)
async def test_what_is_too_long_is_not_repeated_and_goes_to_the_first_with_more_room(
    stage: Stage, provider: Provider
) -> None:
    """By every door, whole and streaming."""
    small = await stage.model(provider=Provider.GOOGLE, contextWindow=8_000)
    same = await stage.model(provider=Provider.GOOGLE, contextWindow=100_000)
    large = await stage.model(provider=Provider.ANTHROPIC, contextWindow=1_000_000)

    async def model() -> str:
        return await stage.model(
            Fault.CONTEXT, provider, contextWindow=100_000, fallbacks=[small, same, large]
        )

    for door, _, name, answer in await each_way(stage, model):
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert came_from(answer) == (large, "ANTHROPIC", 2)
        assert len(stage.calls(name, provider)) == 1
    assert stage.others(Provider.GOOGLE) == []
    why = await stage.why(answer)
    assert [step["skipped"] for step in why["steps"] if "skipped" in step] == [small, same]


@doors
async def test_what_is_too_long_for_everybody_is_told(stage: Stage, door: Door) -> None:
    small = await stage.model(provider=Provider.GOOGLE, contextWindow=8_000)
    model = await stage.model(Fault.CONTEXT, contextWindow=100_000, fallbacks=[small])
    answer = await stage.ask(model, door=door)
    assert answer.status == 400
    assert "context" in refusal(door, answer)[1]
    assert len(stage.calls(model)) == 1
    assert stage.others(Provider.GOOGLE) == []


# What a filter refuses.


@pytest.mark.parametrize("provider", ALL)
async def test_what_a_filter_refuses_is_neither_repeated_nor_routed_around(
    stage: Stage, provider: Provider
) -> None:
    """By every door, whole and streaming; the provider's reason reaches the caller."""
    other = Provider.OLLAMA if provider is not Provider.OLLAMA else Provider.ANTHROPIC
    fallback = await stage.model(provider=other)

    async def model() -> str:
        return await stage.model(Fault.FILTER, provider, fallbacks=[fallback])

    for door, _, name, answer in await each_way(stage, model):
        assert answer.status in (200, 400)
        if answer.status == 400:
            assert refusal(door, answer)[1]
        else:  # the provider says so in its answer
            assert TWELVE not in door.text(answer)
            assert came_from(answer) == (name, provider.value, 1)
        assert len(stage.calls(name, provider)) == 1
    assert stage.others(other) == []


async def test_what_is_wrong_with_the_request_is_told_and_nobody_else_is_asked(
    stage: Stage,
) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.REFUSED_PARAM, fallbacks=[fallback])
    answer = await stage.ask(model)
    assert answer.status == 400
    assert "temperature" in refusal(OPENAI_CHAT, answer)[1]
    assert len(stage.calls(model)) == 1
    assert stage.others(Provider.OLLAMA) == []


@pytest.mark.parametrize("provider", KEYED)
@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.TOO_LARGE], ids=lambda fault: fault.value)
async def test_what_another_model_may_serve_is_not_repeated_and_goes_there(
    stage: Stage, provider: Provider, fault: Fault
) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(fault, provider, fallbacks=[fallback])
    answer = await stage.ask(model)
    assert came_from(answer) == (fallback, "OLLAMA", 2)
    assert len(stage.calls(model, provider)) == 1


# An error that comes as a success.


@doors
@pytest.mark.parametrize("provider", ALL)
async def test_an_error_with_status_200_is_an_error_and_the_fallbacks(
    stage: Stage, provider: Provider, door: Door
) -> None:
    other = Provider.OLLAMA if provider is not Provider.OLLAMA else Provider.ANTHROPIC
    fallback = await stage.model(provider=other)
    for stream in (False, True):
        model = await stage.model(Fault.ERROR_200, provider, fallbacks=[fallback])
        answer = await stage.ask(model, door=door, stream=stream)
        assert answer.status == 200, answer.text
        assert door.text(answer) == TWELVE
        assert not door.errors(answer)
        assert came_from(answer)[0] == fallback


# Who can serve a request.


def asking(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "count to 12"}], **more}


UNABLE = {
    "tools": (asking(tools=[TOOL]), "does not call tools"),
    "vision": (
        asking(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "count to 12"},
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                    ],
                }
            ]
        ),
        "does not see images",
    ),
    "structuredOutput": (
        asking(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}},
            }
        ),
        "does not keep to a JSON schema",
    ),
}


@pytest.mark.parametrize("capability", UNABLE)
async def test_who_cannot_do_what_is_asked_is_passed_over_and_the_record_says_why(
    stage: Stage, capability: str
) -> None:
    body, reason = UNABLE[capability]
    unable = await stage.model(provider=Provider.OLLAMA, capabilities={capability: False})
    able = await stage.model(provider=Provider.ANTHROPIC)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[unable, able])
    answer = await OPENAI_CHAT.send(stage.client, model, {**body, "model": model}, stream=False)
    assert answer.status == 200, answer.text
    assert came_from(answer)[0] == able
    assert stage.others(Provider.OLLAMA) == []
    why = await stage.why(answer)
    assert {"skipped": unable, "reason": reason} in why["steps"]


async def test_everybody_who_is_passed_over_is_in_the_record_with_the_reason(
    stage: Stage,
) -> None:
    inactive = await stage.model(provider=Provider.OLLAMA, isActive=False)
    narrow = await stage.model(provider=Provider.OLLAMA, contextWindow=3000)
    whole = await stage.model(provider=Provider.OLLAMA, supportsStreaming=False)
    keyless = await stage.model(provider=Provider.GOOGLE)
    able = await stage.model(provider=Provider.ANTHROPIC)
    gone = "never-registered"
    chain = [gone, inactive, narrow, whole, keyless, able]
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=chain)
    user = f"{stage.user}-poor"
    for provider in (Provider.OPENAI, Provider.ANTHROPIC):
        await stage.world.key(provider, "sk-sandbox-poor", user=user)
    async with stage.world.client(await stage.world.token(user)) as client:
        answer = await OPENAI_CHAT.send(
            client,
            model,
            {**asking(stream=True, max_tokens=3000), "model": model},
            stream=True,
        )
    assert came_from(answer) == (able, "ANTHROPIC", 3)
    why = await stage.why(answer)
    skipped = {step["skipped"]: step["reason"] for step in why["steps"] if "skipped" in step}
    assert set(skipped) == set(chain[:-1])
    assert why["skipped"] == [{"model": name, "reason": skipped[name]} for name in skipped]
    assert why["candidates"][0] == model
    assert set(why["candidates"]) == {model, *chain}
    assert why["answeredBy"]["model"] == able
    assert skipped[gone] == "no such model is registered"
    assert skipped[inactive] == "is not active"
    assert skipped[narrow].startswith("its context window of 3,000 tokens is too small")
    assert skipped[whole] == "does not stream"
    assert skipped[keyless] == "no key for provider 'GOOGLE'"


async def test_a_model_that_the_token_may_not_use_does_not_answer_in_anothers_place(
    stage: Stage,
) -> None:
    barred = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[barred])
    token = await stage.world.token(stage.user, scopes={"models": [model]})
    async with stage.world.client(token) as client:
        answer = await OPENAI_CHAT.ask(client, model, stream=False)
    assert answer.status == 503
    assert stage.others(Provider.OLLAMA) == []


async def test_a_fallback_that_cannot_express_the_request_is_passed_over(stage: Stage) -> None:
    """Log probabilities: Anthropic has nothing like them, and says so before it is asked."""
    other = await stage.model(provider=Provider.ANTHROPIC)
    able = await stage.model(provider=Provider.CUSTOM)
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[other, able])
    body = {**asking(logprobs=True), "model": model}
    answer = await OPENAI_CHAT.send(stage.client, model, body, stream=False)
    assert answer.status == 200, answer.text
    assert came_from(answer)[0] == able
    assert stage.others(Provider.ANTHROPIC) == []
    why = await stage.why(answer)
    assert [step["skipped"] for step in why["steps"] if "skipped" in step] == [other]


async def test_a_chain_is_gone_along_to_its_end(stage: Stage) -> None:
    second = await stage.model(Fault.UNAVAILABLE, Provider.ANTHROPIC)
    third = await stage.model(Fault.RESET, Provider.GOOGLE)
    last = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.BROKEN, fallbacks=[second, third, last])
    for door in (OPENAI_CHAT, ANTHROPIC, GOOGLE):
        answer = await stage.ask(model, door=door)
        assert door.text(answer) == TWELVE
        assert came_from(answer)[0] == last


async def test_a_fallbacks_own_fallbacks_do_not_count(stage: Stage) -> None:
    beyond = await stage.model(provider=Provider.OLLAMA)
    second = await stage.model(Fault.BROKEN, Provider.ANTHROPIC, fallbacks=[beyond])
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[second])
    assert (await stage.ask(model)).status == 503
    assert stage.others(Provider.OLLAMA) == []


async def test_an_embedding_falls_back_to_the_same_model_elsewhere(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.CUSTOM, modelId="text-embedding-3-small")
    model = await stage.model(Fault.UNAVAILABLE, fallbacks=[fallback])
    answer = await stage.client.post("/v1/embeddings", json={"model": model, "input": "hello"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model-service-model"] == fallback
    assert len(answer.json()["data"][0]["embedding"]) > 100
