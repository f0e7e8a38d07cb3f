"""Writes answers for callers of the Messages API, whole ones and streams."""

import secrets
from typing import Final

import orjson

from model_service.providers.arguments import arguments_object
from model_service.providers.chat import (
    Candidate,
    ChatAnswer,
    ChatEvent,
    Document,
    Finished,
    FinishReason,
    Part,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from model_service.providers.dialects.anthropic.faults import error_document
from model_service.providers.dialects.anthropic.usage import write_totals, write_usage
from model_service.providers.dialects.anthropic.wire import NAME, WRITTEN_REASONS, write_tier
from model_service.providers.faults import Fault
from model_service.providers.signatures import shown
from model_service.providers.sse import named_event
from model_service.providers.translation import MARK

_NOTHING: Final = Candidate([], FinishReason.STOP)
_STOPPED: Final = Finished(FinishReason.STOP)


def write_answer(answer: ChatAnswer, model: str) -> Document:
    """A whole answer: the first candidate, for this API has but one."""
    candidate = answer.candidates[0] if answer.candidates else _NOTHING
    content = [block for part in candidate.parts for block in _blocks(part)]
    usage = write_usage(answer.usage)
    tier = write_tier(answer.service_tier)
    if tier is not None:
        usage["service_tier"] = tier
    ending = Finished(candidate.finish, 0, candidate.stop_sequence)
    refused = any(isinstance(part, Refusal) for part in candidate.parts)
    called = any(isinstance(part, ToolCall) for part in candidate.parts)
    return {
        "id": answer.id or _message_id(),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **_ending(ending, refused=refused, called=called),
        "usage": usage,
    }


def _blocks(part: Part) -> list[Document]:
    match part:
        case Text() | Refusal():
            return [{"type": "text", "text": part.text}] if part.text else []
        case Reasoning():
            return _thought(part.text, part.signature, redacted=part.redacted)
        case ToolCall():
            call = {
                "type": "tool_use",
                "id": part.id or _call_id(),
                "name": part.name,
                "input": arguments_object(part.arguments),
            }
            return [*_call_signature(part.signature), call]
        case _:  # nothing else is said by a model
            return []


def _thought(text: str, signature: str | None, *, redacted: bool) -> list[Document]:
    sealed = "" if signature is None else shown(signature, NAME)
    if redacted:
        return [{"type": "redacted_thinking", "data": sealed}] if sealed else []
    if not text and not sealed:
        return []
    return [{"type": "thinking", "thinking": text, "signature": sealed}]


def _call_signature(signature: str | None) -> list[Document]:
    """Gemini's signature of a call, for which a `tool_use` block has no place.

    It stands in an empty thought before the call, where clients keep it and send it back.
    """
    return [] if signature is None else _thought("", signature, redacted=False)


def _ending(ending: Finished, *, refused: bool, called: bool) -> Document:
    reason = WRITTEN_REASONS[ending.reason]
    if refused:
        reason = "refusal"
    elif called and ending.reason is FinishReason.STOP:
        reason = "tool_use"  # some providers say no more than that they stopped
    details = {"type": "refusal", "category": None, "explanation": None}
    return {
        "stop_reason": reason,
        "stop_sequence": ending.stop_sequence if reason == "stop_sequence" else None,
        "stop_details": details if reason == "refusal" else None,
    }


class AnthropicWriter:
    """Writes a stream; see `StreamWriter`.

    Blocks are written one after the other, save that calls stay open beside one another until
    something else comes: other providers send the arguments of parallel calls in turns.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._index = -1
        self._text_start = b""
        self._open: str | None = None
        self._calls: dict[int, int] = {}
        self._open_calls: list[int] = []
        self._usage = Usage()
        self._ending = _STOPPED
        self._refused = False
        self._called = False

    def write(self, event: ChatEvent) -> bytes:
        """The bytes for one event; those of other candidates than the first are left out."""
        if type(event) is TextDelta:  # as most are
            return b"" if event.candidate else self._said("text", event.text)
        match event:
            case ToolCallDelta(candidate=0):
                return self._arguments(event)
            case ReasoningDelta(candidate=0):
                return self._thinking(event.text)
            case ReasoningEnded(candidate=0):
                return self._thought(event)
            case ToolCallStarted(candidate=0):
                return self._call(event)
            case RefusalDelta(candidate=0):
                self._refused = True
                return self._said("refusal", event.text)
            case Started():
                return self._start(event)
            case Finished(candidate=0):
                self._ending = event
            case UsageReported():
                self._usage = event.usage
            case _:
                pass
        return b""

    def mark(self, note: Document) -> bytes:
        """An event of a kind that clients do not know, which they are asked to pass over."""
        document = {"type": MARK, MARK: note}
        return self._beginning() + named_event(MARK.encode(), orjson.dumps(document))

    def end(self) -> bytes:
        """The last blocks' ends, why it ended and what was used, `message_stop`."""
        delta: Document = {
            "type": "message_delta",
            "delta": _ending(self._ending, refused=self._refused, called=self._called),
            "usage": write_totals(self._usage),
        }
        return b"".join(
            (
                self._beginning(),
                self._close(),
                named_event(b"message_delta", orjson.dumps(delta)),
                MESSAGE_STOP,
            )
        )

    def fail(self, fault: Fault) -> bytes:
        """`event: error`."""
        return write_fault(fault)

    def _start(self, event: Started) -> bytes:
        if self._started:
            return b""
        self._started = True
        usage: Document = {"input_tokens": 0, "output_tokens": 0}
        tier = write_tier(event.service_tier)
        if tier is not None:
            usage["service_tier"] = tier
        message: Document = {
            "id": event.id or _message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return named_event(
            b"message_start", orjson.dumps({"type": "message_start", "message": message})
        )

    def _beginning(self) -> bytes:
        return b"" if self._started else self._start(Started(""))

    def _said(self, kind: str, text: str) -> bytes:
        if not text:
            return b""
        before = b"" if self._open == kind else self._begin(kind, {"type": "text", "text": ""})
        return b"%b%b%b}}\n\n" % (before, self._text_start, orjson.dumps(text))

    def _thinking(self, text: str) -> bytes:
        if not text:
            return b""
        before = b"" if self._open == "thinking" else self._begin("thinking", _EMPTY_THOUGHT)
        return before + _delta(self._index, b"thinking_delta", b"thinking", text)

    def _thought(self, event: ReasoningEnded) -> bytes:
        sealed = "" if event.signature is None else shown(event.signature, NAME)
        if not sealed:
            # There may be nothing to show of it, but what comes after it is a part of its own.
            return b"" if self._open is None else self._close()
        if event.redacted:
            block = {"type": "redacted_thinking", "data": sealed}
            return self._begin("redacted", block) + self._close()
        written = b"" if self._open == "thinking" else self._begin("thinking", _EMPTY_THOUGHT)
        written += _delta(self._index, b"signature_delta", b"signature", sealed)
        return written + self._close()

    def _call(self, event: ToolCallStarted) -> bytes:
        written = b""
        if self._open is not None:
            written = self._close()
        if event.signature is not None:
            written += self._thought(ReasoningEnded(event.signature))
        block = {
            "type": "tool_use",
            "id": event.id or _call_id(),
            "name": event.name,
            "input": {},
        }
        written += self._block_start(block)
        self._called = True
        self._calls[event.index] = self._index
        self._open_calls.append(self._index)
        return written

    def _arguments(self, event: ToolCallDelta) -> bytes:
        index = self._calls.get(event.index)
        if index is None or not event.arguments:
            return b""
        return _delta(index, b"input_json_delta", b"partial_json", event.arguments)

    def _begin(self, kind: str, block: Document) -> bytes:
        """Close what is open, and open the block."""
        written = self._close() + self._block_start(block)
        self._open = kind
        return written

    def _block_start(self, block: Document) -> bytes:
        self._index += 1
        self._text_start = _TEXT_START % self._index
        event = {"type": "content_block_start", "index": self._index, "content_block": block}
        return self._beginning() + named_event(b"content_block_start", orjson.dumps(event))

    def _close(self) -> bytes:
        """The end of the open block, or of all the calls that are open."""
        if self._open is not None:
            self._open = None
            return _block_stop(self._index)
        written = b"".join(map(_block_stop, self._open_calls))
        self._open_calls.clear()
        return written


MESSAGE_STOP: Final = named_event(b"message_stop", b'{"type":"message_stop"}')

# How an event begins that brings text to a block.
_TEXT_START: Final = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":'
)

_EMPTY_THOUGHT: Final[Document] = {"type": "thinking", "thinking": "", "signature": ""}


def write_fault(fault: Fault) -> bytes:
    """The event that ends a stream which failed."""
    return named_event(b"error", orjson.dumps(error_document(fault)))


def _delta(index: int, kind: bytes, name: bytes, text: str) -> bytes:
    # Put together by hand: most of a stream is these and texts, and the text is all that varies.
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%b","%b":%b}}\n\n' % (index, kind, name, orjson.dumps(text))
    )


def _block_stop(index: int) -> bytes:
    return named_event(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % index)


def _message_id() -> str:
    return f"msg_{secrets.token_hex(12)}"


def _call_id() -> str:
    return f"toolu_{secrets.token_hex(12)}"
