"""The gateway's doors as a caller sees them: what to ask, and what an answer says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got. `events` are a stream's, in order.

    `is_broken` says that the connection ended in mid-answer, without a word of it.
    """

    status: int
    headers: httpx.Headers
    text: str
    events: list[Document]
    is_broken: bool = False

    @property
    def document(self) -> Document:
        """The body of a whole answer."""
        document: Document = orjson.loads(self.text)
        return document


@dataclass(frozen=True, slots=True)
class Door:
    """One door. `error` gives the error that an event or a body is, None when it is none.

    `ends` says whether an event closes a stream as one that is complete does; `said` gives the
    text that an event, or a whole answer, brings.
    """

    name: str
    family: str
    path: Callable[[str, bool], str]
    body: Callable[[str, str, bool], Document]
    error: Callable[[Document], Document | None]
    ends: Callable[[Document], bool]
    said: Callable[[Document], str]

    async def ask(
        self,
        client: httpx.AsyncClient,
        model: str,
        *,
        stream: bool,
        text: str = "count to 12",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call and take the whole answer."""
        return await self.send(
            client, model, self.body(model, text, stream), stream=stream, headers=headers
        )

    async def send(
        self,
        client: httpx.AsyncClient,
        model: str,
        body: object,
        *,
        stream: bool,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call with any body and take the whole answer."""
        path = self.path(model, stream)
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        text = b""
        is_broken = False
        sent = {"content-type": "application/json", **(headers or {})}
        async with client.stream("POST", path, content=content, headers=sent) as answer:
            try:
                async for piece in answer.aiter_raw():
                    text += piece
            except httpx.RemoteProtocolError:
                is_broken = True
        decoded = text.decode()
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        events = _events(decoded) if is_stream else []
        return Answer(answer.status_code, answer.headers, decoded, events, is_broken)

    def errors(self, answer: Answer) -> list[Document]:
        """The errors within a stream."""
        found = [self.error(event) for event in answer.events]
        return [error for error in found if error is not None]

    def is_complete(self, answer: Answer) -> bool:
        """Whether a stream has what closes one that is complete."""
        return any(self.ends(event) for event in answer.events)

    def text(self, answer: Answer) -> str:
        """What the model said, of a stream or of a whole answer."""
        return "".join(map(self.said, answer.events or [answer.document]))


def _events(text: str) -> list[Document]:
    """Events of a stream; `[DONE]` as an event of that name."""
    assert text.endswith("\n"), f"the stream ends within a line: {text[-200:]!r}"
    found: list[Document] = []
    for block in text.split("\n\n"):
        data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
        if data == ["[DONE]"]:
            found.append({"[DONE]": True})
        elif data:
            document = orjson.loads("".join(data))
            assert isinstance(document, dict), text
            found.append(document)
    return found


def _chat(model: str, text: str, stream: bool) -> Document:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "stream": stream}


def _messages(model: str, text: str, stream: bool) -> Document:
    return {**_chat(model, text, stream), "max_tokens": 4000}


def _responses(model: str, text: str, stream: bool) -> Document:
    return {"model": model, "input": text, "stream": stream}


def _contents(_: str, text: str, __: bool) -> Document:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


def _google_path(model: str, stream: bool) -> str:
    action = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model}:{action}"


def _error(document: Document) -> Document | None:
    error = document.get("error")
    return error if isinstance(error, dict) else None


def _response_error(document: Document) -> Document | None:
    if document.get("type") == "error":
        return document
    if document.get("type") == "response.failed":
        error: Document = document["response"]["error"]
        return error
    return None


def _chat_said(document: Document) -> str:
    choices = document.get("choices") or [{}]
    message = choices[0].get("delta") or choices[0].get("message") or {}
    return message.get("content") or ""


def _responses_said(document: Document) -> str:
    if document.get("type") == "response.output_text.delta":
        return str(document["delta"])
    return "".join(
        part["text"]
        for item in document.get("output", ())
        for part in item.get("content", ())
        if part["type"] == "output_text"
    )


def _anthropic_said(document: Document) -> str:
    if document.get("type") == "content_block_delta":
        return str(document["delta"].get("text", ""))
    return "".join(part.get("text", "") for part in document.get("content", ()))


def _google_said(document: Document) -> str:
    return "".join(
        part.get("text", "")
        for candidate in document.get("candidates", ())
        for part in candidate.get("content", {}).get("parts", ())
    )


def _finished(document: Document) -> bool:
    choices = document.get("choices")
    return "[DONE]" in document or (
        isinstance(choices, list) and any(choice.get("finish_reason") for choice in choices)
    )


OPENAI_CHAT: Final = Door(
    "openai_chat", "openai", lambda *_: "/v1/chat/completions", _chat, _error, _finished, _chat_said
)
OPENAI_RESPONSES: Final = Door(
    "openai_responses",
    "openai",
    lambda *_: "/v1/responses",
    _responses,
    _response_error,
    lambda event: event.get("type") in ("response.completed", "response.incomplete"),
    _responses_said,
)
ANTHROPIC: Final = Door(
    "anthropic",
    "anthropic",
    lambda *_: "/v1/messages",
    _messages,
    lambda event: event["error"] if event.get("type") == "error" else None,
    lambda event: event.get("type") == "message_stop",
    _anthropic_said,
)
GOOGLE: Final = Door(
    "google",
    "google",
    _google_path,
    _contents,
    _error,
    lambda event: (
        "blockReason" in event.get("promptFeedback", {})
        or any(one.get("finishReason") for one in event.get("candidates", ()))
    ),
    _google_said,
)

DOORS: Final = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, GOOGLE)


def refusal(door: Door, answer: Answer) -> tuple[str, str]:
    """Type and message of an HTTP error, whose shape is checked to be the door's own."""
    assert answer.status >= 400
    assert answer.headers["content-type"] == "application/json"
    document = answer.document
    error = document["error"]
    if door.family == "google":
        assert list(document) == ["error"]
        assert set(error) == {"code", "message", "status", "details"}
        assert error["code"] == answer.status
        return error["status"], error["message"]
    if door.family == "anthropic":
        assert document["type"] == "error"
        assert set(error) <= {"type", "message", "details"}
        assert document["request_id"] == answer.headers["x-request-id"]
        return error["type"], error["message"]
    assert list(document) == ["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["type"], error["message"]
