"""Requests of any shape: the OpenAI and Azure stand-ins answer them or refuse them, no more."""

import copy
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from model_service.sandbox import Sandbox, serve

SCHEMA: Any = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"$ref": "#/$defs/x"}}},
    "$defs": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
}
CHAT: Any = {
    "model": "gpt-4.1",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "weather both aloud"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "user", "content": "weather"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "auto",
            "tools": [{"type": "function", "function": {"name": "weather"}}],
        },
    },
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 0.5,
}
RESPOND: Any = {
    "model": "gpt-5",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "weather both"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "x"}],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
        {"role": "user", "content": "weather"},
    ],
    "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "weather"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
    "stream": True,
}
EMBED: Any = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**63, "", "x", "tool", "reasoning", "item_reference"),
    *([], {}, [None], [[]], ["x"], {"a": None}, {"type": []}, {"type": "function"}),
]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with serve() as sandbox:
        yield sandbox


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(headers={"authorization": "Bearer sk-sandbox-1"}) as client:
        yield client


def urls(sandbox: Sandbox) -> list[tuple[str, Any]]:
    azure = f"{sandbox.azure.origin}/openai/deployments"
    return [
        (f"{sandbox.openai.base_url}/chat/completions", CHAT),
        (f"{sandbox.openai.base_url}/responses", RESPOND),
        (f"{sandbox.openai.base_url}/embeddings", EMBED),
        (f"{azure}/gpt-4.1/chat/completions?api-version=2024-10-21", CHAT),
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def spoiled(body: Any, chance: random.Random) -> Any:
    """The body with one thing removed, repeated or replaced."""
    body = copy.deepcopy(body)
    path = chance.choice(list(places(body)))
    around = body
    for step in path[:-1]:
        around = around[step]
    match chance.randrange(4):
        case 0:
            del around[path[-1]]
        case 1 if isinstance(around, list):
            around.append(copy.deepcopy(chance.choice(around)))
        case 1:
            around[chance.choice(["x", "type", "role", "id"])] = chance.choice(VALUES)
        case _:
            around[path[-1]] = copy.deepcopy(chance.choice(VALUES))
    return body


@pytest.mark.parametrize("seed", range(4))
async def test_a_spoiled_request_is_answered_or_refused(
    sandbox: Sandbox, http: httpx.AsyncClient, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        url, body = chance.choice(urls(sandbox))
        answer = await http.post(url, content=orjson.dumps(spoiled(body, chance)))
        assert answer.status_code in {200, 400, 403, 404}
        if answer.status_code != 200:
            assert answer.json()["error"]["message"]


@pytest.mark.parametrize("depth", [200, 400, 5000])
async def test_depth_makes_nothing_fail(
    sandbox: Sandbox, http: httpx.AsyncClient, depth: int
) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    for url, body in urls(sandbox)[:2]:
        parts = orjson.dumps({**body, "metadata": "DEEP"}).split(b'"DEEP"')
        answer = await http.post(url, content=deep.join(parts))
        assert answer.status_code == 400


@pytest.mark.parametrize("depth", [10, 120])
async def test_deep_schemas_make_nothing_fail(
    sandbox: Sandbox, http: httpx.AsyncClient, depth: int
) -> None:
    inner: Any = {"type": "string"}
    for _ in range(depth):
        inner = {"type": "object", "properties": {"a": inner}}
    tool: Any = {"name": "f", "parameters": inner}
    chat = {**CHAT, "tools": [{"type": "function", "function": tool}], "tool_choice": "auto"}
    respond = {**RESPOND, "tools": [{"type": "function", **tool}], "tool_choice": "auto"}
    for (url, _), body in zip(urls(sandbox), (chat, respond), strict=False):
        answer = await http.post(url, content=orjson.dumps(body))
        assert answer.status_code == 200
