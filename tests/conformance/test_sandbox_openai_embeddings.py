"""Embeddings of the OpenAI stand-in, as the official client sees them."""

import math
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from model_service.sandbox import serve
from model_service.sandbox.openai import OpenAI


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


@pytest.mark.parametrize("asked", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
async def test_embeddings_are_unit_vectors_in_order(client: openai.AsyncOpenAI, asked: Any) -> None:
    answer = await client.embeddings.create(model="text-embedding-3-small", input=asked)
    several = isinstance(asked, list) and not isinstance(asked[0], int)
    assert [entry.index for entry in answer.data] == list(range(len(asked) if several else 1))
    for entry in answer.data:
        assert len(entry.embedding) == 1536
        assert math.isclose(sum(number**2 for number in entry.embedding), 1, rel_tol=1e-5)
    assert answer.model == "text-embedding-3-small"


async def test_embeddings_depend_on_the_input_alone(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "text-embedding-3-large", "dimensions": 8}
    first = await client.embeddings.create(input="a", **asked)
    again = await client.embeddings.create(input=["b", "a"], **asked)
    assert first.data[0].embedding == again.data[1].embedding
    assert first.data[0].embedding != again.data[0].embedding
    assert (again.usage.prompt_tokens, again.usage.total_tokens) == (2, 2)


async def test_embeddings_are_the_same_in_either_encoding(stand_in: OpenAI) -> None:
    # The client asks for base64 unless told, and unpacks it.
    async with openai.AsyncOpenAI(
        api_key=stand_in.sample_key(), base_url=stand_in.base_url, max_retries=0
    ) as client:
        packed = await client.embeddings.create(model="text-embedding-3-small", input="a")
        plain = await client.embeddings.create(
            model="text-embedding-3-small", input="a", encoding_format="float"
        )
    assert stand_in.requests[0].json() == {
        "input": "a",
        "model": "text-embedding-3-small",
        "encoding_format": "base64",
    }
    pairs = zip(packed.data[0].embedding, plain.data[0].embedding, strict=True)
    assert all(math.isclose(one, other, abs_tol=1e-6) for one, other in pairs)


async def test_embeddings_are_billed_by_their_input(
    stand_in: OpenAI, client: openai.AsyncOpenAI
) -> None:
    await client.embeddings.create(model="text-embedding-3-small", input=[[1, 2, 3], [4]])
    assert [(billed.input, billed.output) for billed in stand_in.usage] == [(4, 0)]


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        ({"input": ""}, "input", "empty_string"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ["a", ""]}, "input[1]", "empty_string"),
        ({"input": [[]]}, "input[0]", "empty_array"),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"input": ["a", 1]}, None, None),
        ({"input": [True]}, None, None),
        ({"input": 7}, None, None),
        ({"input": [-1]}, "input[0]", "integer_below_min_value"),
        ({"input": "a", "dimensions": 1537}, "dimensions", None),
        ({"input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"input": "word " * 8193}, None, None),
        ({"input": "a", "input_type": "query"}, "input_type", "unknown_parameter"),
        ({}, "input", "missing_required_parameter"),
    ],
)
async def test_what_the_real_one_refuses_is_refused(
    client: openai.AsyncOpenAI, asked: Any, param: str | None, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.post(
            "/embeddings", body={"model": "text-embedding-3-small", **asked}, cast_to=object
        )
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"


async def test_a_chat_model_gives_no_embeddings(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to generate embeddings"):
        await client.embeddings.create(model="gpt-4.1", input="a")


async def test_an_unknown_model_gives_no_embeddings(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="text-embedding-0", input="a")
    assert caught.value.code == "model_not_found"
