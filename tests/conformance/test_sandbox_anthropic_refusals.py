"""What the Anthropic stand-in refuses of messages, tools and schemas, in the live API's words."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from model_service.sandbox import serve

USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "now", "input_schema": {"type": "object"}}
GOOD: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 100, "messages": [USER]}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
STRICT = "For 'object' type, 'additionalProperties' must be explicitly set to false"


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as sandbox:
        headers = {
            "x-api-key": sandbox.anthropic.sample_key(),
            "anthropic-version": "2023-06-01",
        }
        base_url = sandbox.anthropic.base_url
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as client:
            yield client


async def refused(http: httpx.AsyncClient, change: Mapping[str, object]) -> str:
    answer = await http.post("/v1/messages", json={**GOOD, **change})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    return str(answer.json()["error"]["message"])


async def taken(http: httpx.AsyncClient, change: Mapping[str, object]) -> bool:
    return (await http.post("/v1/messages", json={**GOOD, **change})).status_code == 200


def saying(*blocks: object, role: str = "user") -> dict[str, object]:
    turn = {"role": role, "content": list(blocks)}
    return {"messages": [USER, turn] if role == "assistant" else [turn]}


def image(media_type: str, data: str) -> dict[str, object]:
    source = {"type": "base64", "media_type": media_type, "data": data}
    return {"type": "image", "source": source}


WHERE = "messages.0.content.0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (saying({"type": "texts", "text": "x"}), f"{WHERE}: Input tag 'texts' found using 'type'"),
        (saying({"text": "x"}), f"{WHERE}.type: Field required"),
        (saying({"type": "text"}), f"{WHERE}.text.text: Field required"),
        (
            saying({"type": "text", "text": "x", "foo": 1}),
            f"{WHERE}.text.foo: Extra inputs are not permitted",
        ),
        (
            saying({"type": "text", "text": "  "}),
            "messages: text content blocks must contain non-whitespace text",
        ),
        (
            saying({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": 5}}),
            f"{WHERE}.text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
        ),
        (
            saying(image("image/bmp", PNG)),
            (
                f"{WHERE}.image.source.base64.media_type: Input should be 'image/jpeg', "
                "'image/png', 'image/gif' or 'image/webp'"
            ),
        ),
        (
            saying(image("image/png", f"data:image/png;base64,{PNG}")),
            f"{WHERE}.image.source.base64.data: Invalid base64 data",
        ),
        (
            saying(image("image/png", "")),
            f"{WHERE}.image.source.base64: image cannot be empty",
        ),
        (
            saying(image("image/jpeg", PNG)),
            (
                f"{WHERE}.image.source.base64: The image was specified using the image/jpeg media "
                "type, but the image appears to be a image/png image"
            ),
        ),
        (
            saying(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "text/plain", "data": "aGk="},
                }
            ),
            f"{WHERE}.document.source.base64.media_type: Input should be 'application/pdf'",
        ),
        ({"messages": [{**USER, "content": ""}]}, "messages.0: user messages must have non-empty"),
        (saying(), "messages.0: user messages must have non-empty content"),
        (
            {"messages": [USER, {"role": "assistant", "content": []}, USER]},
            "messages.1: all messages must have non-empty content except for the optional final",
        ),
        (
            saying({"type": "tool_use", "id": "a", "name": "now", "input": {}}),
            "messages.0: `tool_use` blocks can only be in `assistant` messages",
        ),
        (
            saying({"type": "tool_result", "tool_use_id": "a"}, role="assistant"),
            "messages.1: `tool_result` blocks can only be in `user` messages",
        ),
        ({"system": [{"type": "text", "text": ""}]}, "system: text content blocks must be"),
        ({"system": {"text": "x"}}, "system: Input should be a valid list"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"temperature": 0.5}, "`temperature` is deprecated for this model."),
        ({"top_p": 0.5}, "`top_p` is deprecated for this model."),
        ({"top_k": 5}, "`top_k` is deprecated for this model."),
        (
            {"model": "claude-haiku-4-5", "temperature": 0.5, "top_p": 0.5},
            "`temperature` and `top_p` cannot both be specified for this model.",
        ),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence must contain"),
        ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
        ({"service_tier": "fast"}, "service_tier: Input should be 'auto' or 'standard_only'"),
        ({"metadata": {"user": "x"}}, "metadata.user: Extra inputs are not permitted"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"n": 1}, "n: Extra inputs are not permitted"),
        (
            {
                "model": "claude-haiku-4-5",
                **saying({"type": "text", "text": "x "}, role="assistant"),
            },
            "messages: final assistant content cannot end with trailing whitespace",
        ),
    ],
)
async def test_a_message_with_a_fault_is_refused(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    assert (await refused(http, change)).startswith(message)


def call(identifier: str = "a", name: str = "now") -> dict[str, object]:
    return {"type": "tool_use", "id": identifier, "name": name, "input": {}}


def result(identifier: str = "a") -> dict[str, object]:
    return {"type": "tool_result", "tool_use_id": identifier, "content": "noon"}


def conversation(calls: list[object], answer: list[object], *more: object) -> dict[str, object]:
    turns: list[object] = [
        USER,
        {"role": "assistant", "content": calls},
        {"role": "user", "content": answer},
    ]
    return {"messages": [*turns, *more], "tools": [TOOL]}


TEXT = {"type": "text", "text": "So?"}
UNANSWERED = "`tool_use` ids were found without `tool_result` blocks immediately after:"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (conversation([call()], [TEXT]), f"messages.1: {UNANSWERED} a. Each `tool_use` block"),
        (conversation([call()], [TEXT, result()]), f"messages.1: {UNANSWERED} a."),
        (
            conversation([call(), call("b")], [result("b")]),
            f"messages.1: {UNANSWERED} a.",
        ),
        (
            conversation(
                [call(), call("b")], [result()], {"role": "user", "content": [result("b")]}
            ),
            f"messages.1: {UNANSWERED} b.",
        ),
        (
            conversation([TEXT], [result()]),
            (
                "messages.2.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the"
            ),
        ),
        (
            conversation([call()], [result(), result("b")]),
            "messages.2.content.1: unexpected `tool_use_id` found in `tool_result` blocks: b.",
        ),
        (
            conversation([call()], [result(), result()]),
            (
                "messages.2.content.1: each tool_use must have a single result. Found multiple "
                "`tool_result` blocks with id: a"
            ),
        ),
        (
            conversation([call(), call()], [result()]),
            "messages.1.content.1: `tool_use` ids must be unique",
        ),
        (
            conversation([call("a b")], [result("a b")]),
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        ),
        (
            conversation([call(name="no such")], [result()]),
            "messages.1.content.0.tool_use.name: String should match pattern",
        ),
        (
            conversation([{**call(), "input": "{}"}], [result()]),
            "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
        ),
        (
            conversation([call()], [{**result(), "content": [{"type": "text", "text": ""}]}]),
            "messages: text content blocks must be non-empty",
        ),
        (
            conversation([call()], [{**result(), "content": [image("image/bmp", PNG)]}]),
            "messages.2.content.0.tool_result.content.0.image.source.base64.media_type: Input",
        ),
        (
            {**conversation([call()], [result()]), "tools": []},
            "Requests which include `tool_use` or `tool_result` blocks must define tools.",
        ),
        (
            {"model": "claude-haiku-4-5", **saying(call(), role="assistant"), "tools": [TOOL]},
            f"messages.1: {UNANSWERED} a.",
        ),
    ],
)
async def test_calls_and_results_that_do_not_fit_are_refused(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    assert (await refused(http, change)).startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        conversation([TEXT, call()], [result(), TEXT]),
        conversation([call(), call("b")], [result("b"), result()]),
        conversation([call()], [{"type": "tool_result", "tool_use_id": "a"}]),
        conversation([call()], [{**result(), "content": [TEXT, image("image/png", PNG)]}]),
        conversation([call()], [{**result(), "is_error": True}]),
    ],
)
async def test_calls_and_results_that_fit_are_taken(
    http: httpx.AsyncClient, change: Mapping[str, object]
) -> None:
    assert await taken(http, change)


def tool(**more: object) -> dict[str, object]:
    return {"tools": [{**TOOL, **more}]}


def parameters(**schema: object) -> dict[str, object]:
    return tool(input_schema={"type": "object", **schema})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            tool(name="a.b"),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
        (tool(name="x" * 129), "tools.0.custom.name: String should match pattern"),
        ({"tools": [{"name": "now"}]}, "tools.0.custom.input_schema: Field required"),
        (tool(input_schema={}), "tools.0.custom.input_schema.type: Field required"),
        (
            tool(input_schema={"type": "string"}),
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            parameters(oneOf=[{"type": "object"}]),
            "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at",
        ),
        (
            parameters(properties={"a": {"type": "text"}}),
            (
                "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema "
                "draft 2020-12"
            ),
        ),
        (
            parameters(properties={"a": {"type": "array", "items": [{"type": "string"}]}}),
            "tools.0.custom.input_schema: JSON schema is invalid.",
        ),
        (
            parameters(properties={"a": {"minimum": 0, "exclusiveMinimum": True}}),
            "tools.0.custom.input_schema: JSON schema is invalid.",
        ),
        (parameters(required="a"), "tools.0.custom.input_schema: JSON schema is invalid."),
        (tool(parameters={}), "tools.0.custom.parameters: Extra inputs are not permitted"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
        (
            {"tools": [{"type": "function", "function": {"name": "now"}}]},
            "tools.0: Input tag 'function' found using 'type' does not match any of the expected",
        ),
        (tool(strict=True), f"tools.0.custom: {STRICT}"),
        (
            {"tool_choice": {"type": "auto"}},
            "tool_choice may only be specified while providing tools.",
        ),
        (
            {**tool(), "tool_choice": {"type": "tool", "name": "then"}},
            "tool_choice: Tool 'then' not found in provided tools",
        ),
        (
            {**tool(), "tool_choice": {"type": "required"}},
            "tool_choice: Input tag 'required' found using 'type' does not match any of the",
        ),
        ({**tool(), "tool_choice": "auto"}, "tool_choice: Input should be a valid dictionary"),
        (
            {**tool(), "model": "claude-opus-5-5", "tool_choice": {"type": "any"}},
            'tool_choice: type "tool" and "any" are not supported for this model.',
        ),
    ],
)
async def test_a_tool_with_a_fault_is_refused(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    assert (await refused(http, change)).startswith(message)


def formatted(schema: Mapping[str, object]) -> dict[str, object]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


def holding(schema: Mapping[str, object], **more: object) -> dict[str, object]:
    inner = {"type": "object", "properties": {"a": schema}, "additionalProperties": False}
    return formatted({**inner, **more})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (formatted({"type": "object", "properties": {}}), STRICT),
        (holding({"type": "object"}), STRICT),
        (
            holding({"type": "integer", "minimum": 0, "maximum": 5}),
            "For 'integer' type, properties maximum, minimum are not supported",
        ),
        (
            holding({"type": "string", "minLength": 1}),
            "For 'string' type, property 'minLength' is not supported",
        ),
        (
            holding({"type": "string", "format": "phone"}),
            "For 'string' type, format 'phone' is not supported",
        ),
        (
            holding({"type": "array", "minItems": 2}),
            "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        ),
        (
            holding({"$ref": "#/$defs/A"}, **{"$defs": {"A": {"$ref": "#/$defs/A"}}}),
            "Circular reference detected in schema definitions",
        ),
        (
            holding({"$ref": "https://example.com/schema"}),
            "External $ref 'https://example.com/schema' is not supported",
        ),
        (holding({"$ref": "#/$defs/B"}), "Invalid $ref '#/$defs/B'"),
        (holding({"enum": [{"a": 1}]}), "Enum values must be strings, numbers, booleans or null"),
        (holding({"oneOf": [{"type": "string"}]}), "Schema keyword 'oneOf' is not supported"),
    ],
)
async def test_a_schema_that_answers_cannot_be_held_to_is_refused(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    assert await refused(http, change) == f"output_config.format.schema: {message}"


async def test_a_schema_of_the_supported_kind_is_taken(http: httpx.AsyncClient) -> None:
    schema = {
        "anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}],
    }
    defs = {"A": {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1}}
    assert await taken(http, holding(schema, **{"$defs": defs}))


async def test_more_than_four_marks_for_the_cache_are_refused(http: httpx.AsyncClient) -> None:
    block = {**TEXT, "cache_control": {"type": "ephemeral"}}
    message = await refused(http, saying(*[block] * 5))
    assert message == "A maximum of 4 blocks with cache_control may be provided. Found 5."


async def test_an_hour_in_the_cache_comes_before_five_minutes(http: httpx.AsyncClient) -> None:
    short = {**TEXT, "cache_control": {"type": "ephemeral"}}
    long = {**TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert await taken(http, saying(long, short))
    message = await refused(http, saying(short, long))
    assert message.startswith("messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            saying(
                {"type": "document", "source": {"type": "url", "url": "https://example.com"}},
                role="assistant",
            ),
            "messages.1.content.0: `document` blocks can only be in `user` messages",
        ),
        (
            saying({**TEXT, "citations": [{"type": "char_location"}]}),
            "messages.0.content.0.text.citations: Extra inputs are not permitted",
        ),
    ],
)
async def test_the_newest_version_takes_less(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    body = {**GOOD, "model": "claude-haiku-4-5", **change}
    newest = {"anthropic-version": "2026-10-21"}
    answer = await http.post("/v1/messages", json=body, headers=newest)
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)
    assert (await http.post("/v1/messages", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 5}, "max_tokens: Extra inputs are not permitted"),
        ({"stream": True}, "stream: Extra inputs are not permitted"),
        ({"messages": []}, "messages: at least one message is required"),
        (
            {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
            '"thinking.type.disabled" is not supported for this model.',
        ),
    ],
)
async def test_counting_refuses_what_it_does_not_take(
    http: httpx.AsyncClient, change: Mapping[str, object], message: str
) -> None:
    body = {"model": "claude-opus-5", "messages": [USER], **change}
    answer = await http.post("/v1/messages/count_tokens", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


async def test_counting_for_an_unknown_model_finds_none(http: httpx.AsyncClient) -> None:
    body = {"model": "claude-0", "messages": [USER]}
    answer = await http.post("/v1/messages/count_tokens", json=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "model: claude-0")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'{"model":{},"max_tokens":1,"messages":[]}',
        b'{"model":"m","max_tokens":1,"messages":[{"role":[],"content":1}]}',
        b'{"model":"claude-opus-5","max_tokens":1,"messages":[{"role":"user","content":[[]]}]}',
        (
            b'{"model":"claude-opus-5","max_tokens":1,"messages":[{"role":"user","content":"x"}],'
            b'"tools":[{"name":"a","input_schema":{"type":"object","properties":{"a":{"minItems":[]}}'
            b'}}],"output_config":{"format":{"type":"json_schema","schema":{"type":{},"enum":{}}}}}'
        ),
        b'{"model":"claude-opus-5","max_tokens":1,"messages":[{"role":"user","content":"x"}],'
        b'"tools":[{"name":"a","input_schema":' + b'{"type":"object","not":' * 300 + b"{}"
        b"" + b"}" * 300 + b"}]}",
    ],
)
async def test_a_body_of_any_other_shape_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await http.post("/v1/messages", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
