"""Reads streams of the Messages API; `whole` reads whole answers by the same mapping.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from model_service.providers.chat import (
    ChatEvent,
    Document,
    Finished,
    FinishReason,
    ReasoningDelta,
    ReasoningEnded,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.anthropic.faults import (
    AnthropicFaults,
    bare_error,
    holds_error,
)
from model_service.providers.dialects.anthropic.usage import read_usage
from model_service.providers.dialects.anthropic.wire import NAME, STOP_REASONS, read_tier
from model_service.providers.documents import loads
from model_service.providers.faults import CallFailed, cut, malformed
from model_service.providers.forms import Form
from model_service.providers.signatures import mark
from model_service.providers.sse import EventParser, parse_block

_FAULTS: Final = AnthropicFaults()


@dataclass(slots=True)
class _Block:
    """A block under way: `call` is a tool call's number, `input` the arguments it began with."""

    kind: str
    call: int = 0
    input: bytes = b""
    said: bool = False
    signature: str | None = None


class AnthropicReader:
    """Reads a stream; see `StreamReader`."""

    def __init__(self) -> None:
        self.failure: CallFailed | None = None
        self.complete = False
        self.finished = False
        self._parser = EventParser()
        self._blocks: dict[int, _Block] = {}
        # Where thoughts began that may still be open.
        self._thoughts: list[int] = []
        self._calls = 0
        self._usage: Usage | None = None
        self._started = False
        self._malformed = False
        self._form = Form()
        self._brings: type[TextDelta | ReasoningDelta] = TextDelta

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that the bytes complete."""
        events: list[ChatEvent] = []
        if self.complete or self.failure is not None:
            return events
        try:
            blocks = self._parser.blocks(data)
        except CallFailed as failed:
            self.failure = failed
            return events
        for block in blocks:
            text = self._form.text(block)
            if text is not None:
                events.append(self._brings(text))
                continue
            event = parse_block(block)
            if event is not None:
                self._take(block, event[1], events)
            elif block:
                self.failure = bare_error(block)
            if self._is_over():
                break
        return events

    def end(self) -> list[ChatEvent]:
        """Nothing is left at the end; a `failure` when the stream was cut."""
        if self.failure is None and not self.complete:
            bare = bare_error(self._parser.whole(b"\n\n"))
            if self.finished:
                self.complete = True
            elif bare is not None:
                self.failure = bare
            elif self._malformed:
                self.failure = malformed("The provider's stream ended in an event it never sends")
            else:
                self.failure = cut()
        return []

    def _is_over(self) -> bool:
        return self.complete or self.failure is not None

    def _take(self, block: bytes, piece: bytes, events: list[ChatEvent]) -> None:
        before = len(events)
        try:
            document = loads(piece)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            self._malformed = True
            self._form.forget()
            return
        kind = document.get("type")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            self._malformed = not handler(self, document, events)
        elif holds_error(document):
            self.failure = CallFailed(_FAULTS.fault(200, document))
        else:
            # Kinds to come are passed over, as the documents ask of clients.
            self._malformed = not isinstance(kind, str)
        if kind == "content_block_delta" and len(events) == before + 1:
            self._learn(block, document, events[-1])
        else:
            self._form.forget()

    def _learn(self, block: bytes, document: Document, event: ChatEvent) -> None:
        """Know further deltas of the same block: their text is all that there is to them."""
        if type(event) is TextDelta:
            self._brings = TextDelta
            self._form.learn(block, document, document["delta"], "text")
        elif type(event) is ReasoningDelta:
            self._brings = ReasoningDelta
            self._form.learn(block, document, document["delta"], "thinking")
        else:
            self._form.forget()

    # Handlers of events: each tells whether the event was what it should be.

    def message_start(self, document: Document, events: list[ChatEvent]) -> bool:
        """The message without its content, and the first counts."""
        message = document.get("message")
        if not isinstance(message, dict):
            return False
        usage = message.get("usage")
        if not self._started:
            self._started = True
            given = message.get("id")
            events.append(Started(given if isinstance(given, str) else "", None, read_tier(usage)))
        self._report(usage, events)
        return True

    def block_start(self, document: Document, events: list[ChatEvent]) -> bool:
        """A block begins; what it has from the start counts as well."""
        index, content = document.get("index"), document.get("content_block")
        if not isinstance(index, int) or not isinstance(content, dict):
            return False
        if self.finished:
            return True
        # A thought ends before anything else begins, whether or not its end was to be read.
        for known in self._thoughts:
            open_ = self._blocks.get(known)
            if open_ is not None and open_.kind == "thinking":
                self._close(known, events)
        self._thoughts.clear()
        self._close(index, events)
        kind = content.get("type")
        begin = _BEGINNINGS.get(kind) if isinstance(kind, str) else None
        # Blocks of tools that run at the provider's are not the caller's to see.
        block = _Block("") if begin is None else begin(self, content, events)
        if block is None:
            return False
        self._blocks[index] = block
        if block.kind == "thinking":
            self._thoughts.append(index)
        return isinstance(kind, str)

    def block_delta(self, document: Document, events: list[ChatEvent]) -> bool:
        """More of a block."""
        index, delta = document.get("index"), document.get("delta")
        if not isinstance(index, int) or not isinstance(delta, dict):
            return False
        block, kind = self._blocks.get(index), delta.get("type")
        if block is None:
            # Its start was not to be read.
            if self.finished or (kind != "text_delta" and kind != "thinking_delta"):
                return True
            block = self._blocks[index] = _Block(kind.removesuffix("_delta"))
            if block.kind == "thinking":
                self._thoughts.append(index)
        match block.kind, kind:
            case "text", "text_delta":
                return _said(delta.get("text"), TextDelta, events)
            case "thinking", "thinking_delta":
                block.said = block.said or bool(delta.get("thinking"))
                return _said(delta.get("thinking"), ReasoningDelta, events)
            case "thinking", "signature_delta":
                signature = delta.get("signature")
                if not isinstance(signature, str):
                    return False
                block.signature = signature
            case "tool_use", "input_json_delta":
                fragment = delta.get("partial_json")
                if not isinstance(fragment, str):
                    return False
                if fragment:
                    block.said = True
                    events.append(ToolCallDelta(block.call, fragment))
            case _:  # citations, and what belongs to a block that is passed over
                pass
        return True

    def block_stop(self, document: Document, events: list[ChatEvent]) -> bool:
        """A block is complete."""
        index = document.get("index")
        if not isinstance(index, int):
            return False
        self._close(index, events)
        return True

    def message_delta(self, document: Document, events: list[ChatEvent]) -> bool:
        """Why the answer ended, and the totals."""
        delta = document.get("delta")
        if not isinstance(delta, dict):
            return False
        reason = delta.get("stop_reason")
        if isinstance(reason, str) and not self.finished:
            self._finish(reason, delta, events)
        self._report(document.get("usage"), events)
        return True

    def message_stop(self, _: Document, __: list[ChatEvent]) -> bool:
        """The end."""
        if self.finished:
            self.complete = True
        else:
            self.failure = cut()
        return True

    def _finish(self, reason: str, delta: Document, events: list[ChatEvent]) -> None:
        for index in sorted(self._blocks):
            self._close(index, events)
        finish = STOP_REASONS.get(reason, FinishReason.STOP)
        details, sequence = delta.get("stop_details"), delta.get("stop_sequence")
        if finish is FinishReason.REFUSAL and isinstance(details, dict):
            explanation = details.get("explanation")
            if isinstance(explanation, str) and explanation:
                events.append(RefusalDelta(explanation))
        self.finished = True
        events.append(Finished(finish, 0, sequence if isinstance(sequence, str) else None))

    def _report(self, document: object, events: list[ChatEvent]) -> None:
        usage = read_usage(document, self._usage)
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(UsageReported(usage))

    def _close(self, index: int, events: list[ChatEvent]) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.kind == "thinking":
            signature = mark(NAME, block.signature) if block.signature else None
            if block.said or signature is not None:
                events.append(ReasoningEnded(signature))
        elif block.kind == "tool_use" and not block.said:
            events.append(ToolCallDelta(block.call, block.input.decode()))

    # Beginnings of blocks: None for one that is not what it should be.

    def begin_text(self, content: Document, events: list[ChatEvent]) -> _Block | None:
        """What is said."""
        text = content.get("text", "")
        return _Block("text") if _said(text, TextDelta, events) else None

    def begin_thinking(self, content: Document, events: list[ChatEvent]) -> _Block | None:
        """A thought; its text may be left out, its signature is not."""
        text, signature = content.get("thinking", ""), content.get("signature")
        if not _said(text, ReasoningDelta, events):
            return None
        signed = signature if isinstance(signature, str) else None
        return _Block("thinking", said=bool(text), signature=signed)

    def begin_redacted(self, content: Document, events: list[ChatEvent]) -> _Block | None:
        """A thought that is hidden."""
        data = content.get("data")
        if not isinstance(data, str):
            return None
        events.append(ReasoningEnded(mark(NAME, data), redacted=True))
        return _Block("")

    def begin_call(self, content: Document, events: list[ChatEvent]) -> _Block | None:
        """A call; its arguments may be all there, or nothing but the beginning of an object."""
        name, given, arguments = content.get("name"), content.get("id"), content.get("input")
        if not isinstance(name, str) or (arguments is not None and not isinstance(arguments, dict)):
            return None
        try:
            written = orjson.dumps(arguments or {})
        except TypeError:  # nested more deeply than can be written
            return None
        call = self._calls
        self._calls += 1
        known = given if isinstance(given, str) and given else f"toolu_{secrets.token_hex(12)}"
        events.append(ToolCallStarted(call, known, name))
        return _Block("tool_use", call=call, input=written)


_Handler = Callable[[AnthropicReader, Document, list[ChatEvent]], bool]
_Beginning = Callable[[AnthropicReader, Document, list[ChatEvent]], _Block | None]

_HANDLERS: Final[dict[str, _Handler]] = {
    "message_start": AnthropicReader.message_start,
    "content_block_start": AnthropicReader.block_start,
    "content_block_delta": AnthropicReader.block_delta,
    "content_block_stop": AnthropicReader.block_stop,
    "message_delta": AnthropicReader.message_delta,
    "message_stop": AnthropicReader.message_stop,
}
_BEGINNINGS: Final[dict[str, _Beginning]] = {
    "text": AnthropicReader.begin_text,
    "thinking": AnthropicReader.begin_thinking,
    "redacted_thinking": AnthropicReader.begin_redacted,
    "tool_use": AnthropicReader.begin_call,
}


def _said(
    text: object, event: type[TextDelta] | type[ReasoningDelta], events: list[ChatEvent]
) -> bool:
    if not isinstance(text, str):
        return False
    if text:
        events.append(event(text))
    return True
