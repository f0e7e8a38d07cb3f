"""Embeddings: at the door, by OpenAI and its relatives, and passing through."""

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse
from openai.types.embedding_create_params import EmbeddingCreateParams

from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.dialects.openai_chat.embeddings import (
    EmbeddingDoor,
    EmbeddingPassthrough,
    EmbeddingUpstream,
    decoded,
    encoded,
)
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, Fault, FaultKind

from .official import client
from .wire import notes, target

DOOR = EmbeddingDoor()
UPSTREAM = EmbeddingUpstream()
PASS = EmbeddingPassthrough()
VECTORS = [[0.25, -1.5, 0.0], [1.0, 2.0, 3.0]]


def read(**fields: Any) -> EmbeddingRequest:
    return DOOR.read({"model": "m", "input": "hi", **fields}, "m")


def refused(**fields: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        read(**fields)
    return caught.value.fault


def answer_of(*embeddings: Any, **more: Any) -> Any:
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index, embedding in enumerate(embeddings)
    ]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": "text-embedding-3", "usage": usage, **more}


def failed(document: Any) -> Fault:
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.answer(document)
    return caught.value.fault


# --- the door


@pytest.mark.parametrize(
    ("given_input", "inputs"),
    [
        ("hi", ["hi"]),
        (["hi", "you"], ["hi", "you"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ("", [""]),
    ],
)
def test_every_kind_of_input_is_read(given_input: Any, inputs: list[Any]) -> None:
    assert read(input=given_input) == EmbeddingRequest("m", inputs)


def test_what_else_is_asked_for_is_read() -> None:
    assert read(dimensions=256, encoding_format="base64", user="u") == EmbeddingRequest(
        "m", ["hi"], dimensions=256, base64=True, user="u"
    )
    assert read(encoding_format="float") == read()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [1, "x"]}, "input[0]"),
        ({"input": ["hi", [1, 2]]}, "input[0]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [[1], [1.5]]}, "input[1]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"input_type": "query"}, "input_type"),
    ],
)
def test_what_is_wrong_is_named(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


def test_every_field_that_the_official_client_knows_is_read() -> None:
    known = {"input": "hi", "model": "m", "dimensions": 5, "encoding_format": "float", "user": "u"}
    assert set(EmbeddingCreateParams.__annotations__) == set(known)
    assert DOOR.read(dict(known), "m").dimensions == 5


def test_the_answer_is_a_list_of_vectors() -> None:
    document = DOOR.answer(EmbeddingAnswer(VECTORS, 8), read(), "my-model")
    assert document == answer_of(*VECTORS) | {"model": "my-model"}
    CreateEmbeddingResponse.model_validate(document, strict=True)


def test_tokens_that_nobody_counted_are_none() -> None:
    document = DOOR.answer(EmbeddingAnswer(VECTORS), read(), "my-model")
    assert document["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_base64_is_of_little_endian_floats() -> None:
    request = read(encoding_format="base64")
    document = DOOR.answer(EmbeddingAnswer(VECTORS, 8), request, "my-model")
    raw = base64.b64decode(document["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == (0.25, -1.5, 0.0)


def test_the_official_client_which_asks_for_base64_gets_its_numbers() -> None:
    request = read(encoding_format="base64")
    body = orjson.dumps(DOOR.answer(EmbeddingAnswer(VECTORS, 8), request, "my-model"))
    answer = client(body).embeddings.create(model="m", input="hi")
    assert [list(item.embedding) for item in answer.data] == VECTORS
    assert answer.model == "my-model"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8))
def test_base64_comes_back(vector: list[float]) -> None:
    assert decoded(encoded(vector)) == vector


# --- the upstream


def test_a_request_asks_for_numbers() -> None:
    outgoing = UPSTREAM.request(
        EmbeddingRequest("m", ["hi", [1, 2]], dimensions=256, base64=True, user="u"),
        target(upstream_model="text-embedding-3"),
        notes(),
    )
    assert outgoing.path == "/embeddings"
    assert outgoing.body == {
        "model": "text-embedding-3",
        "input": ["hi", [1, 2]],
        "encoding_format": "float",
        "dimensions": 256,
        "user": "u",
    }


def test_vendors_are_not_told_the_user() -> None:
    listed = notes()
    request = EmbeddingRequest("m", ["hi"], user="u")
    assert "user" not in UPSTREAM.request(request, target(Provider.CUSTOM), listed).body
    assert listed.dropped == ["user"]


@pytest.mark.parametrize("field", ["task_type", "title"])
def test_what_is_googles_alone_is_refused(field: str) -> None:
    request = EmbeddingRequest("m", ["hi"])
    setattr(request, field, "x")
    with pytest.raises(CallFailed) as caught:
        UPSTREAM.request(request, target(), notes())
    assert (caught.value.fault.kind, caught.value.fault.param) == (FaultKind.UNSUPPORTED, field)


def test_an_answer_is_read() -> None:
    assert UPSTREAM.answer(answer_of(*VECTORS)) == EmbeddingAnswer(VECTORS, 8)


def test_vectors_are_put_in_the_order_of_their_indexes() -> None:
    document = answer_of(*VECTORS)
    document["data"].reverse()
    assert UPSTREAM.answer(document).vectors == VECTORS


def test_vectors_without_indexes_stay_as_they_are() -> None:
    document = {"data": [{"embedding": vector} for vector in VECTORS]}
    assert UPSTREAM.answer(document) == EmbeddingAnswer(VECTORS, None)


def test_a_vendor_that_sends_base64_all_the_same_is_read() -> None:
    assert UPSTREAM.answer(answer_of(*map(encoded, VECTORS))).vectors == VECTORS


def test_tokens_may_be_in_the_total_alone() -> None:
    document = answer_of(*VECTORS, usage={"total_tokens": 9})
    assert UPSTREAM.answer(document).tokens == 9


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": []},
        {"data": "x"},
        {"data": [None]},
        answer_of(None),
        answer_of([]),
        answer_of(["x"]),
        answer_of([1.0, None]),
        answer_of([[1.0]]),
        answer_of("no base64!"),
        answer_of("AAAAA"),
        answer_of("AAA="),
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 5, "embedding": [1.0]}]},
    ],
)
def test_a_malformed_answer_fails_as_such(document: Any) -> None:
    assert failed(document).code == "malformed_answer"


def test_an_error_in_a_200_is_a_failure() -> None:
    assert failed({"error": {"message": "m", "code": 429}}).kind is FaultKind.RATE_LIMITED


# --- passing through


def test_a_request_passes_with_the_models_name_alone_edited() -> None:
    body = {"model": "my-model", "input": "hi", "tomorrow": 1}
    outgoing = PASS.request(body, target(upstream_model="text-embedding-3"), stream=False)
    assert outgoing.path == "/embeddings"
    assert outgoing.body == {"model": "text-embedding-3", "input": "hi", "tomorrow": 1}


def test_an_answer_passes_with_the_models_name_alone_edited() -> None:
    body, usage = PASS.answer(orjson.dumps(answer_of(encoded(VECTORS[0]), tomorrow=1)), "my-model")
    assert orjson.loads(body) == answer_of(encoded(VECTORS[0]), tomorrow=1, model="my-model")
    assert usage == Usage(input=8)


def test_an_answer_without_usage_has_none() -> None:
    assert PASS.answer(b'{"data": []}', "m")[1] is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"error": "x"}'])
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(CallFailed):
        PASS.answer(body, "m")


def test_embeddings_do_not_stream() -> None:
    with pytest.raises(CallFailed) as caught:
        PASS.relay({}, "m")
    assert caught.value.fault.param == "stream"
