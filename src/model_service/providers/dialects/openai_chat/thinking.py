"""Thoughts of a stream, in the ways of the vendors, and on their way back to them.

What a vendor wants back unchanged is kept in the signature: which field a bare text came in
(DeepSeek refuses a history with calls whose `reasoning_content` is missing), or an entry of
OpenRouter's `reasoning_details` without its text.
Sources: https://api-docs.deepseek.com/guides/thinking_mode,
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens
"""

from typing import Final

import orjson

from model_service.providers import signatures
from model_service.providers.chat import (
    ChatEvent,
    Document,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
)
from model_service.providers.dialects.openai_chat.thoughts import ORIGIN, TEXTS

_ENCRYPTED: Final = "reasoning.encrypted"
_FIELDS: Final = ("reasoning_content", "reasoning")
_KEPT: Final = ("type", "id", "format", "index", "signature", "data")


class Thinking:
    """The thoughts of one candidate; one is open until something else comes."""

    __slots__ = ("_candidate", "_field", "_kept", "_open")

    def __init__(self, candidate: int) -> None:
        self._candidate = candidate
        self._open = False
        # What the open thought came as: a bare text of that field, or an entry to be kept.
        self._field: str | None = None
        self._kept: Document = {}

    def take(self, delta: Document, out: list[ChatEvent]) -> None:
        """What a delta, or a message, has of thoughts."""
        details = delta.get("reasoning_details")
        before = len(out)
        if isinstance(details, list):
            for item in details:
                if isinstance(item, dict):
                    self._detail(item, out)
        if any(type(event) is ReasoningDelta for event in out[before:]):
            return  # the bare text says the same once more
        for field in _FIELDS:
            text = delta.get(field)
            if isinstance(text, str) and text:
                self.think(text, field, out)
                return

    def think(self, text: str, field: str | None, out: list[ChatEvent]) -> None:
        """More of a bare text; `field` is where it goes back, None for nowhere."""
        if self._open and (self._kept or self._field != field):
            self.end(out)
        self._open, self._field = True, field
        out.append(ReasoningDelta(text, self._candidate))

    def end(self, out: list[ChatEvent]) -> None:
        """Something else came, or nothing more will."""
        if not self._open:
            return
        kept = self._kept
        payload = orjson.dumps(kept).decode() if kept else self._field
        signature = None if payload is None else signatures.mark(ORIGIN, payload)
        out.append(ReasoningEnded(signature, False, self._candidate, _id(kept)))
        self._open, self._field, self._kept = False, None, {}

    def _detail(self, item: Document, out: list[ChatEvent]) -> None:
        kind = item.get("type")
        if not isinstance(kind, str):
            return
        kept = {name: item[name] for name in _KEPT if isinstance(item.get(name), str | int)}
        if kind == _ENCRYPTED:
            self.end(out)
            if "data" in kept:
                signature = signatures.mark(ORIGIN, orjson.dumps(kept).decode())
                out.append(ReasoningEnded(signature, True, self._candidate, _id(kept)))
        elif kind in TEXTS:
            before = self._kept
            if self._open and (
                before.get("type") != kind
                or kept.get("index", before.get("index")) != before.get("index")
            ):
                self.end(out)
            self._open = True
            self._kept.update(kept)
            text = item.get(TEXTS[kind])
            if isinstance(text, str) and text:
                out.append(ReasoningDelta(text, self._candidate, _id(kept)))


def _id(kept: Document) -> str | None:
    given = kept.get("id")
    return given if isinstance(given, str) else None


def write_thoughts(message: Document, thoughts: list[Reasoning]) -> bool:
    """Put into an assistant's message what its provider wants back of its thoughts.

    Those of other providers stay away: here they would be words without meaning. Gives whether
    there were none such.
    """
    details: list[Document] = []
    all_written = True
    for thought in thoughts:
        payload = signatures.own(thought.signature, ORIGIN)
        if payload is None:
            all_written = False
            continue
        if payload in _FIELDS:
            message[payload] = message.get(payload, "") + thought.text
        else:
            details.append(_entry(payload, thought))
    if details:
        message["reasoning_details"] = details
    return all_written


def _entry(payload: str, thought: Reasoning) -> Document:
    try:
        entry = orjson.loads(payload)
    except orjson.JSONDecodeError:
        entry = None
    if isinstance(entry, dict) and isinstance(entry.get("type"), str):
        field = TEXTS.get(entry["type"])
        if field is not None and thought.text:
            entry[field] = thought.text
        return entry
    # A signature that a caller got from the vendor itself.
    if thought.redacted:
        return {"type": _ENCRYPTED, "data": payload}
    return {"type": "reasoning.text", "text": thought.text, "signature": payload}
