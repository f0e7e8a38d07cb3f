"""A stand-in for an OpenAI-compatible vendor: what such have beyond OpenAI's own API.

It takes `max_tokens` from models that think, `top_k`, `reasoning` (OpenRouter's) and files by
their URL, and it shows thoughts as `reasoning_content`. As DeepSeek, it wants them back unchanged
beside the calls that they led to (https://api-docs.deepseek.com/guides/thinking_mode).
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from typing_extensions import override

from model_service.sandbox import openai_chat, server
from model_service.sandbox.delivery import Mark
from model_service.sandbox.openai import OpenAI
from model_service.sandbox.openai_calls import Call
from model_service.sandbox.openai_chat import Chunk
from model_service.sandbox.openai_shapes import Refused
from model_service.sandbox.script import fragments, reply

Body = Mapping[str, Any]


class Vendor(OpenAI):
    """Serves the models of the OpenAI stand-in, in a vendor's way."""

    def __init__(self) -> None:
        super().__init__()
        self._thought: str | None = None
        self._thoughts: dict[str, str] = {}  # by the ids of the calls that they led to

    @override
    def _chat(self, call: Call) -> Response:
        body, shows = self._understood(call)
        asked = openai_chat.ask(body, call.can)
        self._thought = reply(asked).reasoning if shows else None
        return super()._chat(replace(call, body=body))

    @override
    def dressed(self, completion: Chunk) -> Chunk:
        if self._thought is None:
            return completion
        choices = []
        for choice in completion["choices"]:
            message = {**choice["message"], "reasoning_content": self._thought}
            self._note(message.get("tool_calls"))
            choices.append({**choice, "message": message})
        return {**completion, "choices": choices}

    @override
    def dressed_chunks(self, chunks: Iterator[tuple[Chunk, Mark]]) -> Iterator[tuple[Chunk, Mark]]:
        for chunk, mark in chunks:
            yield chunk, mark
            delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
            self._note(delta.get("tool_calls"))
            if mark is Mark.OPENING and self._thought is not None:
                for text in fragments(self._thought):
                    choice = {**chunk["choices"][0], "delta": {"reasoning_content": text}}
                    yield {**chunk, "choices": [choice]}, Mark.CONTENT

    def _note(self, calls: Any) -> None:
        for call in calls or ():
            if self._thought is not None and call.get("id"):
                self._thoughts[call["id"]] = self._thought

    def _understood(self, call: Call) -> tuple[dict[str, Any], bool]:
        """The body as OpenAI would have it, and whether thoughts are shown."""
        body = dict(call.body)
        body.pop("top_k", None)
        if "max_tokens" in body:
            body["max_completion_tokens"] = body.pop("max_tokens")
        wanted = body.pop("reasoning", {})
        if wanted.get("effort"):
            body["reasoning_effort"] = wanted["effort"]
        body["messages"] = [self._message(message) for message in body.get("messages", ())]
        return body, not wanted.get("exclude", False)

    def _message(self, message: Body) -> dict[str, Any]:
        plain = {name: value for name, value in message.items() if name != "reasoning_content"}
        for call in message.get("tool_calls") or ():
            thought = self._thoughts.get(call.get("id"))
            if thought is not None and message.get("reasoning_content") != thought:
                raise Refused(
                    "The `reasoning_content` in the thinking mode must be passed back to the API."
                )
        content = message.get("content")
        if isinstance(content, list):
            plain["content"] = [_part(part) for part in content]
        return plain


def _part(part: Body) -> Body:
    if str(part.get("file", {}).get("file_data")).startswith("https://"):
        return {"type": "file", "file": {"file_id": "file-downloaded"}}
    return part


@asynccontextmanager
async def serving() -> AsyncIterator[Vendor]:
    """A vendor that listens until the block ends."""
    vendor = Vendor()
    async with server._listening(vendor, "127.0.0.1", 0):
        yield vendor
