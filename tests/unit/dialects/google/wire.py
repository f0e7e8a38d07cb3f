"""What the Gemini API sends, after its documents, and what the tests ask of it."""

from collections.abc import Callable
from typing import Any

import orjson

from model_service.kernel.types import Provider
from model_service.providers.chat import (
    ChatAnswer,
    ChatEvent,
    ChatRequest,
    Message,
    Part,
    Role,
    Text,
)
from model_service.providers.dialects.google.reader import GoogleReader
from model_service.providers.dialects.google.upstream import GoogleUpstream
from model_service.providers.faults import CallFailed, Fault
from model_service.providers.translation import Notes, Target

VERSION = "gemini-3.8-flash"
NAME = "house-model"
RESPONSE_ID = "x7kcaf3vLqy0nvgP6JbR2Ao"

USAGE: dict[str, Any] = {
    "promptTokenCount": 300,
    "cachedContentTokenCount": 256,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 70,
    "totalTokenCount": 390,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 300}],
}
EARLY_USAGE: dict[str, Any] = {
    "promptTokenCount": 300,
    "cachedContentTokenCount": 256,
    "thoughtsTokenCount": 40,
    "totalTokenCount": 340,
}

ERROR: dict[str, Any] = {
    "error": {
        "code": 503,
        "message": "This model is currently experiencing high demand. Please try again later.",
        "status": "UNAVAILABLE",
    }
}


def candidate(*parts: dict[str, Any], index: int = 0, **fields: Any) -> dict[str, Any]:
    """A candidate with those parts; fields are its finishReason and the like."""
    document: dict[str, Any] = {}
    if parts:
        document["content"] = {"parts": list(parts), "role": "model"}
    return {**document, "index": index, **fields}


def response(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A GenerateContentResponse."""
    document: dict[str, Any] = {"candidates": list(candidates)} if candidates else {}
    return {**document, **fields, "modelVersion": VERSION, "responseId": RESPONSE_ID}


def event(document: Any) -> bytes:
    """An event as the API writes it: CR LF, and blanks behind colons and commas."""
    data = document if isinstance(document, bytes) else spaced(document)
    return b"data: " + data + b"\r\n\r\n"


def spaced(document: Any) -> bytes:
    """JSON with a blank behind every colon of an object, as the API writes events."""
    if isinstance(document, dict):
        return (
            b"{"
            + b",".join(orjson.dumps(k) + b": " + spaced(v) for k, v in document.items())
            + b"}"
        )
    if isinstance(document, list):
        return b"[" + b",".join(map(spaced, document)) + b"]"
    return orjson.dumps(document)


def events(*documents: Any) -> bytes:
    """A stream of them."""
    return b"".join(map(event, documents))


def read(*pieces: bytes) -> tuple[list[ChatEvent], GoogleReader]:
    """The events of a stream that comes in pieces and then ends."""
    reader = GoogleReader()
    found = [found for piece in pieces for found in reader.feed(piece)]
    found += reader.end()
    return found, reader


def answered(document: dict[str, Any]) -> ChatAnswer:
    """What is read of a whole answer."""
    return GoogleUpstream().answer(document)


def fault_of(work: Callable[[], object]) -> Fault | None:
    """The fault that some work ends with, if it does; any other exception is not caught."""
    try:
        work()
    except CallFailed as failed:
        return failed.fault
    return None


def target(model: str = VERSION, **fields: Any) -> Target:
    """The registered model."""
    return Target(NAME, Provider.GOOGLE, model, fields.pop("max_tokens", 1000), **fields)


def user(*parts: Part | str) -> Message:
    """What the user says."""
    return Message(Role.USER, [Text(part) if isinstance(part, str) else part for part in parts])


def assistant(*parts: Part | str) -> Message:
    """What the model said."""
    return Message(
        Role.ASSISTANT, [Text(part) if isinstance(part, str) else part for part in parts]
    )


def sent(
    *messages: Message, model: str = VERSION, lenient: bool = False, **fields: Any
) -> tuple[dict[str, Any], list[str]]:
    """The body that a request becomes, and what was dropped."""
    notes = Notes({}, lenient=lenient)
    request = ChatRequest(NAME, list(messages) or [user("Hi")], **fields)
    return GoogleUpstream().request(request, target(model), notes).body, notes.dropped


def configured(model: str = VERSION, **fields: Any) -> dict[str, Any]:
    """The `generationConfig` that a request becomes."""
    config: dict[str, Any] = sent(model=model, **fields)[0]["generationConfig"]
    return config
