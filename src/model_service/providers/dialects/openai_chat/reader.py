"""Streams of chat completions, read as OpenAI, Azure and the vendors send them.

Sources: https://developers.openai.com/api/reference/resources/chat/streaming-events,
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-streaming (Azure's first chunk
has filter results and no choices), https://openrouter.ai/docs/api/reference/streaming (errors in
mid-stream, comments), https://console.groq.com/docs/api-reference (`x_groq`).
"""

from typing import Final

import orjson

from model_service.providers.chat import (
    ChatEvent,
    Document,
    TextDelta,
)
from model_service.providers.dialects.openai_chat.reading import Reading
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, cut, malformed
from model_service.providers.forms import Form
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.plain import only_object
from model_service.providers.sse import EventParser, parse_block

_FAULTS: Final = OpenAIFaults()
_DONE: Final = b"[DONE]"

# What a delta has that does nothing, or is its text.
_TOLD: Final = ("role", "content")


class ChatReader:
    """Reads a stream. Nothing here raises."""

    def __init__(self) -> None:
        self.failure: CallFailed | None = None
        self.complete = False
        self._parser = EventParser()
        self._reading = Reading()
        self._seen = False
        self._malformed = False
        self._form = Form()
        # Whose text the events of the form bring.
        self._spoken = 0

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that the bytes complete."""
        out: list[ChatEvent] = []
        if self.complete or self.failure is not None:
            return out
        try:
            for block in self._parser.blocks(data):
                text = self._form.text(block)
                if text is not None:
                    out.append(TextDelta(text, self._spoken))
                    continue
                event = parse_block(block)
                if event is not None:
                    self._take(block, *event, out)
                elif block and not self._seen:
                    self._take_whole(block, out)
                if self.complete:
                    break
        except CallFailed as failure:
            self.failure = failure
        return out

    def end(self) -> list[ChatEvent]:
        """What is left; a `failure` when the stream was cut."""
        out: list[ChatEvent] = []
        if self.complete or self.failure is not None:
            return out
        rest = self._parser.has_rest
        try:
            # Some end their streams without the last blank line.
            for block in self._parser.whole(b"\n\n").split(b"\n\n"):
                event = parse_block(block)
                if event is not None:
                    self._take(block, *event, out)
                elif not self._seen:
                    self._take_whole(block, out)
        except CallFailed as failure:
            self.failure = failure
            return out
        if not self.complete:
            if self._reading.finished:
                self.complete = True
            else:
                self.failure = _not_json() if self._malformed and not rest else cut()
        return out

    def _take(self, block: bytes, name: bytes, payload: bytes, out: list[ChatEvent]) -> None:
        before = len(out)
        self._seen = True
        if payload == _DONE:
            if not self._reading.finished:
                raise _not_json() if self._malformed else cut()
            self.complete = True
            return
        try:
            document = loads(payload)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            self._malformed = True
            self._form.forget()
            return
        if name == b"error":
            raise CallFailed(_FAULTS.fault(200, document))
        self._reading.chunk(document, out)
        self._malformed = False
        self._learn(block, document, out[before:])

    def _learn(self, block: bytes, document: Document, made: list[ChatEvent]) -> None:
        """Know further chunks for the same choice, if a text is all that there is to them."""
        choice, said = only_object(document.get("choices")), made[0] if len(made) == 1 else None
        if choice is None or type(said) is not TextDelta or said.logprobs is not None:
            self._form.forget()
            return
        delta = choice["delta"]
        if type(delta["content"]) is str and not any(
            delta[name] for name in delta if name not in _TOLD
        ):
            self._spoken = said.candidate
            self._form.learn(block, document, delta, "content")
        else:
            self._form.forget()

    def _take_whole(self, block: bytes, out: list[ChatEvent]) -> None:
        """An answer, or an error, that is no stream although one was asked for."""
        if not block.lstrip().startswith(b"{"):
            return
        try:
            document = loads(block)
        except orjson.JSONDecodeError:
            return
        self._reading.whole(document, out)
        self.complete = True


def _not_json() -> CallFailed:
    return malformed("The provider sent an event that is not valid JSON")
