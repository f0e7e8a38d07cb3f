"""Content that the Google stand-in makes, as the official client sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient

from model_service.sandbox import serve
from model_service.sandbox.google import Google
from model_service.sandbox.stand_in import Billed

MODEL = "gemini-3.8-flash"
CITY = types.Schema(
    type=types.Type.OBJECT,
    properties={"city": types.Schema(type=types.Type.STRING)},
    required=["city"],
)
TOOLS: Any = [  # Any: the client takes many kinds
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name="get_weather", parameters=CITY),
            types.FunctionDeclaration(name="now"),
        ]
    )
]
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served() -> AsyncIterator[Google]:
    async with serve() as sandbox:
        yield sandbox.google


@pytest.fixture
def stand_in(served: Google) -> Google:
    served.clear()
    return served


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(served: Google) -> AsyncIterator[AsyncClient]:
    options = types.HttpOptions(base_url=served.base_url, timeout=5000)
    with genai.Client(api_key=served.sample_key(), http_options=options) as whole:
        async with whole.aio as client:
            yield client


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http(served: Google) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"x-goog-api-key": served.sample_key()}
    async with httpx.AsyncClient(base_url=served.base_url, headers=headers) as client:
        yield client


async def said(
    client: AsyncClient, contents: Any, model: str = MODEL, **config: Any
) -> types.GenerateContentResponse:
    settings = types.GenerateContentConfig(automatic_function_calling=BY_HAND, **config)
    return await client.models.generate_content(model=model, contents=contents, config=settings)


async def streamed(
    client: AsyncClient, contents: Any, model: str = MODEL, **config: Any
) -> list[types.GenerateContentResponse]:
    settings = types.GenerateContentConfig(automatic_function_calling=BY_HAND, **config)
    stream = await client.models.generate_content_stream(
        model=model, contents=contents, config=settings
    )
    return [chunk async for chunk in stream]


def candidate(answer: types.GenerateContentResponse) -> types.Candidate:
    assert answer.candidates is not None
    return answer.candidates[0]


def parts(answer: types.GenerateContentResponse) -> list[types.Part]:
    content = candidate(answer).content
    return (content.parts if content else None) or []


def usage(answer: types.GenerateContentResponse) -> tuple[int | None, ...]:
    told = answer.usage_metadata
    assert told is not None
    return (
        told.prompt_token_count,
        told.candidates_token_count,
        told.thoughts_token_count,
        told.total_token_count,
    )


async def test_the_answer_shows_the_system_instruction_and_images(client: AsyncClient) -> None:
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    file = types.Part.from_uri(file_uri="https://example.com/a.pdf", mime_type="application/pdf")
    contents = ["Look", picture, file]
    answer = await said(client, contents, system_instruction="Be brief.")
    assert answer.text == "You said: Look\nMy orders: Be brief.\nImages: 1\nFiles: 1"
    assert usage(answer) == (204, 16, None, 220)
    assert (answer.model_version, candidate(answer).finish_reason) == (MODEL, "STOP")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hi", "STOP"),
        ("count to 50", "MAX_TOKENS"),
        ("say END here", "STOP"),
        ("refuse", "SAFETY"),
        ("recite", "RECITATION"),
        ("malformed", "MALFORMED_FUNCTION_CALL"),
    ],
)
async def test_an_answer_ends_for_the_reason_the_text_asks_for(
    client: AsyncClient, text: str, reason: str
) -> None:
    config: dict[str, Any] = {"stop_sequences": ["END"], "max_output_tokens": 20}
    assert candidate(await said(client, text, **config)).finish_reason == reason
    assert candidate((await streamed(client, text, **config))[-1]).finish_reason == reason


async def test_a_stop_sequence_is_not_told(client: AsyncClient) -> None:
    assert (await said(client, "say END here", stop_sequences=["END"])).text == "You said: say "


async def test_a_refused_answer_has_no_content(client: AsyncClient) -> None:
    refused = candidate(await said(client, "refuse"))
    assert refused.content is None
    assert refused.safety_ratings is not None
    assert refused.safety_ratings[0].blocked


async def test_a_blocked_prompt_has_no_candidates_and_is_not_billed(
    stand_in: Google, client: AsyncClient
) -> None:
    chunks = await streamed(client, "block this")
    for answer in [await said(client, "block this"), *chunks]:
        assert answer.candidates is None
        assert answer.prompt_feedback is not None
        assert answer.prompt_feedback.block_reason == "PROHIBITED_CONTENT"
        assert usage(answer) == (2, None, None, 2)
    assert len(chunks) == 1
    assert not stand_in.usage


async def test_an_answer_of_no_tokens_has_no_parts(stand_in: Google, client: AsyncClient) -> None:
    answer = await said(client, "say nothing")
    assert (parts(answer), usage(answer)) == ([], (2, None, None, 2))
    (chunk,) = await streamed(client, "say nothing")
    assert (parts(chunk), candidate(chunk).finish_reason) == ([], "STOP")
    assert [bill.output for bill in stand_in.usage] == [0, 0]


async def test_every_chunk_tells_the_usage_so_far(client: AsyncClient) -> None:
    chunks = await streamed(client, "count to 3")
    assert "".join(chunk.text or "" for chunk in chunks) == "1 2 3"
    told = [usage(chunk) for chunk in chunks]
    assert told[0] == (3, 1, None, 4)
    assert told[-1] == (3, 3, None, 6)
    assert {first for first, *_ in told} == {3}
    assert [candidate(chunk).finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_thoughts_are_told_when_asked_for(client: AsyncClient) -> None:
    config = types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW)
    answer = await said(client, "Hi", thinking_config=config)
    thought, text = parts(answer)
    assert (thought.thought, thought.text) == (True, "The user wants this: Hi")
    assert (text.thought, text.text) == (None, "You said: Hi")
    assert usage(answer) == (1, 4, 6, 11)
    chunks = await streamed(client, "Hi", thinking_config=config)
    thoughts = [part.text for chunk in chunks for part in parts(chunk) if part.thought]
    assert "".join(map(str, thoughts)) == thought.text


@pytest.mark.parametrize(
    ("config", "thoughts"),
    [
        (None, None),
        (types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL), None),
        (types.ThinkingConfig(thinking_budget=0), None),
        (types.ThinkingConfig(thinking_budget=128), 6),
    ],
)
async def test_thinking_that_is_not_shown_is_billed(
    stand_in: Google,
    client: AsyncClient,
    config: types.ThinkingConfig | None,
    thoughts: int | None,
) -> None:
    model = "gemini-3.5-flash-lite"
    answer = await said(client, "Hi", model, thinking_config=config)
    assert usage(answer) == (1, 4, thoughts, 5 + (thoughts or 0))
    (bill,) = stand_in.usage
    assert (bill.output, bill.reasoning) == (4 + (thoughts or 0), thoughts or 0)


async def test_functions_are_called_and_answered(client: AsyncClient) -> None:
    asked = types.UserContent("use both get_weather and now")
    answer = await said(client, [asked], tools=TOOLS)
    calls = answer.function_calls or []
    assert [(call.name, call.args) for call in calls] == [
        ("get_weather", {"city": "city 1"}),
        ("now", {}),
    ]
    signatures = [part.thought_signature is not None for part in parts(answer)]
    assert signatures == [True, False]
    results = types.UserContent(
        [
            types.Part(
                function_response=types.FunctionResponse(
                    id=calls[0].id, name="get_weather", response={"output": "rain"}
                )
            ),
            types.Part(
                function_response=types.FunctionResponse(
                    id=calls[1].id, name="now", response={"error": "no clock"}
                )
            ),
        ]
    )
    turns = [asked, candidate(answer).content, results]
    last = await said(client, turns, tools=TOOLS)
    assert str(last.text).endswith("Turns: 3\nResults: rain, no clock\nFailed: 1")


async def test_calls_in_a_stream_come_whole(client: AsyncClient) -> None:
    chunks = await streamed(client, "aloud: use both", tools=TOOLS)
    calls = [call for chunk in chunks for call in chunk.function_calls or []]
    assert [(call.name, call.args) for call in calls] == [
        ("get_weather", {"city": "city 1"}),
        ("now", {}),
    ]
    assert "".join(chunk.text or "" for chunk in chunks[:6]) == "Let me look that up."


@pytest.mark.parametrize(("model", "ids"), [(MODEL, True), ("gemini-3.1-pro-preview", False)])
async def test_calls_of_some_models_have_ids(client: AsyncClient, model: str, ids: bool) -> None:
    (call,) = (await said(client, "use now", model, tools=TOOLS)).function_calls or []
    assert (call.id is not None) is ids


@pytest.mark.parametrize(
    ("mode", "allowed", "names"),
    [
        ("AUTO", None, []),
        ("ANY", None, ["get_weather"]),
        ("ANY", ["now"], ["now"]),
        ("NONE", None, []),
    ],
)
async def test_the_mode_of_calling_is_heeded(
    client: AsyncClient, mode: str, allowed: list[str] | None, names: list[str]
) -> None:
    calling = types.FunctionCallingConfig(
        mode=types.FunctionCallingConfigMode(mode), allowed_function_names=allowed
    )
    config = types.ToolConfig(function_calling_config=calling)
    answer = await said(client, "Hi", tools=TOOLS, tool_config=config)
    assert [call.name for call in answer.function_calls or []] == names


@pytest.mark.parametrize(
    "schema",
    [
        {"response_schema": CITY},
        {
            "response_json_schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "additionalProperties": False,
                "$defs": {},
            }
        },
    ],
)
async def test_an_answer_fits_the_schema_it_is_to_have(
    client: AsyncClient, schema: dict[str, Any]
) -> None:
    answer = await said(client, "Hi", response_mime_type="application/json", **schema)
    assert json.loads(str(answer.text)) == {"city": "city 1"}


async def test_an_enumeration_is_answered_with_one_of_its_values(client: AsyncClient) -> None:
    schema = types.Schema(type=types.Type.STRING, enum=["yes", "no"])
    answer = await said(client, "Hi", response_mime_type="text/x.enum", response_schema=schema)
    assert answer.text == "yes"


async def test_several_candidates_are_given_where_the_model_does(client: AsyncClient) -> None:
    answer = await said(client, "Hi", "gemini-3.6-flash", candidate_count=2)
    assert [each.index for each in answer.candidates or []] == [0, 1]
    assert usage(answer) == (1, 8, None, 9)
    chunks = await streamed(client, "Hi", "gemini-3.6-flash", candidate_count=2)
    for index in (0, 1):
        texts = [parts(chunk)[0].text for chunk in chunks if candidate(chunk).index == index]
        assert "".join(map(str, texts)) == "You said: Hi"


async def test_tokens_are_counted_as_they_are_billed(stand_in: Google, client: AsyncClient) -> None:
    counted = await client.models.count_tokens(model=MODEL, contents="one two three")
    assert counted.total_tokens == 3
    assert not stand_in.usage
    assert usage(await said(client, "one two three"))[0] == 3


async def test_tokens_of_a_whole_request_are_counted(http: httpx.AsyncClient) -> None:
    whole = {
        "model": f"models/{MODEL}",
        "contents": [{"parts": [{"text": "one two"}]}],
        "systemInstruction": {"parts": [{"text": "three"}]},
    }
    answer = await http.post(
        f"/v1beta/models/{MODEL}:countTokens", json={"generateContentRequest": whole}
    )
    assert answer.json()["totalTokens"] == 3


async def test_contents_are_embedded(stand_in: Google, client: AsyncClient) -> None:
    def read() -> types.EmbedContentResponse:
        options = types.HttpOptions(base_url=stand_in.base_url, timeout=5000)
        with genai.Client(api_key=stand_in.sample_key(), http_options=options) as client:
            return client.models.embed_content(
                model="gemini-embedding-2",
                contents="one two",
                config=types.EmbedContentConfig(output_dimensionality=8),
            )

    embeddings = (await asyncio.to_thread(read)).embeddings or []
    assert [len(each.values or []) for each in embeddings] == [8]
    assert list(stand_in.usage) == [
        Billed(
            "gemini-embedding-2",
            "/v1/models/gemini-embedding-2:batchEmbedContents",
            stream=False,
            input=2,
        )
    ]


async def test_one_content_is_embedded_by_itself(http: httpx.AsyncClient) -> None:
    path = "/v1beta/models/gemini-embedding-2:embedContent"
    body = {"content": {"parts": [{"text": "one"}]}}
    whole = (await http.post(path, json=body)).json()["embedding"]["values"]
    assert len(whole) == 3072
    settings = {"embedContentConfig": {"outputDimensionality": 4}}
    short = (await http.post(path, json={**body, **settings})).json()
    assert len(short["embedding"]["values"]) == 4
    assert short["usageMetadata"]["promptTokenCount"] == 1


async def test_both_versions_and_spellings_are_read(http: httpx.AsyncClient) -> None:
    body = {
        "contents": {"parts": {"text": "Hi"}},
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "generation_config": {"max_output_tokens": "100", "temperature": 1},
    }
    for version in ("v1", "v1beta"):
        answer = await http.post(f"/{version}/models/{MODEL}:generateContent", json=body)
        assert "My orders: Be brief." in answer.text


async def test_a_stream_that_is_not_of_events_is_an_array(http: httpx.AsyncClient) -> None:
    body = {"contents": [{"parts": [{"text": "count to 3"}]}]}
    answer = await http.post(f"/v1beta/models/{MODEL}:streamGenerateContent", json=body)
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    assert [
        part["text"]
        for chunk in answer.json()
        for part in chunk["candidates"][0]["content"]["parts"]
    ] == ["1", " 2", " 3", "", ""]


async def test_events_are_ended_as_the_live_api_ends_them(http: httpx.AsyncClient) -> None:
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    path = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    answer = await http.post(path, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\r\n\r\n")
    assert events.pop() == ""
    assert all(event.startswith("data: {") for event in events)


async def test_what_is_billed_is_kept(stand_in: Google, client: AsyncClient) -> None:
    await streamed(client, "cached read of it")
    assert list(stand_in.usage) == [
        Billed(
            MODEL,
            f"/v1/models/{MODEL}:streamGenerateContent",
            stream=True,
            input=2,
            cached_input=2,
            output=7,
        )
    ]


@pytest.mark.parametrize(
    ("model", "code", "status"),
    [
        ("fault-429", 429, "RESOURCE_EXHAUSTED"),
        ("fault-500", 500, "INTERNAL"),
        ("fault-503", 503, "UNAVAILABLE"),
        ("fault-401", 400, "INVALID_ARGUMENT"),
        ("fault-402", 429, "RESOURCE_EXHAUSTED"),
        ("fault-404", 404, "NOT_FOUND"),
        ("fault-context", 400, "INVALID_ARGUMENT"),
        ("fault-refused-param", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_a_model_named_for_a_fault_fails_so(
    stand_in: Google, client: AsyncClient, model: str, code: int, status: str
) -> None:
    with pytest.raises(errors.APIError) as caught:
        await said(client, "Hi", model)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert not stand_in.usage


async def test_a_filter_blocks_the_prompt(stand_in: Google, client: AsyncClient) -> None:
    answer = await said(client, "Hi", "fault-filter")
    assert answer.prompt_feedback is not None
    assert answer.prompt_feedback.block_reason == "PROHIBITED_CONTENT"


async def test_an_error_within_a_stream_is_the_clients(
    stand_in: Google, client: AsyncClient
) -> None:
    with pytest.raises(errors.ServerError, match="overloaded"):
        await streamed(client, "count to 60", "fault-error-event")


async def test_a_stream_that_is_cut_is_billed_with_what_cut_it(
    stand_in: Google, http: httpx.AsyncClient
) -> None:
    body = {"contents": [{"parts": [{"text": "count to 60"}]}]}
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post("/v1/models/fault-cut:streamGenerateContent?alt=sse", json=body)
    assert [(bill.output, bill.fault) for bill in stand_in.usage] == [(60, "cut")]
