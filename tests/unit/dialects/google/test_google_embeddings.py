"""Embeddings, one by one and in batches, from either side."""

from typing import Any

import orjson
import pytest
from google.genai import models, types

from model_service.providers.chat import Usage
from model_service.providers.dialects.google.embeddings import (
    GoogleEmbeddingDoor,
    GoogleEmbeddingPassthrough,
    GoogleEmbeddingUpstream,
)
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, FaultKind
from model_service.providers.translation import Notes

from .wire import ERROR, NAME, target

MODEL = "gemini-embedding-2"


def content(*texts: str) -> dict[str, Any]:
    return {"parts": [{"text": text} for text in texts]}


def refusal(body: dict[str, Any], *, batch: bool = False) -> tuple[FaultKind, str | None]:
    with pytest.raises(CallFailed) as raised:
        GoogleEmbeddingDoor(batch=batch).read(body, NAME)
    return raised.value.fault.kind, raised.value.fault.param


@pytest.mark.parametrize(
    "wishes",
    [
        {"taskType": "RETRIEVAL_DOCUMENT", "title": "T", "outputDimensionality": 64},
        {"task_type": "RETRIEVAL_DOCUMENT", "title": "T", "output_dimensionality": 64},
        {
            "embedContentConfig": {
                "taskType": "RETRIEVAL_DOCUMENT",
                "title": "T",
                "outputDimensionality": 64,
            }
        },
    ],
)
def test_one_text_is_read_with_its_wishes(wishes: dict[str, Any]) -> None:
    body = {"model": "models/x", "content": content("Hello"), **wishes}
    assert GoogleEmbeddingDoor().read(body, NAME) == EmbeddingRequest(
        NAME, ["Hello"], 64, single=True, task_type="RETRIEVAL_DOCUMENT", title="T"
    )


def test_parts_of_one_content_are_one_text() -> None:
    found = GoogleEmbeddingDoor().read({"content": content("a", "b")}, NAME)
    assert found.inputs == ["a\nb"]


def test_a_batch_is_read_in_order() -> None:
    requests = [
        {"model": "models/x", "content": content(text), "taskType": "CLUSTERING"} for text in "ab"
    ]
    assert GoogleEmbeddingDoor(batch=True).read({"requests": requests}, NAME) == EmbeddingRequest(
        NAME, ["a", "b"], task_type="CLUSTERING"
    )


def test_a_batch_that_asks_for_different_things_is_refused() -> None:
    requests = [
        {"content": content("a")},
        {"content": content("b"), "outputDimensionality": 3},
    ]
    assert refusal({"requests": requests}, batch=True) == (FaultKind.UNSUPPORTED, "requests[1]")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ({"content": {"parts": []}}, "content.parts"),
        ({"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0].text"),
        ({"content": content("a"), "outputDimensionality": 0}, "outputDimensionality"),
    ],
)
def test_what_is_malformed_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    assert refusal(body) == (FaultKind.INVALID_REQUEST, field)


@pytest.mark.parametrize(
    "body",
    [
        {"content": content("a"), "unheardOf": 1},
        {"content": content("a"), "embedContentConfig": {"autoTruncate": True}},
    ],
)
def test_what_nobody_else_has_is_refused(body: dict[str, Any]) -> None:
    assert refusal(body)[0] is FaultKind.UNSUPPORTED


def test_a_batch_without_requests_is_refused() -> None:
    assert refusal({}, batch=True) == (FaultKind.INVALID_REQUEST, "requests")


def test_one_vector_is_answered() -> None:
    request = EmbeddingRequest(NAME, ["a"], single=True)
    document = GoogleEmbeddingDoor().answer(EmbeddingAnswer([[0.5, -1.0]], 3), request, NAME)
    assert document == {
        "embedding": {"values": [0.5, -1.0]},
        "usageMetadata": {"promptTokenCount": 3},
    }


def test_the_official_client_reads_a_batch() -> None:
    request = EmbeddingRequest(NAME, ["a", "b"])
    answer = EmbeddingAnswer([[0.5], [1.0]], 3)
    document = GoogleEmbeddingDoor(batch=True).answer(answer, request, NAME)
    found = types.EmbedContentResponse.model_validate(
        models._EmbedContentResponse_from_mldev(document)
    )
    assert found.embeddings == [
        types.ContentEmbedding(values=[0.5]),
        types.ContentEmbedding(values=[1.0]),
    ]
    assert found.usage_metadata is not None
    assert found.usage_metadata.prompt_token_count == 3


def test_tokens_that_are_not_known_are_not_said() -> None:
    answer = EmbeddingAnswer([[0.5]])
    request = EmbeddingRequest(NAME, ["a"])
    assert GoogleEmbeddingDoor().answer(answer, request, NAME) == {"embedding": {"values": [0.5]}}


def test_texts_are_sent_as_a_batch() -> None:
    request = EmbeddingRequest(
        NAME, ["a", "b"], 64, task_type="RETRIEVAL_DOCUMENT", title="T", user="u-1"
    )
    notes = Notes({})
    outgoing = GoogleEmbeddingUpstream().request(request, target(MODEL), notes)
    assert outgoing.path == f"/v1beta/models/{MODEL}:batchEmbedContents"
    assert outgoing.body["requests"] == [
        {
            "model": f"models/{MODEL}",
            "taskType": "RETRIEVAL_DOCUMENT",
            "title": "T",
            "outputDimensionality": 64,
            "content": {"parts": [{"text": text}]},
        }
        for text in "ab"
    ]
    assert notes.dropped == ["user"]


@pytest.mark.parametrize("lenient", [False, True])
def test_numbers_of_tokens_are_refused(lenient: bool) -> None:
    notes = Notes({"inputs": "input"}, lenient=lenient)
    with pytest.raises(CallFailed) as raised:
        GoogleEmbeddingUpstream().request(EmbeddingRequest(NAME, [[1, 2]]), target(MODEL), notes)
    assert raised.value.fault.kind is FaultKind.UNSUPPORTED


def test_vectors_are_read_in_order() -> None:
    document = {
        "embeddings": [{"values": [0.5, 1]}, {"values": [-1.0]}],
        "usageMetadata": {"promptTokenCount": 7},
    }
    assert GoogleEmbeddingUpstream().answer(document) == EmbeddingAnswer([[0.5, 1], [-1.0]], 7)


@pytest.mark.parametrize("usage", [None, 5, {}, {"promptTokenCount": "7"}])
def test_the_provider_may_not_say_how_many_tokens(usage: Any) -> None:
    document = {"embeddings": [{"values": [0.5]}], "usageMetadata": usage}
    assert GoogleEmbeddingUpstream().answer(document).tokens is None


@pytest.mark.parametrize(
    "document",
    [{}, {"embeddings": 5}, {"embeddings": [5]}, {"embeddings": [{}]},
     {"embeddings": [{"values": []}]}, {"embeddings": [{"values": ["a"]}]},
     {"embeddings": [{"values": [True]}]}, ERROR],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure(document: dict[str, Any]) -> None:
    with pytest.raises(CallFailed):
        GoogleEmbeddingUpstream().answer(document)


def test_one_passes_with_the_providers_name_for_the_model() -> None:
    body = {"model": NAME, "content": content("a"), "unheardOf": 1}
    outgoing = GoogleEmbeddingPassthrough().request(body, target(MODEL), stream=False)
    assert outgoing.path == f"/v1beta/models/{MODEL}:embedContent"
    assert outgoing.body == {
        "model": f"models/{MODEL}",
        "content": content("a"),
        "unheardOf": 1,
    }


def test_a_batch_passes_with_the_name_in_every_request() -> None:
    body: dict[str, Any] = {"requests": [{"model": NAME}, {}, 5]}
    outgoing = GoogleEmbeddingPassthrough(batch=True).request(body, target(MODEL), stream=False)
    assert outgoing.path == f"/v1beta/models/{MODEL}:batchEmbedContents"
    assert outgoing.body == {
        "requests": [{"model": f"models/{MODEL}"}, {"model": f"models/{MODEL}"}, 5]
    }


def test_an_answer_passes_as_it_is() -> None:
    body = b'{"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 7}}'
    assert GoogleEmbeddingPassthrough().answer(body, NAME) == (body, Usage(input=7))


@pytest.mark.parametrize("body", [orjson.dumps(ERROR), b"<html>", b"5", b"{}"])
def test_what_is_no_answer_does_not_pass(body: bytes) -> None:
    with pytest.raises(CallFailed):
        GoogleEmbeddingPassthrough().answer(body, NAME)


def test_embedding_does_not_stream() -> None:
    with pytest.raises(RuntimeError):
        GoogleEmbeddingPassthrough().relay({}, NAME)
