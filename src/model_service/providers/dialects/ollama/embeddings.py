"""Embedding texts with Ollama, at `/api/embed`.

Source: https://docs.ollama.com/api/embed
"""

from typing import Final

from model_service.providers.dialects.ollama.faults import OllamaFaults
from model_service.providers.dialects.ollama.settings import apply_settings
from model_service.providers.embedding import EmbeddingAnswer, EmbeddingRequest
from model_service.providers.faults import CallFailed, malformed, unsupported
from model_service.providers.translation import Document, Notes, Outgoing, Target

#: The path below the server's origin.
PATH: Final = "/api/embed"

_NUMBERS: Final = frozenset((int, float))


class OllamaEmbeddings:
    """Writes requests for vectors and reads them."""

    def request(self, request: EmbeddingRequest, target: Target, notes: Notes) -> Outgoing:
        """What to send. Raises CallFailed."""
        if not all(isinstance(text, str) for text in request.inputs):
            notes.refuse("inputs", _TEXTS_ALONE)
            raise unsupported("inputs", _TEXTS_ALONE)  # even for a lenient call
        if request.task_type is not None:
            notes.refuse("task_type", "Ollama embeds all texts alike")
        if request.title is not None:
            notes.refuse("title", "Ollama embeds texts without titles")
        if request.user is not None:
            notes.drop("user")
        body: Document = {"model": target.upstream_model, "input": request.inputs}
        apply_settings(body, target)
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return Outgoing(PATH, body)

    def answer(self, document: Document) -> EmbeddingAnswer:
        """The vectors. Raises CallFailed."""
        if document.get("error") is not None:
            raise CallFailed(OllamaFaults().fault(200, document))
        vectors = document.get("embeddings")
        if not isinstance(vectors, list) or not all(map(_is_vector, vectors)):
            raise malformed("The provider's answer holds no vectors")
        tokens = document.get("prompt_eval_count")
        return EmbeddingAnswer(vectors, tokens if type(tokens) is int and tokens >= 0 else None)


_TEXTS_ALONE: Final = "Ollama embeds texts, not lists of token numbers"


def _is_vector(vector: object) -> bool:
    return isinstance(vector, list) and _NUMBERS.issuperset(map(type, vector))
