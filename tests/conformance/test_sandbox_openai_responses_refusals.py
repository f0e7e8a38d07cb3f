"""What the OpenAI stand-in refuses of responses, in the live API's own error bodies."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.openai import OpenAI

FUNCTION: Any = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {}},
}
CALL: Any = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "f",
    "arguments": "{}",
}
RESULT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
MISSING = "missing_required_parameter"
HI: Any = {"role": "user", "content": "Hi"}


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


async def refused(
    client: openai.AsyncOpenAI, path: str = "/responses", **fields: Any
) -> openai.APIStatusError:
    """The error for a request that is right but for some fields."""
    asked = {"model": "gpt-4.1", "input": "Hi", **fields}
    with pytest.raises(openai.APIStatusError) as caught:
        await client.post(path, body=asked, cast_to=object)
    return caught.value


def told(error: openai.APIStatusError) -> tuple[int, str | None, str | None]:
    assert error.type == "invalid_request_error"
    return error.status_code, error.param, error.code


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": [HI]}, "messages", "unknown_parameter"),
        ({"max_tokens": 99}, "max_tokens", "unknown_parameter"),
        ({"response_format": {"type": "text"}}, "response_format", "unknown_parameter"),
        ({"seed": 1}, "seed", "unknown_parameter"),
        ({"stop": "x"}, "stop", "unknown_parameter"),
        ({"input": None}, "input", "invalid_type"),
        ({"input": 3}, "input", "invalid_type"),
        ({"input": ["Hi"]}, "input[0]", "invalid_type"),
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"include": ["reasoning.encrypted_content"]}, "include", None),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort", "unsupported_parameter"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary", "unsupported_parameter"),
        ({"reasoning": {"depth": 1}}, "reasoning.depth", "unknown_parameter"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_value"),
        ({"text": {"format": {"type": "json_object"}}}, "input", None),
        (
            {"text": {"format": {"type": "json_schema"}}},
            "text.format.name",
            MISSING,
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}},
            "tool_choice",
            None,
        ),
        ({"tools": [{"type": "web_search"}]}, "tools", None),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].name",
            MISSING,
        ),
        ({"tools": [{**FUNCTION, "name": "a b"}]}, "tools[0].name", "invalid_value"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"previous_response_id": "abc"}, "previous_response_id", "invalid_value"),
        (
            {"previous_response_id": "resp_1"},
            "previous_response_id",
            "previous_response_not_found",
        ),
        ({"truncation": "middle"}, "truncation", "invalid_value"),
    ],
)
async def test_fields_of_a_wrong_value_are_refused(
    client: openai.AsyncOpenAI, fields: Any, param: str, code: str | None
) -> None:
    assert told(await refused(client, **fields)) == (400, param, code)


@pytest.mark.parametrize(
    ("items", "param", "code"),
    [
        ([{"role": "tool", "content": "x"}], "input[0].role", "invalid_value"),
        ([{"type": "speech"}], "input[0].type", "invalid_value"),
        ([{"role": "user"}], "input[0].content", MISSING),
        (user({"type": "text", "text": "Hi"}), "input[0].content[0].type", "invalid_value"),
        (user({"type": "output_text", "text": "Hi"}), "input[0].content[0]", "invalid_value"),
        (
            [{"role": "assistant", "content": [{"type": "input_text", "text": "Hi"}]}, HI],
            "input[0].content[0]",
            "invalid_value",
        ),
        (
            user({"type": "input_image"}),
            "input[0].content[0].image_url",
            MISSING,
        ),
        (
            user({"type": "input_file"}),
            "input[0].content[0].file_data",
            MISSING,
        ),
        (
            user({"type": "input_image", "image_url": {"url": "https://example.com"}}),
            "input[0].content[0].image_url",
            "invalid_type",
        ),
        (
            user({"type": "input_file", "file_url": "a.pdf"}),
            "input[0].content[0].file_url",
            "invalid_value",
        ),
        (
            [HI, {**CALL, "id": "call_1"}, RESULT],
            "input[1].id",
            "invalid_value",
        ),
        ([HI, {**CALL, "call_id": "c" * 65}], "input[1].call_id", "string_above_max_length"),
        (
            [HI, {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed"}],
            "input[1].status",
            "unknown_parameter",
        ),
        (
            [HI, {"type": "reasoning", "id": "rs_1"}],
            "input[1].summary",
            MISSING,
        ),
    ],
)
async def test_items_of_a_wrong_shape_are_refused(
    client: openai.AsyncOpenAI, items: Any, param: str, code: str | None
) -> None:
    assert told(await refused(client, input=items)) == (400, param, code)


async def test_chat_completions_parts_are_told_what_there_is(client: openai.AsyncOpenAI) -> None:
    error = await refused(client, input=user({"type": "text", "text": "Hi"}))
    assert "Invalid value: 'text'. Supported values are: 'input_text'," in error.message


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([HI, RESULT], "No tool call found for function call output with call_id call_1."),
        ([HI, RESULT, CALL], "No tool call found for function call output with call_id call_1."),
        ([HI, CALL], "No tool output found for function call call_1."),
    ],
)
async def test_calls_and_outputs_have_to_match(
    client: openai.AsyncOpenAI, items: Any, message: str
) -> None:
    error = await refused(client, input=items)
    assert told(error) == (400, "input", None)
    assert message in error.message


async def test_an_output_need_not_follow_its_call_at_once(client: openai.AsyncOpenAI) -> None:
    items: Any = [HI, CALL, {"role": "developer", "content": "Wait."}, RESULT]
    answer = await client.responses.create(model="gpt-4.1", input=items)
    assert "Results: done" in answer.output_text


async def test_a_thought_that_was_not_kept_is_not_found(client: openai.AsyncOpenAI) -> None:
    thought = {"type": "reasoning", "id": "rs_gone", "summary": []}
    error = await refused(
        client, model="gpt-5", input=[HI, thought, {"role": "assistant", "content": "Yes"}]
    )
    assert told(error) == (404, "input", None)
    assert "Item with id 'rs_gone' not found." in error.message


@pytest.mark.parametrize("sealed", ["gAAAAAabc", "x", "gAAAAA" + "A" * 60])
async def test_a_thought_that_somebody_else_sealed_is_refused(
    client: openai.AsyncOpenAI, sealed: str
) -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    error = await refused(
        client, model="gpt-5", input=[HI, thought, {"role": "assistant", "content": "Yes"}]
    )
    assert told(error) == (400, None, "invalid_encrypted_content")


async def test_a_thought_needs_what_followed_it(client: openai.AsyncOpenAI) -> None:
    first = await client.responses.create(model="gpt-5", input="Hi")
    thought = first.output[0].model_dump(exclude_unset=True)
    error = await refused(client, model="gpt-5", input=[HI, thought, HI])
    assert told(error) == (400, "input", None)
    assert "was provided without its required following item." in error.message


async def test_a_kept_call_needs_the_thought_before_it(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "gpt-5", "input": "use a tool", "tools": [FUNCTION]}
    first = await client.responses.create(**asked)
    call = first.output[1].model_dump(exclude_unset=True)
    result = {**RESULT, "call_id": call["call_id"]}
    error = await refused(client, model="gpt-5", input=[HI, call, result])
    assert told(error) == (400, "input", None)
    assert f"'{call['id']}' of type 'function_call' was provided without its" in error.message
    without_id = {name: value for name, value in call.items() if name != "id"}
    items: Any = [HI, without_id, result]
    answer = await client.responses.create(model="gpt-5", input=items)
    assert answer.status == "completed"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 0.5}, "temperature", None),
        ({"top_p": 0.5}, "top_p", None),
        ({"top_logprobs": 1}, "include", None),
        ({"reasoning": {"effort": "xhigh"}}, "reasoning.effort", "unsupported_value"),
    ],
)
async def test_reasoning_models_refuse_what_they_cannot_heed(
    client: openai.AsyncOpenAI, fields: Any, param: str, code: str | None
) -> None:
    assert told(await refused(client, model="gpt-5", **fields)) == (400, param, code)


async def test_models_that_always_think_cannot_be_told_not_to(client: openai.AsyncOpenAI) -> None:
    error = await refused(client, model="gpt-6.2-astra", reasoning={"effort": "none"})
    assert "Supported values are: 'low', 'medium', 'high', 'xhigh', and 'max'." in error.message


async def test_recent_models_call_functions_here_while_they_reason(
    client: openai.AsyncOpenAI,
) -> None:
    asked: Any = {"model": "gpt-6.2-astra", "input": "use a tool", "tools": [FUNCTION]}
    answer = await client.responses.create(**asked)
    assert [item.type for item in answer.output] == ["reasoning", "function_call"]


async def test_schemas_are_checked(client: openai.AsyncOpenAI) -> None:
    inner = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "name": "s", "strict": True, "schema": inner}
    error = await refused(client, text={"format": form})
    assert told(error) == (400, "text.format.schema", "invalid_json_schema")
    error = await refused(client, tools=[{**FUNCTION, "strict": True}])
    assert told(error) == (400, "tools[0].parameters", "invalid_function_parameters")


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"prompt": {"id": "pmpt_1"}}, "prompt"), ({"conversation": "conv_1"}, "conversation")],
)
async def test_what_is_not_kept_here_is_not_found(
    client: openai.AsyncOpenAI, fields: Any, param: str
) -> None:
    error = await refused(client, **fields)
    assert told(error) == (404, param, None)


async def test_nothing_to_answer_is_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.post("/responses", body={"model": "gpt-4.1"}, cast_to=object)
    assert told(caught.value) == (400, "input", MISSING)


async def test_counting_takes_less_than_answering(client: openai.AsyncOpenAI) -> None:
    error = await refused(client, "/responses/input_tokens", temperature=1)
    assert told(error) == (400, "temperature", "unknown_parameter")


async def test_an_embedding_model_does_not_respond(client: openai.AsyncOpenAI) -> None:
    assert told(await refused(client, model="text-embedding-3-small")) == (400, "model", None)


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    assert told(await refused(client, model="gpt-0")) == (404, None, "model_not_found")


async def test_an_input_longer_than_the_window_is_refused(client: openai.AsyncOpenAI) -> None:
    error = await refused(client, model="gpt-4o-mini", input="word " * 128_000)
    assert told(error) == (400, "input", "context_length_exceeded")
