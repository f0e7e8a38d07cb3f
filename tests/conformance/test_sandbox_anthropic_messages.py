"""Conversations with the Anthropic stand-in, as the official client sees them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import anthropic
import httpx
import pytest
import pytest_asyncio
from anthropic.types import Message, TextBlock, ToolUseBlock

from model_service.sandbox import serve
from model_service.sandbox.anthropic import Anthropic
from model_service.sandbox.stand_in import Billed

# One pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
NOW = {"name": "now", "input_schema": {"type": "object"}}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Anthropic]:
    async with serve() as sandbox:
        yield sandbox.anthropic


@pytest.fixture
def stand_in(served: Anthropic) -> Anthropic:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: Anthropic) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key=served.sample_key(), base_url=served.base_url, max_retries=0, timeout=5
    ) as client:
        yield client


def asking(text: str, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": "claude-opus-5", "max_tokens": 1000, "messages": messages, **more}


async def create(client: anthropic.AsyncAnthropic, body: Mapping[str, object]) -> Message:
    return await client.messages.create(**body)  # type: ignore[call-overload,no-any-return]


async def streamed(client: anthropic.AsyncAnthropic, body: Mapping[str, object]) -> Message:
    async with client.messages.stream(**body) as stream:  # type: ignore[arg-type]
        return await stream.get_final_message()


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def calls_of(message: Message) -> list[tuple[str, object]]:
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


async def test_the_answer_shows_the_system_prompt_and_images(
    client: anthropic.AsyncAnthropic,
) -> None:
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    content = [{"type": "text", "text": "Look"}, {"type": "image", "source": image}]
    body = asking("", messages=[{"role": "user", "content": content}], system="Be brief.")
    message = await create(client, body)
    assert text_of(message) == "You said: Look\nMy orders: Be brief.\nImages: 1"
    assert message.usage.input_tokens == 104


async def test_a_system_turn_is_an_order_too(client: anthropic.AsyncAnthropic) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Whisper."}]
    message = await create(client, asking("", messages=turns))
    assert "My orders: Whisper." in text_of(message)


async def test_a_document_is_counted_and_its_text_is_read(
    client: anthropic.AsyncAnthropic,
) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "three words here"}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "Read"}]
    message = await create(client, asking("", messages=[{"role": "user", "content": content}]))
    assert "Files: 1" in text_of(message)
    assert message.usage.input_tokens == 104


@pytest.mark.parametrize(
    ("text", "reason", "sequence"),
    [
        ("Hi", "end_turn", None),
        ("say STOP here", "stop_sequence", "STOP"),
        ("pause", "pause_turn", None),
        ("overflow", "model_context_window_exceeded", None),
        ("count to 1000", "max_tokens", None),
        ("use now", "tool_use", None),
    ],
)
async def test_an_answer_ends_for_the_reason_the_text_asks_for(
    client: anthropic.AsyncAnthropic, text: str, reason: str, sequence: str | None
) -> None:
    body = asking(text, stop_sequences=["STOP"], tools=[NOW], max_tokens=100)
    whole, in_parts = await create(client, body), await streamed(client, body)
    assert (whole.stop_reason, whole.stop_sequence) == (reason, sequence)
    assert (in_parts.stop_reason, in_parts.stop_sequence) == (reason, sequence)


async def test_a_refusal_is_empty_says_so_and_is_not_billed(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    for message in [
        await create(client, asking("refuse")),
        await streamed(client, asking("refuse")),
    ]:
        assert (message.stop_reason, message.content) == ("refusal", [])
        assert message.stop_details is not None
        assert message.stop_details.explanation == "I cannot help with that."
    assert not stand_in.usage


async def test_a_prompt_is_warmed_without_an_answer(client: anthropic.AsyncAnthropic) -> None:
    message = await create(client, asking("Hi", max_tokens=0))
    assert (message.content, message.stop_reason) == ([], "max_tokens")
    assert message.usage.output_tokens == 0


@pytest.mark.parametrize(
    "body",
    [
        asking("Hi", system="Be brief."),
        asking('aloud: use both now and get_weather {"city": "Zürich ☂"}', tools=[WEATHER, NOW]),
        asking("Hi", output_config={"format": {"type": "json_schema", "schema": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "additionalProperties": False,
        }}}),
        asking("think", thinking={"type": "adaptive", "display": "summarized"}),
    ],
)  # fmt: skip
async def test_a_stream_adds_up_to_the_whole_answer(
    client: anthropic.AsyncAnthropic, body: dict[str, object]
) -> None:
    whole, in_parts = await create(client, body), await streamed(client, body)
    unlike = {"id", "signature"}
    assert without(whole.to_dict(), unlike) == without(
        in_parts.to_dict(), unlike | {"parsed_output"}
    )


def without(value: object, names: set[str]) -> object:
    if isinstance(value, dict):
        return {
            name: without(item, names)
            for name, item in value.items()
            if name not in names and item is not None
        }
    return [without(item, names) for item in value] if isinstance(value, list) else value


async def test_events_come_in_the_documented_order(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    headers = {"x-api-key": stand_in.sample_key(), "anthropic-version": "2026-10-21"}
    body = asking("aloud: use now", tools=[NOW], stream=True)
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as http:
        answer = await http.post("/v1/messages", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [event for event in answer.text.split("\n\n") if event]
    names = [event.splitlines()[0].removeprefix("event: ") for event in events]
    data = [json.loads(event.splitlines()[1].removeprefix("data: ")) for event in events]
    assert [event["type"] for event in data] == names
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    blocks = [event for event in data if str(event["type"]).startswith("content_block")]
    assert [event["index"] for event in blocks] == sorted(event["index"] for event in blocks)
    assert blocks[-3]["content_block"]["input"] == {}
    assert blocks[-2]["delta"] == {"type": "input_json_delta", "partial_json": ""}
    assert data[0]["message"]["usage"]["output_tokens"] == 1
    assert data[-2]["usage"]["output_tokens"] == 8


async def test_tools_are_called_and_their_results_come_back_in_order(
    client: anthropic.AsyncAnthropic,
) -> None:
    body = asking("use both get_weather and now", tools=[WEATHER, NOW])
    message = await create(client, body)
    assert calls_of(message) == [("get_weather", {"city": "city 1"}), ("now", {})]
    ids = [block.id for block in message.content if isinstance(block, ToolUseBlock)]
    assert all(each.startswith("toolu_01") for each in ids)
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    results = [
        {
            "type": "tool_result",
            "tool_use_id": ids[0],
            "content": [
                {"type": "text", "text": "rain"},
                {"type": "image", "source": image},
            ],
        },
        {"type": "tool_result", "tool_use_id": ids[1], "content": "noon", "is_error": True},
    ]
    turns = [
        {"role": "user", "content": "use both get_weather and now"},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    answer = await create(client, asking("", messages=turns, tools=[WEATHER, NOW]))
    assert text_of(answer).endswith("Turns: 3\nImages: 1\nResults: rain\n, noon\nFailed: 1")


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "auto"}, []),
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "now"}, ["now"]),
        ({"type": "none"}, []),
    ],
)
async def test_a_choice_of_tools_is_heeded(
    client: anthropic.AsyncAnthropic, choice: Mapping[str, str], names: list[str]
) -> None:
    message = await create(client, asking("Hi", tools=[WEATHER, NOW], tool_choice=choice))
    assert [name for name, _ in calls_of(message)] == names


async def test_parallel_calls_can_be_turned_off(client: anthropic.AsyncAnthropic) -> None:
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    body = asking("use both", tools=[WEATHER, NOW], tool_choice=choice)
    assert len(calls_of(await create(client, body))) == 1


async def test_a_call_that_is_cut_streams_half_of_its_arguments(
    client: anthropic.AsyncAnthropic,
) -> None:
    body = asking("use get_weather", tools=[WEATHER], max_tokens=4)
    parts = ""
    async with client.messages.stream(**body) as stream:  # type: ignore[arg-type]
        async for event in stream:
            if event.type == "input_json":
                parts += event.partial_json
    assert parts == '{"city"'
    assert (await create(client, body)).stop_reason == "max_tokens"


async def test_an_answer_fits_the_schema_it_is_to_have(client: anthropic.AsyncAnthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {
            "type": "integer"}}},
        "required": ["name", "ages"],
        "additionalProperties": False,
    }  # fmt: skip
    message = await create(
        client,
        asking("Hi", output_config={"format": {"type": "json_schema", "schema": schema}}),
    )
    assert json.loads(text_of(message)) == {"name": "name 1", "ages": [1]}


async def test_a_marked_prompt_is_written_to_the_cache_once_and_read_later(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    system = [{"type": "text", "text": "one two three", "cache_control": {
        "type": "ephemeral", "ttl": "1h"}}]  # fmt: skip
    content = [
        {"type": "text", "text": "four five", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "six"},
    ]
    body = asking("", system=system, messages=[{"role": "user", "content": content}])
    first, second = (await create(client, body)).usage, (await create(client, body)).usage
    assert first.cache_creation is not None
    assert first.cache_creation.ephemeral_1h_input_tokens == 3
    assert first.cache_creation.ephemeral_5m_input_tokens == 2
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (5, 0)
    assert (first.input_tokens, second.input_tokens) == (1, 1)
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 5)
    assert [
        (bill.input, bill.cached_input, bill.cache_write, bill.cache_write_1h)
        for bill in stand_in.usage
    ] == [(1, 0, 2, 3), (1, 5, 0, 0)]


async def test_a_mark_for_the_whole_request_is_on_its_last_block(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    body = asking("one two", system="three", cache_control={"type": "ephemeral"})
    usage = (await create(client, body)).usage
    assert (usage.input_tokens, usage.cache_creation_input_tokens) == (0, 3)
    assert (await create(client, body)).usage.cache_read_input_tokens == 3


async def test_another_beginning_is_not_read_from_the_cache(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    await create(client, asking("one", system="a", **mark))
    usage = (await create(client, asking("one", system="b", **mark))).usage
    assert usage.cache_read_input_tokens == 0


async def test_tokens_are_counted_as_they_are_billed(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    body = asking("Hi there", system="Be brief.", tools=[WEATHER])
    counted = await client.messages.count_tokens(
        model="claude-opus-5",
        system="Be brief.",
        tools=[WEATHER],  # type: ignore[list-item]
        messages=[{"role": "user", "content": "Hi there"}],
    )
    assert counted.input_tokens == (await create(client, body)).usage.input_tokens
    assert len(stand_in.usage) == 1


async def test_what_is_billed_is_kept(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    await create(client, asking("think", thinking={"type": "adaptive"}))
    await streamed(client, asking("cached read of it"))
    assert list(stand_in.usage) == [
        Billed(
            "claude-opus-5", "/v1/messages", stream=False, input=1, output=10, reasoning=6
        ),
        Billed(
            "claude-opus-5", "/v1/messages", stream=True, input=2, cached_input=2, output=7
        ),
    ]  # fmt: skip


async def test_the_client_that_waits_reads_a_stream_as_well(stand_in: Anthropic) -> None:
    headers = {"x-api-key": stand_in.sample_key()}
    body = asking("count to 3", stream=True)

    def read() -> list[str]:
        with (
            anthropic.Anthropic(
                api_key=stand_in.sample_key(), base_url=stand_in.base_url, max_retries=0
            ) as client,
            client.messages.create(extra_headers=headers, **body) as stream,  # type: ignore[call-overload]
        ):
            return [event.type for event in stream]

    kinds = await asyncio.to_thread(read)
    assert kinds.count("content_block_delta") == 3
    assert kinds[-1] == "message_stop"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fault-429", anthropic.RateLimitError),
        ("fault-500", anthropic.InternalServerError),
        ("fault-529", anthropic.OverloadedError),
        ("fault-401", anthropic.AuthenticationError),
        ("fault-402", anthropic.BadRequestError),
        ("fault-404", anthropic.NotFoundError),
        ("fault-413", anthropic.ContentTooLargeError),
        ("fault-context", anthropic.BadRequestError),
        ("fault-filter", anthropic.BadRequestError),
        ("fault-refused-param", anthropic.BadRequestError),
        ("fault-reset", anthropic.APIConnectionError),
    ],
)
async def test_a_model_named_for_a_fault_fails_so(
    stand_in: Anthropic,
    client: anthropic.AsyncAnthropic,
    model: str,
    expected: type[anthropic.APIError],
) -> None:
    with pytest.raises(expected):
        await create(client, asking("Hi", model=model))
    assert not stand_in.usage


async def test_a_fault_that_comes_once_is_over_then(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    body = asking("Hi", model="fault-429-once.anthropic")
    with pytest.raises(anthropic.RateLimitError) as caught:
        await create(client, body)
    assert caught.value.response.headers["retry-after"] == "2"
    assert text_of(await create(client, body)) == "You said: Hi"


async def test_an_error_within_a_stream_is_the_clients(
    stand_in: Anthropic, client: anthropic.AsyncAnthropic
) -> None:
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        await streamed(client, asking("count to 60", model="fault-error-event"))


async def test_a_stream_that_is_cut_breaks_off_two_thirds_of_the_way(
    stand_in: Anthropic,
) -> None:
    headers = {"x-api-key": stand_in.sample_key(), "anthropic-version": "2026-10-21"}
    body = asking("count to 60", model="fault-cut", stream=True)
    received = bytearray()

    async def read() -> None:
        async with (
            httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as http,
            http.stream("POST", "/v1/messages", json=body) as answer,
        ):
            async for data in answer.aiter_raw():
                received.extend(data)

    with pytest.raises(httpx.RemoteProtocolError):
        await read()
    assert b'"text":" 40"' in received
    assert b'"text":" 41"' not in received
