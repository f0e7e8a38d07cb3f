"""The Responses API of the OpenAI stand-in, as the official client sees it."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio
from pydantic import BaseModel

from model_service.sandbox import serve
from model_service.sandbox.openai import OpenAI

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CLOCK: Any = {"type": "function", "name": "clock"}
SEALED: Any = ["reasoning.encrypted_content"]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[OpenAI]:
    async with serve() as sandbox:
        yield sandbox.openai


@pytest.fixture
def stand_in(served: OpenAI) -> OpenAI:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: OpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=served.sample_key(), base_url=served.base_url, max_retries=0, timeout=5
    ) as client:
        yield client


async def events_of(client: openai.AsyncOpenAI, **asked: Any) -> list[Any]:
    asked = {"model": "gpt-4.1", "stream": True, **asked}
    return [event async for event in await client.responses.create(**asked)]


async def test_an_answer_is_a_whole_response(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt-4.1", input="Good day")
    (message,) = answer.output
    assert message.type == "message"
    assert (message.role, message.status) == ("assistant", "completed")
    assert answer.output_text == "You said: Good day"
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert answer.model == "gpt-4.1-2025-04-14"
    assert answer.id.startswith("resp_")
    assert message.id.startswith("msg_")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 5)
    assert answer.usage.total_tokens == 7


async def test_a_response_tells_what_was_asked(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(
        model="gpt-4.1",
        input="Hi",
        instructions="Be kind.",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=50,
        metadata={"a": "b"},
        tools=[WEATHER],
        parallel_tool_calls=False,
        user="ann",
    )
    assert (answer.instructions, answer.metadata, answer.user) == ("Be kind.", {"a": "b"}, "ann")
    assert (answer.temperature, answer.top_p, answer.max_output_tokens) == (0.5, 0.9, 50)
    assert (answer.parallel_tool_calls, answer.tool_choice) == (False, "auto")
    assert answer.tools[0].type == "function"
    assert answer.tools[0].name == "weather"


async def test_the_ledger_of_usage_says_what_was_billed(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    await client.responses.create(model="gpt-5", input="cached words here")
    (billed,) = stand_in.usage
    assert (billed.model, billed.path, billed.stream) == ("gpt-5", "/v1/responses", False)
    assert (billed.input, billed.cached_input, billed.output, billed.reasoning) == (2, 1, 14, 8)


async def test_roles_and_images_arrive(client: openai.AsyncOpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"role": "assistant", "content": "Hello"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
                {"type": "input_file", "file_id": "file-1"},
            ],
        },
    ]
    answer = await client.responses.create(model="gpt-4.1", input=items, instructions="Be kind.")
    assert answer.output_text == (
        "You said: Look\nMy orders: Be kind.\nBe brief.\nTurns: 3\nImages: 1\nFiles: 1"
    )


async def test_a_length_leaves_a_response_incomplete(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(
        model="gpt-4.1", input="count to 100", max_output_tokens=16
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].type == "message"
    assert answer.output[0].status == "incomplete"


async def test_a_filter_leaves_a_response_incomplete(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt-4.1", input="Be filtered")
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "content_filter"
    assert answer.output_text == "You said"


async def test_a_refusal_is_a_part_of_its_own(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt-4.1", input="refuse")
    message = answer.output[0]
    assert message.type == "message"
    assert message.content[0].type == "refusal"
    assert message.content[0].refusal == "I cannot help with that."


async def test_a_function_is_called_and_its_result_heard(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "gpt-4.1", "tools": [WEATHER], "store": False}
    question: Any = {"role": "user", "content": "weather in Oslo"}
    called = await client.responses.create(input=[question], **asked)
    (call,) = called.output
    assert call.type == "function_call"
    assert (call.name, orjson.loads(call.arguments)) == ("weather", {"city": "city 1"})
    assert call.id is not None
    assert call.id.startswith("fc_")
    assert call.call_id.startswith("call_")
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    answer = await client.responses.create(input=[question, call, result], **asked)
    assert answer.output_text == "You said: weather in Oslo\nTurns: 3\nResults: rain"


async def test_a_result_may_be_made_of_parts(client: openai.AsyncOpenAI) -> None:
    items: Any = [
        {"role": "user", "content": "Go"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [
                {"type": "input_text", "text": "seen"},
                {"type": "input_image", "image_url": PNG},
            ],
        },
    ]
    answer = await client.responses.create(model="gpt-4.1", input=items)
    assert answer.output_text == "You said: Go\nTurns: 3\nImages: 1\nResults: seen"


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["weather"]),
        ({"type": "function", "name": "clock"}, ["clock"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [CLOCK]}, ["clock"]),
    ],
)
async def test_the_choice_of_tools_is_heeded(
    client: openai.AsyncOpenAI, choice: Any, called: list[str]
) -> None:
    asked: Any = {"model": "gpt-4.1", "input": "Hi", "tools": [WEATHER, CLOCK]}
    answer = await client.responses.create(**asked, tool_choice=choice)
    assert [item.name for item in answer.output if item.type == "function_call"] == called


class Person(BaseModel):
    name: str
    age: int


async def test_a_structured_answer_fits_its_schema(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.parse(model="gpt-4.1", input="Who?", text_format=Person)
    assert answer.output_parsed == Person(name="name 1", age=1)


async def test_a_summary_of_thoughts_is_shown_where_it_was_asked_for(
    client: openai.AsyncOpenAI,
) -> None:
    asked: Any = {"model": "gpt-5", "input": "Hi"}
    silent = await client.responses.create(**asked)
    shown = await client.responses.create(**asked, reasoning={"effort": "low", "summary": "auto"})
    for answer, expected in ((silent, []), (shown, ["The user wants this: Hi"])):
        assert answer.output[0].type == "reasoning"
        assert [part.text for part in answer.output[0].summary] == expected
        assert answer.output[0].encrypted_content is None
        assert answer.usage is not None
        assert answer.usage.output_tokens_details.reasoning_tokens == 6


async def test_a_sealed_thought_can_be_sent_back(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "gpt-5", "tools": [WEATHER], "store": False, "include": SEALED}
    question: Any = {"role": "user", "content": "weather"}
    called = await client.responses.create(input=[question], **asked)
    thought, call = called.output
    assert thought.type == "reasoning"
    assert thought.encrypted_content is not None
    assert call.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    answer = await client.responses.create(input=[question, thought, call, result], **asked)
    assert answer.output_text.endswith("Results: rain")


async def test_a_kept_response_can_be_gone_on_from(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "gpt-5", "tools": [WEATHER]}
    called = await client.responses.create(input="weather", **asked)
    call = called.output[-1]
    assert call.type == "function_call"
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    answer = await client.responses.create(input=[result], previous_response_id=called.id, **asked)
    assert answer.output_text == "You said: weather\nTurns: 3\nResults: rain"


async def test_kept_items_can_be_referred_to(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="gpt-4.1", input="One")
    reference = {"type": "item_reference", "id": first.output[0].id}
    items: Any = [{"role": "user", "content": "One"}, reference, {"role": "user", "content": "Two"}]
    answer = await client.responses.create(model="gpt-4.1", input=items)
    assert answer.output_text == "You said: Two\nTurns: 3"


async def test_tokens_are_counted_without_an_answer(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    asked: Any = {"model": "gpt-4.1", "input": "one two", "instructions": "three"}
    counted = await client.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == 3
    assert not stand_in.usage
    answer = await client.responses.create(**asked)
    assert answer.usage is not None
    assert answer.usage.input_tokens == counted.input_tokens


async def test_a_stream_tells_of_a_message_from_its_opening_to_its_end(
    client: openai.AsyncOpenAI,
) -> None:
    events = await events_of(client, input="Hi")
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 4,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].response.status == "in_progress"
    assert events[0].response.output == []
    assert events[0].response.usage is None
    assert [event.delta for event in events[4:8]] == ["You", " said", ":", " Hi"]
    assert events[8].text == "You said: Hi"
    assert events[-1].response.status == "completed"
    assert events[-1].response.output_text == "You said: Hi"
    assert events[-1].response.usage.total_tokens == 5


async def test_a_stream_tells_of_calls_in_fragments(client: openai.AsyncOpenAI) -> None:
    events = await events_of(client, input="both", tools=[WEATHER, CLOCK])
    for index, arguments in ((0, '{"city":"city 1"}'), (1, "{}")):
        about = [event for event in events if getattr(event, "output_index", None) == index]
        assert about[0].type == "response.output_item.added"
        assert (about[0].item.arguments, about[0].item.status) == ("", "in_progress")
        assert "".join(event.delta for event in about[1:-2]) == arguments
        assert about[-2].type == "response.function_call_arguments.done"
        assert about[-2].arguments == arguments
        assert (about[-1].item.arguments, about[-1].item.status) == (arguments, "completed")


async def test_a_stream_tells_of_thoughts_before_the_message(client: openai.AsyncOpenAI) -> None:
    events = await events_of(
        client, model="gpt-5", input="Hi", reasoning={"summary": "auto"}, include=SEALED
    )
    about = [event for event in events if getattr(event, "output_index", None) == 0]
    kinds = [event.type.removeprefix("response.") for event in about]
    assert kinds[:2] == ["output_item.added", "reasoning_summary_part.added"]
    assert kinds[-3:] == [
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert "".join(event.delta for event in about[2:-3]) == "The user wants this: Hi"
    assert about[-1].item.encrypted_content.startswith("gAAAAA")


async def test_a_stream_tells_of_a_refusal(client: openai.AsyncOpenAI) -> None:
    events = await events_of(client, input="refuse")
    deltas = [event.delta for event in events if event.type == "response.refusal.delta"]
    assert "".join(deltas) == "I cannot help with that."


async def test_a_stream_that_is_cut_for_length_ends_incomplete(client: openai.AsyncOpenAI) -> None:
    events = await events_of(client, input="count to 100", max_output_tokens=16)
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


async def test_padding_comes_with_deltas_unless_it_is_not_wanted(
    client: openai.AsyncOpenAI,
) -> None:
    padded = await events_of(client, input="Hi")
    plain = await events_of(client, input="Hi", stream_options={"include_obfuscation": False})
    assert all(event.obfuscation for event in padded if event.type.endswith(".delta"))
    assert not any(getattr(event, "obfuscation", None) for event in plain)


async def test_log_probabilities_come_with_the_text(client: openai.AsyncOpenAI) -> None:
    include = ["message.output_text.logprobs"]
    events = await events_of(client, input="Hi", include=include, top_logprobs=1)
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [event.logprobs[0].token for event in deltas] == ["You", " said", ":", " Hi"]
    part = events[-1].response.output[0].content[0]
    assert [entry.token for entry in part.logprobs] == ["You", " said", ":", " Hi"]


async def test_the_clients_own_assembly_of_a_stream_equals_the_whole(
    client: openai.AsyncOpenAI,
) -> None:
    asked: Any = {"model": "gpt-5", "input": "both aloud", "tools": [WEATHER, CLOCK]}
    async with client.responses.stream(**asked) as stream:
        final = await stream.get_final_response()
    whole = await client.responses.create(**asked)
    assert [item.type for item in final.output] == [item.type for item in whole.output]
    assert final.output_text == whole.output_text == "Let me look that up."
    assert final.usage == whole.usage
