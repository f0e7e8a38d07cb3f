"""Streams, as callers of chat completions get them.

Source: https://developers.openai.com/api/reference/resources/chat/streaming-events. The role comes
first, a call's id and name once and then its arguments piece by piece, each choice ends with its
reason, and the usage comes last, with no choices.
"""

from typing import Final

import orjson

from model_service.providers.chat import (
    ChatEvent,
    Document,
    Finished,
    Reasoning,
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
from model_service.providers.dialects.openai_chat.answers import (
    BETWEEN_THOUGHTS,
    answer_id,
    call_signature,
    finish_word,
)
from model_service.providers.dialects.openai_chat.thoughts import detail
from model_service.providers.dialects.openai_chat.usage import usage_document
from model_service.providers.faults import Fault
from model_service.providers.openai_faults import OpenAIFaults
from model_service.providers.sse import data_event
from model_service.providers.translation import MARK

_FAULTS: Final = OpenAIFaults()
_DONE: Final = b"data: [DONE]\n\n"
_NULL: Final = b"null"
_EMPTY: Final = b'""'
_FIRST_CHOICE: Final = b'"choices":[{"index":'


class _Choice:
    """What has been said of one choice so far."""

    __slots__ = (
        "empty_calls", "last", "parts", "refused", "start", "text_start", "thought", "thoughts",
    )  # fmt: skip

    def __init__(self, start: bytes) -> None:
        self.start = start
        self.text_start = start + b',"delta":{"content":'
        # The number of parts, and the kind of the last one: a thought says where it stands.
        self.parts = 0
        self.last: type | None = None
        self.thought: _Thought | None = None
        self.thoughts = 0
        self.refused = False
        self.empty_calls: set[int] = set()

    def says(self, kind: type) -> None:
        """Count a part, unless its kind is that of the one under way."""
        if self.last is not kind:
            self.last = kind
            self.parts += 1


class _Thought:
    """A thought under way; its detail is written when all of it is known."""

    __slots__ = ("id", "index", "pieces")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id: str | None = None
        self.pieces: list[str] = []


class ChatWriter:
    """Writes one stream; `model` is the registered name."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._model = model
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._head = b""
        self._tail = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._text_end = b'},"logprobs":null,"finish_reason":null' + self._tail
        self._choices: dict[int, _Choice] = {}

    def write(self, event: ChatEvent) -> bytes:
        """The bytes for one event; may be empty."""
        if type(event) is TextDelta:  # as most are
            return self._text(event)
        match event:
            case ToolCallDelta():
                return self._arguments(event)
            case ReasoningDelta():
                return self._thinking(event)
            case ReasoningEnded():
                return self._thought(event)
            case RefusalDelta():
                choice, begin = self._choice(event.candidate, _NULL)
                choice.says(RefusalDelta)
                choice.refused = True
                return begin + self._chunk(choice, b'{"refusal":' + orjson.dumps(event.text) + b"}")
            case ToolCallStarted():
                return self._call(event)
            case Finished():
                return self._finished(event)
            case UsageReported():
                self._usage = event.usage
            case Started():
                self._begin(event)
        return b""

    def mark(self, note: Document) -> bytes:
        """A chunk that says nothing, with the note as a field of its own."""
        choice, begin = self._choice(0, _EMPTY)
        chunk = self._chunk(choice, b"{}")
        return begin + b'%b,"%b":%b}\n\n' % (chunk[:-3], MARK.encode(), orjson.dumps(note))

    def end(self) -> bytes:
        """The usage, where it was asked for and is known, and the mark that all has come."""
        if not self._include_usage or self._usage is None:
            return _DONE
        usage = orjson.dumps(usage_document(self._usage))
        # The head ends where the first choice begins: `"choices":[{"index":`.
        head = self._known_head()[: -len(_FIRST_CHOICE)]
        return head + b'"choices":[],"usage":' + usage + b"}\n\n" + _DONE

    def fail(self, fault: Fault) -> bytes:
        """The error event. No closing mark follows: the answer is not whole."""
        return data_event(orjson.dumps(_FAULTS.error(fault, "")))

    def _begin(self, event: Started) -> None:
        document: Document = {
            "id": answer_id(event.id),
            "object": "chat.completion.chunk",
            "created": event.created or 0,
            "model": self._model,
        }
        if event.service_tier is not None:
            document["service_tier"] = event.service_tier
        self._head = b"data: " + orjson.dumps(document)[:-1] + b"," + _FIRST_CHOICE

    def _known_head(self) -> bytes:
        if not self._head:
            self._begin(Started(""))
        return self._head

    def _choice(
        self, index: int, content: bytes, *, thinking: bool = False
    ) -> tuple[_Choice, bytes]:
        """The choice, and the chunk that has to go before: its role, or a thought that is over."""
        choice = self._choices.get(index)
        if choice is None:
            choice = _Choice(b"%b%d" % (self._known_head(), index))
            self._choices[index] = choice
            role = b'{"role":"assistant","content":' + content + b',"refusal":null}'
            return choice, self._chunk(choice, role)
        if choice.thought is not None and not thinking:
            return choice, self._end_thought(choice, Reasoning(""))
        return choice, b""

    def _chunk(
        self, choice: _Choice, delta: bytes, logprobs: bytes = _NULL, finish: bytes = _NULL
    ) -> bytes:
        return b"".join(
            (
                choice.start,
                b',"delta":',
                delta,
                b',"logprobs":',
                logprobs,
                b',"finish_reason":',
                finish,
                self._tail,
            )
        )

    def _text(self, event: TextDelta) -> bytes:
        known = self._choices.get(event.candidate)
        if known is not None and known.last is TextDelta and event.logprobs is None and event.text:
            # The text under way goes on.
            return b"%b%b%b" % (known.text_start, orjson.dumps(event.text), self._text_end)
        choice, begin = self._choice(event.candidate, _EMPTY)
        logprobs = _NULL if event.logprobs is None else orjson.dumps(event.logprobs)
        if event.text:
            choice.says(TextDelta)
        elif logprobs is _NULL:
            return begin
        delta = b'{"content":' + orjson.dumps(event.text) + b"}"
        return begin + self._chunk(choice, delta, logprobs)

    def _thinking(self, event: ReasoningDelta) -> bytes:
        choice, begin = self._choice(event.candidate, _NULL, thinking=True)
        thought = self._open_thought(choice, event.id)
        text = event.text
        if not thought.pieces and text:
            if choice.thoughts:
                text = BETWEEN_THOUGHTS + text
            choice.thoughts += 1
        if not text:
            return begin
        thought.pieces.append(event.text)
        return begin + self._chunk(choice, b'{"reasoning_content":' + orjson.dumps(text) + b"}")

    def _thought(self, event: ReasoningEnded) -> bytes:
        choice, begin = self._choice(event.candidate, _NULL, thinking=True)
        self._open_thought(choice, event.id)
        end = Reasoning("", event.signature, event.redacted)
        return begin + self._end_thought(choice, end)

    def _open_thought(self, choice: _Choice, given_id: str | None) -> _Thought:
        thought = choice.thought
        if thought is None:
            thought = choice.thought = _Thought(choice.parts)
            choice.parts += 1
            choice.last = None
        if thought.id is None:
            thought.id = given_id
        return thought

    def _end_thought(self, choice: _Choice, end: Reasoning) -> bytes:
        thought = choice.thought
        if thought is None:
            return b""
        choice.thought = None
        end.text, end.id = "".join(thought.pieces), thought.id
        details = orjson.dumps([detail(end, thought.index)])
        return self._chunk(choice, b'{"reasoning_details":' + details + b"}")

    def _call(self, event: ToolCallStarted) -> bytes:
        choice, begin = self._choice(event.candidate, _NULL)
        choice.last = None
        choice.parts += 1
        choice.empty_calls.add(event.index)
        call: Document = {
            "index": event.index,
            "id": event.id,
            "type": "function",
            "function": {"name": event.name, "arguments": ""},
        }
        if event.signature is not None:
            call["extra_content"] = call_signature(event.signature)
        return begin + self._chunk(choice, orjson.dumps({"tool_calls": [call]}))

    def _arguments(self, event: ToolCallDelta) -> bytes:
        choice, begin = self._choice(event.candidate, _NULL)
        if not event.arguments:
            return begin
        choice.empty_calls.discard(event.index)
        return begin + self._fragment(choice, event.index, orjson.dumps(event.arguments))

    def _fragment(self, choice: _Choice, index: int, text: bytes) -> bytes:
        return self._chunk(
            choice,
            b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (index, text),
        )

    def _finished(self, event: Finished) -> bytes:
        choice, begin = self._choice(event.candidate, _EMPTY)
        # Callers parse the arguments: what has none is sent as an empty object.
        for index in sorted(choice.empty_calls):
            begin += self._fragment(choice, index, b'"{}"')
        word = finish_word(event.reason, in_words=choice.refused)
        return begin + self._chunk(choice, b"{}", finish=b'"' + word.encode() + b'"')
