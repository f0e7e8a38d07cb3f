"""Answers as Google's door gives them: parts, candidates, the whole."""

from collections.abc import Sequence
from typing import Any

from model_service.providers.arguments import arguments_object
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    Document,
    FinishReason,
    Part,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
)
from model_service.providers.dialects.google.logprobs import written_logprobs
from model_service.providers.dialects.google.signing import shown_signature
from model_service.providers.dialects.google.words import FINISH_WORDS, UNSIGNED, usage_document


def answer_document(answer: ChatAnswer, model: str) -> Document:
    """A whole answer; `model` is the registered name."""
    return {
        "candidates": [
            _candidate(index, candidate) for index, candidate in enumerate(answer.candidates)
        ],
        "usageMetadata": usage_document(answer.usage),
        "modelVersion": model,
        "responseId": answer.id,
    }


def _candidate(index: int, candidate: Candidate) -> Document:
    document: dict[str, Any] = {}
    parts = _parts(candidate.parts)
    # Clients take a turn without parts for a failed one, and forget what was asked.
    if not parts and candidate.finish is not FinishReason.CONTENT_FILTER:
        parts = [{"text": ""}]
    if parts:
        document["content"] = {"parts": parts, "role": "model"}
    document["finishReason"] = FINISH_WORDS[candidate.finish]
    document["index"] = index
    if candidate.logprobs is not None:
        result = written_logprobs(candidate.logprobs)
        if result is not None:
            document["logprobsResult"] = result
    return document


def _parts(parts: Sequence[Part]) -> list[Document]:
    documents: list[Document] = []
    for part in parts:
        match part:
            case Text() | Refusal():
                documents.append({"text": part.text})
            case Reasoning():
                documents.append(thought_part(part.text, part.signature, redacted=part.redacted))
            case ToolCall():
                documents.append(call_part(part.id, part.name, part.arguments, part.signature))
            case _:  # nothing else is said by a model
                continue
    sign_first_call(documents)
    return documents


def sign_first_call(parts: Sequence[Document]) -> None:
    """Have another model's calls sent back in a form that Gemini takes, too.

    A caller may go on with a Gemini model, unchanged, and that wants the first of the calls
    signed. No other model is sent the word.
    """
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", UNSIGNED)


def thought_part(text: str, signature: str | None, *, redacted: bool) -> Document:
    """A thought; one that is hidden in its signature stands as an empty text that is signed."""
    document: Document = {"text": text}
    if not redacted:
        document["thought"] = True
    if signature is not None:
        document["thoughtSignature"] = shown_signature(signature)
    return document


def call_part(call_id: str, name: str, arguments: str, signature: str | None) -> Document:
    """A call, which Google's clients want with its arguments as an object."""
    call = {"id": call_id, "name": name, "args": arguments_object(arguments)}
    document: Document = {"functionCall": call}
    if signature is not None:
        document["thoughtSignature"] = shown_signature(signature)
    return document
