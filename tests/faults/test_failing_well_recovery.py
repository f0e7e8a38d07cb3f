"""GATEWAY.md, "Failing well": streams that break and go on, read by the official clients."""

import asyncio
import contextlib
import secrets

import anthropic
import openai
import pytest

from model_service.kernel.types import Provider
from model_service.sandbox.faults import Fault
from tests.faults.failing_well import QUICK, SIXTY, Stage, came_from, none_left
from tests.faults.gateway_doors import DOORS, OPENAI_CHAT, Door, refusal
from tests.unit.gateway.recovery_streams import Got, parsed

CONTINUE = {**QUICK, "idleTimeout": 0.2, "recovery": "continue"}
doors = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
breaks = pytest.mark.parametrize(
    "fault",
    [Fault.CUT, Fault.END, Fault.STALL, Fault.GARBAGE, Fault.ERROR_EVENT],
    ids=lambda fault: fault.value,
)

#: Who goes on: those that take the beginning of an answer, and those that are asked anew.
PREFILL = {Provider.ANTHROPIC: "claude-haiku-4-5", Provider.OLLAMA: "llama3.2"}
RESTART = {Provider.ANTHROPIC: "claude-opus-4-8", Provider.GOOGLE: "gemini-3.6-flash"}


async def recovered(
    stage: Stage, model: str, door: Door, text: str = "count to 60", **headers: str
) -> Got:
    """What the door's official client makes of the stream, which has to be whole."""
    answer = await stage.ask(model, door=door, stream=True, text=text, **headers)
    assert answer.status == 200, answer.text
    assert not answer.is_broken
    assert not door.errors(answer)
    got = parsed(door.name, answer.text.encode())
    assert len(got.ends) == 1
    return got


@doors
@breaks
@pytest.mark.parametrize("second", PREFILL)
async def test_a_fallback_that_takes_a_beginning_goes_on_from_it(
    stage: Stage, second: Provider, fault: Fault, door: Door
) -> None:
    fallback = await stage.model(provider=second, modelId=PREFILL[second])
    model = await stage.model(fault, policy=CONTINUE, fallbacks=[fallback])
    got = await recovered(stage, model, door)
    assert got.printed == got.text == SIXTY
    (mark,) = got.marks
    assert (mark["type"], mark["mode"], mark["attempt"]) == ("recovered", "prefill", 2)
    assert mark["model"] == fallback
    assert 0 < mark["text_offset"] < len(SIXTY)
    assert len(stage.calls(model)) == 1
    (asked,) = stage.others(second)
    assert SIXTY[: mark["text_offset"]].encode().strip() in asked.body
    await none_left(stage.world)


@doors
@pytest.mark.parametrize(
    "fault", [Fault.CUT, Fault.STALL, Fault.ERROR_EVENT], ids=lambda fault: fault.value
)
@pytest.mark.parametrize("second", RESTART)
async def test_a_fallback_that_takes_none_is_asked_anew_and_only_what_is_new_arrives(
    stage: Stage, second: Provider, fault: Fault, door: Door
) -> None:
    fallback = await stage.model(provider=second, modelId=RESTART[second])
    model = await stage.model(fault, policy=CONTINUE, fallbacks=[fallback])
    got = await recovered(stage, model, door)
    assert got.printed == got.text == SIXTY
    (mark,) = got.marks
    assert (mark["type"], mark["mode"], mark["attempt"]) == ("recovered", "restart", 2)
    assert mark["model"] == fallback


@doors
@pytest.mark.parametrize(
    "first", [Provider.ANTHROPIC, Provider.GOOGLE, Provider.AZURE, Provider.OLLAMA, Provider.CUSTOM]
)
async def test_every_providers_broken_stream_is_gone_on_with(
    stage: Stage, first: Provider, door: Door
) -> None:
    fallback = await stage.model()
    model = await stage.model(Fault.CUT, first, policy=CONTINUE, fallbacks=[fallback])
    got = await recovered(stage, model, door)
    assert got.printed == SIXTY
    assert [mark["mode"] for mark in got.marks] == ["restart"]


@doors
async def test_without_a_fallback_the_same_model_goes_on(stage: Stage, door: Door) -> None:
    model = await stage.model(Fault.CUT, once=True)
    got = await recovered(stage, model, door, recovery="continue")
    assert got.text == SIXTY
    assert [mark["model"] for mark in got.marks] == [model]
    assert len(stage.calls(model)) == 2


@doors
async def test_a_fallback_that_refuses_the_beginning_is_asked_anew(
    stage: Stage, door: Door
) -> None:
    """It is said to go on from a beginning, and does not."""
    fallback = await stage.model(
        provider=Provider.ANTHROPIC, modelId="claude-opus-4-8", settings={"prefill": True}
    )
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    got = await recovered(stage, model, door)
    assert got.printed == SIXTY
    (mark,) = got.marks
    assert (mark["mode"], mark["model"]) == ("restart", fallback)
    refused, asked = stage.others(Provider.ANTHROPIC)
    assert b'"assistant"' in refused.body
    assert b'"assistant"' not in asked.body


@doors
async def test_when_nobody_goes_on_the_first_fault_is_the_one_that_is_told(
    stage: Stage, door: Door
) -> None:
    """The stream stalls; the fallback refuses the beginning, and is out of credit when asked."""
    fallback = await stage.model(Fault.NO_CREDIT, Provider.ANTHROPIC, settings={"prefill": True})
    model = await stage.model(Fault.STALL, policy=CONTINUE, fallbacks=[fallback])
    answer = await stage.ask(model, door=door, stream=True, text="count to 60")
    assert answer.status == 200
    error = door.error(answer.events[-1])
    assert error is not None
    assert "took too long" in str(error), "the first fault was a stall"
    assert "credit" not in answer.text
    assert not door.is_complete(answer)


@doors
async def test_a_second_fallback_goes_on_where_the_first_one_breaks_too(
    stage: Stage, door: Door
) -> None:
    last = await stage.model(provider=Provider.GOOGLE)
    second = await stage.model(Fault.CUT, Provider.ANTHROPIC)
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[second, last])
    got = await recovered(stage, model, door)
    assert got.printed == SIXTY
    assert got.marks[-1]["model"] == last


async def test_what_an_attempt_that_broke_took_is_kept_as_an_estimate(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.ANTHROPIC, modelId="claude-haiku-4-5")
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    answer = await stage.ask(model, stream=True, text="count to 60")
    (row,) = await stage.kept(answer)
    ended = stage.world.sandbox.anthropic.usage[-1]
    assert row.output_tokens > ended.output
    assert row.estimated
    assert (row.model, row.fallback_from, row.attempts) == (fallback, model, 2)
    assert came_from(answer) == (model, "OPENAI", 1), "the head went out with the first one's"


async def test_a_refusal_in_mid_stream_is_not_gone_on_with(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.GOOGLE)
    model = await stage.model(policy=CONTINUE, fallbacks=[fallback])
    answer = await stage.ask(model, stream=True, text="please refuse")
    assert answer.status == 200
    assert stage.others(Provider.GOOGLE) == []


async def test_the_official_clients_read_a_recovered_stream_off_the_wire(stage: Stage) -> None:
    world = stage.world
    fallback = await stage.model(provider=Provider.ANTHROPIC, modelId="claude-haiku-4-5")
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    token = await world.token(stage.user)
    marks: list[object] = []
    text = ""
    async with openai.AsyncOpenAI(base_url=f"{world.url}/v1", api_key=token, max_retries=0) as gpt:
        stream = await gpt.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "count to 60"}], stream=True
        )
        async for chunk in stream:
            marks += filter(None, [getattr(chunk, "x_model_service", None)])
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert text == SIXTY
    assert len(marks) == 1
    async with (
        anthropic.AsyncAnthropic(base_url=world.url, api_key=token, max_retries=0) as claude,
        claude.messages.stream(
            model=model,
            max_tokens=500,
            messages=[{"role": "user", "content": "count to 60"}],
        ) as events,
    ):
        message = await events.get_final_message()
    assert "".join(block.text for block in message.content if block.type == "text") == SIXTY
    assert message.stop_reason == "end_turn"


async def test_off_in_a_request_holds_against_the_models_own_policy(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.OLLAMA)
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    answer = await stage.ask(model, stream=True, text="count to 60", recovery="off")
    assert OPENAI_CHAT.errors(answer)
    assert stage.others(Provider.OLLAMA) == []


async def test_a_word_for_recovery_that_is_none_is_refused_by_its_name(stage: Stage) -> None:
    model = await stage.model()
    answer = await stage.ask(model, stream=True, recovery="always")
    assert answer.status == 400
    assert "x-model-service-recovery" in refusal(OPENAI_CHAT, answer)[1]


async def test_many_broken_streams_at_once_all_go_on(stage: Stage) -> None:
    fallback = await stage.model(provider=Provider.ANTHROPIC, modelId="claude-haiku-4-5")
    models = [await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback]) for _ in range(4)]
    found = await asyncio.gather(
        *(
            stage.ask(model, door=door, stream=True, text=f"count to 60 {secrets.token_hex(2)}")
            for model in models
            for door in DOORS
        )
    )
    texts = {
        parsed(door.name, it.text.encode()).text for it, door in zip(found, DOORS * 4, strict=True)
    }
    assert texts == {SIXTY}
    await none_left(stage.world)


async def test_a_stream_of_json_without_events_goes_on_and_stays_one_array(stage: Stage) -> None:
    """As Google's door gives it to those who do not ask for events."""
    fallback = await stage.model(provider=Provider.ANTHROPIC, modelId="claude-haiku-4-5")
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    body = {"contents": [{"role": "user", "parts": [{"text": "count to 60"}]}]}
    path = f"/v1beta/models/{model}:streamGenerateContent"
    answer = await stage.client.post(path, json=body)
    assert answer.status_code == 200
    documents = answer.json()
    text = "".join(
        part.get("text", "")
        for document in documents
        for part in document["candidates"][0].get("content", {}).get("parts", ())
    )
    assert text == SIXTY
    assert sum("x_model_service" in document for document in documents) == 1


async def test_a_stream_of_json_that_breaks_ends_in_an_error_within_its_array(
    stage: Stage,
) -> None:
    model = await stage.model(Fault.CUT)
    body = {"contents": [{"role": "user", "parts": [{"text": "count to 60"}]}]}
    path = f"/v1beta/models/{model}:streamGenerateContent"
    documents = (await stage.client.post(path, json=body)).json()
    assert documents[-1]["error"]["code"] >= 500
    assert not any("finishReason" in str(document) for document in documents)


@doors
async def test_who_leaves_while_another_is_to_go_on_ends_that_attempt_and_leaves_one_row(
    stage: Stage, door: Door
) -> None:
    fallback = await stage.model(Fault.SILENT, Provider.ANTHROPIC)
    model = await stage.model(Fault.CUT, policy=CONTINUE, fallbacks=[fallback])
    request_id = secrets.token_hex(8)
    calling = asyncio.create_task(
        door.ask(
            stage.client,
            model,
            stream=True,
            text="count to 60",
            headers={"x-request-id": request_id},
        )
    )
    async with asyncio.timeout(5):
        await stage.world.sandbox.anthropic.arrived()
    calling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    await none_left(stage.world)
    (row,) = await stage.kept(request_id)
    assert row.estimated
    assert row.output_tokens > 20, "what the caller had of the first one is counted"
    assert row.status == 200
