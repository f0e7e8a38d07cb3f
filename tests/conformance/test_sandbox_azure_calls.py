"""Calls of the Azure stand-in, as the official clients see them, and what it refuses."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import orjson
import pytest
import pytest_asyncio

from model_service.sandbox import Sandbox, serve
from model_service.sandbox.azure import Azure

VERSION = "2024-10-21"
HI: Any = [{"role": "user", "content": "Hi"}]
CHAT = "/openai/deployments/gpt-4.1/chat/completions"
CATEGORIES = {"hate", "self_harm", "sexual", "violence"}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Azure]:
    async with serve() as sandbox:
        yield sandbox.azure


@pytest.fixture
def stand_in(served: Azure) -> Azure:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: Azure) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(
        api_key=served.sample_key(),
        azure_endpoint=served.base_url,
        api_version=VERSION,
        max_retries=0,
        timeout=5,
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def v1(served: Azure) -> AsyncIterator[openai.AsyncOpenAI]:
    """The plain client on the v1 API, which is how new programs call Azure."""
    async with openai.AsyncOpenAI(
        api_key=served.sample_key(),
        base_url=f"{served.base_url}/openai/v1/",
        max_retries=0,
        timeout=5,
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(served: Azure) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"api-key": served.sample_key()}
    async with httpx.AsyncClient(
        base_url=served.base_url, headers=headers, params={"api-version": VERSION}
    ) as client:
        yield client


async def raw_events(http: httpx.AsyncClient, **asked: Any) -> list[Any]:
    answer = await http.post(CHAT, json={"messages": HI, "stream": True, **asked})
    assert answer.text.endswith("data: [DONE]\n\n")
    events = answer.text.strip().split("\n\n")[:-1]
    return [orjson.loads(event.removeprefix("data: ")) for event in events]


async def test_a_deployment_answers_by_its_path(client: openai.AsyncAzureOpenAI) -> None:
    answer = await client.chat.completions.create(model="gpt-4.1", messages=HI)
    assert answer.choices[0].message.content == "You said: Hi"
    assert answer.model == "gpt-4.1-2025-04-14"
    assert answer.service_tier is None


async def test_the_path_names_the_deployment_and_the_body_need_not(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.post(CHAT, json={"messages": HI})
    assert answer.json()["model"] == "gpt-4.1-2025-04-14"


async def test_the_client_without_async_is_answered_as_well(stand_in: Azure) -> None:
    def ask() -> str | None:
        with openai.AzureOpenAI(
            api_key=stand_in.sample_key(),
            azure_endpoint=stand_in.base_url,
            api_version=VERSION,
            max_retries=0,
        ) as client:
            answer = client.chat.completions.create(model="gpt-4.1", messages=HI)
            return answer.choices[0].message.content

    assert await asyncio.to_thread(ask) == "You said: Hi"


async def test_a_token_is_taken_in_place_of_a_key(stand_in: Azure) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_ad_token=stand_in.sample_key(),
        azure_endpoint=stand_in.base_url,
        api_version=VERSION,
        max_retries=0,
    ) as client:
        answer = await client.chat.completions.create(model="gpt-4.1", messages=HI)
    assert answer.choices[0].finish_reason == "stop"


async def test_the_v1_api_chats_responds_and_embeds(v1: openai.AsyncOpenAI) -> None:
    chat = await v1.chat.completions.create(model="gpt-4.1", messages=HI)
    response = await v1.responses.create(model="gpt-5", input="Hi")
    counted = await v1.responses.input_tokens.count(model="gpt-5", input="Hi")
    vectors = await v1.embeddings.create(model="text-embedding-3-large", input="Hi")
    assert chat.choices[0].message.content == response.output_text == "You said: Hi"
    assert counted.input_tokens == 1
    assert len(vectors.data[0].embedding) == 3072


async def test_responses_stream_as_openais_do(v1: openai.AsyncOpenAI) -> None:
    async with v1.responses.stream(model="gpt-5.5", input="Hi") as stream:
        final = await stream.get_final_response()
    assert final.output_text == "You said: Hi"


async def test_a_deployment_embeds(client: openai.AsyncAzureOpenAI) -> None:
    answer = await client.embeddings.create(model="text-embedding-3-large", input=["a", "b"])
    assert [entry.index for entry in answer.data] == [0, 1]


async def test_the_ledger_of_usage_names_the_deployment(
    stand_in: Azure, client: openai.AsyncAzureOpenAI
) -> None:
    await client.chat.completions.create(model="gpt-4.1", messages=HI)
    assert [(billed.model, billed.input, billed.output) for billed in stand_in.usage] == [
        ("gpt-4.1", 1, 4)
    ]


async def test_an_answer_tells_what_the_filters_found(http: httpx.AsyncClient) -> None:
    answer = (await http.post(CHAT, json={"messages": HI})).json()
    (prompt,) = answer["prompt_filter_results"]
    assert prompt["prompt_index"] == 0
    assert set(prompt["content_filter_results"]) == {*CATEGORIES, "jailbreak"}
    found = answer["choices"][0]["content_filter_results"]
    assert set(found) == CATEGORIES
    assert found["hate"] == {"filtered": False, "severity": "safe"}


async def test_an_answer_that_is_filtered_tells_why(http: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "Be filtered"}]
    answer = (await http.post(CHAT, json={"messages": messages})).json()
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["content_filter_results"]["violence"] == {"filtered": True, "severity": "medium"}


async def test_a_call_has_nothing_to_filter(http: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "weather"}]
    answer = (await http.post(CHAT, json={"messages": messages, "tools": [WEATHER]})).json()
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["choices"][0]["content_filter_results"] == {}


async def test_the_first_chunk_is_about_the_prompt_alone(http: httpx.AsyncClient) -> None:
    first, opening, *rest = await raw_events(http)
    assert first["choices"] == []
    assert (first["id"], first["model"], first["object"], first["created"]) == ("", "", "", 0)
    assert set(first["prompt_filter_results"][0]["content_filter_results"]) > CATEGORIES
    assert opening["choices"][0]["delta"]["role"] == "assistant"
    assert opening["choices"][0]["content_filter_results"] == {}
    assert set(rest[0]["choices"][0]["content_filter_results"]) == CATEGORIES
    assert rest[-1]["choices"][0]["finish_reason"] == "stop"


async def test_usage_comes_last_here_too(http: httpx.AsyncClient) -> None:
    events = await raw_events(http, stream_options={"include_usage": True})
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 5


async def test_the_asynchronous_filter_reports_in_chunks_without_a_delta(
    stand_in: Azure, http: httpx.AsyncClient
) -> None:
    stand_in.filters_afterwards = True
    events = await raw_events(http)
    without = [event for event in events if event["choices"] and "delta" not in event["choices"][0]]
    assert len(without) == 1
    assert set(without[0]["choices"][0]["content_filter_results"]) == CATEGORIES


async def test_the_client_reads_a_stream_with_all_of_that(
    stand_in: Azure, client: openai.AsyncAzureOpenAI
) -> None:
    stream = await client.chat.completions.create(model="gpt-4.1", messages=HI, stream=True)
    choices = [choice async for chunk in stream for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "You said: Hi"


async def test_an_unknown_deployment_is_not_found(
    client: openai.AsyncAzureOpenAI, v1: openai.AsyncOpenAI
) -> None:
    for one in (client, v1):
        with pytest.raises(openai.NotFoundError) as caught:
            await one.chat.completions.create(model="gpt-0", messages=HI)
        assert caught.value.code == "DeploymentNotFound"
        assert "The API deployment for this resource does not exist." in caught.value.message


async def test_the_deployments_can_be_given() -> None:
    mine = Azure(deployments={"mine": "gpt-4.1-2025-04-14"})
    async with (
        serve(sandbox=Sandbox(azure=mine)),
        openai.AsyncAzureOpenAI(
            api_key=mine.sample_key(), azure_endpoint=mine.base_url, api_version=VERSION
        ) as client,
    ):
        answer = await client.chat.completions.create(model="mine", messages=HI)
    assert answer.model == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize("version", [None, "", "v1", "yesterday", "2024-10"])
async def test_a_deployments_path_wants_a_dated_version(
    stand_in: Azure, version: str | None
) -> None:
    params = {} if version is None else {"api-version": version}
    headers = {"api-key": stand_in.sample_key()}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as http:
        answer = await http.post(CHAT, params=params, json={"messages": HI})
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "404", "message": "Resource not found"}}


async def test_the_v1_api_takes_no_dated_version(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/openai/v1/chat/completions", json={"model": "gpt-4.1", "messages": HI}
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == {"code": "BadRequest", "message": "API version not supported"}


async def test_responses_are_newer_than_some_versions(
    stand_in: Azure, client: openai.AsyncAzureOpenAI
) -> None:
    with pytest.raises(openai.BadRequestError, match="2025-03-01-preview and later"):
        await client.responses.create(model="gpt-5", input="Hi")
    async with openai.AsyncAzureOpenAI(
        api_key=stand_in.sample_key(),
        azure_endpoint=stand_in.base_url,
        api_version="2025-03-01-preview",
    ) as recent:
        assert (await recent.responses.create(model="gpt-5", input="Hi")).status == "completed"


async def test_an_unknown_key_is_refused_in_azures_shape(stand_in: Azure) -> None:
    async with openai.AsyncAzureOpenAI(
        api_key="0" * 32, azure_endpoint=stand_in.base_url, api_version=VERSION, max_retries=0
    ) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.chat.completions.create(model="gpt-4.1", messages=HI)
    assert caught.value.code == "401"


async def test_what_openai_refuses_is_refused_in_the_same_words(
    client: openai.AsyncAzureOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="gpt-5", messages=HI, max_tokens=5)
    error = caught.value
    assert (error.param, error.code) == ("max_tokens", "unsupported_parameter")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "RateLimitReached"),
        ("500", 500, "InternalServerError"),
        ("503", 503, "ServiceUnavailable"),
        ("529", 503, "server_is_overloaded"),
        ("401", 401, "401"),
        ("402", 429, "insufficient_quota"),
        ("404", 404, "DeploymentNotFound"),
        ("413", 413, None),
        ("context", 400, "context_length_exceeded"),
        ("filter", 400, "content_filter"),
        ("echo", 400, "invalid_api_key"),
        ("error-200", 200, None),
    ],
)
async def test_faults_are_told_as_azure_does(
    http: httpx.AsyncClient, fault: str, status: int, code: str | None
) -> None:
    path = f"/openai/deployments/fault-{fault}/chat/completions"
    answer = await http.post(path, json={"messages": HI})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_limited_deployment_says_when_to_come_back(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/openai/deployments/fault-429/chat/completions", json={"messages": HI}
    )
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["retry-after-ms"] == "2000"


async def test_a_prompt_that_is_filtered_is_told_why(client: openai.AsyncAzureOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="fault-filter", messages=HI)
    assert (caught.value.code, caught.value.param, caught.value.type) == (
        "content_filter",
        "prompt",
        None,
    )
    body: Any = caught.value.body
    assert body["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    found = body["innererror"]["content_filter_result"]
    assert found["violence"] == {"filtered": True, "severity": "medium"}
    assert found["jailbreak"] == {"filtered": False, "detected": False}


async def test_a_stream_with_status_200_can_be_an_error(client: openai.AsyncAzureOpenAI) -> None:
    stream = await client.chat.completions.create(model="fault-error-200", messages=HI, stream=True)
    with pytest.raises(openai.APIError, match="The server had an error"):
        async for _ in stream:
            pass


async def test_an_error_can_come_after_the_first_words(client: openai.AsyncAzureOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="fault-error-event", messages=HI, stream=True
    )
    said: list[str | None] = []

    async def listen() -> None:
        async for chunk in stream:
            said.extend(choice.delta.content for choice in chunk.choices)

    with pytest.raises(openai.APIError, match="The server had an error"):
        await listen()
    assert said == ["", "You", " said"]
