"""Writes a stream of `streamGenerateContent`: server-sent events without a closing mark.

Every event is a GenerateContentResponse. Calls come whole, so their arguments are held back
until something else comes; and the last event has the finish reasons and the usage in one,
because clients take an event without a candidate for a failed answer.
"""

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
from model_service.providers.dialects.google.answers import (
    call_part,
    sign_first_call,
    thought_part,
)
from model_service.providers.dialects.google.faults import GoogleFaults
from model_service.providers.dialects.google.logprobs import written_logprobs
from model_service.providers.dialects.google.words import FINISH_WORDS, usage_document
from model_service.providers.faults import Fault
from model_service.providers.sse import data_event
from model_service.providers.translation import MARK

_HEAD: Final = b'data: {"candidates":[{"content":{"parts":[{"text":'
_FAULTS: Final = GoogleFaults()


class GoogleWriter:
    """One stream; `model` is the registered name."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = ""
        self._tail = b""
        self._calls: dict[int, dict[int, _Call]] = {}
        self._finished: list[Document] = []
        self._usage: Usage | None = None
        self._name_tail()

    def _name_tail(self) -> None:
        model, answer_id = orjson.dumps(self._model), orjson.dumps(self._id)
        self._tail = b'],"modelVersion":' + model + b',"responseId":' + answer_id + b"}\n\n"

    def write(self, event: ChatEvent) -> bytes:
        """The bytes for one event; none for what is held back."""
        match event:
            case TextDelta():
                return self._text(event)
            case ToolCallDelta():
                call = self._calls.get(event.candidate, {}).get(event.index)
                if call is not None:  # else it has gone out, whole
                    call.arguments.append(event.arguments)
                return b""
            case ToolCallStarted():
                calls = self._calls.setdefault(event.candidate, {})
                calls[event.index] = _Call(event)
                return b""
            case ReasoningDelta():
                part = thought_part(event.text, None, redacted=False)
                return self._parts(event.candidate, [part])
            case ReasoningEnded():
                if event.signature is None:
                    return b""
                part = thought_part("", event.signature, redacted=event.redacted)
                return self._parts(event.candidate, [part])
            case RefusalDelta():
                return self._parts(event.candidate, [{"text": event.text}])
            case Finished():
                self._finish(event)
            case UsageReported():
                self._usage = event.usage
            case Started():
                self._id = event.id
                self._name_tail()
        return b""

    def mark(self, note: Document) -> bytes:
        """An event with a text of nothing, and the note as a field of its own."""
        event = self._parts(0, [{"text": ""}])
        return b'%b,"%b":%b}\n\n' % (event[:-3], MARK.encode(), orjson.dumps(note))

    def end(self) -> bytes:
        """The last event."""
        document: Document = {"candidates": self._finished}
        if self._usage is not None:
            document["usageMetadata"] = usage_document(self._usage)
        document |= {"modelVersion": self._model, "responseId": self._id}
        return data_event(orjson.dumps(document))

    def fail(self, fault: Fault) -> bytes:
        """The error as an event, which clients raise as they do an error answer."""
        return data_event(orjson.dumps(_FAULTS.error(fault, "")))

    def _text(self, event: TextDelta) -> bytes:
        candidate = event.candidate
        if event.logprobs is None and not self._calls.get(candidate):
            text = orjson.dumps(event.text)
            return b'%b%b}],"role":"model"},"index":%d}%b' % (_HEAD, text, candidate, self._tail)
        result = None if event.logprobs is None else written_logprobs(event.logprobs)
        more: Document = {} if result is None else {"logprobsResult": result}
        return self._parts(candidate, [{"text": event.text}], more)

    def _parts(self, candidate: int, parts: list[Document], more: Document | None = None) -> bytes:
        document = {
            "content": {"parts": [*self._whole_calls(candidate), *parts], "role": "model"},
            "index": candidate,
        }
        if more:
            document |= more
        return b'data: {"candidates":[' + orjson.dumps(document) + self._tail

    def _whole_calls(self, candidate: int) -> list[Document]:
        """The calls that were held back, in order, once all of them are whole."""
        calls = self._calls.get(candidate)
        if not calls or not all(call.is_whole() for call in calls.values()):
            return []
        return self._held_calls(candidate)

    def _held_calls(self, candidate: int) -> list[Document]:
        calls = self._calls.pop(candidate, {})
        parts = [
            call_part(call.id, call.name, "".join(call.arguments), call.signature)
            for _, call in sorted(calls.items())
        ]
        sign_first_call(parts)
        return parts

    def _finish(self, event: Finished) -> None:
        parts = self._held_calls(event.candidate)
        document: Document = {}
        if parts or event.reason is not FinishReason.CONTENT_FILTER:
            document["content"] = {"parts": parts or [{"text": ""}], "role": "model"}
        document |= {"finishReason": FINISH_WORDS[event.reason], "index": event.candidate}
        self._finished.append(document)


class _Call:
    """A call under way."""

    __slots__ = ("arguments", "id", "name", "signature")

    def __init__(self, event: ToolCallStarted) -> None:
        self.id = event.id
        self.name = event.name
        self.signature = event.signature
        self.arguments: list[str] = []

    def is_whole(self) -> bool:
        """Whether the arguments that have come are an object."""
        # A quick answer to what is asked again with every text that comes meanwhile.
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(orjson.loads("".join(self.arguments)), dict)
        except orjson.JSONDecodeError:
            return False
