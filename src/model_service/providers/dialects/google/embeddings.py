"""Embeddings: `embedContent` and `batchEmbedContents` (https://ai.google.dev/api/embeddings)."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from model_service.providers.chat import Usage
from model_service.providers.dialects.google.faults import GoogleFaults, error_object
from model_service.providers.dialects.google.media import impossible
from model_service.providers.dialects.google.wire import many, message, required, sub, word
from model_service.providers.dialects.google.words import method_path, resource, usage_of
from model_service.providers.documents import loads
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, invalid, malformed, unsupported
from model_service.providers.fields import Fields
from model_service.providers.translation import Document, Notes, Outgoing, StreamRelay, Target

_ONE: Final = "embedContent"
_BATCH: Final = "batchEmbedContents"
_FAULTS: Final = GoogleFaults()


class GoogleEmbeddingDoor:
    """The caller's side of one of the two methods."""

    spelling: Mapping[str, str] = {
        "inputs": "content",
        "dimensions": "outputDimensionality",
        "task_type": "taskType",
    }

    def __init__(self, *, batch: bool = False) -> None:
        """`batch`: of `batchEmbedContents`."""
        self._batch = batch

    def read(self, body: Document, model: str) -> EmbeddingRequest:
        """The request; those of a batch have to ask for the same, but for the texts."""
        fields = message(body)
        fields.ignore("model")
        if not self._batch:
            return _read_one(fields, model)
        requests = [_read_one(item, model) for item in many(fields, "requests")]
        fields.finish()
        if not requests:
            raise invalid("requests", "must hold at least one request")
        first = requests[0]
        for index, request in enumerate(requests[1:], 1):
            if _wishes(request) != _wishes(first):
                raise unsupported(f"requests[{index}]", "asks for other than the first one")
        inputs = [text for request in requests for text in request.inputs]
        return EmbeddingRequest(
            model, inputs, first.dimensions, task_type=first.task_type, title=first.title
        )

    def answer(
        self,
        answer: EmbeddingAnswer,
        request: EmbeddingRequest,  # noqa: ARG002
        model: str,  # noqa: ARG002
    ) -> Document:
        """The vectors."""
        vectors = [{"values": vector} for vector in answer.vectors]
        document: Document = {"embeddings": vectors} if self._batch else {"embedding": vectors[0]}
        if answer.tokens is not None:
            document["usageMetadata"] = {"promptTokenCount": answer.tokens}
        return document


def _read_one(fields: Fields, model: str) -> EmbeddingRequest:
    fields.ignore("model")
    content = required(fields, "content")
    content.ignore("role")
    texts = []
    for part in many(content, "parts"):
        texts.append(part.required_text("text"))
        part.finish()
    content.finish()
    if not texts:
        raise invalid(content.name("parts"), "must not be empty")
    config = sub(fields, "embedContentConfig")
    wishes = _read_wishes(fields)
    if config is not None:
        finer = _read_wishes(config)
        config.finish()
        wishes = [new if new is not None else old for new, old in zip(finer, wishes, strict=True)]
    fields.finish()
    task_type, title, dimensions = wishes
    return EmbeddingRequest(
        model,
        ["\n".join(texts)],
        dimensions,
        single=True,
        task_type=task_type,
        title=title,
    )


def _read_wishes(fields: Fields) -> list[Any]:
    return [
        word(fields, "taskType"),
        fields.text("title") or None,
        fields.integer("outputDimensionality", 1),
    ]


def _wishes(request: EmbeddingRequest) -> tuple[Any, ...]:
    return request.task_type, request.title, request.dimensions


class GoogleEmbeddingUpstream:
    """The provider's side. One method serves any number of texts."""

    def request(self, request: EmbeddingRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send."""
        wishes: Document = {"model": resource(target.upstream_model)}
        if request.task_type is not None:
            wishes["taskType"] = request.task_type
        if request.title is not None:
            wishes["title"] = request.title
        if request.dimensions is not None:
            wishes["outputDimensionality"] = request.dimensions
        if request.user is not None:
            notes.drop("user")
        requests = []
        for text in request.inputs:
            if not isinstance(text, str):
                raise impossible(notes, "inputs", "Gemini takes text, and no numbers of tokens")
            requests.append({**wishes, "content": {"parts": [{"text": text}]}})
        path = method_path(target.upstream_model, _BATCH)
        return Outgoing(path, {"requests": requests})

    def answer(self, document: Document) -> EmbeddingAnswer:
        """The vectors, in order."""
        if error_object(document) is not None:
            raise CallFailed(_FAULTS.fault(200, document))
        embeddings = document.get("embeddings")
        if not isinstance(embeddings, list):
            raise malformed("The provider's answer has no embeddings")
        return EmbeddingAnswer([_vector(embedding) for embedding in embeddings], _tokens(document))


def _vector(embedding: object) -> list[float]:
    values = embedding.get("values") if isinstance(embedding, dict) else None
    if not isinstance(values, list) or not values:
        raise malformed("The provider's answer has an embedding without a vector")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise malformed("The provider's answer has a vector that is not of numbers")
    return values


def _tokens(document: Document) -> int | None:
    metadata = document.get("usageMetadata")
    count = metadata.get("promptTokenCount") if isinstance(metadata, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


class GoogleEmbeddingPassthrough:
    """From Google's door to Gemini, by one of the two methods."""

    def __init__(self, *, batch: bool = False) -> None:
        """`batch`: `batchEmbedContents`."""
        self._batch = batch

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:  # noqa: ARG002
        """The body, with the provider's name for the model wherever the caller's stands."""
        name = resource(target.upstream_model)
        requests = body.get("requests") if self._batch else [body]
        for request in requests if isinstance(requests, list) else [requests]:
            if isinstance(request, dict) and (self._batch or "model" in request):
                request["model"] = name
        return Outgoing(method_path(target.upstream_model, _BATCH if self._batch else _ONE), body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:  # noqa: ARG002
        """The answer as it came: it names no model."""
        try:
            document = loads(body)
        except orjson.JSONDecodeError:
            raise malformed("The provider's answer is not valid JSON") from None
        if not isinstance(document, dict):
            raise malformed("The provider's answer is not a JSON object")
        if error_object(document) is not None:
            raise CallFailed(_FAULTS.fault(200, document))
        if "embedding" not in document and "embeddings" not in document:
            raise malformed("The provider's answer has no embeddings")
        return body, usage_of(document.get("usageMetadata"))

    def relay(self, body: Document, model: str) -> StreamRelay:  # noqa: ARG002
        """There is none."""
        raise RuntimeError("embedding does not stream")
