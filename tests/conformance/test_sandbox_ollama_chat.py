"""Chats and embeddings of the Ollama stand-in, judged by the official client and its server."""

import json
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import ollama
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.ollama import Ollama
from model_service.sandbox.stand_in import Billed

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "Hi"}
GOOD: dict[str, Any] = {"model": "llama3.2", "messages": [USER], "stream": False}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Ollama]:
    async with serve() as sandbox:
        yield sandbox.ollama


@pytest.fixture
def stand_in(served: Ollama) -> Ollama:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: Ollama) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=served.base_url, timeout=5) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(served: Ollama) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.base_url) as client:
        yield client


async def chat(
    client: ollama.AsyncClient, text: str, model: str = "gemma4", **more: Any
) -> ollama.ChatResponse:
    messages = more.pop("messages", [{"role": "user", "content": text}])
    answer: ollama.ChatResponse = await client.chat(model, messages, **more)
    return answer


async def streamed(
    client: ollama.AsyncClient, text: str, model: str = "gemma4", **more: Any
) -> list[ollama.ChatResponse]:
    stream = await client.chat(model, [{"role": "user", "content": text}], stream=True, **more)
    return [line async for line in stream]


def calls_of(*answers: ollama.ChatResponse) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        (call.function.name, call.function.arguments)
        for answer in answers
        for call in answer.message.tool_calls or []
    ]


async def test_the_answer_shows_the_system_prompt_and_images(
    client: ollama.AsyncClient,
) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look", "images": [b"one", b"two"]},
    ]
    answer = await chat(client, "", messages=messages)
    assert answer.message.content == "You said: Look\nMy orders: Be brief.\nImages: 2"
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (204, 13)


async def test_a_stream_adds_up_to_the_whole_answer(client: ollama.AsyncClient) -> None:
    lines = await streamed(client, "count to 3", think=True)
    whole = await chat(client, "count to 3", think=True)
    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert "".join(line.message.thinking or "" for line in lines) == whole.message.thinking
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == whole.eval_count
    assert lines[0].eval_count is None


async def test_a_chat_streams_unless_told_otherwise(http: httpx.AsyncClient) -> None:
    body = {name: value for name, value in GOOD.items() if name != "stream"}
    answer = await http.post("/api/chat", json=body)
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert (len(lines), lines[-1]["done_reason"]) == (5, "stop")


@pytest.mark.parametrize(
    ("text", "options", "content", "reason"),
    [
        ("count to 9", {"num_predict": 3}, "1 2 3", "length"),
        ("count to 9", {"num_predict": -1, "stop": [" 4"]}, "1 2 3", "stop"),
        ("refuse", {}, "I cannot help with that.", "stop"),
        ("say nothing", {}, "", "stop"),
    ],
)
async def test_an_answer_ends_as_the_text_and_options_have_it(
    client: ollama.AsyncClient, text: str, options: Mapping[str, Any], content: str, reason: str
) -> None:
    answer = await chat(client, text, options=options)
    assert (answer.message.content, answer.done_reason) == (content, reason)


@pytest.mark.parametrize(
    ("think", "thinking"),
    [
        (True, "The user wants this: Hi"),
        ("high", "The user wants this: Hi"),
        (False, None),
        (None, None),
    ],
)
async def test_thinking_is_told_apart(
    client: ollama.AsyncClient, think: Any, thinking: str | None
) -> None:
    answer = await chat(client, "Hi", think=think)
    assert (answer.message.thinking, answer.message.content) == (thinking, "You said: Hi")


async def test_tools_are_called_and_answered(client: ollama.AsyncClient) -> None:
    answer = await chat(client, "use both get_weather and now", tools=[WEATHER, NOW])
    assert calls_of(answer) == [("get_weather", {"city": "city 1"}), ("now", {})]
    assert answer.done_reason == "stop"
    messages = [
        {"role": "user", "content": "use both get_weather and now"},
        answer.message,
        {"role": "tool", "tool_name": "get_weather", "content": "rain"},
        {"role": "tool", "tool_name": "now", "content": "noon"},
    ]
    last = await chat(client, "", messages=messages, tools=[WEATHER, NOW])
    assert str(last.message.content).endswith("Turns: 4\nResults: rain, noon")


async def test_calls_in_a_stream_come_whole_with_an_id_and_their_place(
    stand_in: Ollama, client: ollama.AsyncClient, http: httpx.AsyncClient
) -> None:
    lines = await streamed(client, "use both", "llama3.2", tools=[WEATHER, NOW])
    assert calls_of(*lines) == [("get_weather", {"city": "city 1"}), ("now", {})]
    body = {**GOOD, "tools": [NOW], "messages": [{**USER, "content": "use now"}]}
    (call,) = (await http.post("/api/chat", json=body)).json()["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert call["function"] == {"index": 0, "name": "now", "arguments": {}}


async def test_a_call_that_is_cut_is_none(client: ollama.AsyncClient) -> None:
    answer = await chat(client, "use get_weather", tools=[WEATHER], options={"num_predict": 4})
    assert (calls_of(answer), answer.done_reason) == ([], "length")


async def test_an_answer_fits_the_format_it_is_to_have(client: ollama.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert (await chat(client, "Hi", format=schema)).message.content == '{"n":1}'
    assert (await chat(client, "Hi", format="json")).message.content == '{"said":"Hi"}'


async def test_log_probabilities_are_told_for_every_token(client: ollama.AsyncClient) -> None:
    answer = await chat(client, "Hi", logprobs=True, top_logprobs=2)
    assert [each.token for each in answer.logprobs or []] == ["You", " said", ":", " Hi"]
    lines = await streamed(client, "Hi", logprobs=True)
    assert [each.token for line in lines for each in line.logprobs or []][-1] == " Hi"


async def test_a_chat_without_messages_loads_the_model(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/api/chat", json={"model": "gemma3"})).json()
    assert (answer["done_reason"], answer["message"]["content"]) == ("load", "")
    body = {"model": "gemma3", "keep_alive": 0}
    assert (await http.post("/api/chat", json=body)).json()["done_reason"] == "unload"


async def test_the_model_is_called_as_it_was_asked_for(client: ollama.AsyncClient) -> None:
    assert (await chat(client, "Hi", "gemma4")).model == "gemma4"
    assert (await chat(client, "Hi", "gemma4:latest")).model == "gemma4:latest"


async def test_fields_it_does_not_know_are_passed_over(http: httpx.AsyncClient) -> None:
    body = {**GOOD, "tool_choice": "none", "options": {"no_such": 1}, "temperature": "x"}
    assert (await http.post("/api/chat", json=body)).status_code == 200


async def test_texts_are_embedded_in_order(stand_in: Ollama, client: ollama.AsyncClient) -> None:
    answer = await client.embed("nomic-embed-text", ["one", "two three"])
    assert [len(each) for each in answer.embeddings] == [768, 768]
    assert answer.prompt_eval_count == 3
    (alone,) = (await client.embed("nomic-embed-text", "two three")).embeddings
    assert alone == answer.embeddings[1]
    assert [bill.input for bill in stand_in.usage] == [3, 2]


async def test_a_shorter_embedding_has_length_one_again(client: ollama.AsyncClient) -> None:
    (short,) = (await client.embed("nomic-embed-text", "one", dimensions=8)).embeddings
    assert len(short) == 8
    assert math.isclose(sum(number * number for number in short), 1.0)


async def test_nothing_to_embed_gives_no_embeddings(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/embed", json={"model": "nomic-embed-text", "input": ""})
    assert answer.json() == {"model": "nomic-embed-text", "embeddings": []}


async def test_what_is_billed_is_kept(stand_in: Ollama, client: ollama.AsyncClient) -> None:
    await streamed(client, "Hi", think=True)
    assert list(stand_in.usage) == [
        Billed("gemma4", "/api/chat", stream=True, input=1, output=10, reasoning=6)
    ]


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"model": "none"}, 404, "model 'none' not found"),
        ({"model": ""}, 400, "model is required"),
        (
            {"model": 5},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (
            {"messages": "Hi"},
            400,
            (
                "json: cannot unmarshal string into Go struct field ChatRequest.messages of type "
                "[]api.Message"
            ),
        ),
        (
            {"messages": ["Hi"]},
            400,
            "json: cannot unmarshal string into Go value of type Alias",
        ),
        (
            {"messages": [{**USER, "content": [{"type": "text"}]}]},
            400,
            "json: cannot unmarshal array into Go struct field Alias.content of type string",
        ),
        (
            {"messages": [{**USER, "images": ["data:image/png;base64,aGk="]}]},
            400,
            "illegal base64 data at input byte 4",
        ),
        (
            {"messages": [{**USER, "images": ["aGk"]}]},
            400,
            "illegal base64 data at input byte 3",
        ),
        (
            {"messages": [{**USER, "images": [5]}]},
            400,
            (
                "json: cannot unmarshal number into Go struct field Alias.images of type "
                "api.ImageData"
            ),
        ),
        (
            {"messages": [{**USER, "images": ["aGk="]}]},
            500,
            (
                "image input is not supported - hint: if this is unexpected, you may need to "
                "provide the mmproj"
            ),
        ),
        (
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"function": {"name": "now", "arguments": "{}"}}],
                    },
                ]
            },
            400,
            (
                "json: cannot unmarshal string into Go struct field "
                "ToolCallFunction.function.arguments of type api.ToolCallFunctionArguments"
            ),
        ),
        (
            {"think": "hard"},
            400,
            'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)',
        ),
        (
            {"think": 5},
            400,
            'think must be a boolean or string ("high", "medium", "low", "max", true, or false)',
        ),
        ({"think": True}, 400, '"llama3.2" does not support thinking'),
        (
            {"model": "gemma3", "tools": [NOW]},
            400,
            "registry.ollama.ai/library/gemma3:latest does not support tools",
        ),
        ({"model": "nomic-embed-text"}, 400, '"nomic-embed-text" does not support chat'),
        (
            {"format": "xml"},
            500,
            'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object',
        ),
        ({"options": {"top_k": "x"}}, 500, 'option "top_k" must be of type integer'),
        ({"options": {"top_p": "x"}}, 500, 'option "top_p" must be of type float32'),
        ({"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
        ({"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
    ],
)
async def test_what_its_server_refuses_is_refused_in_its_words(
    http: httpx.AsyncClient, change: Mapping[str, Any], status: int, message: str
) -> None:
    answer = await http.post("/api/chat", json={**GOOD, **change})
    assert (answer.status_code, answer.json()) == (status, {"error": message})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            {"model": "none", "input": "x"},
            404,
            'model "none" not found, try pulling it first',
        ),
        ({"model": "nomic-embed-text", "input": 5}, 400, "invalid input type"),
        ({"model": "nomic-embed-text", "input": ["x", 5]}, 400, "invalid input type"),
        ([], 400, "missing request body"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    http: httpx.AsyncClient, body: object, status: int, message: str
) -> None:
    answer = await http.post("/api/embed", json=body)
    assert (answer.status_code, answer.json()) == (status, {"error": message})


@pytest.mark.parametrize("body", [b"", b" \n", b"{", b"null", b"[]"])
@pytest.mark.parametrize("path", ["/api/chat", "/api/embed"])
async def test_a_body_of_any_other_shape_is_refused(
    http: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await http.post(path, content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("fault-429", 429),
        ("fault-500", 500),
        ("fault-503", 503),
        ("fault-401", 401),
        ("fault-402", 402),
        ("fault-404", 404),
        ("fault-413", 413),
        ("fault-context", 400),
    ],
)
async def test_a_model_named_for_a_fault_fails_so(
    stand_in: Ollama, client: ollama.AsyncClient, model: str, status: int
) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        await chat(client, "Hi", model)
    assert caught.value.status_code == status
    assert not stand_in.usage


async def test_where_there_is_no_filter_the_model_refuses(
    stand_in: Ollama, client: ollama.AsyncClient
) -> None:
    answer = await chat(client, "Hi", "fault-filter")
    assert answer.message.content == "I cannot help with that."


async def test_an_error_within_a_stream_is_the_clients(
    stand_in: Ollama, client: ollama.AsyncClient
) -> None:
    with pytest.raises(ollama.ResponseError, match="runner process has terminated"):
        await streamed(client, "count to 60", "fault-error-event")


async def test_a_stream_that_ends_early_lacks_its_last_line(
    stand_in: Ollama, client: ollama.AsyncClient
) -> None:
    lines = await streamed(client, "count to 60", "fault-end")
    assert (len(lines), lines[-1].done) == (40, False)
    assert [(bill.output, bill.fault) for bill in stand_in.usage] == [(60, "end")]
