"""Bodies of any shape at every door: an answer or a clear refusal, never a failure of ours."""

import copy
import secrets
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_service.kernel.types import Provider
from tests.faults.gateway_doors import (
    ANTHROPIC,
    DOORS,
    GOOGLE,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
    Answer,
    Document,
    Door,
    refusal,
)
from tests.gateway_world import GatewayWorld

PROVIDERS = (
    Provider.OPENAI,
    Provider.ANTHROPIC,
    Provider.GOOGLE,
    Provider.AZURE,
    Provider.OLLAMA,
)
#: Whose dialect each door speaks: there the provider itself says what is wrong.
OWN = {
    OPENAI_CHAT.name: (Provider.OPENAI, Provider.AZURE),
    OPENAI_RESPONSES.name: (Provider.OPENAI, Provider.AZURE),
    ANTHROPIC.name: (Provider.ANTHROPIC,),
    GOOGLE.name: (Provider.GOOGLE,),
}

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
_SCHEMA: Document = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

#: A body of each door with as much in it as goes together.
RICH: dict[str, Document] = {
    OPENAI_CHAT.name: {
        "messages": [
            {"role": "system", "content": "be short"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "user", "content": "and now?", "name": "bob"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "of a city", "parameters": _SCHEMA},
            }
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_completion_tokens": 200,
        "temperature": 1,
        "top_p": 1,
        "n": 1,
        "stop": None,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "seed": None,
        "user": "u",
        "store": False,
        "service_tier": "auto",
        "stream_options": None,
        "reasoning_effort": "none",
        "logit_bias": {},
        "modalities": ["text"],
    },
    OPENAI_RESPONSES.name: {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "weather",
                "arguments": '{"city":"Ulm"}',
            },
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            {"role": "user", "content": "and now?"},
        ],
        "instructions": "be short",
        "tools": [{"type": "function", "name": "weather", "parameters": _SCHEMA, "strict": True}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": 200,
        "temperature": 1,
        "top_p": 1,
        "text": {"format": {"type": "text"}},
        "reasoning": None,
        "store": False,
        "metadata": {"a": "b"},
        "truncation": "disabled",
        "include": [],
        "user": "u",
        "previous_response_id": None,
    },
    ANTHROPIC.name: {
        "system": [{"type": "text", "text": "be short", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "weather",
                        "input": {"city": "Ulm"},
                    }
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "sunny"}],
                        "is_error": False,
                    }
                ],
            },
        ],
        "max_tokens": 200,
        "tools": [{"name": "weather", "description": "of a city", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "auto"},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["END"],
        "thinking": {"type": "disabled"},
        "service_tier": "auto",
    },
    GOOGLE.name: {
        "systemInstruction": {"parts": [{"text": "be short"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "look"},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {
                        "functionCall": {"name": "weather", "args": {"city": "Ulm"}},
                        "thoughtSignature": "skip_thought_signature_validator",
                    }
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "weather", "response": {"result": "sunny"}}}
                ],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "of a city", "parametersJsonSchema": _SCHEMA}
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "maxOutputTokens": 200,
            "temperature": 1,
            "topP": 0.9,
            "candidateCount": 1,
            "stopSequences": ["END"],
            "responseModalities": ["TEXT"],
        },
        "safetySettings": [],
        "labels": {"a": "b"},
    },
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(
        ["", "auto", "none", "user", "function", "text", "\x00", "\u2028", "a" * 5000]
    )
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "name", "text", "id", "parts", "x", ""]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)

Path = tuple[str | int, ...]


def paths_of(value: object, path: Path = ()) -> list[Path]:
    """Every place in a document."""
    found: list[Path] = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths_of(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += paths_of(item, (*path, index))
    return found


@st.composite
def spoiled(draw: st.DrawFn, door: str) -> tuple[Document, bool]:
    """A rich body with something else in one place or two, and whether to stream."""
    body: Any = copy.deepcopy(RICH[door])
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(paths_of(body)))
        at = body
        for step in place[:-1]:
            at = at[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "remove":
                del at[place[-1]]
            case "add" if isinstance(at, dict):
                at[draw(st.sampled_from(["x", "", "type", "id"]))] = draw(ANYTHING)
            case _:
                at[place[-1]] = draw(ANYTHING)
        if not body:
            break
    return body, draw(st.booleans())


@pytest_asyncio.fixture(scope="module")
async def crowd(shared_world: GatewayWorld) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    """A client, and a model of each provider for which its user has a key."""
    user = secrets.token_hex(6)
    models = []
    for provider in PROVIDERS:
        models.append(secrets.token_hex(6))
        await shared_world.model(models[-1], provider, maxTokens=200)
        if provider is not Provider.OLLAMA:
            await shared_world.key(provider, "sk-sandbox-" + secrets.token_hex(8), user=user)
    async with shared_world.client(await shared_world.token(user)) as client:
        yield client, models


def is_clear(door: Door, answer: Answer, *, stream: bool) -> None:
    """Fails unless it is an answer, or an error of the caller's in the door's shape."""
    assert answer.status < 500, answer.text
    assert not answer.is_broken
    if answer.status >= 400:
        assert refusal(door, answer)[1]
    elif stream and answer.events:
        assert door.errors(answer) or door.is_complete(answer), answer.text


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_the_rich_bodies_are_answered(
    crowd: tuple[httpx.AsyncClient, list[str]], door: Door
) -> None:
    """Or else nothing would be spoiled in what follows."""
    client, models = crowd
    for model, provider in zip(models, PROVIDERS, strict=True):
        if provider in OWN[door.name]:
            body = {"model": model, **RICH[door.name]} if door is not GOOGLE else RICH[door.name]
            answer = await door.send(client, model, body, stream=False)
            assert answer.status == 200, answer.text


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_a_spoiled_body_is_answered_or_refused_with_the_field(
    world: GatewayWorld,
    crowd: tuple[httpx.AsyncClient, list[str]],
    door: Door,
    data: st.DataObject,
) -> None:
    client, models = crowd
    ledgers = {one.provider: one.requests for one in world.sandbox.stand_ins}
    body, stream = data.draw(spoiled(door.name))
    for model, provider in zip(models, PROVIDERS, strict=True):
        sent = {"model": model, "stream": stream, **body} if door is not GOOGLE else body
        ledger = ledgers[provider]
        ledger.clear()
        answer = await door.send(client, model, sent, stream=stream)
        is_clear(door, answer, stream=stream)
        if answer.status == 400 and not ledger:  # it is not the provider's own refusal
            fields = {*RICH[door.name], *body, "contents", "model", "stream"}
            said = refusal(door, answer)[1]
            assert any(field in said for field in fields), said


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
@given(body=ANYTHING, stream=st.booleans())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_any_json_is_answered_or_refused(
    crowd: tuple[httpx.AsyncClient, list[str]], door: Door, body: object, stream: bool
) -> None:
    client, models = crowd
    for model in models:
        sent = {"model": model, **body} if isinstance(body, dict) and door is not GOOGLE else body
        is_clear(door, await door.send(client, model, sent, stream=stream), stream=stream)


#: Texts in a place where a value is expected, and whether they are JSON at all.
ODD = {
    "deep lists": b"[" * 900 + b"]" * 900,
    "deeper lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
    "objects to the bound": b'{"a":' * 250 + b"1" + b"}" * 250,
    "a huge integer": b"9" * 100_000,
    "a huge exponent": b"1e999999999",
    "a tiny exponent": b"1e-999999999",
    "a long fraction": b"0." + b"1" * 100_000,
    "minus zero": b"-0.0",
    "a lone surrogate": b'"\\ud800"',
    "a wrong pair": b'"\\udc00\\ud800"',
    "a NUL": b'"\\u0000"',
    "a raw NUL": b'"\x00"',
    "no UTF-8": b'"\xff\xfe"',
    "an overlong slash": b'"\xc0\xaf"',
    "not a number": b"NaN",
    "infinity": b"-Infinity",
    "a comment": b"/* x */ 1",
    "a million of text": b'"' + b"x" * 1_000_000 + b'"',
    "a hundred thousand items": b"[" + b"0," * 100_000 + b"0]",
    "keys named alike": b'{"a":1,"a":2,"type":"x","type":"text"}',
    "a prototype": b'{"__proto__":{"a":1},"constructor":{}}',
}
PLACES = {
    OPENAI_CHAT.name: (
        b'{"model":"%b","messages":%b}',
        b'{"model":"%b","messages":[{"role":"user","content":%b}]}',
        b'{"model":"%b","messages":[{"role":"user","content":"x"}],"temperature":%b}',
        (
            b'{"model":"%b","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function",'
            b'"function":{"name":"f","parameters":%b}}]}'
        ),
        b'{"model":"%b","messages":[],"messages":[{"role":"user","content":"x"}],"metadata":%b}',
    ),
    OPENAI_RESPONSES.name: (
        b'{"model":"%b","input":%b}',
        b'{"model":"%b","input":"x","max_output_tokens":%b}',
        (
            b'{"model":"%b","input":"x","text":{"format":{"type":"json_schema","name":"n",'
            b'"schema":%b}}}'
        ),
    ),
    ANTHROPIC.name: (
        b'{"model":"%b","max_tokens":9,"messages":%b}',
        b'{"model":"%b","max_tokens":9,"messages":[{"role":"user","content":"x"}],"system":%b}',
        b'{"model":"%b","messages":[{"role":"user","content":"x"}],"max_tokens":%b}',
        (
            b'{"model":"%b","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":'
            b'[{"name":"f","input_schema":%b}]}'
        ),
    ),
    GOOGLE.name: (
        b'{"x":"%b","contents":%b}',
        b'{"labels":{"a":"%b"},"contents":[{"parts":[{"text":"x"}]}],"generationConfig":%b}',
        (
            b'{"labels":{"a":"%b"},"contents":[{"parts":[{"text":"x"}]}],"tools":'
            b'[{"functionDeclarations":[{"name":"f","parametersJsonSchema":%b}]}]}'
        ),
    ),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_what_json_can_and_cannot_hold_is_answered_or_refused(
    crowd: tuple[httpx.AsyncClient, list[str]], door: Door, odd: str
) -> None:
    client, models = crowd
    for model in models:
        for place in PLACES[door.name]:
            body = place % (model.encode(), ODD[odd])
            is_clear(door, await door.send(client, model, body, stream=False), stream=False)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/messages/count_tokens",
        "/v1beta/models/{model}:embedContent",
        "/v1beta/models/{model}:batchEmbedContents",
        "/v1beta/models/{model}:countTokens",
        "/openai/deployments/{model}/embeddings",
    ],
)
@given(body=ANYTHING, field=st.sampled_from(["input", "messages", "content", "requests", "x"]))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_embedding_and_counting_take_any_json_as_well(
    crowd: tuple[httpx.AsyncClient, list[str]], path: str, body: object, field: str
) -> None:
    client, models = crowd
    for model in models:
        content = orjson.dumps({"model": model, field: body})
        answer = await client.post(path.format(model=model), content=content)
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]
