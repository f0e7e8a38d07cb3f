"""Chat completions of the OpenAI stand-in, as the official clients see them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import orjson
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from model_service.sandbox import serve
from model_service.sandbox.openai import OpenAI

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
PDF = "data:application/pdf;base64,JVBERi0xLjQ="
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK: Any = {"type": "function", "function": {"name": "clock"}}


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


def says(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def chunks_of(client: openai.AsyncOpenAI, **asked: Any) -> list[ChatCompletionChunk]:
    asked = {"model": "gpt-4.1", "stream": True, **asked}
    return [chunk async for chunk in await client.chat.completions.create(**asked)]


async def test_an_answer_is_a_whole_completion(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=says("Good day"))
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "You said: Good day")
    assert (choice.finish_reason, choice.message.refusal, choice.logprobs) == ("stop", None, None)
    assert answer.model == "gpt-4.1-2025-04-14"
    assert answer.id.startswith("chatcmpl-")
    assert (answer.service_tier, answer.system_fingerprint) == ("default", "fp_8f1db3e0e4")


async def test_the_client_without_async_is_answered_as_well(stand_in: OpenAI) -> None:
    def ask() -> list[str | None]:
        with openai.OpenAI(
            api_key=stand_in.sample_key(), base_url=stand_in.base_url, max_retries=0
        ) as client:
            asked: Any = {"model": "gpt-4.1", "messages": says("Hi")}
            whole = client.chat.completions.create(**asked)
            chunks = client.chat.completions.create(**asked, stream=True)
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            return [whole.choices[0].message.content, streamed]

    assert await asyncio.to_thread(ask) == ["You said: Hi", "You said: Hi"]


async def test_usage_counts_what_went_in_and_out(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=says("one two three"))
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 6)
    assert answer.usage.total_tokens == 9


async def test_the_ledger_of_usage_says_what_was_billed(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    await client.chat.completions.create(model="gpt-5", messages=says("cached words here"))
    (billed,) = stand_in.usage
    assert (billed.model, billed.path, billed.stream) == ("gpt-5", "/v1/chat/completions", False)
    assert (billed.input, billed.cached_input, billed.cache_write) == (2, 1, 0)
    assert (billed.output, billed.reasoning) == (14, 8)


async def test_a_refused_call_is_not_billed(stand_in: OpenAI, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model="gpt-4.1", messages=[])
    assert not stand_in.usage


async def test_answers_tell_what_is_left_of_the_limits(client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="gpt-4.1", messages=says("Good day")
    )
    names = [
        f"x-ratelimit-{what}-{of}"
        for what in ("limit", "remaining", "reset")
        for of in ("requests", "tokens")
    ]
    assert all(raw.headers[name] for name in names)


async def test_several_answers_have_an_index_each(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=says("Hi"), n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3 * 4


async def test_a_length_cuts_the_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("Hi"), max_tokens=2
    )
    assert answer.choices[0].message.content == "You said"
    assert answer.choices[0].finish_reason == "length"


async def test_a_stop_sequence_ends_the_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("Hi"), stop=["nothing", " Hi"]
    )
    assert answer.choices[0].message.content == "You said:"
    assert answer.choices[0].finish_reason == "stop"


async def test_a_filter_ends_the_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=says("Be filtered"))
    assert answer.choices[0].message.content == "You said"
    assert answer.choices[0].finish_reason == "content_filter"


async def test_a_refusal_is_no_content(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=says("refuse this"))
    message = answer.choices[0].message
    assert (message.content, message.refusal) == (None, "I cannot help with that.")


async def test_log_probabilities_are_given_by_token(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("Hi"), logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [entry.token for entry in logprobs.content] == ["You", " said", ":", " Hi"]
    assert logprobs.content[0].bytes == list(b"You")
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [2, 2, 2, 2]
    assert all(entry.logprob <= 0 for entry in logprobs.content)


async def test_the_system_and_the_developer_are_heard(client: openai.AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "name": "ann", "content": "Hi"},
    ]
    answer = await client.chat.completions.create(model="gpt-5-mini", messages=messages)
    assert answer.choices[0].message.content == "You said: Hi\nMy orders: Be kind.\nBe brief."


async def test_images_and_files_arrive(client: openai.AsyncOpenAI) -> None:
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
    ]
    messages: Any = [{"role": "user", "content": content}]
    answer = await client.chat.completions.create(model="gpt-4.1", messages=messages)
    assert answer.choices[0].message.content == "You said: Look\nImages: 2\nFiles: 1"


async def test_a_tool_is_called_and_its_result_heard(client: openai.AsyncOpenAI) -> None:
    messages = says("weather in Oslo")
    called = await client.chat.completions.create(
        model="gpt-4.1", messages=messages, tools=[WEATHER]
    )
    message = called.choices[0].message
    assert called.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    assert orjson.loads(call.function.arguments) == {"city": "city 1"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    # As programs do it: the message goes back as it came.
    messages = [*messages, message.model_dump(exclude_unset=True), result]
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=messages, tools=[WEATHER]
    )
    assert answer.choices[0].message.content == (
        "You said: weather in Oslo\nTurns: 3\nResults: rain"
    )


async def test_parallel_calls_can_be_had_and_forbidden(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "gpt-4.1", "messages": says("both"), "tools": [WEATHER, CLOCK]}
    both = await client.chat.completions.create(**asked)
    one = await client.chat.completions.create(**asked, parallel_tool_calls=False)
    assert len(both.choices[0].message.tool_calls or ()) == 2
    assert len(one.choices[0].message.tool_calls or ()) == 1


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("auto", []),
        ("none", []),
        ("required", ["weather"]),
        ({"type": "function", "function": {"name": "clock"}}, ["clock"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CLOCK]}},
            ["clock"],
        ),
    ],
)
async def test_the_choice_of_tools_is_heeded(
    client: openai.AsyncOpenAI, choice: Any, called: list[str]
) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("Hi"), tools=[WEATHER, CLOCK], tool_choice=choice
    )
    calls: Any = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == called


class Person(BaseModel):
    name: str
    age: int


async def test_a_structured_answer_fits_its_schema(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.parse(
        model="gpt-4.1", messages=says("Who?"), response_format=Person
    )
    assert answer.choices[0].message.parsed == Person(name="name 1", age=1)


async def test_json_mode_gives_an_object(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("some json"), response_format={"type": "json_object"}
    )
    assert orjson.loads(answer.choices[0].message.content or "") == {"said": "some json"}


async def test_a_reasoning_model_bills_thoughts_it_does_not_show(
    client: openai.AsyncOpenAI,
) -> None:
    answer = await client.chat.completions.create(
        model="gpt-5", messages=says("Hi"), reasoning_effort="high", max_completion_tokens=100
    )
    assert answer.choices[0].message.content == "You said: Hi"
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 6
    assert answer.usage.completion_tokens == 10


async def test_a_model_told_not_to_think_takes_a_temperature(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-5.5", messages=says("Hi"), reasoning_effort="none", temperature=0.2
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


async def test_a_limit_within_the_thoughts_leaves_no_content(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-5", messages=says("Hi"), max_completion_tokens=3
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "length")


@pytest.mark.parametrize(
    ("asked", "tier"),
    [("auto", "default"), ("flex", "flex"), ("priority", "priority"), ("fast", "priority")],
)
async def test_the_service_tier_is_told(client: openai.AsyncOpenAI, asked: Any, tier: str) -> None:
    answer = await client.chat.completions.create(
        model="gpt-4.1", messages=says("Hi"), service_tier=asked
    )
    assert answer.service_tier == tier


async def test_long_prefixes_are_read_from_the_cache_the_second_time(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    long = "word " * 1500
    first = await client.chat.completions.create(model="gpt-4.1", messages=says(long + "one"))
    second = await client.chat.completions.create(model="gpt-4.1", messages=says(long + "two"))
    details = [answer.usage and answer.usage.prompt_tokens_details for answer in (first, second)]
    assert [detail and detail.cached_tokens for detail in details] == [0, 1408]
    assert [billed.cached_input for billed in stand_in.usage] == [0, 1408]


async def test_recent_models_bill_what_is_written_to_the_cache(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    answer = await client.chat.completions.create(model="gpt-6-luna", messages=says("word " * 1500))
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cache_write_tokens == 1408
    (billed,) = stand_in.usage
    assert (billed.input, billed.cache_write) == (answer.usage.prompt_tokens - 1408, 1408)


async def test_a_stream_opens_speaks_and_finishes(client: openai.AsyncOpenAI) -> None:
    chunks = await chunks_of(client, messages=says("Hi"))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert [delta.content for delta in deltas[1:-1]] == ["You", " said", ":", " Hi"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["stop"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


async def test_usage_comes_last_and_without_choices_where_it_was_asked_for(
    client: openai.AsyncOpenAI,
) -> None:
    chunks = await chunks_of(client, messages=says("Hi"), stream_options={"include_usage": True})
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 6
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 5


async def test_on_the_wire_usage_is_null_until_the_end_or_not_there_at_all(
    stand_in: OpenAI,
) -> None:
    headers = {"authorization": f"Bearer {stand_in.sample_key()}"}
    body: dict[str, Any] = {"model": "gpt-4.1", "messages": says("Hi"), "stream": True}
    counted = {**body, "stream_options": {"include_usage": True, "include_obfuscation": False}}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as http:
        plain = await http.post("chat/completions", json=body)
        asked = await http.post("chat/completions", json=counted)
    assert plain.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert plain.text.endswith("\n\ndata: [DONE]\n\n")
    assert '"usage"' not in plain.text
    assert '"obfuscation":"' in plain.text
    assert asked.text.count('"usage":null') == 6
    assert "obfuscation" not in asked.text


async def test_streamed_calls_name_their_id_once(client: openai.AsyncOpenAI) -> None:
    chunks = await chunks_of(client, messages=says("both weather aloud"), tools=[WEATHER, CLOCK])
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    opened = [call for call in calls if call.id]
    assert [call.index for call in opened] == [0, 1]
    assert [call.function and call.function.name for call in opened] == ["weather", "clock"]
    fragments = [call for call in calls if not call.id]
    assert len(fragments) > 2
    assert all(call.type is None for call in fragments)
    texts = dict.fromkeys((0, 1), "")
    for call in calls:
        assert call.function is not None
        texts[call.index] += call.function.arguments or ""
    assert [orjson.loads(text) for text in texts.values()] == [{"city": "city 1"}, {}]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


async def test_streamed_answers_that_are_given_at_once_come_in_turns(
    client: openai.AsyncOpenAI,
) -> None:
    chunks = await chunks_of(client, messages=says("Hi"), n=2)
    assert [chunk.choices[0].index for chunk in chunks] == [0, 1] * 6


async def test_a_streamed_refusal_comes_in_pieces(client: openai.AsyncOpenAI) -> None:
    chunks = await chunks_of(client, messages=says("refuse"))
    pieces = [chunk.choices[0].delta.refusal for chunk in chunks]
    assert "".join(piece or "" for piece in pieces) == "I cannot help with that."


async def test_streamed_tokens_carry_their_log_probabilities(client: openai.AsyncOpenAI) -> None:
    chunks = await chunks_of(client, messages=says("Hi"), logprobs=True)
    found = [chunk.choices[0].logprobs for chunk in chunks[1:-1]]
    tokens = [entry.token for one in found if one for entry in one.content or ()]
    assert tokens == ["You", " said", ":", " Hi"]


async def test_what_a_stream_says_is_what_the_whole_answer_says(
    client: openai.AsyncOpenAI,
) -> None:
    asked: Any = {"messages": says("count to 30"), "max_tokens": 20}
    whole = await client.chat.completions.create(model="gpt-4.1", **asked)
    chunks = await chunks_of(client, **asked)
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert content == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
