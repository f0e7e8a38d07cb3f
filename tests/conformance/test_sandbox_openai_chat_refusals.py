"""What the OpenAI stand-in refuses of chat completions, in the live API's own error bodies."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.openai import OpenAI

HI: Any = {"role": "user", "content": "Hi"}
PARAMETERS: Any = {"type": "object", "properties": {}}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stand_in() -> AsyncIterator[OpenAI]:
    async with serve() as sandbox:
        yield sandbox.openai


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def client(stand_in: OpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=stand_in.sample_key(), base_url=stand_in.base_url, max_retries=0, timeout=5
    ) as client:
        yield client


async def refused(client: openai.AsyncOpenAI, asked: Any) -> openai.APIStatusError:
    """The error for a request that says nothing but what is given."""
    with pytest.raises(openai.APIStatusError) as caught:
        await client.post("/chat/completions", body=asked, cast_to=object)
    return caught.value


async def refused_with(client: openai.AsyncOpenAI, **fields: Any) -> openai.APIStatusError:
    """The error for a request that is right but for some fields."""
    return await refused(client, {"model": "gpt-4.1", "messages": [HI], **fields})


def told(error: openai.APIStatusError) -> tuple[int, str | None, str | None]:
    assert error.type == "invalid_request_error"
    return error.status_code, error.param, error.code


def function(**fields: Any) -> list[Any]:
    return [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS, **fields}}]


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def image(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


def calling(*ids: str) -> Any:
    calls = [
        {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(call: str) -> Any:
    return {"role": "tool", "tool_call_id": call, "content": "done"}


def schema(inner: Any, *, strict: bool = True) -> Any:
    form = {"name": "s", "strict": strict, "schema": inner}
    return {"type": "json_schema", "json_schema": form}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_k": 3}, "Unrecognized request argument supplied: top_k"),
        ({"b": 1, "a": 2}, "Unrecognized request arguments supplied: a, b"),
        ({"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort"),
    ],
)
async def test_unknown_arguments_are_named(
    client: openai.AsyncOpenAI, fields: Any, message: str
) -> None:
    error = await refused_with(client, **fields)
    assert told(error) == (400, None, None)
    assert error.body == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_a_body_that_is_no_json_is_refused(stand_in: OpenAI) -> None:
    headers = {"authorization": f"Bearer {stand_in.sample_key()}"}
    async with httpx.AsyncClient(base_url=stand_in.base_url, headers=headers) as http:
        answers = [
            await http.post("chat/completions", content=content)
            for content in (b"{", b"[]", b"\xff", b"[" * 100_000, b"")
        ]
    assert [answer.status_code for answer in answers] == [400] * 5
    assert all("could not parse the JSON body" in answer.text for answer in answers)


async def test_a_model_has_to_be_named(client: openai.AsyncOpenAI) -> None:
    error = await refused(client, {"messages": [HI]})
    assert told(error) == (400, None, None)
    assert "you must provide a model parameter" in error.message


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    error = await refused_with(client, model="gpt-0")
    assert told(error) == (404, None, "model_not_found")
    assert "The model `gpt-0` does not exist or you do not have access to it." in error.message


async def test_an_embedding_model_does_not_chat(client: openai.AsyncOpenAI) -> None:
    error = await refused_with(client, model="text-embedding-3-small")
    assert told(error) == (404, "model", None)


@pytest.mark.parametrize(
    ("messages", "param", "code"),
    [
        ("Hi", "messages", "invalid_type"),
        ([], "messages", "empty_array"),
        (["Hi"], "messages[0]", "invalid_type"),
        ([{"content": "Hi"}], "messages[0].role", "missing_required_parameter"),
        ([{"role": "robot", "content": "Hi"}], "messages[0].role", "invalid_value"),
        ([{"role": "user"}], "messages[0].content", "missing_required_parameter"),
        ([{"role": "user", "content": None}], "messages.[0].content", None),
        ([{"role": "user", "content": 3}], "messages[0].content", "invalid_type"),
        ([{"role": "user", "content": []}], "messages[0].content", "empty_array"),
        ([{**HI, "id": "1"}], "messages[0].id", "unknown_parameter"),
        ([HI, {"role": "assistant", "content": None}], "messages.[1].content", None),
        (user({"text": "Hi"}), "messages[0].content[0].type", "missing_required_parameter"),
        (user({"type": "text", "text": 1}), "messages[0].content[0].text", "invalid_type"),
        (user({"type": "input_text"}), "messages[0].content[0].type", "invalid_value"),
        (
            user({"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}),
            "messages[0].content[0].cache_control",
            "unknown_parameter",
        ),
        (
            [{"role": "system", "content": [image("https://example.com/a.png")]}, HI],
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}),
            "messages[0].content[0].type",
            "unsupported_value",
        ),
    ],
)
async def test_messages_of_a_wrong_shape_are_refused(
    client: openai.AsyncOpenAI, messages: Any, param: str, code: str | None
) -> None:
    assert told(await refused_with(client, messages=messages)) == (400, param, code)


async def test_a_wrong_type_is_told_in_the_real_ones_words(client: openai.AsyncOpenAI) -> None:
    error = await refused_with(client, messages=[{"role": "user", "content": 3}])
    assert error.body is not None
    assert error.body["message"] == (  # type: ignore[index]
        "Invalid type for 'messages[0].content': expected one of a string or array of objects, "
        "but got an integer instead."
    )


async def test_an_unknown_role_is_told_which_there_are(client: openai.AsyncOpenAI) -> None:
    error = await refused_with(client, messages=[{"role": "robot", "content": "Hi"}])
    assert (
        "Invalid value: 'robot'. Supported values are: 'system', 'assistant', 'user', 'function', "
        "'tool', and 'developer'." in error.message
    )


@pytest.mark.parametrize(
    ("url", "param", "code"),
    [
        ("cat.png", "messages[0].content[0].image_url.url", "invalid_value"),
        ("ftp://example.com/a.png", "messages[0].content[0].image_url.url", "invalid_value"),
        ("http://[", "messages[0].content[0].image_url.url", "invalid_value"),
        ("https://gone.invalid/a.png", "url", "invalid_image_url"),
        ("data:image/png,AA", "messages[0].content[0].image_url.url", "invalid_value"),
        ("data:image/png;base64,", "messages[0].content[0].image_url.url", "invalid_value"),
        ("data:image/png;base64,%%%", "messages[0].content[0].image_url.url", "invalid_value"),
        ("data:text/plain;base64,AA==", "messages[0].content[0].image_url.url", "invalid_value"),
        ("data:image/png;base64,aGVsbG8=", None, "invalid_image_format"),
    ],
)
async def test_images_that_are_none_are_refused(
    client: openai.AsyncOpenAI, url: str, param: str | None, code: str
) -> None:
    assert told(await refused_with(client, messages=user(image(url)))) == (400, param, code)


@pytest.mark.parametrize(
    ("file", "param", "code"),
    [
        ({}, "messages[0].content[0].file.file_id", "missing_required_parameter"),
        ({"file_id": "a"}, "messages[0].content[0].file.file_id", "invalid_value"),
        ({"file_data": "JVBERi0="}, "messages[0].content[0].file.file_data", "invalid_value"),
    ],
)
async def test_files_that_are_none_are_refused(
    client: openai.AsyncOpenAI, file: Any, param: str, code: str
) -> None:
    messages = user({"type": "file", "file": file})
    assert told(await refused_with(client, messages=messages)) == (400, param, code)


@pytest.mark.parametrize(
    ("messages", "param", "message"),
    [
        ([HI, result("1")], "messages.[1].role", "must be a response to a preceeding message"),
        (
            [HI, calling("1"), result("2")],
            "messages.[2].role",
            "must be a response to a preceeding message",
        ),
        (
            [HI, calling("1"), result("1"), HI, result("1")],
            "messages.[4].role",
            "must be a response to a preceeding message",
        ),
        ([HI, calling("1"), HI], "messages.[2].role", "did not have response messages: 1"),
        ([HI, calling("1")], "messages.[1].role", "did not have response messages: 1"),
        (
            [HI, calling("1", "2", "3"), result("2"), HI],
            "messages.[3].role",
            "did not have response messages: 1, 3",
        ),
    ],
)
async def test_calls_and_results_have_to_match(
    client: openai.AsyncOpenAI, messages: Any, param: str, message: str
) -> None:
    error = await refused_with(client, messages=messages)
    assert told(error) == (400, param, None)
    assert message in error.message


async def test_the_id_of_a_call_has_a_greatest_length(client: openai.AsyncOpenAI) -> None:
    messages = [HI, calling("c" * 41), result("c" * 41)]
    error = await refused_with(client, messages=messages)
    assert told(error) == (400, "messages[1].tool_calls[0].id", "string_above_max_length")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": 32769}, "max_tokens", "invalid_value"),
        (
            {"max_tokens": 9, "max_completion_tokens": 9},
            "max_tokens",
            "invalid_parameter_combination",
        ),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"stream_options": {"x": 1}, "stream": True}, "stream_options.x", "unknown_parameter"),
        ({"service_tier": "slow"}, "service_tier", "invalid_value"),
        ({"user": 3}, "user", "invalid_type"),
        ({"metadata": {"a": "b"}}, "metadata", None),
        ({"metadata": {"a": 1}, "store": True}, "metadata.a", "invalid_type"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata", "object_above_max_properties"),
        ({"modalities": ["audio"]}, "modalities", "unsupported_parameter"),
        ({"functions": [{"name": "f"}]}, "functions", "unsupported_parameter"),
        ({"verbosity": "low"}, "verbosity", "unsupported_value"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, "messages", None),
        ({"messages": [HI], "tool_choice": "auto"}, "tool_choice", None),
        ({"parallel_tool_calls": True}, "parallel_tool_calls", None),
        ({"tools": []}, "tools", "empty_array"),
        ({"tools": function() * 129}, "tools", "array_above_max_length"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type", "invalid_value"),
        ({"tools": function(name="a b")}, "tools[0].function.name", "invalid_value"),
        ({"tools": function(name="")}, "tools[0].function.name", "empty_string"),
        (
            {"tools": function(input_schema={})},
            "tools[0].function.input_schema",
            "unknown_parameter",
        ),
        ({"tools": function(), "tool_choice": "any"}, "tool_choice", "invalid_value"),
        (
            {"tools": function(), "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            None,
        ),
    ],
)
async def test_fields_of_a_wrong_value_are_refused(
    client: openai.AsyncOpenAI, fields: Any, param: str, code: str | None
) -> None:
    assert told(await refused_with(client, **fields)) == (400, param, code)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
        ({"type": "object"}, "In context=(), object schema missing properties."),
        (
            {"type": "object", "properties": {"a": {"type": "array"}}},
            "In context=('properties', 'a'), array schema missing items.",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "text"}}},
            "'text' is not valid under any of the given schemas.",
        ),
    ],
)
async def test_schemas_of_functions_are_checked(
    client: openai.AsyncOpenAI, parameters: Any, message: str
) -> None:
    error = await refused_with(client, tools=function(parameters=parameters))
    assert told(error) == (400, "tools[0].function.parameters", "invalid_function_parameters")
    assert f"Invalid schema for function 'f': {message}" in error.message


CLOSED: Any = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ({"type": "array", "items": {}}, "schema must be a JSON Schema of 'type: \"object\"'"),
        (
            {"type": "object", "properties": {}},
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            {**CLOSED, "properties": {"a": {"type": "object"}}, "required": ["a"]},
            "In context=('properties', 'a'), 'additionalProperties' is required",
        ),
        ({**CLOSED, "properties": {"a": {"type": "string"}}}, "Missing 'a'."),
        ({**CLOSED, "properties": {}, "required": ["a"]}, "Extra required key 'a' supplied."),
        (
            {
                **CLOSED,
                "properties": {"a": {"type": "string", "default": ""}},
                "required": ["a"],
            },
            "In context=('properties', 'a'), 'default' is not permitted.",
        ),
        (
            {
                **CLOSED,
                "properties": {"a": {"anyOf": [{"type": "null"}, {"allOf": []}]}},
                "required": ["a"],
            },
            "In context=('properties', 'a', 'anyOf', '1'), 'allOf' is not permitted.",
        ),
        (
            {**CLOSED, "properties": {"a": {}}, "required": ["a"]},
            "In context=('properties', 'a'), schema must have a 'type' key.",
        ),
    ],
)
async def test_strict_schemas_of_answers_are_checked(
    client: openai.AsyncOpenAI, inner: Any, message: str
) -> None:
    error = await refused_with(client, response_format=schema(inner))
    assert told(error) == (400, "response_format", None)
    assert "Invalid schema for response_format 's': " in error.message
    assert message in error.message


async def test_strict_functions_are_held_to_the_same(client: openai.AsyncOpenAI) -> None:
    error = await refused_with(client, tools=function(strict=True))
    assert told(error) == (400, "tools[0].function.parameters", "invalid_function_parameters")
    assert "'additionalProperties' is required to be supplied and to be false." in error.message


async def test_a_schema_that_is_not_strict_may_be_open(client: openai.AsyncOpenAI) -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}
    answer = await client.chat.completions.create(
        model="gpt-4.1",
        messages=[HI],
        response_format=schema(inner, strict=False),
    )
    assert answer.choices[0].message.content == '{"a":"a 1"}'


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_tokens": 9}, "max_tokens", "unsupported_parameter"),
        ({"temperature": 0.5}, "temperature", "unsupported_value"),
        ({"top_p": 0.5}, "top_p", "unsupported_parameter"),
        ({"presence_penalty": 1}, "presence_penalty", "unsupported_parameter"),
        ({"frequency_penalty": 1}, "frequency_penalty", "unsupported_parameter"),
        ({"logprobs": True}, "logprobs", "unsupported_parameter"),
        ({"logit_bias": {"1": 1}}, "logit_bias", "unsupported_parameter"),
        ({"stop": "x"}, "stop", "unsupported_parameter"),
        ({"reasoning_effort": "xhigh"}, "reasoning_effort", "unsupported_value"),
        ({"reasoning_effort": "hard"}, "reasoning_effort", "invalid_value"),
    ],
)
async def test_reasoning_models_refuse_what_they_cannot_heed(
    client: openai.AsyncOpenAI, fields: Any, param: str, code: str
) -> None:
    assert told(await refused_with(client, model="gpt-5", **fields)) == (400, param, code)


@pytest.mark.parametrize(
    "fields", [{"temperature": 1}, {"top_p": 1}, {"presence_penalty": 0}, {"logprobs": False}]
)
async def test_reasoning_models_take_what_changes_nothing(
    client: openai.AsyncOpenAI, fields: Any
) -> None:
    messages: Any = [HI]
    answer = await client.chat.completions.create(model="gpt-5", messages=messages, **fields)
    assert answer.choices[0].message.content == "You said: Hi"


@pytest.mark.parametrize(
    ("model", "effort", "taken"),
    [
        ("gpt-6.2-astra", None, False),
        ("gpt-6-luna", None, False),
        ("gpt-6-luna", "none", True),
        ("gpt-5.5", None, False),
        ("gpt-5.5", "none", True),
        ("gpt-5.4-mini", None, True),
        ("gpt-5.4-mini", "low", False),
        ("gpt-5", "high", True),
    ],
)
async def test_recent_models_do_not_call_functions_here_while_they_reason(
    client: openai.AsyncOpenAI, model: str, effort: str | None, taken: bool
) -> None:
    asked: Any = {"model": model, "messages": [HI], "tools": function()}
    if effort is not None:
        asked["reasoning_effort"] = effort
    if taken:
        answer = await client.chat.completions.create(**asked)
        assert answer.choices[0].finish_reason == "stop"
    else:
        error = await refused(client, asked)
        assert told(error) == (400, "reasoning_effort", None)
        assert "use /v1/responses or set reasoning_effort to 'none'" in error.message


async def test_a_prompt_longer_than_the_window_is_refused(client: openai.AsyncOpenAI) -> None:
    messages = [{"role": "user", "content": "word " * 128_000}]
    error = await refused_with(client, model="gpt-4o-mini", messages=messages)
    assert told(error) == (400, "messages", "context_length_exceeded")
    assert "your messages resulted in 128001 tokens" in error.message
