"""OpenAI's embeddings, as a door, as an upstream, and passing through.

Source: https://developers.openai.com/api/reference/resources/embeddings
"""

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from model_service.kernel.types import Provider
from model_service.providers.chat import Usage
from model_service.providers.dialects.openai_chat.passthrough import parsed_answer, written_answer
from model_service.providers.dialects.openai_chat.usage import count
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, invalid, malformed, unsupported
from model_service.providers.fields import Fields
from model_service.providers.openai_faults import OpenAIFaults, holds_error
from model_service.providers.translation import Document, Notes, Outgoing, StreamRelay, Target

_FAULTS: Final = OpenAIFaults()
_SPELLING: Final[Mapping[str, str]] = {"inputs": "input", "base64": "encoding_format"}
_FORMATS: Final = frozenset(("float", "base64"))
_NOT_VENDORS: Final = frozenset((Provider.OPENAI, Provider.AZURE))

#: Below the provider's base URL.
PATH: Final = "/embeddings"


class EmbeddingDoor:
    """The caller's side."""

    spelling = _SPELLING

    def read(self, body: Document, model: str) -> EmbeddingRequest:
        """The request in the intermediate form. Raises CallFailed."""
        fields = Fields(body)
        fields.ignore("model")
        request = EmbeddingRequest(
            model,
            _read_input(fields.raw("input")),
            dimensions=fields.integer("dimensions", 1),
            base64=fields.choice("encoding_format", _FORMATS) == "base64",
            user=fields.text("user"),
        )
        fields.finish()
        return request

    def answer(self, answer: EmbeddingAnswer, request: EmbeddingRequest, model: str) -> Document:
        """The vectors, as numbers or as base64."""
        tokens = answer.tokens or 0
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": encoded(vector) if request.base64 else vector,
                }
                for index, vector in enumerate(answer.vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


class EmbeddingUpstream:
    """The provider's side."""

    def request(self, request: EmbeddingRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed."""
        if request.task_type is not None:
            notes.refuse("task_type", "OpenAI's embeddings have no kinds of task")
        if request.title is not None:
            notes.refuse("title", "OpenAI's embeddings take no title")
        body: Document = {
            "model": target.upstream_model,
            "input": request.inputs,
            "encoding_format": "float",
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user is not None:
            if target.provider in _NOT_VENDORS:
                body["user"] = request.user
            else:  # some vendors refuse what they do not know
                notes.drop("user")
        return Outgoing(PATH, body)

    def answer(self, document: Document) -> EmbeddingAnswer:
        """The vectors, in order. Raises CallFailed."""
        if holds_error(document):
            raise CallFailed(_FAULTS.fault(200, document))
        data = document.get("data")
        if not isinstance(data, list) or not data:
            raise malformed("The provider's answer has no embeddings")
        vectors: dict[int, list[float]] = {}
        for place, item in enumerate(data):
            if not isinstance(item, dict):
                raise malformed("The provider's answer has an embedding that is no object")
            index = item.get("index")
            if not isinstance(index, int) or isinstance(index, bool):
                index = place
            vectors[index] = _vector(item.get("embedding"))
        if sorted(vectors) != list(range(len(data))):
            raise malformed("The provider's embeddings are not numbered from 0")
        usage = _usage(document)
        return EmbeddingAnswer(
            [vectors[index] for index in range(len(data))], None if usage is None else usage.input
        )


class EmbeddingPassthrough:
    """The named edits of a call: the model's name."""

    def request(self, body: Document, target: Target, *, stream: bool) -> Outgoing:  # noqa: ARG002
        """The caller's body, changed. Nothing streams here."""
        body["model"] = target.upstream_model
        return Outgoing(PATH, body)

    def answer(self, body: bytes, model: str) -> tuple[bytes, Usage | None]:
        """A whole answer with `model` as its model's name. Raises CallFailed."""
        document = parsed_answer(body, "data")
        document["model"] = model
        return written_answer(document), _usage(document)

    def relay(self, body: Document, model: str) -> StreamRelay:  # noqa: ARG002 - no such thing
        """Embeddings do not stream. Raises CallFailed."""
        raise unsupported("stream", "embeddings do not stream")


def encoded(vector: list[float]) -> str:
    """Base64 of little-endian 32-bit floats."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return b64encode(floats.tobytes()).decode("ascii")


def decoded(text: str) -> list[float]:
    """The floats of base64. Raises ValueError."""
    floats = array("f", b64decode(text, validate=True))
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()


def _read_input(value: Any) -> list[str | list[int]]:  # noqa: ANN401 - a wire edge
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise invalid("input", "must be a string, or an array of strings or of token numbers")
    if all(isinstance(item, str) for item in value):
        return value
    if _are_tokens(value):
        return [value]
    for index, item in enumerate(value):
        if not isinstance(item, list) or not item or not _are_tokens(item):
            raise invalid(f"input[{index}]", "must be a string or an array of token numbers")
    return value


def _are_tokens(values: list[Any]) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _vector(value: object) -> list[float]:
    try:
        if isinstance(value, str):
            return decoded(value)
        if isinstance(value, list) and value:
            array("d", value)  # the quickest way to see that all of them are numbers
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    raise malformed("The provider's answer has an embedding that is not made of numbers")


def _usage(document: Document) -> Usage | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    tokens = count(usage.get("prompt_tokens")) or count(usage.get("total_tokens"))
    return Usage(input=tokens)
