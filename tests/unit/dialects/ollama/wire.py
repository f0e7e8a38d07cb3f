"""What Ollama sends, after its documents, and what the tests ask of it."""

from typing import Any

import orjson

from model_service.kernel.types import Provider
from model_service.providers.chat import ChatEvent, ChatRequest, Message, Part, Role, Text
from model_service.providers.dialects.ollama.reader import OllamaReader
from model_service.providers.dialects.ollama.upstream import OllamaUpstream
from model_service.providers.translation import Notes, Target

CREATED = "2026-11-20T14:03:24.097767191Z"
CREATED_SECONDS = 1_795_183_404

DONE: dict[str, Any] = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 4_883_583_458,
    "load_duration": 1_334_875,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 342_546_000,
    "eval_count": 282,
    "eval_duration": 4_535_599_000,
}

WEATHER_CALL: dict[str, Any] = {
    "id": "call_r5x0wq1f",
    "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Bern", "days": 2}},
}


def chunk(content: str = "", **fields: Any) -> dict[str, Any]:
    """One line; fields of the message are its thinking and tool_calls."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    for name in ("thinking", "tool_calls"):
        if name in fields:
            message[name] = fields.pop(name)
    line = {"model": "gemma4", "created_at": CREATED, "message": message, "done": False}
    return {**line, **fields}


def lines(*documents: Any) -> bytes:
    """A stream of them; bytes stand as they are."""
    return b"".join(
        (document if isinstance(document, bytes) else orjson.dumps(document)) + b"\n"
        for document in documents
    )


def read(*pieces: bytes) -> tuple[list[ChatEvent], OllamaReader]:
    """The events of a stream that comes in pieces and then ends."""
    reader = OllamaReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    return events, reader


def target(**settings: Any) -> Target:
    """The model, with those provider settings."""
    return Target("local", Provider.OLLAMA, "gemma4:latest", 4096, None, settings)


def user(*parts: Part | str) -> Message:
    """A turn of the user's."""
    return Message(Role.USER, [Text(part) if isinstance(part, str) else part for part in parts])


def assistant(*parts: Part | str) -> Message:
    """A turn of the assistant's."""
    turn = user(*parts)
    turn.role = Role.ASSISTANT
    return turn


def asking(*messages: Message, **fields: Any) -> ChatRequest:
    """A request, by default with one turn."""
    return ChatRequest("local", list(messages) or [user("Why is the sky blue?")], **fields)


def written(
    request: ChatRequest, called: Target | None = None, notes: Notes | None = None
) -> dict[str, Any]:
    """The body that is sent for it."""
    return OllamaUpstream().request(request, called or target(), notes or Notes({})).body
